"""A real Slurm for the tests of this folder, one for each file.

Where Slurm cannot start the tests are skipped, saying what to install; in CI (CI=true) they fail.
Tests of one file run on one worker (tests/conftest.py).
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import lab as slurm_lab
from tests.slurm import users
from tests.slurm.lab import SlurmLab


def require_slurm() -> None:
    """Skip the test, or fail it in CI, where no Slurm can start."""
    reason = slurm_lab.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(f"CI tests on a real Slurm: {reason}")
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def slurm_of_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """A Slurm with accounting; jobs of the file's other tests may be in its accounts."""
    require_slurm()
    with SlurmLab(tmp_path_factory.mktemp("slurm") / "lab") as lab:
        yield lab


@pytest.fixture
def slurm(slurm_of_file: SlurmLab) -> Iterator[SlurmLab]:
    """The file's Slurm, idle; put right afterwards, so that a test may kill its daemons."""
    yield slurm_of_file
    slurm_of_file.restore()


@pytest.fixture
def fresh_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """A Slurm of this test's own, with accounting, its job numbers from 1 on."""
    require_slurm()
    with SlurmLab(tmp_path_factory.mktemp("fresh") / "lab") as lab:
        yield lab


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of the lab's ordinary user, which all may enter, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="prime-slurm-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        users.give(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
