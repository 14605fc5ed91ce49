import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.policy_loss import (
    LOSS_AGGREGATIONS,
    POLICY_LOSSES,
    clipped_surrogate,
    clipped_weight_loss,
    kl_estimate,
    next_kl_coef,
    sequence_surrogate,
)
from tests.support.batches import padded, random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.reference_policy import aggregate
from tests.support.shared_data import reference_names

NAN = float("nan")
ALL = torch.ones(1, 4, dtype=torch.bool)


def surrogate(ratios, advantages, mask=ALL, **settings):
    """The surrogate where the policies' probabilities have these ratios."""
    logprobs = torch.tensor([ratios]).log()
    clips = {"eps_clip": 0.2, "eps_clip_high": 0.2} | settings
    return clipped_surrogate(
        logprobs, torch.zeros_like(logprobs), torch.tensor([advantages]), mask, **clips
    )


def test_a_ratio_beyond_the_clip_is_held_only_where_it_would_gain():
    losses, clipped = surrogate([1.5, 1.5, 0.5, 0.5], [1.0, -1.0, 1.0, -1.0])
    torch.testing.assert_close(losses, torch.tensor([[-1.2, 1.5, -0.5, 0.8]]))
    assert clipped.tolist() == [[True, False, False, True]]


def test_clip_higher_lets_good_tokens_rise_further():
    losses, clipped = surrogate([1.25, 1.5, 1.0, 0.5], [1.0] * 4, eps_clip_high=0.28)
    torch.testing.assert_close(losses, torch.tensor([[-1.25, -1.28, -1.0, -0.5]]))
    assert clipped.tolist() == [[False, True, False, False]]


def test_dual_clip_bounds_the_loss_of_bad_tokens():
    losses, clipped = surrogate([10.0, 2.0, 10.0, 1.0], [-1.0, -1.0, 1.0, 1.0], clip_ratio_c=3.0)
    torch.testing.assert_close(losses, torch.tensor([[3.0, 2.0, -1.2, -1.0]]))
    assert clipped.tolist() == [[True, False, True, False]]


def test_a_dual_clip_at_or_below_one_is_refused():
    with pytest.raises(ValueError, match=r"clip_ratio_c .* got 0.5"):
        surrogate([1.0], [1.0], mask=ALL[:, :1], clip_ratio_c=0.5)


def test_a_clipped_token_has_no_gradient():
    logprobs = torch.tensor([[math.log(1.5), 0.0]], requires_grad=True)
    losses, _ = clipped_surrogate(
        logprobs, torch.zeros(1, 2), torch.ones(1, 2), ALL[:, :2], eps_clip=0.2, eps_clip_high=0.2
    )
    (gradient,) = torch.autograd.grad(losses.sum(), logprobs)
    assert gradient.tolist() == [[0, -1]]


def test_rubbish_after_the_end_reaches_neither_loss_nor_gradient():
    logprobs = torch.tensor([[0.0, NAN]], requires_grad=True)
    mask = torch.tensor([[True, False]])
    losses, clipped = clipped_surrogate(
        logprobs,
        torch.tensor([[0.0, float("inf")]]),
        torch.tensor([[1.0, NAN]]),
        mask,
        eps_clip=0.2,
        eps_clip_high=0.2,
    )
    (gradient,) = torch.autograd.grad(losses.sum(), logprobs)
    assert losses.tolist() == [[-1, 0]]
    assert gradient.tolist() == [[-1, 0]]
    assert not clipped[0, 1]


def test_a_ratio_of_e_to_the_thousand_stays_finite():
    losses, _ = clipped_surrogate(
        torch.tensor([[1000.0]]),
        torch.zeros(1, 1),
        -torch.ones(1, 1),
        ALL[:, :1],
        eps_clip=0.2,
        eps_clip_high=0.2,
    )
    assert losses.item() == pytest.approx(math.exp(20), rel=1e-6)


