"""Which policy an iteration samples from, what is kept for it, and groups that wait for a batch."""

import os
import re
from pathlib import Path

import pytest

from prime_core.run.atomic import write_text
from prime_core.run.changes import refused_changes
from prime_core.run.layout import RunFiles
from prime_core.run.schedule import sampling_policy
from prime_core.run.state import RunState
from prime_core.run.tables import (
    BATCH,
    OUTCOMES,
    PROMPTS,
    ROLLOUTS,
    read_json,
    read_table,
    write_table,
)
from prime_core.settings.reading import dump_settings, parse_settings
from prime_core.settings.rollout import Rollout
from prime_core.settings.run import Settings
from prime_core.stages import select
from prime_core.stages.sample import rows_asked
from tests.support.workflow_runs import TINY, run_well

NUM_PROMPTS, BATCH_SIZE = 12, 4
PASSES, FAILS = (1.0, 0.0), (1.0, 1.0)


@pytest.mark.parametrize(
    ("lag", "policies"), [(0, [0, 1, 2, 3]), (1, [0, 0, 1, 2]), (2, [0, 0, 0, 1])]
)
def test_iterations_one_to_four_sample_from_these_policies(lag, policies):
    assert [sampling_policy(iteration, lag) for iteration in (1, 2, 3, 4)] == policies


def test_staleness_is_used_for_one_of_two_things():
    assert (Rollout().lag, Rollout().keeps_surplus) == (0, False)
    overlap = Rollout(max_staleness=1)
    assert (overlap.lag, overlap.keeps_surplus) == (1, False)
    surplus = Rollout(max_staleness=1, stale_rollouts="surplus")
    assert (surplus.lag, surplus.keeps_surplus) == (0, True)
    assert not Rollout(stale_rollouts="surplus").keeps_surplus


def dry_run(folder: Path, iterations: int = 4, **rollout: object) -> dict[str, set[str]]:
    """The inputs of each file that a dry run would make; all paths within the run's folder."""
    changed = TINY["rollout"] | {"num_shards": 1} | rollout
    settings = TINY | {"iterations": iterations, "rollout": changed}
    text = run_well(folder, "--dry-run", "--quiet", "host", settings=settings)
    blocks = re.findall(r"rule \w+:\n    input: (.+)\n    output: (.+)\n", text)
    prefix = "results/tiny/"
    graph = {
        output.split(" (")[0].removeprefix(prefix): {
            name.removeprefix(prefix) for name in inputs.split(", ")
        }
        for inputs, outputs in blocks
        for output in outputs.split(", ")
    }
    assert f"iterations/{iterations:04d}/policy" in graph
    return graph


def ancestors(graph: dict[str, set[str]], name: str) -> set[str]:
    """Every file that a file is made from, whatever the number of steps between."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        new = graph.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found


def test_with_staleness_one_sampling_does_not_wait_for_the_training_of_the_iteration_before(
    tmp_path,
):
    graph = dry_run(tmp_path, max_staleness=1)
    for iteration, policy in ((2, "models/policy-0000"), (4, "iterations/0002/policy")):
        needed = ancestors(graph, f"iterations/{iteration:04d}/rollouts/00.parquet")
        assert policy in needed
        assert not [name for name in needed if name.startswith(f"iterations/{iteration - 1:04d}/")]
    assert "iterations/0003/policy" in graph["iterations/0004/policy"]  # training still does


def test_more_iterations_redo_nothing_though_older_weights_have_gone(tmp_path):
    root = tmp_path / "results" / "tiny"
    for name in dry_run(tmp_path, iterations=3, max_staleness=1):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("") if path.suffix else path.mkdir()
    overlapping = {"iterations": 3, "results": str(root.parent), "rollout.max_staleness": 1}
    state = RunState(parse_settings(TINY | overlapping, "test"))
    gone = [iteration for iteration in (1, 2, 3) if not state.is_kept(iteration)]
    assert gone == [1]  # though checkpoints.keep_last is 1
    for iteration in gone:
        for model in ("policy", "prm"):
            (root / "iterations" / f"{iteration:04d}" / model).rmdir()
    for path in root.rglob("*"):
        os.utime(path, (0, 0))
    made = dry_run(tmp_path, iterations=4, max_staleness=1)
    expected = re.compile(r"(iterations|evaluations)/0004/|report/|ro-crate\.zip$")
    assert not [name for name in made if not expected.match(name)]


def test_surplus_is_an_input_of_the_next_iterations_sampling_and_selection(tmp_path):
    graph = dry_run(tmp_path, max_staleness=1, stale_rollouts="surplus")
    for iteration in (2, 4):
        folder, before = f"iterations/{iteration:04d}", f"iterations/{iteration - 1:04d}"
        sampled_from = {"data/train.parquet", f"{before}/policy", f"{before}/surplus.parquet"}
        assert graph[f"{folder}/rollouts/00.parquet"] == sampled_from
        assert f"{before}/surplus.parquet" in graph[f"{folder}/batch.parquet"]
    assert "iterations/0004/surplus.parquet" in graph


def settings_of(results: Path, **changes: object) -> Settings:
    """Settings of a run in a folder; two underlines stand for a point."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return parse_settings({"run": "stale", "results": str(results)} | dotted, "test")


