"""Changed settings: taken where they alter nothing finished, refused with the key where they do."""

from pathlib import Path
from typing import Any

import pytest

from prime_core.run.changes import is_changeable, refused_changes
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import flatten, parse_settings
from prime_core.settings.run import Settings

CHANGEABLE = {
    "iterations": 99,
    "max_gpu_hours": 10.0,
    "stage_resources": "cluster_profiles/stages-7b.yaml",
    "resident": "none",
    "rollout.num_shards": 7,
    "rollout.sampler_batch_size": 3,
    "rollout.sampler": "vllm",
    "rollout.tensor_parallel_size": 2,
    "rollout.gpu_memory_utilization": 0.5,
    "rollout.enforce_eager": True,
    "sft.micro_batch_size": 1,
    "prm.micro_batch_size": 1,
    "policy.micro_batch_size": 1,
    "policy.max_mismatch_kl": 0.5,
    "value.micro_batch_size": 1,
    "training.zero_stage": 1,
    "training.gradient_checkpointing": True,
    "training.offload_optimizer": "cpu",
    "training.packing": False,
    "training.max_token_len_per_gpu": 512,
    "training.logprobs_chunk_size": 64,
    "training.state_storage": "memory",
    "training.checkpoint_minutes": 5.0,
    "evaluation.every": 5,
    "evaluation.benchmarks.validation.num_shards": 4,
    "checkpoints.keep_last": 5,
    "checkpoints.save_freq": 3,
    "reproduction.of": "rloo-240",
    "reproduction.accuracies": [0.5],
    "reproduction.authors": [{"name": "A. Author", "orcid": None, "affiliation": None}],
}
# A setting, and what it is refused for once it exists.
FIXED = [
    ("model.build.num_layers", 2, "base_model"),
    ("seed", 1, "base_model"),
    ("seed", 1, "train"),
    ("data.arithmetic.max_number", 5, "train"),
    ("data.prompt_suffix", "!", "train"),
    ("sft.num_steps", 3, "policy"),
    ("sft.optimizer.learning_rate", 0.5, "policy"),
    ("prm.path", "other", "prm"),
    ("rollout.temperature", 0.5, "iteration"),
    ("prm.beta", 0.5, "iteration"),
    ("policy.optimizer.betas", [0.5, 0.5], "iteration"),
    ("filter.filter_accuracy", False, "iteration"),
    ("verification.no_box", "last_line", "outcomes"),
]


def settings_with(changes: dict[str, Any]) -> Settings:
    """Default settings but for some."""
    return parse_settings(changes, "test")


def finished(root: Path, which: str) -> RunFiles:
    """A run in which one thing is there."""
    files = RunFiles(root)
    path = {
        "nothing": root,
        "base_model": files.base_model,
        "train": files.train,
        "policy": files.policy(0),
        "prm": files.prm(0),
        "iteration": files.shard_count(1),
        "outcomes": files.iteration(1) / "outcomes",
    }[which]
    path.mkdir(parents=True, exist_ok=True)
    return files


def everything(root: Path) -> RunFiles:
    """A run in which all is there."""
    for which in ("base_model", "train", "policy", "prm", "iteration", "outcomes"):
        finished(root, which)
    return RunFiles(root)


@pytest.mark.parametrize("key", CHANGEABLE)
def test_what_alters_no_finished_result_may_change_at_any_time(key, tmp_path):
    old = {"training.zero_stage": 2}  # stage 0 off-loads nothing
    new = settings_with(old | {key: CHANGEABLE[key]})
    assert refused_changes(settings_with(old), new, everything(tmp_path)) == []


def test_the_changeable_settings_are_these_and_no_others():
    keys = flatten(Settings().model_dump(mode="json"))
    assert {key for key in keys if is_changeable(key)} == {*CHANGEABLE}


@pytest.mark.parametrize(("key", "value", "which"), FIXED)
def test_a_setting_is_refused_once_the_first_file_it_enters_is_there(key, value, which, tmp_path):
    old, new = settings_with({}), settings_with({key: value})
    assert refused_changes(old, new, finished(tmp_path / "new", "nothing")) == []
    (refusal,) = refused_changes(old, new, finished(tmp_path / "begun", which))
    assert refusal.startswith(f"{key}: ")
    assert refusal.endswith(f"-> {value!r}")


