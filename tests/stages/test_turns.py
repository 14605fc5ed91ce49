"""Responses with observations: stages learn from the tokens that the policy sampled, alone."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, REWARDS, TableError, read_json, read_table, write_table
from prime_core.settings.reading import load_settings
from prime_core.stages import policy, prm, score, value, values
from prime_core.step_credit import centred_steps, gigpo_steps
from prime_core.training.batch_advantages import batch_advantages, batch_rewards, batch_step_ends
from prime_core.training.implicit_rewards import token_rewards
from prime_core.training.learning_batch import LearningBatch, read_batch
from prime_core.turns import turn_ends, turn_sums
from tests.support.made_up_batch import NUM_RESPONSES, made_up_batch
from tests.support.made_up_turns import with_turns
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("one_rank")

PPO = {"policy.adv_estimator": "gae", "value.mini_batch_size": NUM_RESPONSES}
ISTAR: dict[str, Any] = {
    **{"prm.prime_granularity": "turn", "prm.loss_type": "dpo_pairs", "policy.whiten": False},
    **{"policy.combine": "advantages", "policy.process_centre": "group"},
}


def made_up(folder, **changes: Any) -> RunFiles:
    """The made-up batch, with a PRM that differs from its reference."""
    usual: dict[str, Any] = {
        "prm.beta": 0.5,
        "prm.optimizer": {"learning_rate": 1e-3, "grad_clip": 1e9},
    }
    files = made_up_batch(folder, **usual | changes)
    files.prm(0).unlink()
    save_tiny_model(files.prm(0), seed=1)
    return files


def learn(files: RunFiles) -> dict[str, torch.Tensor]:
    """Every stage of an iteration that learns; the weights of all models."""
    settings = load_settings(files.config)
    score.run(files.root, 1)
    stages = [*([values] if settings.has_value_model else []), prm, policy]
    for stage in [*stages, *([value] if settings.has_value_model else [])]:
        stage.run(files.root, 1)
    return {
        f"{model}.{name}": weight
        for model in settings.trained
        for name, weight in load_file(files.weights(model, 1) / "model.safetensors").items()
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"policy.gamma_outcome": 0.9, "policy.gamma_process": 0.8, "policy.kl_coef": 0.1},
        PPO | {"policy.gae_lambda": 0.9},
    ],
    ids=["rloo", "gae"],
)
def test_a_mask_that_is_true_everywhere_is_no_mask_bit_for_bit(tmp_path, changes):
    without = learn(made_up(tmp_path / "without", **changes))
    files = with_turns(made_up(tmp_path / "with", **changes), sampled=lambda n: [True] * n)
    found = learn(files)
    assert found.keys() == without.keys()
    assert all(torch.equal(found[name], weight) for name, weight in without.items())


@pytest.mark.parametrize(
    "changes",
    [{"policy.tis_clip": 1.5, "policy.kl_coef": 0.1, "policy.entropy_coef": 0.1}, PPO],
    ids=["rloo", "gae"],
)
def test_what_stands_at_an_observation_changes_nothing(tmp_path, changes):
    usual = learn(with_turns(made_up(tmp_path / "usual", **changes)))
    files = with_turns(made_up(tmp_path / "rubbish", **changes))
    rows = read_table(files.batch(1), BATCH)
    pairs = zip(rows["response_mask"], rows["sampler_logprobs"], strict=True)
    rubbish = pd.Series([np.where(mask, numbers, -33.0) for mask, numbers in pairs])
    write_table(files.batch(1), rows.assign(sampler_logprobs=rubbish), BATCH)
    found = learn(files)
    assert all(torch.equal(found[name], weight) for name, weight in usual.items())
    plain = learn(made_up(tmp_path / "plain", **changes))
    assert any(float((plain[name] - weight).abs().max()) > 1e-6 for name, weight in usual.items())


def sampled_rewards(files: RunFiles) -> list[list[float]]:
    """Implicit rewards of each response's sampled tokens, from whole responses."""
    batch, settings = read_batch(files, 1), load_settings(files.config)
    rows = token_rewards(files.prm(0), files.reference, batch.sequences, settings)
    return [
        [reward for reward, sampled in zip(row, mask, strict=False) if sampled]
        for row, mask in zip(rows, batch.mask.tolist(), strict=True)
    ]


def cross_entropy(rewards: list[float], outcome: float) -> float:
    z = sum(rewards)
    return math.log1p(math.exp(-z if outcome else z))


def prefixes(rewards: list[float], outcome: float) -> float:
    means = np.cumsum(rewards) / np.arange(1, len(rewards) + 1)
    return float(np.log1p(np.exp(5.0 - (2 * outcome - 1) * means)).mean())


