"""Which tokens of a response were sampled, and for which response."""

import pandas as pd
import pytest

from prime_core.run.sampled import num_own_tokens, records, response_length, sampled_mask

TOKENS = [5, 6, 7, 8, 9]
TURNS = {"response_tokens": TOKENS, "response_mask": [True, True, False, False, True]}


def test_all_tokens_are_sampled_where_a_row_does_not_say():
    row = {"response_tokens": TOKENS}
    assert sampled_mask(row) == [True] * 5
    assert response_length(row) == num_own_tokens(row) == 5


def test_observations_have_no_length_and_a_fork_owns_what_follows_it():
    assert response_length(TURNS) == num_own_tokens(TURNS) == 3
    assert num_own_tokens(TURNS | {"fork": 1}) == 2
    assert response_length(TURNS | {"fork": 1}) == 3


def test_rows_of_tables_with_and_without_the_columns_can_be_joined():
    rows = pd.concat(
        [pd.DataFrame([TURNS | {"fork": 1}]), pd.DataFrame([{"response_tokens": [1]}])]
    )
    assert [num_own_tokens(row) for row in records(rows)] == [2, 1]


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a response_mask of 1 for 5 response_tokens"):
        sampled_mask({"response_tokens": TOKENS, "response_mask": [True]})