@pytest.mark.parametrize(
    ("key", "value", "earlier"),
    [
        ("sft.num_steps", 3, "train"),
        ("rollout.temperature", 0.5, "policy"),
        ("policy.eps_clip", 0.1, "prm"),
        ("verification.timeout_seconds", 3, "iteration"),
    ],
)
def test_a_setting_may_change_while_only_earlier_files_are_there(key, value, earlier, tmp_path):
    changed = settings_with({key: value})
    assert refused_changes(settings_with({}), changed, finished(tmp_path, earlier)) == []


@pytest.mark.parametrize(("key", "value"), [("path", "other"), ("optimizer.learning_rate", 0.5)])
def test_settings_of_values_are_fixed_where_they_were_read(key, value, tmp_path):
    files, change = everything(tmp_path), {f"value.{key}": value}
    assert refused_changes(settings_with({}), settings_with(change), files) == []
    ppo = {"policy.adv_estimator": "gae"}
    (refusal,) = refused_changes(settings_with(ppo), settings_with(ppo | change), files)
    assert refusal.startswith(f"value.{key}: ")
    both = refused_changes(settings_with({}), settings_with(ppo | change), files)
    assert both == ["policy.adv_estimator: 'rloo' -> 'gae'"]


def test_all_refused_changes_are_named_in_order(tmp_path):
    new = settings_with({"seed": 1, "prm.beta": 0.5, "iterations": 9})
    refused = refused_changes(settings_with({}), new, everything(tmp_path))
    assert refused == ["prm.beta: 0.05 -> 0.5", "seed: 0 -> 1"]


def test_a_new_benchmark_is_taken_and_so_is_the_removal_of_one(tmp_path):
    files = everything(tmp_path)
    finish_evaluation(files, "validation")
    one: dict[str, dict] = {"validation": {}}
    two = one | {"aime": {"file": "aime.parquet"}}
    for old, new in ((one, two), (two, one)):
        before, after = (settings_with({"evaluation.benchmarks": which}) for which in (old, new))
        assert refused_changes(before, after, files) == []


@pytest.mark.parametrize("name", ["validation", "every", "gpqa-1.1"])
def test_a_benchmark_that_was_evaluated_keeps_its_own_settings(name, tmp_path):
    files = finished(tmp_path, "nothing")
    old, new = (
        settings_with({"evaluation": {"benchmarks": {name: {"temperature": temperature}}}})
        for temperature in (0.0, 1.0)
    )
    assert refused_changes(old, new, files) == []
    finish_evaluation(files, name)
    key = f"evaluation.benchmarks.{name}.temperature"
    assert refused_changes(old, new, files) == [f"{key}: 0.0 -> 1.0"]


def test_so_do_the_columns_of_its_table(tmp_path):
    files = everything(tmp_path)
    finish_evaluation(files, "gpqa-1.1")
    finish_evaluation(files, "gpqa-1")
    keys = {"file": "gpqa.jsonl", "columns": {"prompt": "a"}}
    old, new = (
        settings_with({"evaluation": {"benchmarks": {"gpqa-1.1": keys | {"columns": columns}}}})
        for columns in ({"prompt": "a"}, {"prompt": "b"})
    )
    key = "evaluation.benchmarks.gpqa-1.1.columns.prompt"
    assert refused_changes(old, new, files) == [f"{key}: 'a' -> 'b'"]


def test_verification_settings_are_fixed_once_an_evaluation_was_judged_by_them(tmp_path):
    files = finished(tmp_path, "nothing")
    finish_evaluation(files, "validation")
    new = settings_with({"verification.no_box": "last_line"})
    assert refused_changes(settings_with({}), new, files) == [
        "verification.no_box: 'no_answer' -> 'last_line'"
    ]


def finish_evaluation(files: RunFiles, benchmark: str) -> None:
    """Figures of iteration 0."""
    path = files.evaluation(0, benchmark)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
