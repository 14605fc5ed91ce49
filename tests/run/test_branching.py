"""Going on from another run: what is taken over, what is refused and with which words."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prime_core.launch.fetch import needs
from prime_core.launch.status.progress import read_progress
from prime_core.report.tables.collect import RunTables
from prime_core.report.tables.cost import Cost
from prime_core.run.atomic import write_json, write_text
from prime_core.run.branching import (
    BranchError,
    evaluated_by_origin,
    open_origin,
    origin_record,
    own_prm_folders,
    path_in_origin,
    taken_folders,
    taken_tables,
)
from prime_core.run.changes import refused_changes
from prime_core.run.layout import RunFiles
from prime_core.run.state import RunState
from prime_core.run.targets import Targets
from prime_core.settings.reading import SettingsError, dump_settings, parse_settings
from prime_core.settings.run import Settings

LAG: dict[str, Any] = {"rollout.max_staleness": 1}
SURPLUS: dict[str, Any] = LAG | {"rollout.stale_rollouts": "surplus"}
GAE: dict[str, Any] = {"policy.adv_estimator": "gae"}


def origin_at(root: Path, weights: tuple[int, ...] = (1, 2, 3), **changes: Any) -> RunFiles:
    """A run of four iterations, three of them finished, that kept the weights of some."""
    settings = parse_settings({"run": root.name, "iterations": 4} | changes, "test")
    files = RunFiles(root)
    write_text(files.config, dump_settings(settings))
    start = {"git_commit": "c0ffee", "git_dirty": False, "host": "node-1"}
    write_json(files.provenance, {"starts": [{"git_commit": "older"}, start]})
    for folder in (files.base_model, files.policy(0), files.reference, files.prm(0)):
        folder.mkdir(parents=True)
    for table in (files.train, files.validation, files.demonstrations):
        write_text(table, table.stem)
    for iteration in (1, 2, 3):
        for stage in ("policy", "prm", "value"):
            write_json(files.metrics(iteration, stage), {})
        if iteration in weights:
            for folder in (files.policy(iteration), files.prm(iteration), files.value(iteration)):
                folder.mkdir(parents=True)
    return files


def branch_of(root: Path, init_from: str, **changes: Any) -> tuple[Settings, RunFiles]:
    """Settings and files of a run beside the origin."""
    settings = parse_settings(
        {
            "run": "branch",
            "results": str(root.parent),
            "iterations": 4,
            "init_from": init_from,
        }
        | changes,
        "test",
    )
    return settings, RunFiles(settings.run_dir)


def refusal(root: Path, init_from: str, **changes: Any) -> str:
    """Why a run cannot go on from the origin."""
    with pytest.raises(BranchError) as caught:
        open_origin(*branch_of(root, init_from, **changes))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"init_from '{init_from}': ")
    return str(caught.value)


def names(paths: list[Path], files: RunFiles) -> list[str]:
    """Paths within the run's folder."""
    return sorted(str(path.relative_to(files.root)) for path in paths)


@pytest.mark.parametrize(
    ("init_from", "changes", "own"),
    [
        ("a@0", {}, []),
        ("a@2", {}, ["iterations/0002/policy", "iterations/0002/prm"]),
        ("a@2", {"prm.prm_update": "none"}, ["iterations/0002/policy"]),
        ("a@1", LAG, ["iterations/0001/policy", "iterations/0001/prm"]),
        (
            "a@2",
            LAG,
            ["iterations/0001/policy", "iterations/0002/policy", "iterations/0002/prm"],
        ),
        ("a@2", SURPLUS, ["iterations/0002/policy", "iterations/0002/prm"]),
        (
            "a@2",
            GAE,
            ["iterations/0002/policy", "iterations/0002/prm", "iterations/0002/value"],
        ),
    ],
)
def test_a_branch_takes_what_its_first_iteration_reads(init_from, changes, own, tmp_path):
    settings, files = branch_of(tmp_path / "a", init_from, **changes)
    first = ["models/base", "models/policy-0000", "models/prm-0000", "models/reference"]
    assert names(taken_folders(settings, files), files) == sorted([*first, *own])
    surplus = ["iterations/0002/surplus.parquet"] if changes == SURPLUS else []
    tables = ["data/demonstrations.parquet", "data/train.parquet", "data/validation.parquet"]
    assert names(taken_tables(settings, files), files) == [*tables, *surplus]


