"""Monte-Carlo values in the workflow: what a run is to leave, and a kill among continuations."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.state import RunState
from prime_core.run.tables import read_json
from prime_core.run.targets import Targets
from prime_core.settings.reading import dump_settings, parse_settings
from tests.support.planned_files import assert_files_as_planned
from tests.support.warm import warm
from tests.support.workflow_runs import TINY, digests, environment, kill_inside, run_well

SETTINGS: dict[str, Any] = TINY | {
    "sft": TINY["sft"] | {"num_steps": 60},
    "rollout": TINY["rollout"]
    | {"num_shards": 1, "sampler_batch_size": 32, "step_boundary": ", |: "},
    "prm": {"prm_update": "none"},
    "policy": TINY["policy"] | {"adv_estimator": "gae", "gae_level": "step", "gae_lambda": 0.0},
    "value": {"source": "monte_carlo", "n_continuations": 4},
    "evaluation": {"benchmarks": {}},
}
# All stages in one process.
ONE_PROCESS = """
import sys
from pathlib import Path
from prime_core.stages import build, continuations, policy, prepare, sample, select, sft
from prime_core.stages import step_values, verify
run = Path(sys.argv[1])
for stage in (build, prepare, sft):
    stage.run(run)
for iteration in (1, 2):
    for stage in (sample, verify):
        stage.run(run, iteration, 0)
    select.run(run, iteration)
    continuations.run(run, iteration, 0)
    for stage in (step_values, policy):
        stage.run(run, iteration)
"""


def targets_of(folder: Path, **changes: Any) -> Targets:
    settings = {"results": str(folder), "iterations": 3, "prm.prm_update": "none"}
    state = RunState(parse_settings(settings | changes, "test"))
    return Targets(state.settings, state.files, state)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy.adv_estimator": "gae", "value.source": "monte_carlo"},
        {"prm.source": "monte_carlo", "policy.outcome_coef": 0.0},
    ],
)
def test_a_run_is_to_leave_values_of_steps_which_wait_for_one_round_of_shards(tmp_path, changes):
    changes |= {"rollout.refill_rounds": 2, "rollout.num_shards": 2}
    targets = targets_of(tmp_path, **changes)
    files, wildcards = targets.files, SimpleNamespace(iteration="0002")
    values = str(files.step_values(2))
    assert values in targets.iteration(2)
    assert targets.step_values(wildcards) == [values]
    expected = [str(files.continuations(2, shard)) for shard in (0, 1)]
    assert targets.continuations(wildcards) == expected


@pytest.mark.parametrize("changes", [{}, {"value.source": "monte_carlo"}])
def test_a_run_that_compares_responses_has_none(tmp_path, changes):
    targets = targets_of(tmp_path, **changes)
    assert targets.step_values(SimpleNamespace(iteration="0002")) == []
    assert not [path for path in targets.all if "step_values" in path]


@pytest.mark.slow
def test_a_run_that_is_killed_among_continuations_ends_with_the_same_bits(tmp_path):
    one, other = (RunFiles(tmp_path / name / "results" / "tiny") for name in ("one", "other"))
    one.config.parent.mkdir(parents=True)
    one.config.write_text(dump_settings(parse_settings(SETTINGS, "test")))
    stages = warm([sys.executable, "-c", ONE_PROCESS, str(one.root)])
    subprocess.run(stages, env=environment(), check=True, timeout=300, capture_output=True)
    kept = other.continuations(2, 0).parent / ".partial" / "00+responses.jsonl"
    kill_inside(tmp_path / "other", kept, settings=SETTINGS, lines=2)
    assert not other.continuations(2, 0).exists()
    run_well(tmp_path / "other", settings=SETTINGS)
    ours, theirs = digests(other.root), digests(one.root)
    made = {"iterations/0002/step_values.parquet", "iterations/0002/continuations/00.parquet"}
    assert made < {*ours}
    assert ours.items() <= theirs.items()
    assert not kept.exists()
    figures = read_json(other.metrics(2, "step_values"))
    assert figures["step_values/steps_mean"] > 1
    assert figures["step_values/token_ratio"] > 0
    page = other.report.read_text(encoding="utf-8")
    assert 'id="figure-step-values"' in page
    assert "tokens of continuations for each token" in page
    assert_files_as_planned(other.root)
