import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.mismatch import AllRejected, correction
from prime_core.policy_loss import LOSS_AGGREGATIONS, clipped_surrogate
from tests.support.batches import padded, random_batch, seeds

NAN = float("nan")
OFF: dict[str, Any] = {
    "tis_clip": 0.0,
    "tis_level": "token",
    "rejection_level": "none",
    "rejection_low": 0.5,
    "rejection_high": 2.0,
}
# Two responses, of two tokens and of one; the trainer's probability over the sampler's.
RATIOS = torch.tensor([[4.0, 0.5], [0.25, NAN]])
MASK = torch.tensor([[True, True], [True, False]])

tis_levels = st.sampled_from(["token", "sequence"])
rejection_levels = st.sampled_from(["none", "token", "sequence", "geometric"])


def corrected(ratios=RATIOS, mask=MASK, **settings):
    """The correction where trainer and sampler have these ratios."""
    return correction(ratios.log(), torch.zeros_like(ratios), mask, **(OFF | settings))


def test_without_settings_every_token_counts_once():
    found = corrected()
    assert found.weights.tolist() == [[1, 1], [1, 0]]
    assert torch.equal(found.accepted, MASK)
    assert not found.truncated.any()
    assert found.rows == [0, 1]


def test_token_weights_are_ratios_up_to_the_clip():
    found = corrected(tis_clip=3.0)
    torch.testing.assert_close(found.weights, torch.tensor([[3.0, 0.5], [0.25, 0.0]]))
    assert found.truncated.tolist() == [[True, False], [False, False]]


def test_sequence_weights_are_the_products_of_a_responses_ratios():
    found = corrected(tis_clip=3.0, tis_level="sequence")
    torch.testing.assert_close(found.weights, torch.tensor([[2.0, 2.0], [0.25, 0.0]]))
    assert not found.truncated.any()
    assert corrected(tis_clip=1.5, tis_level="sequence").truncated.tolist() == [
        [True, True],
        [False, False],
    ]


@pytest.mark.parametrize(
    ("level", "low", "high", "accepted"),
    [
        ("token", 0.4, 3, [[False, True], [False, False]]),
        ("token", 0.2, 3, [[False, True], [True, False]]),
        ("sequence", 0.4, 3, [[True, True], [False, False]]),  # 2 and 0.25
        ("sequence", 0.2, 1.9, [[False, False], [True, False]]),
        ("geometric", 0.4, 1.5, [[True, True], [False, False]]),  # 1.41 and 0.25
        ("geometric", 0.2, 1.4, [[False, False], [True, False]]),
    ],
)
def test_rejection_leaves_out_what_lies_outside_the_bounds(level, low, high, accepted):
    found = corrected(rejection_level=level, rejection_low=low, rejection_high=high)
    assert found.accepted.tolist() == accepted
    assert found.rows == [row for row, tokens in enumerate(accepted) if any(tokens)]
    assert torch.equal(found.weights > 0, found.accepted)


def test_the_bounds_themselves_are_accepted():
    ones = torch.ones(1, 3)
    for level in ("token", "sequence", "geometric"):
        found = corrected(
            ones, ones.bool(), rejection_level=level, rejection_low=1.0, rejection_high=1.0
        )
        assert found.accepted.all()


def test_a_batch_that_is_rejected_whole_is_an_error_with_its_ratios_and_bounds():
    with pytest.raises(
        AllRejected,
        match=r"rejection_level 'sequence' rejects all 2 responses: .* between 0.25 and 2, none "
        r"within \[policy.rejection_low 0.9, policy.rejection_high 1.1\]",
    ):
        corrected(rejection_level="sequence", rejection_low=0.9, rejection_high=1.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_ratios_of_e_to_the_thousand_stay_finite(dtype, level):
    old = torch.tensor([[-1.0, -1000.0], [-1000.0, -1.0]], dtype=dtype)
    sampler = torch.tensor([[-1.0, -1.0], [-1.0, -1000.0]], dtype=dtype)
    found = correction(
        old, sampler, torch.ones(2, 2).bool(), **(OFF | {"tis_clip": 1e30, "tis_level": level})
    )
    assert found.weights.dtype == torch.float32
    assert found.weights.isfinite().all()
    assert found.weights.max() <= math.exp(20) * 1.001


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="'word'"):
        corrected(tis_clip=2.0, tis_level="word")