def test_at_iteration_0_a_branch_makes_a_prm_of_its_own_and_later_it_takes_the_origins(tmp_path):
    own = {"prm.path": "p", "prm.reference_path": "r"}
    settings, files = branch_of(tmp_path / "a", "a@0", **own)
    assert names(own_prm_folders(settings, files), files) == [
        "models/prm-0000",
        "models/prm-reference",
    ]
    settings, files = branch_of(tmp_path / "a", "a@1", **own)
    assert names(own_prm_folders(settings, files), files) == ["models/prm-reference"]
    settings, files = branch_of(tmp_path / "a", "a@0", **{"prm.offline.file": "labelled.parquet"})
    assert files.prm(0) not in taken_folders(settings, files)  # the run trains it


def test_an_origin_beside_the_run_or_at_a_path_is_opened(tmp_path):
    there = origin_at(tmp_path / "results" / "a")
    assert open_origin(*branch_of(there.root, "a@2")).files == there
    elsewhere = f"{there.root}@2"
    assert open_origin(*branch_of(tmp_path / "other" / "x", elsewhere)).files == there


def test_the_prm_of_an_origin_that_never_updated_it_is_its_first(tmp_path):
    outcome_only: dict[str, Any] = {"prm.prm_update": "none"}
    there = origin_at(tmp_path / "a", **outcome_only)
    settings, files = branch_of(there.root, "a@2")
    origin = open_origin(settings, files)
    assert path_in_origin(files.prm(2), files, origin) == there.prm(0)
    assert path_in_origin(files.policy(2), files, origin) == there.policy(2)
    assert "no adapter" in refusal(there.root, "a@2", **{"prm.lora": {"rank": 2}})
    assert "never trained" in refusal(there.root, "a@2", **{"prm.prm_update": "frozen"})


def test_an_absent_origin_is_refused(tmp_path):
    assert "holds no run (config.yaml is missing)" in refusal(tmp_path / "a", "a@1")


def test_an_origin_without_its_start_is_refused_with_what_is_missing(tmp_path):
    there = origin_at(tmp_path / "a")
    there.policy(0).rmdir()
    message = refusal(there.root, "a@0")
    assert (
        f"{there.policy(0)}: missing; run the origin until it has its data and start models"
        in message
    )


def test_an_iteration_that_is_not_finished_is_refused_with_the_last_that_is(tmp_path):
    there = origin_at(tmp_path / "a")
    assert "iteration 4 of" in refusal(there.root, "a@4")
    assert "is not finished; the last finished one is 3" in refusal(there.root, "a@4")
    there.metrics(3, "prm").unlink()
    assert "the last finished one is 2" in refusal(there.root, "a@3")


def test_weights_that_are_gone_are_refused_with_iterations_that_are_there(tmp_path):
    there = origin_at(tmp_path / "a", weights=(1, 3))
    message = refusal(there.root, "a@2")
    assert f"{there.policy(2)}, {there.prm(2)}: gone (checkpoints.keep_last" in message
    assert message.endswith("iterations to continue from: 1, 3")


def test_an_older_policy_that_sampling_needs_is_asked_for_too(tmp_path):
    there = origin_at(tmp_path / "a", weights=(1, 3), **LAG)
    message = refusal(there.root, "a@3", **LAG)
    assert f"{there.policy(2)}: gone" in message
    assert message.endswith("to continue from: 1")
    open_origin(*branch_of(there.root, "a@3"))  # without staleness the third is enough


def test_an_origin_without_surplus_gives_an_empty_one(tmp_path):
    there = origin_at(tmp_path / "a")
    open_origin(*branch_of(there.root, "a@2", **SURPLUS))
    keeping = origin_at(tmp_path / "b", **SURPLUS)
    message = refusal(keeping.root, "b@2", **SURPLUS)
    assert f"{keeping.surplus(2)}: gone" in message


@pytest.mark.parametrize(
    ("init_from", "changes", "refused"),
    [
        ("a@0", {"model.build.num_layers": 2}, "model.build.num_layers: 3 -> 2"),
        ("a@0", {"data.prompt_suffix": "!"}, "data.prompt_suffix"),
        ("a@0", {"sft.num_steps": 7}, "sft.num_steps: 1400 -> 7"),
        ("a@2", {"prm.path": "other"}, "prm.path: None -> 'other'"),
        ("a@2", {"prm.lora.rank": 4}, "prm.lora"),
        ("a@2", {"policy.lora.rank": 4}, "policy.lora"),
        ("a@2", GAE | {"value.path": "other"}, "value.path: None -> 'other'"),
    ],
)
def test_settings_that_made_what_is_taken_over_must_be_the_origins(
    init_from, changes, refused, tmp_path
):
    there = origin_at(tmp_path / "a")
    assert refused in refusal(there.root, init_from, **changes)


