"""The stage `evaluate`: which problems of a table are asked, what is left of them, who scores."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import evaluation_scorer_folders
from prime_core.run.state import RunState
from prime_core.run.tables import (
    EVALUATION,
    PROMPTS,
    RATED_STEPS,
    SCORED_EVALUATION,
    TableError,
    read_json,
    read_table,
    write_table,
)
from prime_core.run.targets import Targets
from prime_core.settings.reading import SettingsError, load_settings, parse_settings
from prime_core.stages import evaluate
from tests.support.interrupted_stages import SPENT
from tests.support.tiny_model import save_tiny_model


def make_run(root: Path, model: Path, num_problems: int | None, **scored: Any) -> RunFiles:
    """A run with five held-out problems, and another table of as many.

    scored: keys of a further benchmark on the held-out problems.
    """
    own = root / "own.jsonl"
    rows = [{"question": f"{n}+1=?", "answer": f"sum\n#### {n + 1}"} for n in range(5)]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = {"num_problems": num_problems, "max_response_length": 2}
    settings: dict[str, Any] = {
        "results": str(root),
        "model.path": str(model),
        "rollout.sampler": "transformers",
        "data": {
            "columns": {"prompt": "question", "ground_truth": "answer"},
            "ground_truth_after": "####",
        },
        "evaluation.benchmarks": {"held-out": chosen, "own": {**chosen, "file": str(own)}},
    }
    if scored:
        settings["evaluation.benchmarks"]["scored"] = {**chosen, **scored}
    solutions = root / "solutions.jsonl"
    in_steps: list[dict[str, Any]] = [
        {"problem": "1+1=?", "steps": ["1", "2"], "label": 1, "final_answer_correct": False},
        {"problem": "2+1=?", "steps": ["3"], "label": -1, "final_answer_correct": True},
    ]
    solutions.write_text("".join(json.dumps(row) + "\n" for row in in_steps))
    settings["evaluation.steps.files"] = {"one": str(solutions), "two": str(solutions)}
    run = RunState(parse_settings(settings, "test"))
    run.begin()
    problems = [
        {
            "prompt_id": f"p{n}",
            "prompt": [{"role": "user", "content": f"{n}+1=?"}],
            "ability": "math",
            "ground_truth": str(n + 1),
            "data_source": "test",
        }
        for n in range(5)
    ]
    write_table(run.files.validation, problems, PROMPTS)
    run.files.policy(0).parent.mkdir(parents=True, exist_ok=True)
    run.files.policy(0).symlink_to(model)
    return run.files


@pytest.mark.parametrize(("num_problems", "asked"), [(2, 2), (9, 5), (None, 5)])
def test_the_first_problems_of_a_table_are_asked(num_problems, asked, tiny_model, tmp_path):
    files = make_run(tmp_path, tiny_model, num_problems)
    for benchmark, name in (("held-out", "p{}"), ("own", "benchmark-{:06d}")):
        evaluate.run(files.root, 0, benchmark)
        place = files.evaluation(0, benchmark)
        rows = read_table(place.with_suffix(".parquet"), EVALUATION)
        assert list(rows["prompt_id"]) == [name.format(n) for n in range(asked)]
        assert read_json(place)["num_problems"] == asked


def test_a_malformed_problem_is_counted_quoted_and_left_out(tiny_model, tmp_path, capsys):
    files = make_run(tmp_path, tiny_model, None)
    with (tmp_path / "own.jsonl").open("a") as table:
        table.write(json.dumps({"question": "5+1=?", "answer": "no mark"}) + "\n")
    evaluate.run(files.root, 0, "own")
    figures = read_json(files.evaluation(0, "own"))
    assert (figures["num_problems"], figures["num_malformed"]) == (5, 1)
    told = capsys.readouterr().err
    assert "row 5 left out: nothing after '####'" in told
    assert '"no mark"' in told


def test_several_samples_have_their_figures_and_one_sample_has_the_accuracy_alone(
    tiny_model, tmp_path
):
    files = make_run(tmp_path, tiny_model, 3, n_samples_per_prompt=3, temperature=1.0)
    evaluate.run(files.root, 0, "scored")
    evaluate.run(files.root, 0, "held-out")
    several, one = (read_json(files.evaluation(0, name)) for name in ("scored", "held-out"))
    assert {key for key in several if "@" in key} == {
        f"{name}{bound}"
        for name in ("pass@2", "pass@3", "maj@3")
        for bound in ("", "_low", "_high")
    }
    assert not {key for key in one if "@" in key}


@pytest.mark.parametrize("is_trained", [True, False])
def test_the_prm_scores_each_response_and_one_equal_to_its_reference_gives_nothing(
    is_trained, tiny_model, tmp_path
):
    keys = {"n_samples_per_prompt": 2, "temperature": 1.0, "scorer": "prm"}
    files = make_run(tmp_path, tiny_model, 3, **keys)
    prm = save_tiny_model(tmp_path / "prm", seed=1) if is_trained else tiny_model
    files.prm(0).symlink_to(prm)
    files.reference.symlink_to(tiny_model)
    evaluate.run(files.root, 0, "scored")
    place = files.evaluation(0, "scored")
    rows = read_table(place.with_suffix(".parquet"), SCORED_EVALUATION)
    assert (rows["score"] != 0).all() == is_trained
    assert {"bon@2", "weighted_maj@2"} <= set(read_json(place))


def in_shards(files: RunFiles, name: str, of: int) -> tuple[bytes, dict[str, Any]]:
    """The table and the figures of an evaluation in so many shards, seconds and memory apart."""
    settings = yaml.safe_load(files.config.read_text())
    settings["evaluation"]["benchmarks"][name]["num_shards"] = of
    files.config.write_text(yaml.safe_dump(settings))
    for shard in range(of) if of > 1 else ():
        evaluate.run_shard(files.root, 0, name, shard, of)
    evaluate.run(files.root, 0, name)
    place = files.evaluation(0, name)
    figures = {k: v for k, v in read_json(place).items() if not k.startswith(SPENT)}
    return place.with_suffix(".parquet").read_bytes(), figures


def test_the_number_of_shards_changes_no_bit(tiny_model, tmp_path):
    keys = {"n_samples_per_prompt": 2, "temperature": 1.0, "max_response_length": 8}
    files = make_run(tmp_path, tiny_model, None, **keys, scorer="prm")
    files.prm(0).symlink_to(save_tiny_model(tmp_path / "prm", seed=1))
    files.reference.symlink_to(tiny_model)
    for name in ("own", "scored"):
        whole = in_shards(files, name, 1)
        assert in_shards(files, name, 2) == whole
        assert in_shards(files, name, 7) == whole  # of five problems: two have none


def test_shards_of_two_samplers_are_refused_and_so_is_a_missing_one(tiny_model, tmp_path):
    files = make_run(tmp_path, tiny_model, None)
    in_shards(files, "own", 2)
    first, second = (files.evaluation_shard(0, "own", shard, 2) for shard in (0, 1))
    first.write_text(json.dumps(read_json(first) | {"sampler": "vllm"}))
    with pytest.raises(TableError, match="own: its shards were sampled by transformers and vllm"):
        evaluate.run(files.root, 0, "own")
    second.unlink()
    with pytest.raises(TableError, match=r"own/01-of-02\.json: no such file; run the stage"):
        evaluate.run(files.root, 0, "own")


def test_the_graph_joins_shards_unless_a_benchmark_has_one(tmp_path):
    scored = {"num_shards": 3, "scorer": "prm", "n_samples_per_prompt": 2}
    benchmarks: dict[str, Any] = {"a.b": {"num_shards": 2}, "whole": {}, "scored": scored}
    raw = {"results": str(tmp_path), "evaluation.benchmarks": benchmarks}
    run = RunState(parse_settings(raw, "test"))
    targets = Targets(run.settings, run.files, run)
    assert targets.has_sharded_evaluations
    assert targets.benchmarks(sharded=False) == "(?:whole)"
    assert targets.benchmarks(sharded=True) == r"(?:a\.b|scored)"
    assert targets.benchmarks(sharded=True, scored=True) == "(?:scored)"
    folder = run.files.evaluation(16, "x").parent / "a.b"
    assert targets.evaluation_shards(SimpleNamespace(iteration="0016", benchmark="a.b")) == [
        str(folder / f"0{shard}-of-02.{kind}") for shard in (0, 1) for kind in ("parquet", "json")
    ]


def test_an_evaluation_waits_for_the_models_that_score_it_and_for_no_others(tmp_path):
    raw: dict[str, Any] = {
        "results": str(tmp_path),
        "evaluation.benchmarks": {
            "plain": {},
            "scored": {"n_samples_per_prompt": 2, "scorer": "prm"},
        },
    }
    run = RunState(parse_settings(raw, "test"))
    targets = Targets(run.settings, run.files, run)
    asked = {
        name: targets.scorers(SimpleNamespace(iteration="0016", benchmark=name))
        for name in ("plain", "scored")
    }
    assert asked == {"plain": [], "scored": [str(run.files.prm(16)), str(run.files.reference)]}

    def with_prm(**keys: Any) -> tuple[Path, Path]:
        changed = parse_settings(raw | {f"prm.{key}": value for key, value in keys.items()}, "test")
        return evaluation_scorer_folders(changed, run.files, 16)

    assert with_prm(prm_reference="policy") == (run.files.prm(16), run.files.policy(16))
    assert with_prm(prm_update="frozen", path="x/y")[0] == run.files.prm(0)
    with pytest.raises(SettingsError, match=r"scored\.scorer 'prm' needs a PRM"):
        with_prm(prm_update="none")


def test_the_iterations_prm_is_rated_on_steps_like_on_a_benchmark(tiny_model, tmp_path, capsys):
    files = make_run(tmp_path, tiny_model, 1)
    files.prm(0).symlink_to(save_tiny_model(tmp_path / "prm", seed=1))
    files.reference.symlink_to(tiny_model)
    evaluate.run(files.root, 0, "steps")
    figures = read_json(files.evaluation(0, "steps"))
    assert figures["parts"]["two"]["scores"]["prefix"]["f1"] >= 0
    rows = read_table(files.evaluation(0, "steps").with_suffix(".parquet"), RATED_STEPS)
    assert list(rows["part"]) == ["one", "one", "two", "two"]
    assert "evaluate steps: by step two F1" in capsys.readouterr().out


def test_the_evaluation_of_steps_is_asked_for_with_the_prm_and_taken_from_no_origin(
    tiny_model, tmp_path
):
    files = make_run(tmp_path, tiny_model, 1)
    settings = load_settings(files.config)
    run = RunState(settings)
    assert (0, "steps") in run.evaluations()
    wildcards = SimpleNamespace(iteration="0", benchmark="steps")
    expected = [str(files.prm(0)), str(files.reference)]
    assert Targets(settings, files, run).scorers(wildcards) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluation.benchmarks": {"steps": {}}}, "benchmarks.steps: the name is that of"),
        (
            {"evaluation.steps": {"files": {"a": "x"}, "threshold": "b"}},
            "threshold 'b' is none of the files a",
        ),
        (
            {"evaluation.steps": {"files": {"a": "x"}}, "prm.prm_update": "none"},
            "evaluation.steps rates steps by the PRM",
        ),
    ],
)
def test_an_evaluation_of_steps_that_cannot_be_is_refused(changes, words):
    with pytest.raises(SettingsError, match=words):
        parse_settings(changes, "test")
