"""The ranks of one training stage.

A launcher that sets RANK and WORLD_SIZE (torchrun) starts several; without one the stage is the
only rank, and needs no port.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from prime_core.run.atomic import atomic_folder
from prime_core.runtime import kept
from prime_core.runtime.rank import has_other_ranks, rank


def join_ranks() -> None:
    """Join the process group of a stage that computes without training; alone it needs none."""
    if has_other_ranks() and not dist.is_initialized():
        _meet("nccl" if torch.cuda.is_available() else "gloo")


def start_ranks() -> None:
    """Join the process group of this stage and let DeepSpeed use it."""
    if dist.is_initialized():
        return
    # Otherwise DeepSpeed looks for an accelerator as it is imported, and warns on stdout of a
    # machine that has none.
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if "RANK" in os.environ:
        _meet(backend)
    else:
        # DeepSpeed reads these itself. The store is in memory, so that stages that run side by
        # side do not compete for a port.
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)

    # Not at the top: it takes seconds, and reads what is set above.
    import deepspeed
    import deepspeed.ops

    # Only inference uses this operator; compiling it takes a minute at first use.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Discovery would need mpi4py: DeepSpeed begins it where MASTER_ADDR is missing, even with a
    # process group in place.
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)


def _meet(backend: str) -> None:
    place = kept.meeting_place()
    if place is None:
        dist.init_process_group(backend)
        return
    # Ranks that stay together need a store that outlives their launcher's.
    size = int(os.environ["WORLD_SIZE"])
    store = dist.FileStore(str(place), size)
    dist.init_process_group(backend, store=store, rank=rank(), world_size=size)


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(values: Any) -> list[Any]:
    """The ranks' values, in the order of ranks, on every rank."""
    if world_size() == 1:
        return [values]
    gathered: list[Any] = [None] * world_size()
    # Values travel as pickles: figures are dicts and lists of different lengths, and tensors would
    # have to be padded.
    dist.all_gather_object(gathered, values)
    return gathered


def barrier() -> None:
    """Wait until every rank is here."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def shared_folder(path: Path) -> Iterator[Path]:
    """`atomic_folder` for all ranks together: one folder, renamed when every rank has written."""
    if world_size() == 1:
        with atomic_folder(path) as folder:
            yield folder
    elif rank() == 0:
        with atomic_folder(path) as folder:
            dist.broadcast_object_list([str(folder)])  # its random name is drawn on this rank
            yield folder
            dist.barrier()  # it is renamed when this block ends
    else:
        name: list[str | None] = [None]
        dist.broadcast_object_list(name)
        yield Path(str(name[0]))
        dist.barrier()