def test_the_policies_that_further_iterations_would_sample_from_are_kept(tmp_path):
    keep = {"checkpoints__keep_last": 1, "checkpoints__save_freq": 0, "iterations": 6}
    for staleness, kept in ((0, [6]), (1, [5, 6]), (2, [4, 5, 6])):
        state = RunState(settings_of(tmp_path, rollout__max_staleness=staleness, **keep))
        assert [i for i in range(1, 7) if state.is_kept(i)] == kept
    state = RunState(
        settings_of(tmp_path, rollout__max_staleness=1, rollout__stale_rollouts="surplus", **keep)
    )
    assert [i for i in range(1, 7) if state.is_kept(i)] == [6]


def test_the_end_keeps_a_policy_until_the_iteration_that_samples_from_it_is_done(tmp_path):
    settings = settings_of(
        tmp_path,
        iterations=9,
        rollout__max_staleness=1,
        checkpoints__keep_last=1,
        checkpoints__save_freq=0,
    )
    files = RunFiles(settings.run_dir)
    for iteration in range(1, 5):
        files.policy(iteration).mkdir(parents=True)
        files.metrics(iteration, "policy").parent.mkdir(parents=True)
        files.metrics(iteration, "policy").write_text("{}")
    RunState(settings).end()
    assert [i for i in range(1, 5) if files.policy(i).exists()] == [3, 4]


def test_staleness_cannot_change_once_an_iteration_has_begun(tmp_path):
    files = RunFiles(tmp_path)
    old, new = settings_of(tmp_path), settings_of(tmp_path, rollout__max_staleness=1)
    assert refused_changes(old, new, files) == []
    files.shard_count(1).parent.mkdir(parents=True)
    files.shard_count(1).write_text("1")
    assert refused_changes(old, new, files) == ["rollout.max_staleness: 0 -> 1"]


@pytest.fixture
def surplus_run(tmp_path):
    """A run that keeps surplus groups: settings, files, the table of prompts."""
    settings = settings_of(
        tmp_path,
        rollout__max_staleness=1,
        rollout__stale_rollouts="surplus",
        rollout__rollout_batch_size=BATCH_SIZE,
        rollout__n_samples_per_prompt=len(PASSES),
        rollout__oversample_factor=1.5,
        rollout__num_shards=1,
        rollout__refill_rounds=1,
    )
    files = RunFiles(settings.run_dir)
    write_text(files.config, dump_settings(settings))
    problem = {"prompt": [], "ability": "math", "ground_truth": "1", "data_source": ""}
    prompts = [{"prompt_id": f"p{row}"} | problem for row in range(NUM_PROMPTS)]
    write_table(files.train, prompts, PROMPTS)
    return settings, files, read_table(files.train, PROMPTS)


def answer(files: RunFiles, iteration: int, shard: int, outcomes: dict[str, tuple]) -> None:
    """Tables of one shard whose prompts have these outcomes."""
    rows = [
        {
            "prompt_id": prompt_id,
            "sample": sample,
            "prompt_tokens": [1],
            "response_tokens": [2, iteration],
            "sampler_logprobs": [-1.0, -1.0],
            "text": "",
            "finish_reason": "stop",
            "policy_iteration": iteration - 1,
            "outcome": outcome,
            "verdict": "",
            "extracted": "",
            "seconds": 0.0,
        }
        for prompt_id, both in outcomes.items()
        for sample, outcome in enumerate(both)
    ]
    write_table(files.rollouts(iteration, shard), rows, ROLLOUTS)
    write_table(files.outcomes(iteration, shard), rows, OUTCOMES)


