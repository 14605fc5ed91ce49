"""Padding and cutting of batches: every row once, the same number of passes on every rank."""

import math
import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.training.batches import (
    Sequences,
    cut_into_passes,
    group_minibatches,
    micro_batches,
    minibatches,
    pad,
    pad_rows,
    share_among_ranks,
)
from tests.support.batches import seeds

CPU = torch.device("cpu")
lengths = st.lists(st.integers(1, 20), min_size=1, max_size=30)


def test_prompts_are_padded_on_the_left_and_responses_on_the_right():
    batch = pad(Sequences([[1, 2, 3], [4]], [[5], [6, 7]]), pad_token_id=0, device=CPU)
    assert batch.input_ids.tolist() == [[1, 2, 3, 5, 0], [0, 0, 4, 6, 7]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert batch.response_ids.tolist() == [[5, 0], [6, 7]]
    assert batch.mask.tolist() == [[True, False], [True, True]]
    assert batch.mask.dtype == torch.bool


def test_positions_count_from_the_first_token_that_is_no_padding():
    batch = pad(Sequences([[1, 2, 3], [4]], [[5], [6, 7]]), pad_token_id=0, device=CPU)
    attended = batch.attention_mask.bool()
    assert batch.position_ids[0, attended[0]].tolist() == [0, 1, 2, 3]
    assert batch.position_ids[1, attended[1]].tolist() == [0, 1, 2]
    assert batch.position_ids.min() == 0


def test_a_padding_token_inside_a_response_is_a_token_like_others():
    batch = pad(Sequences([[1], [1]], [[0, 2], [3, 0]]), pad_token_id=0, device=CPU)
    assert batch.mask.all()
    assert batch.attention_mask.all()


def test_take_keeps_the_order_asked_and_lengths_count_prompt_and_response():
    sequences = Sequences([[1], [2, 2], [3]], [[4], [5], [6, 6, 6]])
    assert sequences.take([2, 0]) == Sequences([[3], [1]], [[6, 6, 6], [4]])
    assert sequences.lengths == [2, 3, 4]
    assert len(sequences) == 3


def test_ragged_rows_become_a_matrix_with_zeros_behind():
    expected = torch.tensor([[1.5, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, -3.0, 4.0]])
    assert torch.equal(pad_rows([[1.5], [], [2.0, -3.0, 4.0]], 3), expected)


@given(st.integers(1, 60), st.integers(1, 25), seeds)
def test_minibatches_are_a_partition_into_nearly_equal_parts(num_rows, size, seed):
    parts = minibatches(num_rows, size, np.random.default_rng(seed))
    assert sorted(row for part in parts for row in part) == list(range(num_rows))
    assert len(parts) == math.ceil(num_rows / size)
    sizes = [len(part) for part in parts]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_minibatches_of_groups_hold_every_row_once_and_cut_no_group(sizes, size, seed):
    group = [number for number, count in enumerate(sizes) for _ in range(count)]
    random.Random(seed).shuffle(group)
    parts = group_minibatches(group, size, np.random.default_rng(seed))
    assert sorted(row for part in parts for row in part) == list(range(len(group)))
    holders = [
        {number for number, part in enumerate(parts) if members & set(part)}
        for members in ({r for r, g in enumerate(group) if g == one} for one in set(group))
    ]
    assert all(len(held_by) == 1 for held_by in holders)
    assert max(map(len, parts)) < size + max(sizes)


def test_minibatches_are_random_and_repeat_with_the_seed():
    first, again, other = (minibatches(40, 8, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again
    assert first != other


budgets = st.one_of(st.none(), st.integers(1, 60))


@given(lengths, st.integers(1, 9), budgets, st.integers(1, 5), st.data())
def test_ranks_share_a_minibatch_without_overlap_in_equally_many_passes(
    lengths, size, budget, world_size, data
):
    rows = data.draw(st.permutations(range(len(lengths))))[: data.draw(st.integers(1, 30))]
    ranks = [
        micro_batches(rows, lengths, size, budget, rank, world_size) for rank in range(world_size)
    ]
    assert len({len(passes) for passes in ranks}) == 1
    assert sorted(row for passes in ranks for part in passes for row in part) == sorted(rows)
    if budget is None:
        assert all(len(part) <= size for passes in ranks for part in passes)
        assert len(ranks[0]) == math.ceil(math.ceil(len(rows) / world_size) / size)


@given(lengths, st.integers(1, 5))
def test_ranks_get_nearly_the_same_tokens_and_rows(lengths, num_parts):
    parts = share_among_ranks(range(len(lengths)), lengths, num_parts)
    rows = [len(part) for part in parts]
    tokens = [sum(lengths[row] for row in part) for part in parts]
    assert max(rows) - min(rows) <= 1
    assert max(tokens) - min(tokens) <= max(lengths)


def test_four_long_and_four_short_responses_are_dealt_evenly():
    lengths = [9, 9, 1, 1, 9, 1, 9, 1]
    parts = share_among_ranks(range(8), lengths, 4)
    assert [sum(lengths[row] for row in part) for part in parts] == [10] * 4


def test_what_one_rank_gets_more_of_a_round_it_gets_less_of_the_next():
    assert share_among_ranks([0, 1, 2, 3], [8, 5, 4, 3], 2) == [[0, 3], [1, 2]]  # 11 and 9 tokens


@given(lengths, st.integers(1, 9), budgets, st.permutations(range(5)))
def test_the_order_of_a_minibatch_does_not_change_its_passes(lengths, size, budget, order):
    lengths = (lengths * 5)[:5]
    assert micro_batches(order, lengths, size, budget) == micro_batches(
        range(5), lengths, size, budget
    )


@given(lengths, st.integers(1, 9))
def test_passes_hold_every_row_once_the_longest_first(lengths, size):
    parts = cut_into_passes(range(len(lengths)), lengths, size)
    rows = [row for part in parts for row in part]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths, reverse=True)
    assert all(len(part) == size for part in parts[:-1])


@given(lengths, st.integers(1, 60))
def test_passes_of_a_token_budget_keep_it_and_none_could_take_in_the_next_row(lengths, budget):
    parts = cut_into_passes(range(len(lengths)), lengths, 1, budget)
    rows = [row for part in parts for row in part]
    assert sorted(rows) == list(range(len(lengths)))
    tokens = [sum(lengths[row] for row in part) for part in parts]
    assert all(len(part) == 1 or own <= budget for part, own in zip(parts, tokens, strict=True))
    for own, following in zip(tokens, parts[1:], strict=False):
        assert own + lengths[following[0]] > budget


def test_a_row_longer_than_the_budget_has_a_pass_of_its_own():
    assert cut_into_passes([0, 1, 2, 3], [3, 12, 4, 2], 1, 9) == [[1], [2, 0, 3]]
