"""The policy update with weights and rejection between sampler and trainer, on a real trainer."""

import pytest
import torch
from safetensors.torch import load_file

from prime_core.mismatch import AllRejected
from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, read_json, write_table
from prime_core.settings.reading import load_settings
from prime_core.stages import policy
from prime_core.training.implicit_rewards import logprobs_under
from prime_core.training.learning_batch import read_batch
from prime_core.training.policy_update import SamplerMismatch
from tests.support.made_up_batch import NUM_RESPONSES, USUAL_LOGPROB, made_up_batch
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("one_rank")

# Tokens that had about the probability that the tiny model gives any, and nearly none.
USUAL, IMPOSSIBLE = [USUAL_LOGPROB] * NUM_RESPONSES, [-60.0] * NUM_RESPONSES
TWO_IMPOSSIBLE = [-60.0, *USUAL[2:], -60.0]
REJECTING = {"rejection_level": "geometric", "rejection_low": 1e-6, "rejection_high": 1e6}


def update(folder, sampler_logprobs, **changes):
    """One policy update with changed settings of its section; returns the run's files."""
    policy_changes = {f"policy.{key}": value for key, value in changes.items()}
    files = made_up_batch(folder, sampler_logprobs, **{"prm.prm_update": "none"} | policy_changes)
    policy.run(files.root, 1)
    return files


def figures(files):
    return read_json(files.metrics(1, "policy"))


def weights(files):
    return load_file(files.policy(1) / "model.safetensors")


def test_truncated_weights_multiply_the_gradient(tmp_path):
    plain = update(tmp_path / "plain", IMPOSSIBLE)
    weighed = update(tmp_path / "weighed", IMPOSSIBLE, tis_clip=2.0)
    assert figures(weighed)["actor/tis_weight_mean"] == 2
    assert figures(weighed)["actor/tis_truncated_share"] == 1
    assert figures(weighed)["actor/grad_norm"] == pytest.approx(
        2 * figures(plain)["actor/grad_norm"], rel=1e-5
    )
    assert "actor/tis_weight_mean" not in figures(plain)
    assert figures(plain)["actor/mismatch_kl"] == pytest.approx(-20)  # held there


def test_rejected_responses_are_left_out_whatever_the_micro_batch(tmp_path):
    runs = [
        update(tmp_path / str(size), TWO_IMPOSSIBLE, micro_batch_size=size, **REJECTING)
        for size in (1, 3, NUM_RESPONSES)
    ]
    for run in runs:
        norm, expected = (figures(one)["actor/grad_norm"] for one in (run, runs[0]))
        assert norm == pytest.approx(expected, rel=1e-5)
        assert figures(run)["actor/rejected_responses_share"] == 0.25
        assert 0 < figures(run)["actor/rejected_share"] < 1
        for name, values in weights(run).items():
            # AdamW divides by the gradient's size: rounding of a tiny one moves a weight visibly.
            torch.testing.assert_close(values, weights(runs[0])[name], rtol=0, atol=5e-5)
    kept = update(tmp_path / "kept", TWO_IMPOSSIBLE)
    assert any(
        not torch.equal(values, weights(kept)[name]) for name, values in weights(run).items()
    )


def test_bounds_that_reject_nothing_change_no_bit(tmp_path):
    plain, bounded = (
        update(tmp_path / name, USUAL, **settings)
        for name, settings in (("plain", {}), ("bounded", REJECTING))
    )
    assert figures(bounded)["actor/rejected_share"] == 0
    for name, values in weights(plain).items():
        assert torch.equal(values, weights(bounded)[name])


def test_a_batch_that_is_rejected_whole_ends_the_stage_and_leaves_no_policy(tmp_path):
    with pytest.raises(AllRejected, match=r"rejects all 8 responses"):
        update(tmp_path, IMPOSSIBLE, **REJECTING)
    assert not RunFiles(tmp_path / "made-up").policy(1).exists()


def sampled_by(folder, model, apart=0.0, **changes):
    """A run whose responses have the log-probabilities of this model, or its own policy's."""
    files = made_up_batch(folder, **{"prm.prm_update": "none"} | changes)
    settings, batch = load_settings(files.config), read_batch(files, 1)
    rows = logprobs_under(model or files.policy(0), batch, settings)
    batch.rows["sampler_logprobs"] = [[number + apart for number in row] for row in rows]
    write_table(files.batch(1), batch.rows, BATCH)
    return files


BOUND = {"policy.max_mismatch_kl": 0.1}


def test_responses_of_the_policy_itself_are_trained_on(tmp_path):
    files = sampled_by(tmp_path, None, apart=0.09, **BOUND)
    policy.run(files.root, 1)
    assert figures(files)["actor/mismatch_kl"] == pytest.approx(0.09, abs=1e-5)


@pytest.mark.parametrize("apart", [0.11, -0.11])
def test_a_mismatch_beyond_the_bound_of_either_sign_ends_the_iteration(tmp_path, apart):
    files = sampled_by(tmp_path, None, apart, **BOUND)
    with pytest.raises(SamplerMismatch, match=r"actor/mismatch_kl is -?0.11 nats a token before"):
        policy.run(files.root, 1)
    assert not files.policy(1).exists()
    assert not files.metrics(1, "policy").exists()


def test_stale_weights_of_a_sampler_are_refused_and_the_sentence_names_likely_causes(tmp_path):
    stale = save_tiny_model(tmp_path / "stale", seed=7)
    files = sampled_by(tmp_path, stale, **BOUND, **{"rollout.max_staleness": 1})
    with pytest.raises(SamplerMismatch) as error:
        policy.run(files.root, 1)
    for words in (
        "beyond policy.max_mismatch_kl 0.1",
        "kept old weights",
        "responses of an older policy",
        "another temperature, top_p or top_k",
        "rollout.temperature 1, top_p 1, top_k 0",
    ):
        assert words in str(error.value)
