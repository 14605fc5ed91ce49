"""The table of stages: everything that there is one of for each stage is there, and no more."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from prime_core.launch.site.stage_resources import load_stages
from prime_core.report.drawing.plots import SERIES
from prime_core.run.layout import RunFiles
from prime_core.run.stages import (
    STAGES,
    Stage,
    part_of,
    result_of,
    stage_of,
    stage_of_rule,
    stages_of_an_iteration,
)
from prime_core.settings.reading import parse_settings
from prime_core.settings.run import Settings
from tests.support.shared_data import ROOT

PPO = {"policy": {"adv_estimator": "gae"}}


def test_each_stage_has_a_file_and_a_rule():
    modules = {path.stem for path in (ROOT / "prime_core" / "stages").glob("[a-z]*.py")}
    assert modules - {"crate"} == set(STAGES)  # which the report packs, and a command
    rules = [path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk")]
    named = set(re.findall(r'RESOURCES\["(\w+)"\]', "".join(rules)))
    assert named == set(STAGES)


@pytest.mark.parametrize("table", sorted((ROOT / "cluster_profiles").glob("stages*.yaml")))
def test_every_table_of_stages_is_complete(table: Path):
    assert list(load_stages(table)) == list(STAGES)


def test_a_stage_is_like_one_that_may_have_no_fewer_ranks():
    for name, kind in STAGES.items():
        if kind.like:
            assert STAGES[kind.like].ranks <= kind.ranks, name
            assert find_spec(f"prime_core.stages.{kind.like}")


def test_a_stage_trains_samples_or_only_computes():
    for name, kind in STAGES.items():
        assert bool(kind.trains) + kind.samples + kind.forward_only <= 1, name
        assert not kind.trains or kind.trains in Settings.model_fields, name
        section: object = parse_settings({}, "test")
        for key in filter(None, kind.section.split(".")):
            assert hasattr(section, key), name
            section = getattr(section, key)


def test_no_two_stages_have_one_colour():
    colours = [kind.colour for kind in STAGES.values() if kind.colour is not None]
    assert sorted(colours) == list(range(len(SERIES)))


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({}, ["sample", "verify", "select", "score", "prm", "policy"]),
        ({"prm": {"prm_update": "none"}}, ["sample", "verify", "select", "policy"]),
        (
            {"value.source": "monte_carlo", "prm": {"prm_update": "none"}} | PPO,
            ["sample", "verify", "select", "continuations", "step_values", "policy"],
        ),
        (PPO, ["sample", "verify", "select", "score", "values", "prm", "value", "policy"]),
    ],
)
def test_an_iteration_has_the_stages_that_its_settings_ask_for(changes, stages):
    assert stages_of_an_iteration(parse_settings(changes, "test")) == stages


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("metrics/sft.json", Stage(0, "sft", "")),
        ("iterations/0003/metrics/sample-01.json", Stage(3, "sample", "01")),
        ("evaluations/0016/math-500.json", Stage(16, "evaluate", "math-500")),
        ("evaluations/0016/gpqa-1.1/03-of-08.json", Stage(16, "evaluate", "gpqa-1.1/03-of-08")),
        ("iterations/0003/metrics/save_state-prm.json", Stage(3, "save_state", "prm")),
    ],
)
def test_the_file_of_a_finished_stage_names_the_stage(tmp_path, path, stage):
    assert result_of(RunFiles(tmp_path), stage) == tmp_path / path
    shown = Path(*(part for part in Path(path).parts if part != "metrics"))
    assert stage_of(shown) == stage


@pytest.mark.parametrize(
    ("rule", "stage"),
    [
        ("policy", "policy"),
        ("kept_policy", "policy"),
        ("save_state", "save_state"),
        ("evaluate_shard", "evaluate"),
        ("evaluate_scored", "evaluate"),
        ("polcy", "polcy"),
    ],
)
def test_a_rule_runs_a_stage(rule, stage):
    assert stage_of_rule(rule) == stage


def test_every_rule_is_a_stages():
    texts = [path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk")]
    rules = re.findall(r"^ *(?:use rule \w+ as|rule) (\w+)(?: with)?:", "\n".join(texts), re.M)
    assert {"evaluate_scored", "kept_prm", "save_state"} <= {*rules}
    apart = {name for name in rules if name.startswith("ablation") or name in ("all", "base")}
    assert {stage_of_rule(name) for name in {*rules} - apart} == {*STAGES}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"iteration": 3, "shard": 1}, "01"),
        ({"benchmark": "aime", "shard": None}, "aime"),
        ({"benchmark": "aime", "shard": "3", "of": "8"}, "aime/03-of-08"),
        ({"model": "prm"}, "prm"),
        ({}, ""),
    ],
)
def test_options_name_a_part(options, part):
    assert part_of(options) == part
