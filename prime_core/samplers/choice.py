"""Which sampler answers: `auto` resolved, and one sampler for all responses of an iteration.

Samplers draw different responses from the same seeds, so the shards of an iteration must not mix
them, not even when the run is stopped and resumed with another setting or on another machine. The
first shard records which one it uses (iterations/<i>/sampler.json); the others follow.

docs/decisions.md#vllm-seeds
docs/decisions.md#sampler-auto
"""

from __future__ import annotations

import sys
from pathlib import Path

from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from prime_core.runtime.locks import only_one
from prime_core.samplers import SAMPLERS, SamplerError
from prime_core.samplers.vllm_platform import stdout_to_stderr


def choose_sampler(setting: str, model_path: Path) -> str:
    """Name of the sampler: the setting, or for "auto" the first of SAMPLERS that can run here.

    Raises SamplerError where the requested one, or none, can.
    """
    if setting != "auto":
        if reason := _why_not(setting, model_path):
            raise SamplerError(f"rollout.sampler '{setting}' cannot be used: {reason}")
        return setting
    reasons: list[str] = []
    for name in SAMPLERS:
        reason = _why_not(name, model_path)
        if reason is None:
            if reasons:
                why = "; ".join(reasons)
                print(f"rollout.sampler auto: using {name}, since {why}", file=sys.stderr)
            return name
        reasons.append(reason)
    raise SamplerError(f"rollout.sampler auto: no sampler can be used: {'; '.join(reasons)}")


def choose_for_iteration(setting: str, model_path: Path, record: Path, begun: bool) -> str:
    """The sampler that the iteration began with, recorded now if this is its beginning.

    begun: whether rollouts of the iteration exist; until then a changed setting is followed.
    Raises SamplerError where the iteration's sampler cannot run here: shards do not mix samplers.
    """
    recorded = read_json(record)["sampler"] if record.exists() else None
    # `auto` follows a record that has no rollouts yet: shards on unlike machines would else choose
    # each for itself.
    if recorded is None or (not begun and setting not in ("auto", recorded)):
        chosen = choose_sampler(setting, model_path)
        write_json(record, {"sampler": chosen})
        return chosen
    # No fallback here, even with "auto": earlier shards were drawn with the recorded one.
    if reason := _why_not(recorded, model_path):
        raise SamplerError(
            f"{record}: the iteration was begun with {recorded}, which cannot be used here: "
            f"{reason}; run this shard where it can, or delete {record} and the rollouts beside "
            "it to sample the whole iteration again"
        )
    return recorded


def sampler_of_iteration(setting: str, policy: Path, files: RunFiles, iteration: int) -> str:
    """As `choose_for_iteration`, of a run; shards that start together agree on one."""
    record = files.sampler(iteration)
    begun = any(files.rollouts(iteration, 0).parent.glob("*.parquet"))
    with only_one(record, files.root):
        return choose_for_iteration(setting, policy, record, begun)


def refuse_mixture(sampler: str, record: Path) -> None:
    """Raise SamplerError if another process has restarted the iteration meanwhile."""
    recorded = read_json(record)["sampler"]
    if recorded != sampler:
        raise SamplerError(
            f"{record}: this shard was sampled with {sampler}, but the iteration now uses "
            f"{recorded}; run it again"
        )


def _why_not(sampler: str, model_path: Path) -> str | None:
    if sampler not in SAMPLERS:  # the record may be another version's
        return f"it is not among this version's samplers ({', '.join(SAMPLERS)})"
    # Asking loads vLLM, which prints; a stage's standard output is its one line.
    with stdout_to_stderr():
        return SAMPLERS[sampler].why_not(model_path)
