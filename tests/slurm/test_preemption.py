"""Stages that Slurm stops: the same job goes back into the queue and continues inside the stage."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prime_core.launch.slurm import commands as queue
from prime_core.run.job_records import submitted_jobs
from prime_core.run.layout import RunFiles, unfinished_folder
from prime_core.run.tables import read_json
from tests.slurm.lab import SlurmLab
from tests.slurm.users_variables import HOSTILE
from tests.slurm.workflow_on_slurm import slurm_command, write_site
from tests.support.interrupted_stages import same_result
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import TINY, environment, run_well

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# So many that a loaded machine looks in time, while the last of them are still to come.
NUM_STEPS = 1500
SETTINGS: dict[str, Any] = TINY | {
    "iterations": 0,
    "sft": TINY["sft"] | {"num_steps": NUM_STEPS},
    "training": {"checkpoint_minutes": 0.02},
}
RUN = Path("results") / "tiny"
TARGET = str(RUN / "metrics" / "sft.json")

# A stage without checkpoints, as it listens to signals.
LISTENER = """
import time
from prime_core.runtime import interruption
from prime_core.launch.slurm import this_job
interruption.listen(this_job.is_only_warned)
print("working", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run before its supervised warm-up."""
    folder = tmp_path_factory.mktemp("prepared")
    run_well(folder, "--until", "prepare", settings=SETTINGS)
    return folder


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """The same run after it, by this machine alone."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(prepared, folder, symlinks=True)
    run_well(folder, "--until", "sft", settings=SETTINGS)
    return RunFiles(folder / RUN)


class Warmup:
    """The supervised warm-up of a prepared run as a Slurm job, under way."""

    def __init__(self, prepared: Path, folder: Path, partition: str, **needs: Any) -> None:
        shutil.copytree(prepared, folder, symlinks=True)
        self.files, self._log = RunFiles(folder / RUN), folder / "workflow.log"
        names = write_site(folder, gpu={"partition": partition})
        command = slurm_command(folder, SETTINGS, stages={"sft": needs} if needs else None)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, "--", TARGET],
                env=environment() | HOSTILE | names,
                stdout=log,
                stderr=log,
            )

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 400
        while not condition():
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.told() + self._log.read_text()[-3000:]
            time.sleep(0.1)

    def told(self) -> str:
        """What the stage wrote to its log in its present start."""
        log = self.files.root / "logs" / "sft.log"
        return log.read_text() if log.exists() else ""

    def begins_its_steps(self) -> None:
        """Wait until the job has done some optimizer steps."""
        self.wait_until(unfinished_folder(self.files.policy(0)).exists)

    def job_id(self) -> str:
        """The only job that was submitted."""
        (job,) = submitted_jobs(self.files)
        return job.job_id

    def has_been_put_back(self) -> bool:
        """Whether Slurm has requeued the job; true also when it runs again, or has ended."""
        return queue.details(self.job_id())["Restarts"] != "0"

    def finish(self) -> int:
        """Wait for the end; returns the step after which the job went on."""
        assert self._process.wait(timeout=600) == 0, self._log.read_text()[-5000:]
        went_on = re.search(r"resuming after step (\d+)\n", self.told())
        assert went_on, self.told()
        assert not unfinished_folder(self.files.policy(0)).exists()
        return int(went_on[1])

    def stop(self) -> None:
        """End the workflow, if it has not ended."""
        self._process.kill()
        self._process.wait()


def test_a_preempted_job_goes_on_inside_the_stage_with_the_same_bits(
    slurm: SlurmLab, prepared: Path, undisturbed: RunFiles, tmp_path: Path
):
    warmup = Warmup(prepared, tmp_path / "run", "preempt")
    try:
        warmup.begins_its_steps()
        urgent = ("--partition=gpu", "-N2", "--exclusive", "--output=/dev/null", "--wrap=true")
        subprocess.run(["sbatch", *urgent], env=slurm.env, check=True, stdout=subprocess.DEVNULL)
        warmup.wait_until(warmup.has_been_put_back)
        kept = read_json(unfinished_folder(warmup.files.policy(0)) / "about.json")["num_done"]
        assert warmup.finish() == kept
    finally:
        warmup.stop()
    same_result(warmup.files, undisturbed, "sft")
    assert len(submitted_jobs(warmup.files)) == 1


def test_ranks_on_two_nodes_stop_together_at_slurms_warning_and_go_on(
    slurm: SlurmLab, prepared: Path, tmp_path: Path
):
    warmup = Warmup(prepared, tmp_path / "run", "gpu", nodes=2, gpus_per_node=1)
    try:
        warmup.begins_its_steps()
        # What --signal=TERM@120 makes Slurm do before the time limit.
        command = ["scancel", "--signal=TERM", warmup.job_id()]
        subprocess.run(command, env=slurm.env, check=True)
        warmup.wait_until(warmup.has_been_put_back)
        assert 0 < warmup.finish() < NUM_STEPS
    finally:
        warmup.stop()
    assert read_json(warmup.files.setup_metrics("sft"))["sft/num_steps"] == NUM_STEPS
    assert len(submitted_jobs(warmup.files)) == 1


@pytest.mark.usefixtures("slurm")
def test_a_stage_without_checkpoints_goes_on_at_a_warning_and_ends_when_its_job_ends(
    tmp_path: Path,
):
    (tmp_path / "listener.py").write_text(LISTENER)
    out = tmp_path / "out"
    script = f"PYTHONPATH={ROOT} srun --output={out} {sys.executable} {tmp_path}/listener.py"
    options = ("--parsable", "--mem=300", "--output=/dev/null", f"--wrap={script}")
    job = queue.call("sbatch", *options).strip()

    def wait_for(line: str) -> None:
        deadline = time.monotonic() + 200
        while not (out.exists() and f"{line}\n" in out.read_text()):
            assert time.monotonic() < deadline, line
            time.sleep(0.1)

    wait_for("working")
    queue.call("scancel", "--signal=TERM", job)
    wait_for("SIGTERM: continuing while there is time")
    queue.cancel([job])
    wait_for("SIGTERM: exiting")
