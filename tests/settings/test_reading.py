"""Settings: wrong ones are refused with the key, the value and what was expected."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from prime_core.settings.reading import (
    SettingsError,
    check_overrides,
    dump_settings,
    expand_dotted,
    flatten,
    load_settings,
    parse_overrides,
    parse_settings,
    settings_of,
)
from prime_core.settings.run import Settings
from prime_core.tools.configure import schema_text
from tests.support.shared_data import ROOT

# Those of the folder of ablations are settings of many runs (tests/ablations/test_plan.py).
CONFIGS = [
    path for path in sorted((ROOT / "configs").rglob("*.yaml")) if path.parent.name != "ablations"
]

GSPO = {
    "loss_mode": "gspo",
    "loss_agg_mode": "seq-mean-token-mean",
    "eps_clip": 3e-4,
    "eps_clip_high": 4e-4,
}
TREE = {"rollout.tree": {"m": 2, "n": 1, "l": 1, "t": 1}}
IN_REWARD = {"kl_in_reward": True, "kl_coef": 0.1}


def refusal(raw: dict) -> str:
    """The sentence that refuses these settings."""
    with pytest.raises(SettingsError) as caught:
        parse_settings(raw, "run.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("iteration", "iterations"),
        ("rollout.temprature", "temperature"),
        ("policy.optimizer.learningrate", "learning_rate"),
        ("model.build.num_layer", "num_layers"),
        ("prm.prm_updates", "prm_update"),
    ],
)
def test_a_misspelt_key_is_refused_with_its_name_and_the_nearest_one(key, suggestion):
    message = refusal({key: 1})
    assert message == f"run.yaml: unknown key '{key}'; did you mean '{suggestion}'?"


def test_a_key_like_no_other_is_refused_with_the_keys_that_exist():
    message = refusal({"checkpoints.zzz": 1})
    assert message == (
        "run.yaml: unknown key 'checkpoints.zzz'; expected one of: keep_last, save_freq"
    )


def test_an_unknown_key_inside_a_benchmark_is_refused_with_its_path():
    message = refusal({"evaluation": {"benchmarks": {"aime": {"files": "x"}}}})
    assert "unknown key 'evaluation.benchmarks.aime.files'" in message


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ({"iterations": "many"}, ["iterations: ", "valid integer", "got 'many'"]),
        ({"rollout": {"num_shards": 2.5}}, ["rollout.num_shards: ", "integer", "got 2.5"]),
        ({"rollout.temperature": 0}, ["rollout.temperature: ", "greater than 0", "got 0"]),
        ({"rollout.top_p": 1.2}, ["rollout.top_p: ", "less than or equal to 1", "got 1.2"]),
        ({"sft.enabled": "perhaps"}, ["sft.enabled: ", "boolean", "got 'perhaps'"]),
        ({"prm.prm_update": "later"}, ["prm.prm_update: ", "'after', 'before'", "got 'later'"]),
        ({"policy": 3}, ["policy: ", "got 3"]),
        ({"policy.optimizer.betas": [0.9]}, ["policy.optimizer.betas.1: "]),
        ({"run": "a/b"}, ["run: ", "letters, digits", "got 'a/b'"]),
        ({"run": ""}, ["run: ", "beginning with a letter or a digit"]),
        ({"seed": -1}, ["seed: ", "greater than or equal to 0", "got -1"]),
        ({"data.train": 7}, ["data.train: ", "string", "got 7"]),
        ({"policy.optimizer.learning_rate": float("nan")}, ["policy.optimizer.learning_rate: "]),
    ],
)
def test_a_wrong_value_is_refused_with_key_value_and_expectation(raw, parts):
    message = refusal(raw)
    assert message.startswith("run.yaml: ")
    for part in parts:
        assert part in message


def test_all_wrong_keys_are_named_at_once():
    message = refusal({"iterations": -1, "rollout": {"top_k": "x"}, "sed": 1})
    assert all(key in message for key in ("iterations", "rollout.top_k", "'sed'"))


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ({"model.build.num_heads": 5}, ["hidden_size 96", "num_heads (5)"]),
        ({"data.source": "files"}, ["data.train", "data.validation"]),
        ({"data.train": "a.parquet"}, ["data.train", "'arithmetic'", "data.source: files"]),
        ({"data": {"num_validation": 9}}, ["data.num_validation", "data.source: files"]),
        ({"data": {"sft": "b.jsonl"}}, ["data.sft", "data.source: files"]),
        ({"data": {"source": "files", "train": "a.parquet"}}, ["data.train", "data.validation"]),
        (
            {"filter.accuracy_lower_bound": 0.9},
            ["accuracy_lower_bound 0.9", "accuracy_upper_bound 0.8"],
        ),
        ({"policy.clip_ratio_c": 0.5}, ["clip_ratio_c", "0.5"]),
        ({"policy.loss_mode": "gspo"}, ["'gspo'", "loss_agg_mode", "'token-mean'"]),
        ({"policy": GSPO | {"eps_clip_high": 0.2}}, ["0.2", "never clips", "3e-4 and 4e-4"]),
        ({"policy": GSPO | {"eps_clip": 0.3}}, ["0.3", "never clips"]),
        ({"policy": GSPO | {"clip_ratio_c": 3}}, ["'gspo'", "clip_ratio_c", "3"]),
        ({"policy": {"loss_mode": "cispo", "clip_ratio_c": 3}}, ["'cispo'", "clip_ratio_c"]),
        ({"policy.kl_in_reward": True}, ["kl_in_reward", "kl_coef"]),
        ({"policy.kl_controller": "adaptive"}, ["kl_controller 'adaptive'", "kl_coef"]),
        ({"policy": IN_REWARD | {"adv_estimator": "gae"}}, ["kl_in_reward", "'gae'"]),
        ({"policy": IN_REWARD | {"outcome_coef": 0}}, ["kl_in_reward", "outcome_coef 0"]),
        (
            {"policy.overlong_buffer_len": 65, "rollout.max_response_length": 64},
            ["policy.overlong_buffer_len 65", "rollout.max_response_length 64"],
        ),
        (
            {"rollout": {"top_p": 0.8, "top_k": 3}, "policy.tis_clip": 2},
            ["rollout.top_p 0.8 and rollout.top_k 3 with policy.tis_clip 2.0", "no correction"],
        ),
        (
            {"rollout.top_k": 3, "policy.rejection_level": "geometric"},
            ["rollout.top_k 3 with policy.rejection_level geometric", "rollout.top_k 0"],
        ),
        (
            {"rollout.tree": {}},
            ["n_samples_per_prompt 4 must be 30", "m 6, n 2, l 1, t 2 has m (1 + n t l) leaves"],
        ),
        ({"policy.adv_estimator": "treerl"}, ["'treerl'", "needs rollout.tree"]),
        ({"policy.adv_estimator": "tree_grpo"}, ["'tree_grpo'", "needs rollout.tree"]),
        ({"policy.adv_estimator": "remax"} | TREE, ["'remax'", "greedy", "rollout.tree"]),
        (
            {"policy": {"adv_estimator": "treerl_code", "gamma_outcome": 0.9}} | TREE,
            ["'treerl_code' has no discount", "gamma_outcome must be 1, got 0.9"],
        ),
        ({"prm.prm_update": "frozen"}, ["prm.prm_update 'frozen'", "prm.path"]),
        (
            {"prm.prm_update": "none", "policy.outcome_coef": 0},
            ["prm.prm_update 'none'", "policy.outcome_coef 0"],
        ),
        (
            {"data": {"source": "files", "train": "a", "validation": "b"}},
            ["sft.enabled", "data.sft"],
        ),
        ({"model.dtype": "bfloat16"}, ["model.dtype 'bfloat16'", "training.zero_stage"]),
        (
            {"training.offload_optimizer": "cpu"},
            ["training.offload_optimizer 'cpu'", "training.zero_stage"],
        ),
        (
            {"data.arithmetic": {"min_terms": 4, "max_terms": 2}},
            ["min_terms", "4", "max_terms", "2"],
        ),
        (
            {"data.arithmetic.num_demonstrations": 0},
            ["sft.enabled", "data.arithmetic.num_demonstrations"],
        ),
    ],
)
def test_an_impossible_combination_is_refused_with_its_keys(raw, parts):
    message = refusal(raw)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "raw",
    [
        {"prm.prm_update": "frozen", "prm.path": "some/prm"},
        {"prm.prm_update": "none", "policy.outcome_coef": 0.5},
        {"data": {"source": "files", "train": "a", "validation": "b"}, "sft.enabled": False},
        {"data": {"source": "files", "train": "a", "validation": "b", "sft": "c"}},
        {"model.dtype": "bfloat16", "training.zero_stage": 1},
        {"filter.accuracy_lower_bound": 0.8},
        {"policy.clip_ratio_c": 3},
        {"policy": GSPO},
        {"policy": {"loss_mode": "cispo", "eps_clip_high": 5}},
        {"policy": IN_REWARD | {"kl_controller": "adaptive"}},
        {"policy.overlong_buffer_len": 64, "rollout.max_response_length": 64},
        {"iterations": 0},
        TREE,
        TREE | {"policy.adv_estimator": "tree_grpo", "policy.gamma_outcome": 0.9},
        {"policy.adv_estimator": "treerl", "rollout": {"tree": {}, "n_samples_per_prompt": 30}},
    ],
)
def test_the_possible_neighbours_of_impossible_combinations_are_taken(raw):
    parse_settings(raw, "run.yaml")


def test_dotted_keys_win_over_nested_ones_whatever_their_order():
    nested = {"rollout": {"num_shards": 2, "top_k": 5}}
    for raw in (nested | {"rollout.num_shards": 7}, {"rollout.num_shards": 7} | nested):
        rollout = parse_settings(raw, "test").rollout
        assert (rollout.num_shards, rollout.top_k) == (7, 5)


def test_expanding_dotted_keys_leaves_what_it_was_given_alone():
    raw = {"a": {"b": {"c": 1}}, "a.b.d": 2}
    assert expand_dotted(raw) == {"a": {"b": {"c": 1, "d": 2}}}
    assert raw == {"a": {"b": {"c": 1}}, "a.b.d": 2}


def test_flat_keys_are_the_paths_of_all_leaves():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}, "e": {}}, "f": None}) == {
        "a.b": 1,
        "a.c.d": [2],
        "a.e": {},
        "f": None,
    }
    assert flatten({"a": [{"b": 1}, {"b": 2}]}) == {"a.1.b": 1, "a.2.b": 2}


def test_overrides_are_read_as_yaml_and_numbers_may_have_exponents():
    texts = ("rollout.top_k=5", "sft.enabled=false", "prm.path=null", "prm.beta=5e-2", "run=a=b")
    overrides = parse_overrides(texts, "--config")
    assert overrides.pop("run") == "a=b"
    settings = parse_settings(overrides, "test")
    assert (settings.rollout.top_k, settings.sft.enabled, settings.prm.path) == (5, False, None)
    assert settings.prm.beta == 0.05


def test_what_yaml_takes_for_a_date_may_be_a_name():
    assert parse_overrides(["run=2026-11-29"], "--config") == {"run": "2026-11-29"}


@pytest.mark.parametrize("text", ["rollout.top_k", "=5", "rollout.=5", ".top_k=5", "a..b=5"])
def test_an_override_without_key_or_value_is_refused_with_its_text(text):
    with pytest.raises(SettingsError, match=f"--config {re.escape(text)}: expected KEY=VALUE"):
        parse_overrides([text], "--config")


@pytest.mark.parametrize("value", ["{", "[1", "'a", "&a [*a]", "2026-13-01", "a: b: c", "\x07"])
def test_an_override_that_is_no_yaml_is_refused_with_its_key(value):
    message = "--config prm.beta: expected a YAML value, e.g. 0.3, true or .1, 2., got"
    with pytest.raises(SettingsError, match=message) as refused:
        parse_overrides(["seed=1", f"prm.beta={value}"], "--config")
    assert repr(value) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_overrides_are_laid_over_files_and_files_over_each_other(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("policy: {eps_clip: 0.1, ppo_epochs: 3}\nseed: 1\n")
    second.write_text("policy.eps_clip: 0.2\nseed: 2\n")
    settings = settings_of([first, second], ["seed=3", "policy={whiten: false}"])
    policy = settings.policy
    assert (settings.seed, policy.eps_clip, policy.ppo_epochs, policy.whiten) == (3, 0.2, 3, False)
    with pytest.raises(SettingsError, match=f"^{first}, {second} and --config: unknown key 'sead'"):
        settings_of([first, second], ["sead=3"])
    first.write_text("seed: many")
    with pytest.raises(SettingsError, match=f"^{first}: seed: "):
        settings_of([first], [])


def test_overrides_alone_are_refused_only_where_no_other_setting_could_put_them_right():
    check_overrides({"evaluation.benchmarks.aime.temperature": 0.6}, "--config")  # its file: below
    check_overrides({"training.offload_optimizer": "cpu"}, "--config")  # beside another ZeRO stage
    with pytest.raises(SettingsError, match="offload_optimizer"):
        parse_settings({"training.offload_optimizer": "cpu"}, "settings")
    with pytest.raises(SettingsError, match=r"^--config: unknown key 'policy\.eps'"):
        check_overrides({"policy.eps": 0.3, "training.offload_optimizer": "cpu"}, "--config")
    with pytest.raises(SettingsError, match="policy: expected a mapping of settings, got 3"):
        check_overrides({"policy": 3}, "--config")


def test_settings_survive_the_way_through_yaml(tmp_path):
    raw = {
        "run": "other",
        "policy.optimizer": {"learning_rate": 1e-7, "betas": [0.8, 0.9]},
        "evaluation": {"benchmarks": {"amc": {"file": "amc.parquet", "temperature": 0.5}}},
        "data.columns": {"prompt": "question"},
    }
    settings = parse_settings(raw, "test")
    path = tmp_path / "config.yaml"
    path.write_text(dump_settings(settings))
    assert load_settings(path) == settings
    assert dump_settings(load_settings(path)) == dump_settings(settings)
    assert set(yaml.safe_load(path.read_text())) == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", "not readable as YAML"),
        ("- a\n- b", "expected a mapping of settings, found list"),
        ("", "expected a mapping of settings, found NoneType"),
        ("sed: 1", "unknown key 'sed'; did you mean 'seed'?"),
        ("run: a\nseed: 1\nrun: b", "line 3, column 1: 'run' stands here again, after line 1"),
        ("run: a\nsft: {num_steps: 1, num_steps: 2}", "line 2, column 21: 'num_steps' stands"),
        ("sft.num_steps: 1\nsft: {num_steps: 2}", "'sft.num_steps' stands here both with dots"),
    ],
)
def test_a_broken_file_of_settings_is_refused_by_name(tmp_path, text, reason):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_an_absent_file_of_settings_is_refused_by_name(tmp_path):
    with pytest.raises(SettingsError, match=r"mine\.yaml: no such file"):
        load_settings(tmp_path / "mine.yaml")


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SettingsError, match=r"mine\.yaml: not readable as YAML"):
        load_settings(path)


def test_settings_never_change():
    with pytest.raises(ValueError, match="frozen"):
        parse_settings({}, "test").rollout.__setattr__("num_shards", 3)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_settings_that_comes_with_the_project_loads(path):
    load_settings(path)


def test_the_quickstart_is_among_the_files_of_settings():
    assert ROOT / "configs" / "quickstart.yaml" in CONFIGS


def test_the_schema_of_the_workflow_is_the_one_that_the_model_gives():
    stored = Path(ROOT / "workflow/schemas/settings.schema.json").read_text()
    assert stored == schema_text(), "run `make schema`"


def test_every_section_says_what_it_is():
    def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
        inner = [
            field.annotation
            for field in model.model_fields.values()
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        ]
        return [model, *(found for section in inner for found in sections(section))]

    names = {section.__name__: section.__doc__ for section in sections(Settings)}
    assert len(names) > 12
    assert all(names.values())


@pytest.mark.parametrize("override", ["2", 2])
def test_the_zero_stage_may_be_a_text_as_snakemake_hands_nested_overrides_on(override):
    raw = {"training": {"zero_stage": override}, "model": {"dtype": "bfloat16"}}
    assert parse_settings(raw, "settings").training.zero_stage == 2


@pytest.mark.parametrize("override", ["4", -1, "two"])
def test_other_zero_stages_are_refused(override):
    with pytest.raises(SettingsError, match=r"^settings: training\.zero_stage: "):
        parse_settings({"training": {"zero_stage": override}}, "settings")


@pytest.mark.parametrize("changes", [{"rollout.top_p": 0.8}, {"policy.tis_clip": 2.0}])
def test_a_part_of_the_distribution_and_a_correction_are_allowed_alone(changes):
    parse_settings(changes, "test")