@pytest.mark.parametrize(
    ("changes", "one"),
    [
        ({}, cross_entropy),
        ({"prm.loss_type": "prefix", "prm.response_score": "mean"}, prefixes),
    ],
    ids=["ce", "prefix"],
)
def test_a_prms_loss_is_of_the_sampled_tokens(tmp_path, changes, one):
    files = with_turns(made_up(tmp_path, **changes))
    score.run(files.root, 1)
    prm.run(files.root, 1)
    outcomes = read_batch(files, 1).outcome.tolist()
    losses = [one(*each) for each in zip(sampled_rewards(files), outcomes, strict=True)]
    found = read_json(files.metrics(1, "prm"))["prm/loss"]
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_rewards_are_summed_by_turns_and_zero_at_observations(tmp_path):
    files = with_turns(made_up(tmp_path, **{"prm.prime_granularity": "turn"}))
    score.run(files.root, 1)
    batch = read_batch(files, 1)
    found = batch.matrix(read_table(files.rewards(1), REWARDS)["implicit_reward"])
    ends = turn_ends(batch.mask)
    assert bool((found[~ends] == 0).all())
    assert bool((found[ends] != 0).all())
    for row, rewards in zip(found, sampled_rewards(files), strict=True):
        assert float(row.sum()) == pytest.approx(sum(rewards), rel=1e-4, abs=1e-6)


def found_advantages(
    files: RunFiles,
) -> tuple[LearningBatch, torch.Tensor | None, torch.Tensor]:
    """The batch, its rewards, and the advantages that its policy stage computes."""
    settings = load_settings(files.config)
    batch = read_batch(files, 1, settings.batch_columns)
    rewards = batch_rewards(settings, files, 1, batch)
    ends = batch_step_ends(settings, batch, files.policy(0))
    penalty = settings.invalid_action_penalty
    found = batch_advantages(
        settings, batch, rewards, None, step_ends=ends, invalid_action_penalty=penalty
    )
    return batch, rewards, found.advantages


def leave_one_out(batch: LearningBatch) -> torch.Tensor:
    """Outcomes less the mean of the three others."""
    total = batch.outcome.view(2, 4).sum(1, keepdim=True).expand(2, 4).flatten()
    return batch.outcome - (total - batch.outcome) / 3


def test_istar_is_trained_through_the_stages(tmp_path):
    files = with_turns(made_up(tmp_path, **ISTAR))
    learn(files)
    batch, rewards, found = found_advantages(files)
    assert rewards is not None
    how = (batch.mask, turn_ends(batch.mask), batch.group, "rloo", "group")
    steps = centred_steps(rewards.double(), *how).float()
    expected = (leave_one_out(batch)[:, None] + steps) * batch.mask
    torch.testing.assert_close(found, expected)
    # A turn's tokens share an advantage.
    assert turn_sums(found, batch.mask)[0, 0] == pytest.approx(2 * float(found[0, 0]))
    metrics = read_json(files.metrics(1, "policy"))
    assert metrics["advantage/mean"] == pytest.approx(float(found.sum() / batch.mask.sum()))


def gigpo(folder, penalty: float = 0.0) -> RunFiles:
    """A run of an environment, without a PRM."""
    env = {"id": "FrozenLake-v1", "max_turn_length": 8, "invalid_action_penalty": penalty}
    return made_up(
        folder,
        **{"policy.adv_estimator": "gigpo", "policy.whiten": False, "prm.prm_update": "none"},
        **{"data.source": "env", "data.env": env, "sft.enabled": False},
    )


def test_gigpo_is_trained_from_an_environments_rewards(tmp_path):
    files = with_turns(gigpo(tmp_path / "usual"))
    policy.run(files.root, 1)
    batch, _, found = found_advantages(files)
    rewards, states = batch.turn_rewards, batch.states
    assert rewards is not None
    assert states is not None
    steps = gigpo_steps(rewards, states, batch.mask, batch.group, 0.95, "mean").float()
    centred = 0.75 * leave_one_out(batch)  # less the mean of all four
    torch.testing.assert_close(found, (centred[:, None] + steps) * batch.mask)
    # Second turns were not valid: they are worth less, and the first turns' baseline is lower.
    _, _, less = found_advantages(with_turns(gigpo(tmp_path / "less", penalty=0.5)))
    second = batch.turn == 1
    assert bool((less[second] < found[second]).all())
    assert bool((less[batch.turn == 0] > found[batch.turn == 0]).all())


def test_gigpo_needs_an_environments_rewards_and_as_many_as_turns(tmp_path):
    files = gigpo(tmp_path, penalty=0.1)
    missing = r"columns \['turn_rewards', 'states', 'valid_actions'\] are missing"
    with pytest.raises(TableError, match=missing):
        policy.run(files.root, 1)
    rows = read_table(with_turns(files).batch(1), BATCH)
    rows["states"] = [[*states, "one more"] for states in rows["states"]]
    write_table(files.batch(1), rows, BATCH)
    with pytest.raises(TableError, match=r"response 0 to p0: \d states of \d turns"):
        policy.run(files.root, 1)
