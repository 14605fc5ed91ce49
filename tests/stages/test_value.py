"""PPO's stages: values, the update of the value model, advantages from them, the PRM's values."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification

from prime_core.models.load import ModelError, load_tokenizer
from prime_core.run.layout import TRAINING_STATE, RunFiles, unfinished_folder
from prime_core.run.tables import TableError, read_json
from prime_core.runtime.interruption import Interrupted
from prime_core.settings.reading import load_settings
from prime_core.stages import policy, score, value, values
from prime_core.training import step_checkpoint
from prime_core.training.batch_advantages import (
    BatchAdvantages,
    batch_advantages,
    batch_rewards,
    batch_values,
)
from prime_core.training.learning_batch import read_batch, read_values
from tests.support.made_up_batch import NUM_RESPONSES, made_up_batch
from tests.support.tiny_model import save_tiny_model
from tests.support.training_steps import difference

pytestmark = pytest.mark.usefixtures("one_rank")

PPO: dict[str, Any] = {
    "policy.adv_estimator": "gae",
    "prm.prm_update": "none",
    "value.mini_batch_size": NUM_RESPONSES,
    "value.optimizer": {"learning_rate": 1e-2, "grad_clip": 1e9},
}


def with_trained_prm(files: RunFiles) -> RunFiles:
    """The run with rewards of a PRM that differs from the reference."""
    files.prm(0).unlink()
    save_tiny_model(files.prm(0), seed=7)
    score.run(files.root, 1)
    return files


def advantages_of(files: RunFiles) -> BatchAdvantages:
    """What the policy stage makes of the first batch."""
    settings, batch = load_settings(files.config), read_batch(files, 1)
    rewards = batch_rewards(settings, files, 1, batch)
    return batch_advantages(
        settings, batch, rewards, batch_values(settings, files, 1, batch, rewards)
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_first_values_are_zero_and_the_model_begins_to_learn_the_outcomes(tmp_path):
    files = made_up_batch(tmp_path, **PPO)
    values.run(files.root, 1)
    batch = read_batch(files, 1)
    assert not read_values(files, 1, batch).any()
    value.run(files.root, 1)
    figures = read_json(files.metrics(1, "value"))
    lengths = batch.mask.sum(1)
    share = float((lengths * batch.outcome).sum() / lengths.sum())
    assert figures["critic/vf_loss"] == pytest.approx(share / 2)
    assert figures["critic/vf_clip_fraction"] == 0
    assert figures["critic/num_steps"] == 1
    AutoModelForTokenClassification.from_pretrained(files.value(1))
    assert (files.value(1) / TRAINING_STATE).is_dir()


def test_with_values_of_zero_ppo_is_reinforce(tmp_path):
    ppo = made_up_batch(tmp_path / "ppo", **PPO)
    values.run(ppo.root, 1)
    plain = made_up_batch(tmp_path / "plain", **PPO | {"policy.adv_estimator": "reinforce"})
    for files in (ppo, plain):
        policy.run(files.root, 1)
    assert difference(weights(ppo.policy(1)), weights(plain.policy(1))) == 0
    assert difference(weights(ppo.policy(1)), weights(ppo.policy(0))) > 0
    ours, theirs = (read_json(files.metrics(1, "policy")) for files in (ppo, plain))
    assert ours["critic/explained_variance"] == 0
    assert not any(name.startswith("critic/") for name in theirs)


def test_the_next_iteration_goes_on_from_what_was_learnt(tmp_path):
    files = made_up_batch(tmp_path, **PPO | {"value.epochs": 3})
    for iteration in (1, 2):
        if iteration == 2:
            files.iteration(2).mkdir()
            shutil.copy(files.batch(1), files.batch(2))
        values.run(files.root, iteration)
        value.run(files.root, iteration)
    assert read_values(files, 2, read_batch(files, 2)).any()
    first, second = (read_json(files.metrics(number, "value")) for number in (1, 2))
    assert (first["critic/num_steps"], second["critic/num_steps"]) == (3, 6)
    assert second["critic/vf_loss"] < first["critic/vf_loss"]


def test_values_learn_the_sum_of_the_outcome_and_the_implicit_rewards(tmp_path):
    files = with_trained_prm(made_up_batch(tmp_path, **PPO | {"prm.prm_update": "after"}))
    values.run(files.root, 1)
    ours, batch = advantages_of(files), read_batch(files, 1)
    rewards = batch_rewards(load_settings(files.config), files, 1, batch)
    assert rewards is not None
    total = batch.outcome + rewards.sum(1)
    torch.testing.assert_close(ours.returns[:, 0], total)
    value.run(files.root, 1)
    policy.run(files.root, 1)
    expected = float(ours.returns.square().sum() / batch.mask.sum()) / 2
    assert read_json(files.metrics(1, "value"))["critic/vf_loss"] == pytest.approx(expected)


@pytest.mark.parametrize("prm_value", ["log_odds", "probability"])
def test_the_prm_as_value_model_needs_no_other_and_gives_no_rewards(tmp_path, prm_value):
    changes = {"prm.prm_update": "after", "value.source": "prm", "value.prm_value": prm_value}
    files = with_trained_prm(made_up_batch(tmp_path, **PPO | changes))
    ours, batch = advantages_of(files), read_batch(files, 1)
    torch.testing.assert_close(ours.returns, batch.outcome[:, None] * batch.mask)
    assert ours.values is not None
    assert (ours.values[:, 0] == (0.5 if prm_value == "probability" else 0)).all()
    policy.run(files.root, 1)
    figures = read_json(files.metrics(1, "policy"))
    assert figures["return/mean"] == pytest.approx(float(ours.returns.sum() / batch.mask.sum()))
    assert figures["critic/explained_variance"] < 1
    assert not files.values(1).exists()


def test_a_value_model_of_ones_own_is_taken_with_its_head(tmp_path):
    first = made_up_batch(tmp_path / "first", **PPO)
    values.run(first.root, 1)
    value.run(first.root, 1)
    second = made_up_batch(tmp_path / "second", **PPO | {"value.path": str(first.value(1))})
    values.run(second.root, 1)
    assert read_values(second, 1, read_batch(second, 1)).any()
    value.run(second.root, 1)  # with an optimizer of its own
    assert read_json(second.metrics(1, "value"))["critic/num_steps"] == 1


def test_a_value_model_that_reads_other_tokens_is_refused_by_name(tmp_path):
    other = save_tiny_model(tmp_path / "other")
    tokenizer = load_tokenizer(other)
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(other)
    files = made_up_batch(tmp_path / "run", **PPO | {"value.path": str(other)})
    with pytest.raises(ModelError, match=f"value.path: {other}: its tokenizer is not that of"):
        values.run(files.root, 1)


def test_values_of_other_responses_are_refused_by_name(tmp_path):
    files = made_up_batch(tmp_path, **PPO)
    values.run(files.root, 1)
    batch = read_batch(files, 1)
    batch.rows["sample"] += 1
    with pytest.raises(TableError, match=r"values.parquet: its responses are not those of .*batch"):
        read_values(files, 1, batch)


def test_an_update_that_was_stopped_inside_ends_with_the_same_bits(tmp_path, monkeypatch):
    changes = PPO | {"value.mini_batch_size": 3, "value.epochs": 2}
    undisturbed, stopped = (made_up_batch(tmp_path / name, **changes) for name in ("one", "two"))
    for files in (undisturbed, stopped):
        values.run(files.root, 1)
    value.run(undisturbed.root, 1)
    answers = iter([False, True])
    monkeypatch.setattr(step_checkpoint, "stop_requested", lambda: next(answers, False))
    with pytest.raises(Interrupted, match="stopped at step 2 of 6"):
        value.run(stopped.root, 1)
    assert not stopped.value(1).exists()
    value.run(stopped.root, 1)
    assert not unfinished_folder(stopped.value(1)).exists()
    assert difference(weights(stopped.value(1)), weights(undisturbed.value(1))) == 0
    ours, theirs = (read_json(files.metrics(1, "value")) for files in (stopped, undisturbed))
    for name in (name for name in ours if name.startswith("critic/")):
        assert ours[name] == theirs[name], name
