"""A run that uses up its budget stops in good order, and goes on when it is raised."""

import subprocess
from pathlib import Path

import pytest

from prime_core.run.job_records import submitted_jobs
from prime_core.run.layout import RunFiles
from tests.slurm.lab import SlurmLab
from tests.slurm.workflow_on_slurm import ONE_ITERATION, slurm_command, write_site
from tests.support.workflow_runs import environment, run_well

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RUN = Path("results/tiny")


def run(lab: SlurmLab, folder: Path, limit: float) -> subprocess.CompletedProcess[str]:
    """The workflow as far as the first responses."""
    target = str(RUN / "iterations" / "0001" / "rollouts" / "00.parquet")
    settings = ONE_ITERATION | {"max_gpu_hours": limit}
    return subprocess.run(
        [*slurm_command(folder, settings), "--", target],
        env=environment() | lab.env | write_site(folder),
        capture_output=True,
        text=True,
    )


def test_a_used_up_budget_ends_submissions_until_it_is_raised(slurm: SlurmLab, tmp_path: Path):
    run_well(tmp_path, "--until", "prepare", settings=ONE_ITERATION)  # spends nothing
    done = run(slurm, tmp_path, limit=1 / 3600)  # a GPU's second: the warm-up takes more
    assert done.returncode != 0
    assert "max_gpu_hours 0.000277778 reached: 0.0" in done.stderr, done.stderr[-3000:]
    assert "raise it and start again to continue" in done.stderr
    files = RunFiles(tmp_path / RUN)
    assert [job.stage for job in submitted_jobs(files)] == ["sft"]
    # What was running when the budget was reached has come to its end.
    assert files.setup_metrics("sft").exists()
    done = run(slurm, tmp_path, limit=10)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [job.stage for job in submitted_jobs(files)] == ["sft", "sample"]
