"""Where a training state is: in the machine's memory, or in the folder of its weights.

In: a folder of weights. Out: the folder to write its state into, or to read it from, the same on
all ranks. Each rank writes its own part of the state, so that into memory all of them write at
once. What is in memory is trusted by its digests (prime_core.storage.state_memory).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prime_core.run.layout import TRAINING_STATE
from prime_core.storage import state_memory
from prime_core.training.distributed import barrier, gather, rank, shared_folder


@contextmanager
def state_folder(path: Path, weights: Path, size: float) -> Iterator[Path]:
    """The folder to write the state into of weights that will be at `path`, and are in `weights`.

    size: bytes of the state; where memory has no room for them, it goes beside the weights.
    """
    entry = state_memory.entry_of(path)
    # The first rank's view counts: two that looked at different moments would write to both.
    if entry is None or not gather(rank() == 0 and state_memory.takes(entry, size))[0]:
        yield weights
        return
    # In place before the weights are, which are renamed later: weights that exist have a state.
    with shared_folder(entry) as folder:
        yield folder
        barrier()
        if rank() == 0:
            state_memory.seal(folder, path, weights)


def state_source(folder: Path) -> Path:
    """The folder to read the state of these weights from."""
    entry = gather(state_memory.find(folder) if rank() == 0 else None)[0]
    if entry is None:
        return folder
    if rank() == 0:
        print(f"training state of {folder} is read from {entry}", file=sys.stderr)
    return Path(entry)


def free_loaded(folder: Path) -> None:
    """Free the memory of a state that all ranks have loaded, once it is on disk as well."""
    barrier()
    if rank() == 0 and (folder / TRAINING_STATE).is_dir():
        state_memory.forget(folder)
