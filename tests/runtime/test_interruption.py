"""A stage that is told to stop: it goes on later with the same bits, or ends and leaves nothing."""

import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from prime_core.launch.slurm import this_job
from prime_core.run.layout import unfinished_folder
from prime_core.run.tables import read_json
from prime_core.runtime.interruption import handled
from tests.stages.test_verify import make_run
from tests.support.interrupted_stages import (
    FORK,
    ONE_RANK,
    TWO_RANKS,
    change_settings,
    close_figures,
    copy_without,
    environment,
    finished_run,
    interrupt,
    outputs,
    ranks_of,
    run,
    same_result,
    stopped_at,
)
from tests.support.processes import is_at_work

# What a stage of its own does: work, and listen to signals in one of three ways.
WORKER = """
import sys, time
from pathlib import Path
from prime_core.runtime import interruption
from prime_core.run.atomic import atomic_path
interruption.listen(lambda: "warned" in sys.argv)
{context}
    with atomic_path(Path(sys.argv[1])):
        print("working", flush=True)
        for _ in range(600):
            time.sleep(0.1)
            if "checkpoint" in sys.argv and interruption.stop_requested():
                print("asked", flush=True)
                time.sleep(60)
"""
AT_CHECKPOINT = WORKER.format(context="with interruption.stopping_at_checkpoints():")
PLAIN = WORKER.format(context="if True:")
AT_ONCE = WORKER.format(context="with interruption.ending_at_once():")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose stages were not disturbed."""
    return finished_run(tmp_path_factory.mktemp("finished") / "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "prm", "policy"])
def test_an_interrupted_stage_goes_on_inside_and_ends_with_the_same_bits(finished, tmp_path, stage):
    files = copy_without(finished, stage, tmp_path / "tiny")
    unfinished = unfinished_folder(outputs(files, stage)[0])
    # Of the time that all steps took undisturbed: a fast machine is not done before it is asked.
    seconds = read_json(outputs(finished, stage)[-1])["timing_s/train"]
    delay = random.uniform(0.0, 0.2) * seconds
    print(f"SIGTERM {delay:.2f} s after the first step of {seconds:.2f} s")
    launcher = ONE_RANK if stage == "sft" else FORK  # the same for all stages: one shows it
    status, stdout, _ = interrupt(files, stage, delay, launcher)
    assert status == 75
    step, num_steps = stopped_at(stdout, stage)
    assert 0 < step < num_steps
    assert (read_json(unfinished / "about.json"))["num_done"] == step
    assert not any(path.exists() for path in outputs(files, stage))

    done = read_json(unfinished / "about.json")["seconds"]["timing_s/train"]
    stderr = run(files, stage, launcher)
    assert f"{unfinished}: resuming after step {step}\n" in stderr
    same_result(files, finished, stage)
    assert read_json(outputs(files, stage)[-1])["timing_s/train"] > done > 0
    assert not unfinished.exists()


@pytest.mark.slow
def test_a_stage_whose_node_dies_goes_on_from_its_last_checkpoint(finished, tmp_path):
    files = copy_without(finished, "policy", tmp_path / "tiny")
    config = files.config.read_text()
    assert "checkpoint_minutes: 30.0" in config
    files.config.write_text(config.replace("checkpoint_minutes: 30.0", "checkpoint_minutes: 0.001"))
    unfinished = unfinished_folder(files.policy(1))
    status, _, _ = interrupt(files, "policy", 0.5, ONE_RANK, send=lambda process: process.kill())
    assert status == -signal.SIGKILL
    step = read_json(unfinished / "about.json")["num_done"]
    assert f"resuming after step {step}\n" in run(files, "policy")
    same_result(files, finished, "policy")
    assert not unfinished.exists()


@pytest.mark.slow
@pytest.mark.long
def test_two_ranks_stop_together_when_one_is_told_and_go_on(finished, tmp_path):
    calm, files = (copy_without(finished, "sft", tmp_path / name) for name in ("calm", "tiny"))
    run(calm, "sft", TWO_RANKS)
    _, stdout, _ = interrupt(
        files, "sft", 0.3, TWO_RANKS, send=lambda process: ranks_of(process)[1].terminate()
    )
    step, _ = stopped_at(stdout, "sft")
    assert stdout.count("stopped at step") == 1
    assert f"resuming after step {step}\n" in run(files, "sft", TWO_RANKS)
    same_result(files, calm, "sft")
    assert not unfinished_folder(files.policy(0)).exists()


@pytest.mark.slow
@pytest.mark.long
def test_one_rank_goes_on_where_two_were_stopped_at_another_zero_stage(finished, tmp_path):
    files = copy_without(finished, "policy", tmp_path / "tiny")
    change_settings(files, training={"zero_stage": 2})
    _, stdout, _ = interrupt(
        files, "policy", 0.3, TWO_RANKS, send=lambda process: ranks_of(process)[0].terminate()
    )
    step, _ = stopped_at(stdout, "policy")
    change_settings(files, training={"zero_stage": 1})
    assert f"resuming after step {step}\n" in run(files, "policy")
    close_figures(files, finished, "policy")


@pytest.mark.slow
def test_verification_that_is_told_to_stop_keeps_its_rows_and_leaves_no_process(tmp_path):
    files = make_run(tmp_path / "run", 30_000)
    partial = files.outcomes(1, 0).parent / ".partial" / "00+verdicts.jsonl"
    process = subprocess.Popen(
        [*ONE_RANK, "verify", "--run", str(files.root), "--iteration", "1", "--shard", "0"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    while not (partial.exists() and partial.stat().st_size > 20_000):
        assert process.poll() is None
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.terminate()
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "verify: stopped after " in stdout
    assert "of 30000 rows; the next start judges the rest" in stdout
    assert not any(map(is_at_work, workers))
    assert partial.stat().st_size > 20_000


@pytest.mark.slow
def test_a_stage_without_checkpoints_ends_at_once_and_leaves_no_temporary_file(finished, tmp_path):
    files = copy_without(finished, "policy", tmp_path / "tiny")
    rollouts = files.rollouts(1, 0)
    before = rollouts.read_bytes()
    status, _, stderr = interrupt(files, "sample", 0.0)
    assert status == 128 + signal.SIGTERM
    assert "SIGTERM: exiting\n" in stderr
    assert rollouts.read_bytes() == before
    # What it had finished is kept for the next start, aside.
    left = {path.name for path in rollouts.parent.rglob("*") if path.is_file()}
    assert left <= {"00.parquet", "00+responses.jsonl"}


def working(tmp_path, program: str, *words: str, **variables: str) -> subprocess.Popen:
    """A process that has begun to work."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "output"), *words],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


