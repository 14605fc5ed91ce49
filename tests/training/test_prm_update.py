"""The PRM update with either DPO, on a real trainer: whatever the passes, whatever the cut."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from prime_core.implicit_reward import log_odds, response_score
from prime_core.models.load import load_model
from prime_core.prm_loss import best_of_n_weight
from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from prime_core.runtime.interruption import Interrupted
from prime_core.settings.reading import load_settings
from prime_core.stages import prm, score
from prime_core.training import step_checkpoint
from prime_core.training.batches import pad
from prime_core.training.implicit_rewards import token_rewards, whole_rewards
from prime_core.training.learning_batch import read_batch
from prime_core.training.scoring import response_logprobs
from tests.support.interrupted_stages import TWO_FORKS, run
from tests.support.made_up_batch import NUM_RESPONSES, made_up_batch
from tests.support.made_up_turns import with_turns
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("one_rank")

DPO: dict[str, Any] = {
    "prm.loss_type": "dpo",
    "prm.optimizer": {"learning_rate": 1e-3, "grad_clip": 1e9},
}
PAIRS = {"prm.loss_type": "dpo_pairs"}


def made_up(folder, **changes) -> RunFiles:
    """A made-up batch whose PRM is not its reference: opponents have rewards."""
    files = made_up_batch(folder, **DPO | {"prm.beta": 0.5} | changes)
    files.prm(0).unlink()
    save_tiny_model(files.prm(0), seed=1)
    score.run(files.root, 1)
    return files


def update(folder, **changes) -> RunFiles:
    """One update of it."""
    files = made_up(folder, **changes)
    prm.run(files.root, 1)
    return files


def weights(files: RunFiles) -> dict[str, torch.Tensor]:
    return load_file(files.prm(1) / "model.safetensors")


def rewards_of_whole_responses(files: RunFiles) -> torch.Tensor:
    """z of the batch's responses under the first PRM, as a scorer of folders finds it."""
    sequences = read_batch(files, 1).sequences
    settings = load_settings(files.config)
    return torch.tensor(whole_rewards(files.prm(0), files.reference, sequences, settings))


def slow_loss(files: RunFiles, weigh: bool) -> float:
    """The mean over responses, one after the other, from the rewards of whole responses."""
    batch, z = read_batch(files, 1), rewards_of_whole_responses(files)
    total = 0.0
    for i in range(NUM_RESPONSES):
        same = batch.group == batch.group[i]
        others = same & (batch.outcome != batch.outcome[i])
        lead = float(z[i] - z[others].mean()) * (1 if batch.outcome[i] else -1)
        weight = float(best_of_n_weight(z, batch.group)[i]) if weigh else 1.0
        total += weight * float(torch.nn.functional.softplus(torch.tensor(-lead)))
    return total / NUM_RESPONSES


@pytest.mark.parametrize("bon_weight", ["none", "bon_rm"])
def test_the_loss_of_a_step_is_the_mean_over_its_minibatch_of_weighed_pairs(tmp_path, bon_weight):
    files = update(tmp_path, **{"prm.bon_weight": bon_weight})
    expected = slow_loss(files, weigh=bon_weight == "bon_rm")
    assert read_json(files.metrics(1, "prm"))["prm/loss"] == pytest.approx(expected, rel=1e-5)
    assert abs(expected - 0.6931) > 0.01  # opponents have a say


def test_the_passes_of_a_minibatch_change_nothing(tmp_path):
    runs = [
        update(tmp_path / str(size), **{"prm.micro_batch_size": size, "prm.bon_weight": "bon_rm"})
        for size in (1, 3, NUM_RESPONSES)
    ]
    for other in runs[1:]:
        norms = [read_json(one.metrics(1, "prm"))["prm/grad_norm"] for one in (other, runs[0])]
        assert norms[0] == pytest.approx(norms[1], rel=1e-4)
        for name, values in weights(other).items():
            torch.testing.assert_close(values, weights(runs[0])[name], rtol=0, atol=5e-5)


def test_groups_that_minibatches_cut_have_the_opponents_of_the_whole_batch(tmp_path):
    files = made_up(tmp_path, **{"prm.mini_batch_size": 2})
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        usual = prm.PrmUpdate.learn

        def learn(self, batch, reference, rows, pairs):
            seen.append(pairs)
            return usual(self, batch, reference, rows, pairs)

        patch.setattr(prm.PrmUpdate, "learn", learn)
        prm.run(files.root, 1)
    batch, z = read_batch(files, 1), rewards_of_whole_responses(files)
    assert len(seen) == 4
    for opponents, ones in seen:
        assert ones.tolist() == [1] * NUM_RESPONSES
        for i in range(NUM_RESPONSES):
            others = (batch.group == batch.group[i]) & (batch.outcome != batch.outcome[i])
            assert float(opponents[i]) == pytest.approx(float(z[others].mean()), rel=1e-4)


def test_an_update_that_was_interrupted_keeps_its_first_opponents(tmp_path, monkeypatch):
    changes = {"prm.mini_batch_size": 2, "prm.bon_weight": "bon_rm"}
    calm = update(tmp_path / "calm", **changes)
    files = made_up(tmp_path / "stopped", **changes)
    answers = iter([False, True])
    monkeypatch.setattr(step_checkpoint, "stop_requested", lambda: next(answers))
    with pytest.raises(Interrupted, match="stopped at step 2 of 4"):
        prm.run(files.root, 1)
    monkeypatch.setattr(step_checkpoint, "stop_requested", lambda: False)
    prm.run(files.root, 1)
    assert all(torch.equal(values, weights(files)[name]) for name, values in weights(calm).items())


