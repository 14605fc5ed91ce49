"""Two orders of execution of an overlapping run give the same files."""

import shutil
import subprocess
import sys

import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.tables import ROLLOUTS, read_json, read_table
from tests.support.warm import warm
from tests.support.workflow_runs import TINY, digests, environment, run_well

pytestmark = pytest.mark.slow

SETTINGS = TINY | {
    "iterations": 3,
    "sft": TINY["sft"] | {"num_steps": 60},
    "rollout": TINY["rollout"] | {"num_shards": 1, "max_staleness": 1},
    "prm": {"prm_update": "none"},
    "policy": TINY["policy"] | {"tis_clip": 2.0},
    "checkpoints": {"keep_last": 3, "save_freq": 0},
}
# Every iteration is sampled before the one before is trained on, as early as the graph allows.
SAMPLING_FIRST = """
import sys
from pathlib import Path
from prime_core.stages import policy, sample, select, verify
run = Path(sys.argv[1])
def roll_out(iteration):
    sample.run(run, iteration, 0)
    verify.run(run, iteration, 0)
    select.run(run, iteration)
roll_out(1)
roll_out(2)
policy.run(run, 1)
sample.run(run, 3, 0)
policy.run(run, 2)
"""


def sampled_after_training(files: RunFiles, iteration: int) -> bool:
    """Whether an iteration's responses are younger than the policy of the iteration before."""
    paths = files.rollouts(iteration, 0), files.metrics(iteration - 1, "policy")
    return paths[0].stat().st_mtime_ns > paths[1].stat().st_mtime_ns


def test_sampling_before_or_after_the_training_of_the_iteration_before_gives_the_same_files(
    tmp_path,
):
    before, after = tmp_path / "before", tmp_path / "after"
    iterations = "results/tiny/iterations"
    first, second = (f"{iterations}/{number:04d}/policy" for number in (1, 2))
    targets = (first, second, f"{iterations}/0003/rollouts/00.parquet")
    one_by_one = ("--cores", "1", "--prioritize", first, "--", *targets)
    run_well(after, *one_by_one, settings=SETTINGS)
    shutil.copytree(after, before, symlinks=True, ignore=shutil.ignore_patterns("iterations"))
    command = warm([sys.executable, "-c", SAMPLING_FIRST, "results/tiny"])
    subprocess.run(command, cwd=before, env=environment(), check=True, timeout=300)
    late, early = (RunFiles(folder / "results" / "tiny") for folder in (after, before))
    assert sampled_after_training(late, 2)
    assert not sampled_after_training(early, 2)
    assert not sampled_after_training(early, 3)
    assert digests(early.root) == digests(late.root)
    sampled_by = [read_table(late.rollouts(i, 0), ROLLOUTS)["policy_iteration"] for i in (1, 2, 3)]
    assert [set(column) for column in sampled_by] == [{0}, {0}, {1}]
    assert read_json(late.metrics(2, "select"))["rollout/staleness_mean"] == 1
    assert read_json(late.metrics(2, "policy"))["actor/mismatch_kl_k3"] > 1e-6  # not rounding alone
