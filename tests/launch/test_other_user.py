"""Another user's run: it can be watched, and everything else says whose it is."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.fake_run import make_run
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import TINY

NOBODY = 65534


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder of root's that others may enter, with a run."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    folder = Path(tempfile.mkdtemp(prefix="prime-other-user-"))
    folder.chmod(0o755)
    make_run(folder / "results" / "tiny", iterations=2, planned=4)
    (folder / "settings.yaml").write_text(yaml.safe_dump(TINY))
    yield folder
    shutil.rmtree(folder)


def as_nobody(place: Path, *module: str) -> subprocess.CompletedProcess[str]:
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with tempfile.TemporaryDirectory() as cache:
        os.chown(cache, NOBODY, NOBODY)
        return subprocess.run(
            [*become, sys.executable, "-m", *module],
            cwd=place,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": cache},
            capture_output=True,
            text=True,
            timeout=100,
        )


def test_its_status_and_logs_can_be_read(place: Path):
    done = as_nobody(place, "prime_core.cli.main", "status", "--run", "results/tiny")
    assert done.returncode == 0, done.stderr
    assert "2 of 4 iterations" in done.stdout


def test_cancelling_it_says_whose_it_is(place: Path):
    done = as_nobody(place, "prime_core.cli.main", "cancel", "--yes", "--run", "results/tiny")
    assert done.returncode == 1
    assert done.stderr == (
        "prime cancel: error: results/tiny belongs to root, who alone can cancel it\n"
    )


@pytest.mark.parametrize(
    "module",
    [
        ("prime_core.cli.main", "launch", "--configfile", "settings.yaml"),
        ("snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "settings.yaml"),
    ],
)
def test_continuing_it_says_whose_it_is(place: Path, module: tuple[str, ...]):
    done = as_nobody(place, *module)
    assert done.returncode == 1
    assert f"{place}: Permission denied; it belongs to root" in done.stderr
    assert "Traceback" not in done.stderr
