"""Rows of a forward pass that an earlier job had finished when it was killed.

In: where they are kept, the model's folder, the sequences, how they pass through the model. Out:
this rank's PartialRows, of the same inputs alone: which sequences share a pass may change the last
bits of their numbers.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

from prime_core.runtime.content_digest import content_digest
from prime_core.runtime.partial_rows import PartialRows
from prime_core.settings.run import Settings
from prime_core.training.batches import Sequences
from prime_core.training.distributed import rank, world_size
from prime_core.training.passes import Passes


def finished_rows(
    partial: Path | None,
    folder: Path,
    sequences: Sequences,
    passes: Passes,
    settings: Settings,
    temperature: float = 1.0,
) -> contextlib.AbstractContextManager[PartialRows | None]:
    """This rank's rows so far; None where nothing is kept."""
    if partial is None:
        return contextlib.nullcontext(None)
    own = partial.with_name(f"{partial.stem}-{rank()}{partial.suffix}") if rank() else partial
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    how = asdict(passes) | {"device": passes.device.type}
    values = [asdict(sequences), how, settings.model.dtype, temperature, rank(), world_size()]
    return PartialRows(own, content_digest(files, json.dumps(values).encode()))
