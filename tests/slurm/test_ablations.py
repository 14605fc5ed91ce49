"""`prime launch ablations` on a real Slurm: many runs from one job, each with its own jobs."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from prime_core.run.job_records import controller_name, slurm_name
from tests.slurm.lab import SlurmLab
from tests.slurm.workflow_on_slurm import TINY, write_site, write_stages
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def prime(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "prime_core.cli.main", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200)


def test_all_runs_are_launched_by_one_job_seen_and_cancelled(slurm: SlurmLab, tmp_path: Path):
    results = tmp_path / "results"
    env = environment() | slurm.env | write_site(tmp_path)
    base = TINY | {"stage_resources": write_stages(tmp_path, {})}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    same = {"title": "the same", "settings": {}}
    ablations = {
        "results": str(results),
        "base": str(tmp_path / "base.yaml"),
        "seeds": [0],
        "settings": {"iterations": 0},
        "variants": {"one": same, "two": same},
        "comparisons": {},
    }
    (tmp_path / "ablations.yaml").write_text(yaml.safe_dump(ablations))
    words = ("launch", "ablations", "--configfile", str(tmp_path / "ablations.yaml"))
    first = prime(env, *words)
    assert first.returncode == 0, first.stderr

    def jobs(name: str) -> list[str]:
        command = ["squeue", "--noheader", f"--name={name}", "--format=%i"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout.split()

    def wait_for(condition, what: str) -> None:
        end = time.monotonic() + 300
        while not condition():
            logs = "\n".join(path.read_text() for path in results.rglob("*log.out"))
            assert time.monotonic() < end, f"{what}\n{logs[-3000:]}"
            time.sleep(0.5)

    one = results / "base-seed0"
    # Its settings are there once it has begun.
    wait_for(lambda: jobs(slurm_name(one)) and (one / "config.yaml").exists(), "a job of a run")
    refused = prime(env, *words)
    assert "already has a controller" in refused.stderr
    assert "base-seed0  running" in prime(env, "runs", "--results", str(results)).stdout
    cancelled = prime(env, "cancel", "--yes", "--run", str(results))
    assert "cancelled stage jobs" in cancelled.stdout, cancelled.stderr
    assert not jobs(f"{slurm_name(one)},{controller_name(results)}")
    assert "base-seed0  stopped" in prime(env, "runs", "--results", str(results)).stdout
