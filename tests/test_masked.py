import pytest
import torch
from hypothesis import given

from prime_core.masked import (
    last_token,
    masked_sum,
    masked_var,
    masked_whiten,
    sequence_mean,
    token_mean,
)
from tests.support.batches import random_batch, seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

NAN = float("nan")
VALUES = torch.tensor([[1.0, 2.0, NAN], [6.0, NAN, NAN]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_sums_and_means_count_true_tokens_alone():
    assert masked_sum(VALUES, MASK) == 9
    assert token_mean(VALUES, MASK) == 3
    assert sequence_mean(VALUES, MASK).tolist() == [1.5, 6]


def test_variance_of_1_2_6_is_7_with_bessel_and_14_thirds_without():
    assert masked_var(VALUES, MASK) == 7
    assert masked_var(VALUES, MASK, bessel=False) == pytest.approx(14 / 3)


def test_whitening_1_2_6_divides_by_the_root_of_7():
    whitened = masked_whiten(VALUES, MASK)
    expected = torch.tensor([[-2.0, -1.0, 0.0], [3.0, 0.0, 0.0]]) / 7**0.5
    torch.testing.assert_close(whitened, expected)
    kept_mean = masked_whiten(VALUES, MASK, shift_mean=False)
    torch.testing.assert_close(kept_mean, (expected + 3) * MASK)


def test_a_row_without_tokens_has_mean_zero_and_no_last_token():
    empty = torch.zeros(1, 3, dtype=torch.bool)
    assert sequence_mean(torch.full((1, 3), NAN), empty).tolist() == [0]
    assert not last_token(empty).any()


def test_the_last_token_of_a_mask_with_holes_is_its_last_true_one():
    mask = torch.tensor([[True, False, True, False]])
    assert last_token(mask).tolist() == [[False, False, True, False]]


def test_bfloat16_is_widened_before_it_is_summed():
    ones = torch.ones(1, 1000, dtype=torch.bfloat16)
    total = masked_sum(ones, torch.ones_like(ones, dtype=torch.bool))
    assert total.dtype == torch.float32
    assert total == 1000


@pytest.mark.parametrize("num_tokens", [0, 1])
def test_too_few_tokens_for_a_variance_are_refused(num_tokens):
    mask = torch.arange(3)[None] < num_tokens
    with pytest.raises(ValueError, match=f"counts {num_tokens} tokens"):
        masked_whiten(torch.ones(1, 3), mask)


def test_a_mask_of_integers_is_refused():
    with pytest.raises(ValueError, match="must be bool"):
        masked_sum(torch.ones(1, 2), torch.ones(1, 2, dtype=torch.long))


@given(seed=seeds)
def test_whitened_values_have_mean_zero_and_variance_one(seed):
    batch = random_batch(seed)
    whitened = masked_whiten(batch.reward, batch.mask)
    assert token_mean(whitened, batch.mask).item() == pytest.approx(0, abs=1e-6)
    assert masked_var(whitened, batch.mask).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", reference_names("orig_masked_"))
def test_masked_statistics_match_the_published_ones(name):
    agree(check(name))