def test_aggregations_of_losses_2_4_and_9():
    losses = torch.tensor([[2.0, 4.0, NAN], [9.0, NAN, NAN]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    sums = {mode: aggregate(mode, losses, mask).item() for mode in LOSS_AGGREGATIONS}
    assert sums == {
        "token-mean": 5,
        "seq-mean-token-sum": 7.5,
        "seq-mean-token-mean": 6,
        "seq-mean-token-sum-norm": 5,
    }


def test_estimates_of_the_divergence_at_a_log_ratio_of_log_2():
    ours, ref = torch.tensor([[math.log(2.0)]]), torch.zeros(1, 1)
    log_2 = math.log(2)
    assert kl_estimate(ours, ref, "k1").item() == pytest.approx(log_2)
    assert kl_estimate(ours, ref, "k2").item() == pytest.approx(log_2**2 / 2)
    assert kl_estimate(ours, ref, "k3").item() == pytest.approx(0.5 - 1 + log_2)
    with pytest.raises(ValueError, match="'k4'"):
        kl_estimate(ours, ref, "k4")


def test_k1_and_k3_average_to_the_divergence_itself():
    ours, ref = (torch.tensor([logits]).log_softmax(1) for logits in ([1.0, 0, -1], [0.0, 0, 0.5]))
    divergence = (ours.exp() * (ours - ref)).sum()
    for kind in ("k1", "k3"):
        estimate = (ours.exp() * kl_estimate(ours, ref, kind)).sum()
        torch.testing.assert_close(estimate, divergence)


def random_policies(seed: int):
    """A batch with log-probabilities under two policies; its rewards serve as advantages."""
    batch = random_batch(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    old = -torch.rand(batch.mask.shape, generator=generator)
    return batch, old + 0.4 * torch.randn(old.shape, generator=generator), old


clips = {"eps_clip": 0.2, "eps_clip_high": 0.28, "clip_ratio_c": 3.0}


@given(seed=seeds)
def test_the_surrogate_equals_a_slow_loop_over_the_equation(seed):
    batch, logprobs, old = random_policies(seed)
    losses, _ = clipped_surrogate(logprobs, old, batch.reward, batch.mask, **clips)
    for i, t in batch.mask.nonzero().tolist():
        advantage = batch.reward[i, t].item()
        ratio = math.exp(logprobs[i, t] - old[i, t])
        loss = max(-ratio * advantage, -min(max(ratio, 0.8), 1.28) * advantage)
        if advantage < 0:
            loss = min(loss, -3 * advantage)
        assert losses[i, t].item() == pytest.approx(loss, rel=1e-4, abs=1e-6)
    assert not losses[~batch.mask].any()


# Narrow enough to clip: a response's mean log-ratio is smaller than a token's.
BOUNDS: dict[str, dict[str, float]] = {
    "vanilla": clips,
    "gspo": {"eps_clip": 0.03, "eps_clip_high": 0.04},
    "cispo": {"eps_clip": 0.2, "eps_clip_high": 0.28},
}
loss_modes = st.sampled_from(sorted(POLICY_LOSSES))


def losses_of(loss_mode, *batch):
    """Losses and clipped tokens with the bounds of a loss."""
    return POLICY_LOSSES[loss_mode](*batch, **BOUNDS[loss_mode])


@given(seed=seeds)
def test_gspo_equals_a_slow_loop_over_the_equation_in_loss_and_gradient(seed):
    batch, logprobs, old = random_policies(seed)
    logprobs.requires_grad_()
    losses, clipped = losses_of("gspo", logprobs, old, batch.reward, batch.mask)
    (gradient,) = torch.autograd.grad(losses.sum(), logprobs)
    for i, t in batch.mask.nonzero().tolist():
        here = [s for s in range(batch.mask.shape[1]) if batch.mask[i, s]]
        ratio = math.exp(sum((logprobs[i, s] - old[i, s]).item() for s in here) / len(here))
        advantage = batch.reward[i, t].item()
        held = min(max(ratio, 0.97), 1.04)
        loss = max(-ratio * advantage, -held * advantage)
        free = loss == -ratio * advantage
        assert losses[i, t].item() == pytest.approx(loss, rel=1e-4, abs=1e-6)
        # The token's own ratio has the gradient of the response's ratio: no other token's.
        slope = -ratio * advantage if free else 0
        assert gradient[i, t].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)
        assert clipped[i, t].item() == (not free)
    assert not losses[~batch.mask].any()
    assert not gradient[~batch.mask].any()


@given(seed=seeds)
def test_cispo_equals_a_slow_loop_over_the_equation_in_loss_and_gradient(seed):
    batch, logprobs, old = random_policies(seed)
    logprobs.requires_grad_()
    losses, clipped = losses_of("cispo", logprobs, old, batch.reward, batch.mask)
    (gradient,) = torch.autograd.grad(losses.sum(), logprobs)
    for i, t in batch.mask.nonzero().tolist():
        ratio = math.exp(logprobs[i, t].item() - old[i, t].item())
        slope = -min(max(ratio, 0.8), 1.28) * batch.reward[i, t].item()
        assert losses[i, t].item() == pytest.approx(
            slope * logprobs[i, t].item(), rel=1e-4, abs=1e-6
        )
        assert gradient[i, t].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)
        assert clipped[i, t].item() == (not 0.8 <= ratio <= 1.28)
    assert not losses[~batch.mask].any()
    assert not gradient[~batch.mask].any()


@pytest.mark.parametrize("loss", [sequence_surrogate, clipped_weight_loss])
def test_ratios_of_e_to_the_thousand_stay_finite_and_a_dual_clip_is_refused(loss):
    far, one = torch.tensor([[1000.0]]), ALL[:, :1]
    losses, _ = loss(far, torch.zeros(1, 1), -torch.ones(1, 1), one, 0.2, 0.2)
    assert losses.isfinite().all()
    with pytest.raises(ValueError, match=r"no dual clip, got clip_ratio_c 3"):
        loss(far, far, far, one, 0.2, 0.2, clip_ratio_c=3.0)


def test_the_weight_of_the_kl_follows_it_by_a_fifth_at_most():
    assert next_kl_coef(0.5, kl=0.1, num_responses=10, target_kl=0.1, kl_horizon=100) == 0.5
    assert next_kl_coef(0.5, 9.0, 10, 0.1, 100) == pytest.approx(0.5 * 1.02)
    assert next_kl_coef(0.5, -9.0, 10, 0.1, 100) == pytest.approx(0.5 * 0.98)
    assert next_kl_coef(0.5, 0.11, 10, 0.1, 100) == pytest.approx(0.5 * 1.01)


@given(
    seed=seeds,
    loss_mode=loss_modes,
    mode=st.sampled_from(sorted(LOSS_AGGREGATIONS)),
    micro=st.integers(1, 5),
)
def test_gradients_of_micro_batches_add_up_to_that_of_the_minibatch(seed, loss_mode, mode, micro):
    batch, logprobs, old = random_policies(seed)
    whole, parts = (logprobs.clone().requires_grad_() for _ in range(2))
    denominators = {
        "num_tokens": int(batch.mask.sum()),
        "num_sequences": len(batch.mask),
        "max_response_length": batch.mask.shape[1],
    }
    total = 0.0
    for start, size, leaf in [
        (0, len(old), whole),
        *((start, micro, parts) for start in range(0, len(old), micro)),
    ]:
        rows = slice(start, start + size)
        # A micro batch is cut to its longest response, as it is in training.
        width = int(batch.mask[rows].sum(1).max())
        cut = (rows, slice(0, width))
        losses, _ = losses_of(loss_mode, leaf[cut], old[cut], batch.reward[cut], batch.mask[cut])
        loss = LOSS_AGGREGATIONS[mode](losses, batch.mask[cut], **denominators)
        loss.backward()
        total += loss.item() if leaf is parts else -loss.item()
    assert total == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(parts.grad, whole.grad)


@given(seed=seeds, loss_mode=loss_modes, width=st.integers(1, 9))
def test_padding_and_order_change_no_loss(seed, loss_mode, width):
    batch, logprobs, old = random_policies(seed)
    losses, _ = losses_of(loss_mode, logprobs, old, batch.reward, batch.mask)
    order = torch.randperm(len(old), generator=torch.Generator().manual_seed(seed))
    wide, _ = losses_of(
        loss_mode,
        padded(logprobs, width, NAN)[order],
        padded(old, width, NAN)[order],
        padded(batch.reward, width, NAN)[order],
        padded(batch.mask, width, False)[order],
    )
    torch.testing.assert_close(wide, padded(losses, width, 0.0)[order])


@given(seed=seeds, loss_mode=loss_modes, scale=st.floats(0.1, 10))
def test_losses_scale_with_the_advantages(seed, loss_mode, scale):
    batch, logprobs, old = random_policies(seed)
    plain, _ = losses_of(loss_mode, logprobs, old, batch.reward, batch.mask)
    scaled, _ = losses_of(loss_mode, logprobs, old, scale * batch.reward, batch.mask)
    torch.testing.assert_close(scaled, scale * plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        *reference_names("orig_ppo_"),
        *reference_names("verl_loss_"),
        *reference_names("orig_kl_"),
        *reference_names("orig_klpen_"),
        *reference_names("orig_adaptive_kl"),
    ],
)
def test_losses_gradients_and_divergences_match_the_published_ones(name):
    agree(check(name))