def ended(process: subprocess.Popen, tmp_path) -> tuple[int, str]:
    """Exit status and standard error; nothing is left of the output."""
    stderr = process.communicate(timeout=20)[1]
    assert list(tmp_path.iterdir()) == []
    return process.returncode, stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2"])
def test_a_signal_ends_a_process_without_checkpoints_and_cleans_up(tmp_path, name):
    process = working(tmp_path, PLAIN)
    process.send_signal(getattr(signal, name))
    assert ended(process, tmp_path) == (128 + getattr(signal, name), f"{name}: exiting\n")


def test_a_second_signal_of_the_same_kind_ends_a_stage_before_its_checkpoint(tmp_path):
    process = working(tmp_path, AT_CHECKPOINT, "checkpoint")
    process.terminate()
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.terminate()  # a launcher hands it on: still the first
    process.send_signal(signal.SIGUSR2)
    time.sleep(3.2)
    assert process.poll() is None
    process.terminate()
    status, stderr = ended(process, tmp_path)
    assert status == 128 + signal.SIGTERM
    assert stderr.endswith("SIGTERM: exiting\n")


def test_in_a_job_of_slurm_a_repeated_signal_does_not_end_a_stage(tmp_path):
    process = working(tmp_path, AT_CHECKPOINT, "checkpoint", SLURM_JOB_ID="1")
    process.terminate()
    time.sleep(3.2)
    process.terminate()
    time.sleep(0.5)
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_a_process_that_is_only_warned_goes_on_but_not_with_children_at_work(tmp_path):
    process = working(tmp_path, PLAIN, "warned")
    process.terminate()
    time.sleep(0.5)
    assert process.poll() is None
    process.kill()
    assert process.communicate()[1] == "SIGTERM: continuing while there is time\n"
    (tmp_path / "judging").mkdir()
    process = working(tmp_path / "judging", AT_ONCE, "warned")
    process.terminate()
    assert ended(process, tmp_path / "judging")[0] == 128 + signal.SIGTERM


def test_a_handler_holds_for_a_while_and_the_one_before_is_put_back():
    came: list[int | str] = []
    with handled(lambda *_: came.append("outer"), signal.SIGUSR1):
        with handled(lambda number, _: came.append(number), signal.SIGUSR1, signal.SIGUSR2):
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGUSR1)
    assert came == [signal.SIGUSR1, signal.SIGUSR2, "outer"]
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


@pytest.mark.parametrize("way", ["allocation", None])
def test_no_job_is_put_back_outside_of_one_and_in_an_allocation(monkeypatch, way):
    monkeypatch.setenv("PRIME_WAY", way) if way else monkeypatch.delenv("PRIME_WAY", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "1") if way else monkeypatch.delenv(
        "SLURM_JOB_ID", raising=False
    )
    assert this_job.put_back() == ""
    assert this_job.is_only_warned() == (way == "allocation")
