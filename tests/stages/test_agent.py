"""An agent's stages, killed at random moments: the same bits, and nothing left behind."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, OUTCOMES, read_json, read_table
from prime_core.settings.reading import parse_settings
from tests.support.interrupted_stages import forked_environment
from tests.support.lake import AGENT
from tests.support.warm import warm

pytestmark = pytest.mark.slow

NUM_KILLS = 2
# As the workflow does: what has finished is not run again.
STAGES = """
import os, sys
from pathlib import Path
from prime_core.run.layout import RunFiles
from prime_core.stages import build, evaluate, policy, prepare, prm, sample, score, select
from prime_core.stages import sft, verify
import prime_core.samplers.ask, prime_core.samplers.transformers_generate
run = Path(sys.argv[1])
files = RunFiles(run)
work = {
    "start": [
        (files.setup_metrics("build"), lambda: build.run(run)),
        (files.setup_metrics("prepare"), lambda: prepare.run(run)),
        (files.setup_metrics("sft"), lambda: sft.run(run)),
    ],
    "iteration": [
        (files.metrics(1, "sample-00"), lambda: sample.run(run, 1, 0)),
        (files.metrics(1, "verify-00"), lambda: verify.run(run, 1, 0)),
        (files.metrics(1, "select"), lambda: select.run(run, 1)),
        (files.metrics(1, "score"), lambda: score.run(run, 1)),
        (files.metrics(1, "prm"), lambda: prm.run(run, 1)),
        (files.metrics(1, "policy"), lambda: policy.run(run, 1)),
        (files.evaluation(1, "validation"), lambda: evaluate.run(run, 1, "validation")),
    ],
}
print(os.getpid(), flush=True)
for result, stage in work[sys.argv[2]]:
    if not result.exists():
        stage()
"""


def begin(files: RunFiles, part: str) -> tuple[subprocess.Popen, psutil.Process]:
    """Start the stages; returns once they are imported: what stands for them, and they."""
    process = subprocess.Popen(
        warm([sys.executable, "-c", STAGES, str(files.root), part]),
        env=forked_environment(),
        stdout=subprocess.PIPE,
        stderr=(files.root / f"{part}.err").open("a"),
        text=True,
    )
    assert process.stdout is not None
    number = process.stdout.readline()
    assert number, (files.root / f"{part}.err").read_text()
    return process, psutil.Process(int(number))


def finish(files: RunFiles, part: str) -> float:
    """Run the stages to their end; returns seconds after the imports."""
    process, _ = begin(files, part)
    begun = time.monotonic()
    process.communicate(timeout=500)
    assert process.returncode == 0, (files.root / f"{part}.err").read_text()[-3000:]
    return time.monotonic() - begun


def kill_at_random(files: RunFiles, seconds: float, num_kills: int, seed: int) -> list[float]:
    """Kill the stages that often, each time at a moment of what a calm run took; the moments."""
    rng = random.Random(seed)
    moments: list[float] = []
    while len(moments) < num_kills:
        process, stages = begin(files, "iteration")
        moments.append(rng.uniform(0.02, 0.6) * seconds)
        time.sleep(moments[-1])
        children = stages.children(recursive=True)
        stages.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
    return moments


def results(files: RunFiles) -> dict[str, bytes]:
    """What two runs shall share to the last bit, by name."""
    found = {
        "rollouts": files.rollouts(1, 0),
        "batch": files.batch(1),
        "rewards": files.rewards(1),
        "prm": files.prm(1) / "model.safetensors",
        "policy": files.policy(1) / "model.safetensors",
        "evaluation": files.evaluation(1, "validation").with_suffix(".parquet"),
    }
    outcomes = read_table(files.outcomes(1, 0), OUTCOMES).drop(columns="seconds")
    return {"outcomes": outcomes.to_json().encode()} | {k: p.read_bytes() for k, p in found.items()}


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> RunFiles:
    """A run before its first iteration."""
    files = RunFiles(tmp_path_factory.mktemp("start") / "tiny")
    files.root.mkdir()
    settings = parse_settings(AGENT | {"results": str(files.root.parent)}, "test")
    files.config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    finish(files, "start")
    return files


def copy_of(files: RunFiles, folder: Path) -> RunFiles:
    """A copy of a run whose folder has the same name: tables say what run they are of."""
    shutil.copytree(files.root, folder / files.root.name, symlinks=True)
    return RunFiles(folder / files.root.name)


def test_an_agent_learns_and_has_the_same_bits_however_it_is_killed(started, tmp_path):
    calm, killed = (copy_of(started, tmp_path / name) for name in ("calm", "killed"))
    seconds = finish(calm, "iteration")
    kill_at_random(killed, seconds, NUM_KILLS, seed=1)
    finish(killed, "iteration")
    assert results(killed) == results(calm)

    batch = read_table(calm.batch(1), BATCH)
    assert {"response_mask", "turn_rewards", "states", "valid_actions"} <= {*batch}
    turns = zip(batch["states"], batch["turn_rewards"], batch["valid_actions"], strict=True)
    assert all(len(states) == len(rewards) == len(valid) for states, rewards, valid in turns)
    assert batch["outcome"].eq(batch["turn_rewards"].map(lambda rewards: rewards[-1])).all()
    assert 0 <= read_json(calm.evaluation(1, "validation"))["accuracy"] <= 1
    assert not list(killed.rollouts(1, 0).parent.glob(".partial/*"))
