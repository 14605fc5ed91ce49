"""A few responses with their log-probabilities, beside the weights of a policy (probe.json).

A sampler that has loaded these weights into an engine that held others must find the same numbers:
an engine that kept part of the old ones samples on without a word. `policy` writes them, by this
project's own forward pass, before and after its update.

docs/decisions.md#kept-sampler
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PROBE = "probe.json"
NUM_RESPONSES, NUM_TOKENS = 8, 64
# Nats a token, in the mean, by which two right computations differ at most.
ROUNDING = {"float32": 2e-5, "bfloat16": 0.05}


@dataclass(frozen=True)
class Probe:
    """logprobs, before: of each response's tokens, under these weights and those before the update,
    at temperature 1.
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    logprobs: list[list[float]]
    before: list[list[float]]

    def write(self, folder: Path) -> None:
        """Into a folder of weights."""
        (folder / PROBE).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    def fault(self, found: Sequence[Sequence[float]], dtype: str) -> str | None:
        """What a sampler's log-probabilities of the same responses say against it; None: nothing.

        Each row may end before the response does.
        """
        rows = zip(found, self.logprobs, self.before, strict=True)
        # Not strict: the sampler's row may be the shorter one.
        triples = [triple for row in rows for triple in zip(*row, strict=False)]
        off = _mean([abs(theirs - ours) for theirs, ours, _ in triples])
        if not off <= ROUNDING[dtype]:  # NaN as well, and a probe without tokens
            return f"its log-probabilities are off by {off:.2g} nats a token"
        moved = _mean([abs(ours - before) for _, ours, before in triples])
        if moved > ROUNDING[dtype] / 4:  # else rounding decides
            to_new = math.fsum((theirs - ours) ** 2 for theirs, ours, _ in triples)
            to_old = math.fsum((theirs - before) ** 2 for theirs, _, before in triples)
            if to_new >= to_old:
                return "its log-probabilities are those of the weights before"
        return None


def read_probe(folder: Path) -> Probe | None:
    """The probe of a folder of weights; None where it has none."""
    path = folder / PROBE
    if not path.exists():
        return None
    return Probe(**json.loads(path.read_text(encoding="utf-8")))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
