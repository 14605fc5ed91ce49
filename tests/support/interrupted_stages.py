"""Real `prime` processes that are told to stop in the middle of their steps, and go on."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from prime_core.resident.protocol import SOCKET
from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from prime_core.settings.reading import parse_settings
from prime_core.storage import state_memory
from tests.support.two_ranks import LAUNCHER, TORCHRUN
from tests.support.warm import warm, warm_environment
from tests.support.workflow_runs import TINY

# Several seconds of steps in each stage.
SETTINGS: dict[str, Any] = TINY | {
    "sft": TINY["sft"] | {"num_steps": 400},
    "rollout": TINY["rollout"] | {"num_shards": 1},
    "prm": TINY["prm"] | {"mini_batch_size": 4, "epochs": 15},
    "policy": TINY["policy"] | {"ppo_mini_batch_size": 4, "ppo_epochs": 15, "kl_coef": 0.01},
}
# Few steps, where nothing is to happen among them.
QUICK: dict[str, Any] = {
    "sft": SETTINGS["sft"] | {"num_steps": 100},
    "prm": SETTINGS["prm"] | {"epochs": 1},
    "policy": SETTINGS["policy"] | {"ppo_epochs": 2},
}
WORDS = {
    "sft": ["sft"],
    "sample": ["sample", "--iteration", "1", "--shard", "0"],
    "prm": ["prm", "--iteration", "1"],
    "policy": ["policy", "--iteration", "1"],
}
ALL_STAGES = """
import sys
from pathlib import Path
from prime_core.stages import build, policy, prepare, prm, sample, score, select, sft, verify
run = Path(sys.argv[1])
for stage in (build, prepare, sft):
    stage.run(run)
sample.run(run, 1, 0)
verify.run(run, 1, 0)
for stage in (select, score, prm, policy):
    stage.run(run, 1)
"""
# Stages of a finished run, each in a process of its own: killed at a point, then run to its end.
AT_POINTS = """
import importlib, os, shutil, signal, sys
from pathlib import Path
from prime_core.stages import policy, save_state

def forked(work):
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        work()
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)

def killed_after(point, work):
    module, name, count = point.split(":")
    found = importlib.import_module(module)
    whole, calls = getattr(found, name), []
    def last(*given, **named):
        result = whole(*given, **named)
        calls.append(name)
        if len(calls) == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(found, name, last)
    work()

def both(run):
    policy.run(run, 1)
    save_state.run(run, 1, "policy")

for word in sys.argv[2:]:
    stage, _, rest = word.partition(" ")
    point, _, target = rest.partition(" ")
    run = Path(target)
    shutil.copytree(sys.argv[1], run, symlinks=True)
    if stage == "save_state":
        assert forked(lambda: policy.run(run, 1)) == 0
        work = lambda: save_state.run(run, 1, "policy")
    else:
        work = lambda: policy.run(run, 1)
    assert forked(lambda: killed_after(point, work)) == -signal.SIGKILL, word
    # As the workflow does: the killed stage again, and what comes after it.
    assert forked((lambda: save_state.run(run, 1, "policy")) if stage == "save_state"
                  else (lambda: both(run))) == 0, word
"""
SPENT = ("timing_s/", "process/")  # figures that no two runs share
# Ways to start a stage: by itself, and as a fork of the tests' server, which spares its imports.
ONE_RANK = [sys.executable, "-m", "prime_core.cli.main"]
TWO_RANKS = [*LAUNCHER, "--no-python", "--", *ONE_RANK]
FORK = [str(Path(sys.executable).with_name("prime"))]
TWO_FORKS = [*TORCHRUN, *FORK]


def open_run(root: Path, **changes: Any) -> RunFiles:
    """A run's folder with its settings, and nothing else."""
    files = RunFiles(root)
    settings = parse_settings(SETTINGS | changes | {"results": str(root.parent)}, "test")
    root.mkdir(parents=True)
    files.config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return files


def change_settings(files: RunFiles, **sections: dict[str, Any]) -> None:
    """Change settings of a run's folder."""
    settings = yaml.safe_load(files.config.read_text())
    changed = {name: settings[name] | values for name, values in sections.items()}
    files.config.write_text(yaml.safe_dump(settings | changed))


def environment(**variables: str) -> dict[str, str]:
    """Of a stage: one thread, its own only rank, no job of Slurm."""
    return _alone(os.environ) | {"OMP_NUM_THREADS": "1"} | variables


def forked_environment(**variables: str) -> dict[str, str]:
    """The same of a fork of the tests' server."""
    whole = warm_environment()
    return _alone(whole) | {SOCKET: whole[SOCKET]} | variables


def _alone(variables: Mapping[str, str]) -> dict[str, str]:
    apart = ("SLURM_", "PRIME_", "RANK", "WORLD_SIZE", "LOCAL_RANK")
    return {key: value for key, value in variables.items() if not key.startswith(apart)}


