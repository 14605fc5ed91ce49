"""The process group of a stage that is its own only rank, for tests in pytest's process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch.distributed as dist

from prime_core.training.distributed import start_ranks


@contextmanager
def as_one_rank() -> Iterator[None]:
    """As a stage starts it; the environment is put back, since RANK would make a stage in a
    subprocess look for other ranks."""
    with patch.dict(os.environ):
        if dist.is_initialized():
            os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
        start_ranks()
        yield