def random_mismatch(seed: int):
    """A batch and its log-probabilities under trainer and sampler; NaN stands after the ends."""
    batch = random_batch(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    sampler = -torch.rand(batch.mask.shape, generator=generator)
    old = sampler + 0.4 * torch.randn(sampler.shape, generator=generator)
    fill = ~batch.mask
    return batch, old.masked_fill(fill, NAN), sampler.masked_fill(fill, NAN)


def settings_of(tis_level, rejection_level):
    """Bounds so wide that some response always stays."""
    return {
        "tis_clip": 1.3,
        "tis_level": tis_level,
        "rejection_level": rejection_level,
        "rejection_low": 0.7,
        "rejection_high": 1e3,
    }


def correction_or_skip(*arguments, **settings):
    """The correction; None where it rejects everything."""
    try:
        return correction(*arguments, **settings)
    except AllRejected:
        return None


@given(seed=seeds, tis_level=tis_levels, rejection_level=rejection_levels)
def test_the_correction_equals_a_slow_loop_over_the_equations(seed, tis_level, rejection_level):
    batch, old, sampler = random_mismatch(seed)
    found = correction_or_skip(old, sampler, batch.mask, **settings_of(tis_level, rejection_level))
    for i in range(len(old)):
        length = int(batch.mask[i].sum())
        log_ratios = [float(old[i, t] - sampler[i, t]) for t in range(length)]
        for t, own in enumerate(log_ratios):
            level = {"token": own, "sequence": sum(log_ratios), "none": 0.0}
            level["geometric"] = sum(log_ratios) / length
            accepted = 0.7 <= math.exp(level[rejection_level]) <= 1e3
            weight = min(math.exp(level[tis_level]), 1.3) if accepted else 0.0
            if found is None:
                assert not accepted
                continue
            assert bool(found.accepted[i, t]) == accepted
            assert float(found.weights[i, t]) == pytest.approx(weight, rel=1e-4)
    if found is not None:
        assert not found.accepted[~batch.mask].any()
        assert not found.weights[~batch.mask].any()


@given(seed=seeds, tis_level=tis_levels, rejection_level=rejection_levels, width=st.integers(1, 9))
def test_neither_padding_nor_the_order_of_responses_matters(
    seed, tis_level, rejection_level, width
):
    batch, old, sampler = random_mismatch(seed)
    settings = settings_of(tis_level, rejection_level)
    order = torch.randperm(len(old), generator=torch.Generator().manual_seed(seed))
    found = correction_or_skip(old, sampler, batch.mask, **settings)
    other = correction_or_skip(
        padded(old, width, NAN)[order],
        padded(sampler, width, NAN)[order],
        padded(batch.mask, width, False)[order],
        **settings,
    )
    assert (found is None) == (other is None)
    if found is not None and other is not None:
        torch.testing.assert_close(other.weights, padded(found.weights, width, 0.0)[order])
        assert torch.equal(other.accepted, padded(found.accepted, width, False)[order])


@given(
    seed=seeds,
    mode=st.sampled_from(sorted(LOSS_AGGREGATIONS)),
    tis_level=tis_levels,
    rejection_level=rejection_levels,
    micro=st.integers(1, 5),
)
def test_the_corrected_gradient_does_not_depend_on_micro_batches(
    seed, mode, tis_level, rejection_level, micro
):
    """And is that of the accepted tokens alone, as if the others had never been sampled."""
    batch, old, sampler = random_mismatch(seed)
    found = correction_or_skip(old, sampler, batch.mask, **settings_of(tis_level, rejection_level))
    if found is None:
        return
    rows = torch.tensor(found.rows)
    denominators = {
        "num_tokens": int(found.accepted.sum()),
        "num_sequences": len(rows),
        "max_response_length": batch.mask.shape[1],
    }

    def gradient(parts):
        leaf = old.nan_to_num().requires_grad_()
        for part in parts:
            losses, _ = clipped_surrogate(
                leaf[part],
                old[part],
                batch.reward[part],
                found.accepted[part],
                eps_clip=0.2,
                eps_clip_high=0.2,
            )
            losses = losses * found.weights[part]
            LOSS_AGGREGATIONS[mode](losses, found.accepted[part], **denominators).backward()
        assert leaf.grad is not None
        return leaf.grad

    whole = gradient([rows])
    torch.testing.assert_close(gradient(rows.split(micro)), whole)
    assert not whole[~found.accepted].any()
    if mode == "token-mean":
        expected = -found.weights * batch.reward.nan_to_num() / found.accepted.sum()
        torch.testing.assert_close(whole, expected)