@pytest.mark.parametrize(
    ("init_from", "changes"),
    [
        ("a@0", {"prm.beta": 0.5, "prm.lora.rank": 4, "policy.lora.rank": 4, "seed": 9}),
        ("a@0", GAE | {"value.path": "other", "sft.micro_batch_size": 1}),
        ("a@2", {"policy.optimizer.learning_rate": 0.5, "rollout.temperature": 0.5, "seed": 9}),
        ("a@2", {"prm.prm_update": "none", "value.path": "other"}),
        ("a@2", {"prm.prm_update": "frozen"}),
    ],
)
def test_other_settings_may_be_the_branchs_own(init_from, changes, tmp_path):
    open_origin(*branch_of(origin_at(tmp_path / "a").root, init_from, **changes))


def test_a_run_that_leads_back_to_itself_is_refused(tmp_path):
    there = origin_at(tmp_path / "a")
    own = origin_at(tmp_path / "branch")
    assert "it leads back to" in refusal(own.root, "branch@2")
    write_json(there.provenance, {"starts": [], "origin": {"run": str(own.root), "iteration": 1}})
    assert "it leads back to" in refusal(there.root, "a@2")


def test_an_iteration_before_the_origins_own_start_is_refused_with_the_run_that_has_it(tmp_path):
    origin_at(tmp_path / "a")
    later: dict[str, Any] = {"init_from": "a@2"}
    there = origin_at(tmp_path / "b", **later)
    assert "itself continues 'a@2' and has no iteration 1" in refusal(there.root, "b@1")
    there.metrics(2, "policy").unlink()  # it was trained in a
    open_origin(*branch_of(there.root, "b@2"))
    open_origin(*branch_of(there.root, "b@0"))


def test_the_origin_is_described_with_its_commit_what_differs_and_where_it_comes_from(tmp_path):
    there = origin_at(tmp_path / "a")
    branch = branch_of(there.root, "a@2", **{"policy.eps_clip": 0.1, "iterations": 9})
    found = origin_record(*branch)
    assert len(found.pop("settings_digest")) == 64
    assert found == {
        "run": str(there.root),
        "iteration": 2,
        "git_commit": "c0ffee",
        "git_dirty": False,
        "differs": ["policy.eps_clip: 0.2 -> 0.1"],
    }
    older = {"run": "/results/older", "iteration": 7}
    write_json(there.provenance, {"starts": [{}], "origin": older})
    assert origin_record(*branch)["origin"] == older


def test_a_run_records_its_origin_once_and_refuses_another_when_it_has_begun(tmp_path):
    there = origin_at(tmp_path / "a")
    settings, files = branch_of(there.root, "a@2")
    state = RunState(settings)
    state.begin()
    state.give_back()
    write_json(files.setup_metrics("branch"), {})
    there.config.unlink()  # the origin may go away
    state = RunState(settings)
    state.begin()
    state.give_back()
    provenance = files.provenance.read_text(encoding="utf-8")
    assert provenance.count(str(there.root)) == 1
    assert provenance.count('"seed"') == 2
    files.base_model.mkdir(parents=True)
    other = settings.model_copy(update={"init_from": "a@1"})
    assert refused_changes(settings, other, files) == ["init_from: 'a@2' -> 'a@1'"]


def test_a_branch_fetches_no_start_again(tmp_path):
    benchmark: dict[str, Any] = {"evaluation.benchmarks": {"x": {"file": "owner/problems"}}}
    own = benchmark | {"prm.path": "owner/prm", "model.path": "owner/model"}
    found = {
        iteration: [need.key for need in needs(branch_of(tmp_path, f"a@{iteration}", **own)[0])]
        for iteration in (0, 2)
    }
    file = "evaluation.benchmarks.x.file"
    assert found == {0: ["prm.path", file], 2: [file]}


