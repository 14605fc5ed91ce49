"""Outcomes before advantages are made of them. What estimators refuse: tests/test_advantage.py."""

import pytest
import torch

from prime_core.outcomes import check_choices, overlong_shaped


def test_a_response_loses_the_factor_over_the_last_tokens_before_the_limit():
    mask = torch.arange(10) < torch.tensor([[5], [6], [8], [10]])
    outcome = torch.tensor([1.0, 1.0, 0.0, 1.0])
    shaped = overlong_shaped(outcome, mask, 10, buffer_len=4, penalty_factor=0.5)
    assert shaped.tolist() == [1, 1, -0.25, 0.5]
    assert overlong_shaped(outcome, mask, 10, buffer_len=0, penalty_factor=0.5) is outcome


def test_a_response_without_an_outcome_and_another_combination_are_refused():
    with pytest.raises(ValueError, match=r"responses \[1\] have no verdict"):
        check_choices(torch.tensor([1.0, float("nan")]), "returns")
    with pytest.raises(ValueError, match="both"):
        check_choices(torch.tensor([1.0]), "both")
