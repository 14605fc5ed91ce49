"""Responses that an earlier job had finished when it was killed: they are not drawn again.

In: the requests, and all that their responses depend on. Out: batches of responses, each whole or
not at all. What shares a batch may change the last bits of a response, so a sampler must divide
its requests in the same way after a kill, whatever is finished.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from prime_core.runtime.content_digest import content_digest
from prime_core.runtime.partial_rows import PartialRows
from prime_core.samplers.request import Engine, Request, Sampled, SamplingParams


class FinishedResponses(PartialRows):
    """Finished responses by the index of their request. Without a path nothing is kept on disk."""

    def batch(self, indices: Sequence[int]) -> list[Sampled] | None:
        """The responses of one batch; None: some of them are yet to be drawn."""
        if not all(index in self.rows for index in indices):
            return None
        return [Sampled(*self.rows[index]) for index in indices]

    def add(self, indices: Sequence[int], responses: Sequence[Sampled]) -> None:
        """Keep the responses of one batch, unless the model predicts NaN: that may have passed."""
        if not all(math.isfinite(value) for one in responses for value in one.logprobs):
            return
        values = ([one.tokens, one.logprobs, one.finish_reason] for one in responses)
        self.keep(dict(zip(indices, values, strict=True)))


def fingerprint(
    sampler: str,
    model_path: Path,
    dtype: str,
    requests: Sequence[Request],
    params: SamplingParams,
    engine: Engine,
) -> str:
    """A digest of all that responses depend on, the model's weights among it."""
    files = sorted(f for f in model_path.iterdir() if f.is_file() and not f.name.startswith("."))
    asked = [[one.prompt_tokens, one.seed, one.num_before] for one in requests]
    values = [sampler, dtype, asked, asdict(params), asdict(engine)]
    return content_digest(files, json.dumps(values).encode())
