"""Every test runs on one thread a process, so that results are repeatable and cores are shared."""

import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
# Files whose tests share what takes long to make, or what only one may use at a time.
TOGETHER = re.compile(
    r"tests/(slurm/\w+|runtime/test_interruption|samplers/test_(kept_)?vllm(_server)?|"
    r"stages/test_imports|training/test_(engine|lora)|verifiers/test_sandbox_hostile|workflow/test_(vllm|workflow))\.py"
)
# What tests import, and the tests themselves, stay: collecting them again and again takes seconds.
gc.disable()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests go to workers one by one, but those of some files together (largest files first).

    (Marks of xdist_group would say the same; pytest-xdist 3.8 does not see them with pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = TOGETHER.match(nodeid)
            return file[0] if file else nodeid

    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first: at the end all workers have short ones to share."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """From here on garbage is collected, but looked for only among what tests make."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Qwen2 of 2 layers and width 16, with its tokenizer."""
    from tests.support.tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def one_rank() -> Iterator[None]:
    """The process group of one rank."""
    from tests.support.one_rank import as_one_rank

    with as_one_rank():
        yield


@pytest.fixture
def without_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """`prime plan` in the repository, without a site and what was fetched on this machine."""
    from prime_core.planning import command

    monkeypatch.chdir(Path(__file__).parents[1])
    monkeypatch.setenv("PRIME_SITE", "no-such-site.yaml")
    monkeypatch.setattr(
        command, "_folder", lambda path, _key: Path(path) if Path(path).is_dir() else None
    )
