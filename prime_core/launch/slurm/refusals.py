"""Why sbatch has not taken a job: its own words, what they mean, and where to mend it.

In: what sbatch wrote. Out: a Refusal. Slurm may be away, and answers again in time; a limit on
queued jobs passes as jobs end; anything else that it says is final, since the same job would be
refused again (docs/decisions.md#refused-jobs). What broke on this side of Slurm is no refusal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from prime_core.launch.slurm import reasons

# Messages that mean "not now" rather than "never".
_AWAY = re.compile(
    r"unable to contact slurm controller|backup controller in standby|unable to establish"
    r"|(connection|send|receive|shutdown) failure|socket timed out|zero bytes were transmitted"
    r"|connection (refused|reset|timed out)|temporarily|try again|munge|unexpected message"
    r"|rpc rate limit|did not answer",
    re.IGNORECASE,
)
# Slurm's general sentence, and words of sites' own submission filters.
_ANY_LIMIT = re.compile(
    r"job submit limit|too many (\w+ )?jobs|(job|submission|queue) limit|max\w* (number of )?"
    r"(queued|submitted|pending) jobs",
    re.IGNORECASE,
)
# A word of the message -> keys of a pool in site.yaml, or what else to change.
_PLACES: tuple[tuple[str, str], ...] = (
    (r"account", "{pool}.account in site.yaml"),
    (r"partition", "{pool}.partition in site.yaml"),
    (r"qos", "{pool}.qos in site.yaml"),
    (r"feature|constraint", "{pool}.constraint in site.yaml"),
    (r"reservation", "{pool}.extra in site.yaml"),
    (r"time ?limit|walltime|WallDuration", "{pool}.max_minutes in site.yaml"),
    (r"memory|\bmem\b", "{pool}.max_mem_mb in site.yaml, or mem_mb in the table of stages"),
    (r"gres|gpu", "{pool}.gpu_model and {pool}.gpus_per_node in site.yaml"),
    (r"node configuration", "{pool} in site.yaml, or what the stage asks for in stages.yaml"),
)
_PREFIX = re.compile(r"^(sbatch|srun|salloc): (error|fatal): (Batch job submission failed: )?")
# How the plugin hands on what sbatch wrote.
_QUOTED = re.compile(r"The error message was '(?P<said>.*?)'\.\n", re.DOTALL)
_EXCEPTION = "Job submission failed with exception: "
_SLURMS = "SLURM job submission failed. The error message was "


@dataclass(frozen=True)
class Refusal:
    """said: Slurm's own words in one line; limit: the name of the limit, "" where none is named."""

    said: str
    kind: Literal["away", "limit", "final", "broken"]
    limit: str = ""

    def explained(self, pool: str) -> str:
        """Slurm's words, what they mean, where to mend it. pool: of site.yaml: cpu, gpu, ..."""
        if self.limit:
            reason = reasons.explained(self.limit, "")
            advice = "it passes when some of these jobs have ended"
            return f"{self.said} ({reason.words}; {advice if self.passes else reason.advice})"
        if self.kind != "final":
            return self.said
        for pattern, place in _PLACES:
            if re.search(pattern, self.said, re.IGNORECASE):
                return f"{self.said} (see {place.format(pool=pool)})"
        return f"{self.said} (see {pool} in site.yaml)"

    @property
    def passes(self) -> bool:
        """Whether the same job may be taken later."""
        return self.kind != "final"

    @property
    def is_of_user(self) -> bool:
        """Whether only this user's jobs count for the limit, as far as its name tells."""
        return not re.search("Grp|PerAccount", self.limit)


def read(message: str) -> Refusal:
    """What a failed submission means. message: sbatch's standard error, or the plugin's of it."""
    quoted = _QUOTED.search(message)
    text = message.removeprefix(_EXCEPTION)
    if text != message and not text.startswith(_SLURMS):
        return Refusal(text.splitlines()[0] if text else "submission failed", "broken")
    said = _lines(quoted["said"] if quoted else text.removeprefix(_SLURMS))
    text = "; ".join(said)
    limit = next((name for name in said if re.fullmatch(r"\w*(Max|Grp)\w+", name)), "")
    if limit and reasons.is_limit_on_submissions(limit):
        return Refusal(text, "limit", limit)
    # Any other named limit is one of a single job, refused under the same general sentence.
    if not limit and _ANY_LIMIT.search(text):
        return Refusal(text, "limit")
    if not limit and _AWAY.search(text):
        return Refusal(text, "away")
    return Refusal(text, "final", limit)


def _lines(text: str) -> list[str]:
    """The errors without the command's name; all lines where none is marked as an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [_PREFIX.sub("", line) for line in lines if _PREFIX.match(line)]
    # A site's banner is no error; what the shell or Python says has no mark.
    return list(dict.fromkeys(errors)) or lines[:3] or ["sbatch failed without a word"]