def run_forked(program: str, *words: str, **variables: str) -> None:
    """Run code in a fork of the tests' server, in which libraries are imported."""
    done = subprocess.run(
        warm([sys.executable, "-c", program, *words]),
        env=forked_environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def finished_run(root: Path, **changes: Any) -> RunFiles:
    """A run with all stages of its first iteration done, in one process."""
    files = open_run(root, **changes)
    run_forked(ALL_STAGES, str(root))
    return files


def copy_without(files: RunFiles, stage: str, root: Path) -> RunFiles:
    """A copy of a finished run, as it was before a stage."""
    shutil.copytree(files.root, root, symlinks=True)
    copy = RunFiles(root)
    for path in outputs(copy, stage):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy


def outputs(files: RunFiles, stage: str) -> list[Path]:
    """What a stage writes, its weights first, its figures last."""
    if stage == "sft":
        models = [files.policy(0), files.reference, files.prm(0)]
        return [*models, files.setup_metrics("sft")]
    folder = files.policy(1) if stage == "policy" else files.prm(1)
    return [folder, files.metrics(1, stage)]


def run(files: RunFiles, stage: str, launcher: Sequence[str] = FORK, **variables: str) -> str:
    """Run a stage to its end; returns its standard error."""
    done = subprocess.run(
        [*launcher, *WORDS[stage], "--run", str(files.root)],
        env=forked_environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def kill_at_points(files: RunFiles, points: Sequence[str], place: Path) -> list[RunFiles]:
    """Copies of a run in `place`, in each of which a stage was killed at a point and run again.

    points: "policy module:function:n" or "save_state ...": killed when that function has returned
    for the n-th time. Training states are in memory.
    """
    runs = [RunFiles(place / str(number) / "tiny") for number in range(len(points))]
    words = [f"{point} {one.root}" for point, one in zip(points, runs, strict=True)]
    memory = {state_memory.PLACE: str(place / "memory")}
    run_forked(AT_POINTS, str(files.root), *words, **memory)
    return runs


def interrupt(
    files: RunFiles,
    stage: str,
    delay: float,
    launcher: Sequence[str] = FORK,
    send: Callable[[subprocess.Popen], None] = lambda process: process.send_signal(signal.SIGTERM),
    **variables: str,
) -> tuple[int, str, str]:
    """Run a stage and tell it to stop `delay` seconds after its work has begun.

    Returns its exit status, standard output and standard error.
    """
    log = files.root / f"{stage}.err"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*launcher, *WORDS[stage], "--run", str(files.root)],
            env=forked_environment(**variables),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            deadline = time.monotonic() + 400
            while f"{'sampling' if stage == 'sample' else stage}: " not in log.read_text():  # a bar
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(delay)
            send(process)
            stdout, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, stdout, log.read_text()


def stopped_at(stdout: str, stage: str) -> tuple[int, int]:
    """The step where a stage says that it stopped, and the number of all."""
    told = re.search(
        rf"^{stage}: stopped at step (\d+) of (\d+); the next start resumes there", stdout
    )
    assert told, stdout
    return int(told[1]), int(told[2])


def ranks_of(process: subprocess.Popen) -> list[psutil.Process]:
    """The processes of the ranks below a launcher, in their order."""
    return sorted(
        (p for p in psutil.Process(process.pid).children() if "prime_core.cli.main" in p.cmdline()),
        key=lambda p: int(p.environ()["RANK"]),
    )


def same_result(files: RunFiles, others: RunFiles, stage: str) -> None:
    """Assert that a stage's weights, training state and figures agree, seconds apart."""
    (folder, *_, figures), (other_folder, *_, other_figures) = (
        outputs(one, stage) for one in (files, others)
    )
    names = [str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if p.is_file()]
    assert "model.safetensors" in names
    assert any(name.endswith(".pt") for name in names) == (stage != "sft")
    for name in names:
        one, other = folder / name, other_folder / name
        if name.endswith(".pt"):
            ours, theirs = (torch.load(path, weights_only=False) for path in (one, other))
            assert equal(ours, theirs), name
        else:
            assert one.read_bytes() == other.read_bytes(), name
    ours, theirs = (read_json(path) for path in (figures, other_figures))
    assert ours.keys() == theirs.keys()
    for key in ours.keys() - {key for key in ours if key.startswith(SPENT)}:
        assert ours[key] == theirs[key], key


def close_figures(files: RunFiles, others: RunFiles, stage: str) -> None:
    """Assert that a stage's figures agree as far as a hundred steps of AdamW carry rounding."""
    ours, theirs = (
        {name: number for name, number in read_json(path).items() if not name.startswith(SPENT)}
        for path in (outputs(one, stage)[-1] for one in (files, others))
    )
    assert ours == pytest.approx(theirs, rel=0.05, abs=0.01)


def equal(one: Any, other: Any) -> bool:
    """Whether two nested values of a training state are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other) or type(one).__module__.startswith("deepspeed")
