"""Training states in memory (training.state_storage): the bits of the disk, whatever is lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prime_core.run.layout import TRAINING_STATE, RunFiles
from prime_core.storage import node_cache, state_memory
from tests.support.workflow_runs import TINY, command, digests, environment, run_well

SETTINGS = TINY | {
    "rollout": TINY["rollout"] | {"num_shards": 1},
    "sft": TINY["sft"] | {"num_steps": 100},
}
VALIDATION = TINY["evaluation"]["benchmarks"]["validation"]
# Evaluations in shards as well, which change no table either.
IN_MEMORY = SETTINGS | {
    "training": {"state_storage": "memory"},
    "evaluation": {"every": 2, "benchmarks": {"validation": VALIDATION | {"num_shards": 2}}},
}
# A `prime` that kills the whole workflow, itself included, in place of one stage.
KILLER = """#!/bin/sh
case "$*" in "{stage}"*) kill -9 0;; esac
exec {prime} "$@"
"""


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """A finished run whose states went to disk, and a copy of it as it was after the warm-up."""
    folder, warm = (tmp_path_factory.mktemp(name) for name in ("disk", "warm"))
    run_well(folder, "--until", "sft", settings=SETTINGS)
    shutil.copytree(folder, warm, symlinks=True, dirs_exist_ok=True)
    run_well(folder, settings=SETTINGS)
    return folder, warm


class Workflow:
    """A run from the warm-up on, with its states in a memory of its own."""

    def __init__(self, warm: Path, place: Path) -> None:
        self.folder, self.memory = place / "run", place / "memory"
        shutil.copytree(warm, self.folder, symlinks=True)
        self.files = RunFiles(self.folder / "results" / "tiny")

    def start(self, before: Path | None = None, **settings: object) -> subprocess.CompletedProcess:
        """Run it to its end; `before`: a folder in front of PATH."""
        own = Path(sys.executable).parent
        path = os.pathsep.join(filter(None, (str(before or ""), str(own), os.environ["PATH"])))
        return subprocess.run(
            command(self.folder, settings=IN_MEMORY | settings),
            env=environment() | {"PATH": path, node_cache.STORAGE: str(self.memory)},
            capture_output=True,
            text=True,
            timeout=500,
            start_new_session=True,
        )

    def kill_at(self, stage: str) -> None:
        """Run it until it would start a stage, and kill all of it there."""
        fake = self.folder / "commands" / "prime"
        fake.parent.mkdir()
        fake.write_text(KILLER.format(stage=stage, prime=Path(sys.executable).parent / "prime"))
        fake.chmod(0o755)
        assert self.start(fake.parent).returncode == -9

    def ends_as(self, other: Path) -> str:
        """Run it to its end, which must have the other's bits; what it said."""
        done = self.start()
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert digests(self.files.root) == digests(other / "results" / "tiny")
        for model in ("policy", "prm"):
            assert (self.files.weights(model, 2) / TRAINING_STATE).is_dir()
            assert not (self.files.weights(model, 2) / state_memory.MARK).exists()
        assert list((self.memory / "states").iterdir()) == []
        return done.stdout + done.stderr


@pytest.fixture
def workflow(on_disk, tmp_path):
    return Workflow(on_disk[1], tmp_path)


@pytest.mark.slow
def test_a_kill_between_a_policy_and_its_state_on_disk_costs_no_update(on_disk, workflow):
    workflow.kill_at("save-state --run results/tiny --iteration 0001 --model policy")
    figures, weights = workflow.files.metrics(1, "policy"), workflow.files.policy(1)
    made = figures.stat().st_mtime_ns
    assert (weights / state_memory.MARK).exists()
    assert not (weights / TRAINING_STATE).exists()
    workflow.ends_as(on_disk[0])
    assert figures.stat().st_mtime_ns == made
    log = workflow.files.root / "logs" / "iterations" / "0002" / "policy.log"
    assert (
        f"training state of {weights.relative_to(workflow.folder)} is read from" in log.read_text()
    )


@pytest.mark.slow
def test_where_memory_is_lost_as_well_that_update_is_made_again_with_the_same_bits(
    on_disk, workflow
):
    workflow.kill_at("save-state --run results/tiny --iteration 0001 --model policy")
    shutil.rmtree(workflow.memory)
    said = workflow.ends_as(on_disk[0])
    assert "iterations/0001/policy: its training state was in the memory of " in said
    assert "that update is made again" in said
    assert "iteration 1/2 policy: " in said


@pytest.mark.slow
def test_a_run_goes_on_with_its_states_on_disk(on_disk, workflow):
    workflow.kill_at("policy --run results/tiny --iteration 0002")
    assert (workflow.files.policy(1) / TRAINING_STATE).is_dir()
    shutil.rmtree(workflow.memory)
    done = workflow.start(training={"state_storage": "disk"})
    assert done.returncode == 0, done.stdout[-3000:]
    assert "made again" not in done.stdout + done.stderr
    assert digests(workflow.files.root) == digests(on_disk[0] / "results" / "tiny")