def sampled(surplus_run, iteration: int, shard: int, *passes: bool) -> list[str]:
    """Sample and judge a shard; the answers pass the filter or not. Returns the prompts asked."""
    settings, files, prompts = surplus_run
    asked = rows_asked(settings, files, prompts, iteration, shard)
    names = [f"p{row}" for row in asked]
    assert len(names) == len(passes)
    verdicts = (PASSES if one else FAILS for one in passes)
    answer(files, iteration, shard, dict(zip(names, verdicts, strict=True)))
    return names


def selected(surplus_run, iteration: int) -> tuple[list[str], list[str], dict]:
    """Prompts of the batch and of the surplus, and the figures, after selection."""
    settings, files, _ = surplus_run
    select.run(settings.run_dir, iteration)
    tables = (read_table(path(iteration), BATCH) for path in (files.batch, files.surplus))
    batch, surplus = (list(dict.fromkeys(table["prompt_id"])) for table in tables)
    return batch, surplus, read_json(files.metrics(iteration, "select"))


def test_surplus_groups_come_first_in_the_next_batch_and_so_much_less_is_sampled(surplus_run):
    first = sampled(surplus_run, 1, 0, True, True, True, True, True, True)
    assert sampled(surplus_run, 1, 1) == []  # the refill round
    batch, left, figures = selected(surplus_run, 1)
    assert (batch, left) == (first[:4], first[4:])
    assert figures["rollout/staleness_mean"] == 0
    second = sampled(surplus_run, 2, 0, True, False, True)  # 1.5 times the two places left
    assert not set(second) & set(first)
    assert sampled(surplus_run, 2, 1) == []
    batch, surplus, figures = selected(surplus_run, 2)
    assert batch == [*left, second[0], second[2]]
    assert surplus == []
    assert figures["rollout/staleness_mean"] == 0.5
    assert figures["rollout/staleness_max"] == 1


def test_groups_that_failed_the_filter_never_fill_a_batch(surplus_run):
    first = sampled(surplus_run, 1, 0, False, True, True, False, True, False)
    more = sampled(surplus_run, 1, 1, False, True)  # a refill round for the place that is left
    batch, surplus, _ = selected(surplus_run, 1)
    assert batch == [first[1], first[2], first[4], more[1]]
    assert surplus == []


def test_no_group_waits_twice_and_no_prompt_is_asked_again_while_one_waits(surplus_run):
    everything = [True] * 6
    sampled(surplus_run, 1, 0, *everything)
    sampled(surplus_run, 1, 1)
    _, waiting, _ = selected(surplus_run, 1)
    for iteration in range(2, 8):  # over several epochs
        asked = sampled(surplus_run, iteration, 0, *[True] * (6 - 3 * len(waiting) // 2))
        assert sampled(surplus_run, iteration, 1) == []
        assert not set(asked) & set(waiting)
        batch, surplus, figures = selected(surplus_run, iteration)
        assert batch == [*waiting, *asked][:BATCH_SIZE]
        assert surplus == [*waiting, *asked][BATCH_SIZE:]
        assert figures["rollout/staleness_max"] <= 1
        waiting = surplus


def test_a_batch_that_was_left_over_whole_needs_no_sampling(surplus_run):
    _, files, _ = surplus_run
    waiting = {f"p{row}": PASSES for row in range(5)}
    answer(files, 1, 0, {"p9": PASSES, "p10": PASSES, "p11": PASSES, "p8": PASSES, **waiting})
    answer(files, 1, 1, {})
    assert selected(surplus_run, 1)[1] == list(waiting)
    assert sampled(surplus_run, 2, 0) == []
    assert sampled(surplus_run, 2, 1) == []
    batch, surplus, figures = selected(surplus_run, 2)
    assert batch == list(waiting)[:BATCH_SIZE]
    assert surplus == []  # the fifth has waited once
    assert figures["rollout/staleness_mean"] == 1
    assert figures["rollout/num_prompts"] == 0
    assert "rollout/accuracy" not in figures