def test_a_gradient_is_that_of_the_whole_batch_at_once(tmp_path):
    files = update(tmp_path)
    batch = read_batch(files, 1)
    padded = pad(batch.sequences, 0, torch.device("cpu"))
    model, reference = (load_model(f, "float32") for f in (files.prm(0), files.reference))
    with torch.no_grad():
        theirs = response_logprobs(reference, padded)
    z = log_odds(0.5 * (response_logprobs(model, padded) - theirs), padded.mask)
    total = torch.zeros(())
    for i in range(NUM_RESPONSES):
        others = (batch.group == batch.group[i]) & (batch.outcome != batch.outcome[i])
        lead = z[i] - z[others].mean().detach()
        total = total - torch.nn.functional.logsigmoid(lead if batch.outcome[i] else -lead)
    (total / NUM_RESPONSES).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    found = read_json(files.metrics(1, "prm"))["prm/grad_norm"]
    assert found == pytest.approx(float(norm), rel=1e-4)


def test_rewards_of_tokens_add_up_to_those_of_whole_responses(tmp_path):
    files = made_up(tmp_path)
    sequences, settings = read_batch(files, 1).sequences, load_settings(files.config)
    tokens = token_rewards(files.prm(0), files.reference, sequences, settings)
    assert [len(row) for row in tokens] == [len(row) for row in sequences.responses]
    z = rewards_of_whole_responses(files)
    torch.testing.assert_close(torch.tensor([sum(row) for row in tokens]), z)
    assert whole_rewards(files.reference, files.reference, sequences, settings) == [0] * len(z)


def episodes(folder, **changes) -> RunFiles:
    """The batch as episodes of several turns, before an update on all their pairs."""
    files = with_turns(made_up(folder, **PAIRS | changes))
    score.run(files.root, 1)
    return files


def loss_at_once(files: RunFiles, model: PreTrainedModel, response_score_kind: str) -> torch.Tensor:
    """The mean over all pairs of the batch, both sides of each in one pass."""
    batch = read_batch(files, 1)
    padded = pad(batch.sequences, 0, torch.device("cpu"))
    with torch.no_grad():
        theirs = response_logprobs(load_model(files.reference, "float32"), padded)
    rewards = 0.5 * (response_logprobs(model, padded) - theirs)
    z = response_score(rewards, batch.mask, response_score_kind)
    leads = [
        z[i] - z[j]
        for i in range(NUM_RESPONSES)
        for j in range(NUM_RESPONSES)
        if batch.group[i] == batch.group[j] and batch.outcome[i] > batch.outcome[j]
    ]
    assert len(leads) == 8 - 1
    return -torch.nn.functional.logsigmoid(torch.stack(leads)).mean()


@pytest.mark.parametrize("kind", ["sum", "turn_mean"])
def test_all_pairs_have_the_loss_and_gradient_of_the_whole_batch_at_once(tmp_path, kind):
    model = load_model(save_tiny_model(tmp_path / "prm", seed=1), "float32")
    found = []
    for size in (1, 3, NUM_RESPONSES):
        changes = {"prm.micro_batch_size": size, "prm.response_score": kind}
        files = episodes(tmp_path / str(size), **changes)
        prm.run(files.root, 1)
        found.append((read_json(files.metrics(1, "prm")), weights(files)))
    loss = loss_at_once(files, model, kind)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    for figures, trained in found:
        assert figures["prm/num_steps"] == 1
        assert figures["prm/loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
        assert figures["prm/grad_norm"] == pytest.approx(float(norm), rel=1e-4)
        for name, values in trained.items():
            torch.testing.assert_close(values, found[0][1][name], rtol=0, atol=5e-5)


def test_minibatches_of_pairs_are_whole_groups_each_at_the_prm_as_it_is(tmp_path, monkeypatch):
    files, seen = episodes(tmp_path, **{"prm.mini_batch_size": 2}), []
    usual = prm.PrmUpdate.pairs

    def pairs(self, batch, reference):
        seen.append(sorted(batch.rows["prompt_id"]))
        return usual(self, batch, reference)

    monkeypatch.setattr(prm.PrmUpdate, "pairs", pairs)
    prm.run(files.root, 1)
    assert sorted(seen) == [["p0"] * 4, ["p1"] * 4]


def test_a_batch_without_a_pair_is_an_error_that_names_the_filter(tmp_path):
    files = made_up_batch(tmp_path, outcomes=[1.0] * 4 + [0.0] * 4, **DPO | PAIRS)
    score.run(files.root, 1)
    with pytest.raises(prm.NoPairs, match=r"'dpo_pairs' compares; expected filter.filter_accuracy"):
        prm.run(files.root, 1)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"prm.mini_batch_size": 3}, PAIRS], ids=["dpo", "dpo_pairs"])
def test_two_ranks_take_the_steps_of_one(tmp_path, changes):
    one = update(tmp_path / "one", **changes)
    two = made_up(tmp_path / "two", **changes)
    run(two, "prm", TWO_FORKS)
    for name, values in weights(one).items():
        torch.testing.assert_close(values, weights(two)[name], rtol=0, atol=5e-5)
