"""PPO in the workflow: what a run is to leave, and a kill inside the value model's update."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prime_core.run.layout import RunFiles, unfinished_folder
from prime_core.run.state import RunState
from prime_core.run.targets import Targets
from prime_core.settings.reading import dump_settings, parse_settings
from tests.support.warm import warm
from tests.support.workflow_runs import TINY, digests, environment, kill_inside, run_well

SETTINGS: dict[str, Any] = TINY | {
    "sft": TINY["sft"] | {"num_steps": 60},
    "rollout": TINY["rollout"] | {"num_shards": 1},
    "prm": {"prm_update": "none"},
    "policy": TINY["policy"] | {"adv_estimator": "gae"},
    "value": {"mini_batch_size": 4, "micro_batch_size": 4, "optimizer": {"learning_rate": 1e-3}},
    "training": {"checkpoint_minutes": 0.0001},  # a kill finds something to go on from
    "evaluation": {"benchmarks": {}},
}
# All stages in one process; the folder as it was before the second values is copied.
ONE_PROCESS = """
import shutil, sys
from pathlib import Path
from prime_core.stages import build, policy, prepare, sample, select, sft, value, values, verify
run = Path(sys.argv[1])
def roll_out(iteration):
    sample.run(run, iteration, 0)
    verify.run(run, iteration, 0)
    select.run(run, iteration)
for stage in (build, prepare, sft):
    stage.run(run)
for iteration in (1, 2):
    roll_out(iteration)
    if iteration == 2:
        shutil.copytree(run, sys.argv[2], symlinks=True)
    for stage in (values, value, policy):
        stage.run(run, iteration)
"""


def state_of(folder: Path, **changes: Any) -> RunState:
    settings = {"results": str(folder), "policy.adv_estimator": "gae", "iterations": 3}
    return RunState(parse_settings(settings | changes, "test"))


def targets_of(state: RunState) -> Targets:
    return Targets(state.settings, state.files, state)


def test_a_run_with_a_value_model_is_to_leave_its_values_its_figures_and_its_last_weights(tmp_path):
    state = state_of(tmp_path, **{"checkpoints.keep_last": 1})
    targets, files = targets_of(state), state.files
    for iteration in (1, 2, 3):
        wanted = targets.iteration(iteration)
        assert str(files.values(iteration)) in wanted
        assert str(files.metrics(iteration, "value")) in wanted
        assert (str(files.value(iteration)) in wanted) == (iteration == 3)


@pytest.mark.parametrize(
    "changes",
    [{"policy.adv_estimator": "rloo"}, {"value.source": "prm", "prm.prm_update": "after"}],
)
def test_a_run_without_one_has_neither_the_stages_nor_an_edge_to_them(tmp_path, changes):
    targets = targets_of(state_of(tmp_path, **changes))
    assert not [path for path in targets.all if "value" in path]
    assert targets.values(SimpleNamespace(iteration="0002")) == []


def test_the_first_value_model_is_made_of_the_first_policy_and_others_of_the_one_before(tmp_path):
    state = state_of(tmp_path)
    targets, files = targets_of(state), state.files
    assert targets.previous_value(SimpleNamespace(iteration="0001")) == str(files.policy(0))
    assert targets.previous_value(SimpleNamespace(iteration="0003")) == str(files.value(2))
    assert targets.values(SimpleNamespace(iteration="0003")) == [str(files.values(3))]


def test_the_end_removes_old_value_models_and_what_a_finished_update_kept(tmp_path):
    state = state_of(tmp_path, **{"checkpoints.keep_last": 1, "checkpoints.save_freq": 0})
    files = state.files
    for iteration in (1, 2, 3):
        for folder in (files.value(iteration), unfinished_folder(files.value(iteration))):
            folder.mkdir(parents=True)
        for stage in ("policy", "value"):
            files.metrics(iteration, stage).parent.mkdir(exist_ok=True)
            files.metrics(iteration, stage).write_text("{}")
    state.end()
    assert [i for i in (1, 2, 3) if files.value(i).exists()] == [3]
    assert not any(unfinished_folder(files.value(i)).exists() for i in (1, 2, 3))


@pytest.mark.slow
def test_a_run_that_is_killed_inside_the_value_models_update_ends_with_the_same_bits(tmp_path):
    one, other = (RunFiles(tmp_path / name / "results" / "tiny") for name in ("one", "other"))
    one.config.parent.mkdir(parents=True)
    one.config.write_text(dump_settings(parse_settings(SETTINGS, "test")))
    stages = warm([sys.executable, "-c", ONE_PROCESS, str(one.root), str(other.root)])
    subprocess.run(stages, env=environment(), check=True, timeout=300, capture_output=True)
    kill_inside(
        tmp_path / "other", unfinished_folder(other.value(2)) / "about.json", settings=SETTINGS
    )
    assert not other.value(2).exists()
    run_well(tmp_path / "other", settings=SETTINGS)
    log = (other.root / "logs" / "iterations" / "0002" / "value.log").read_text()
    assert "resuming after step" in log
    ours, theirs = digests(other.root), digests(one.root)
    assert {"iterations/0002/value/model.safetensors", "iterations/0002/values.parquet"} <= {*ours}
    assert ours.items() <= theirs.items()
    assert not other.value(1).exists()  # nothing waits for it any more
    assert 'id="figure-values"' in other.report.read_text(encoding="utf-8")