def test_iterations_evaluations_and_removals_begin_after_the_origins(tmp_path):
    there = origin_at(tmp_path / "a")
    benchmarks: dict[str, Any] = {"evaluation.benchmarks": {"x": {}}, "evaluation.every": 2}
    changes = benchmarks | {"iterations": 6, "checkpoints.keep_last": 1}
    settings, files = branch_of(there.root, "a@2", **changes)
    state = RunState(settings)
    assert state.evaluations() == [(2, "x"), (4, "x"), (6, "x")]
    wanted = [path for path in Targets(settings, files, state).all if "/iterations/" in path]
    assert {Path(path).relative_to(files.root).parts[1] for path in wanted} == {
        f"{number:04d}" for number in (3, 4, 5, 6)
    }
    for iteration in range(2, 7):
        files.policy(iteration).mkdir(parents=True)
        write_json(files.metrics(iteration, "policy"), {})
    state.end()
    assert [i for i in range(7) if files.policy(i).exists()] == [2, 6]


@pytest.mark.parametrize(
    ("changes", "iteration", "same"),
    [
        ({}, 2, True),
        ({"policy.eps_clip": 0.1}, 2, True),
        ({}, 4, False),
        ({"seed": 5}, 2, False),
        ({"verification.no_box": "last_line"}, 2, False),
        ({"evaluation.benchmarks": {"x": {"temperature": 0.5}}}, 2, False),
        ({"evaluation.benchmarks": {"x": {"n_samples_per_prompt": 2, "scorer": "prm"}}}, 2, False),
    ],
)
def test_the_evaluation_of_the_start_is_the_origins_where_it_would_come_out_the_same(
    changes, iteration, same, tmp_path
):
    benchmarks: dict[str, Any] = {"evaluation.benchmarks": {"x": {}}}
    there = origin_at(tmp_path / "a", **benchmarks)
    branch = branch_of(there.root, "a@2", **(benchmarks | changes))
    assert evaluated_by_origin(*branch, iteration, "x") is None
    for number in (2, 4):
        write_json(there.evaluation(number, "x"), {})
    found = there.evaluation(2, "x") if same else None
    assert evaluated_by_origin(*branch, iteration, "x") == found


def test_the_status_counts_on_from_the_origin(tmp_path):
    settings, files = branch_of(tmp_path / "a", "a@2")
    write_text(files.config, dump_settings(settings))
    assert read_progress(files).done == 2
    for stage in ("policy", "prm"):
        write_json(files.metrics(3, stage), {})
    progress = read_progress(files)
    assert (progress.done, progress.iterations, progress.finished) == (3, 4, False)
    assert len(progress.ended_at) == 1


def test_the_report_counts_own_iterations_and_says_where_the_run_comes_from():
    def tables(**settings: Any) -> RunTables:
        none = pd.DataFrame()
        return RunTables("b", none, none, none, Cost(none, ()), settings, {})

    later = tables(iterations=9, init_from="runs/a@4")
    assert (later.num_planned, later.last_iteration) == (5, 9)
    assert later.origin_note.startswith("Continues from iteration 4 of the run a: ")
    shared = tables(iterations=9, init_from="a@0")
    assert shared.origin_note == "Data and start models are those of the run a."
    own = tables(iterations=9)
    assert (own.num_planned, own.origin_note) == (9, "")


def test_the_settings_of_a_later_iteration_are_fixed_by_the_branchs_first_own(tmp_path):
    origin_at(tmp_path / "a")
    settings, files = branch_of(tmp_path / "a", "a@2")
    other = settings.model_copy(update={"seed": 5})
    write_json(files.shard_count(3), 1)
    changed, _ = branch_of(tmp_path / "a", "a@2", **{"policy.eps_clip": 0.1})
    assert refused_changes(settings, changed, files) == ["policy.eps_clip: 0.2 -> 0.1"]
    assert refused_changes(settings, other, files) == []


@pytest.mark.parametrize("text", ["a", "@3", "a@", "a@b", "a@-1", 7])
def test_a_wrong_init_from_is_refused(text):
    with pytest.raises(SettingsError, match="init_from: "):
        parse_settings({"init_from": text}, "test")


def test_fewer_iterations_than_the_origins_are_refused():
    with pytest.raises(SettingsError, match="iterations 2 is less than that of init_from 'a@3'"):
        parse_settings({"init_from": "a@3", "iterations": 2}, "test")
    with pytest.raises(SettingsError, match=r"needs prm.path"):
        parse_settings({"init_from": "a@0", "prm.prm_update": "frozen"}, "test")
