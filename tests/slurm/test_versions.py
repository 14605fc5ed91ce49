"""A newer Slurm than this machine's: what its answers decide, asked again of one.

`make test-slurm-versions` runs nearly all tests of this folder with each version that there is.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm import versions
from tests.slurm.conftest import require_slurm
from tests.support.shared_data import ROOT

pytestmark = pytest.mark.slow

# What `prime site` reads, a job judged after its end, its hours, a slurmctld that died.
SOME = (
    "test_site.py::test_a_site_is_surveyed_and_its_names_are_accepted_by_slurm",
    "test_site.py::test_a_slurm_without_accounts_and_memory_is_warned_of",
    "test_executor.py::test_a_cancelled_job_is_tried_again_within_the_sites_limits",
    "test_lab.py::test_slurmctld_dies_and_jobs_go_on",
    "test_accounting.py::test_every_start_of_a_requeued_job_is_counted",
)


def test_a_newer_slurm_answers_as_this_machines_does():
    require_slurm()
    tests = [str(Path("tests", "slurm", name)) for name in SOME]
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        versions.command_in("trixie", pytest_here),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert f"{len(SOME)} passed" in done.stdout, done.stdout


def test_a_mirror_that_does_not_answer_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(versions, "mirror", lambda: "http://127.0.0.1:9/debian")
    with pytest.raises(versions.VersionError, match=r"apt-get update: (?s:.*)127\.0\.0\.1"):
        versions.root_of("trixie")
    assert list(versions.cache().iterdir()) == []
