"""Every test runs on one thread a process, so that results are repeatable and cores are shared."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Qwen2 of 2 layers and width 16, with its tokenizer."""
    from tests.tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def one_rank() -> Iterator[None]:
    """The process group of one rank, as a stage starts it; the environment is put back, since
    RANK would make a stage in a subprocess look for other ranks."""
    import torch.distributed as dist

    from prime_core.training.distributed import start_ranks

    with patch.dict(os.environ):
        if dist.is_initialized():
            os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
        start_ranks()
        yield
