"""Which prompts are asked when: never twice in an iteration, whatever the number of shards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prime_core.run.schedule import (
    first_round,
    num_first_round,
    num_missing,
    refill_round,
    round_of,
    shard_rows,
)
from tests.support.batches import seeds

counts = st.integers(1, 60)


@given(counts, counts, st.integers(1, 50), seeds)
def test_an_iteration_asks_every_prompt_at_most_once(num_prompts, num_wanted, iteration, seed):
    num_wanted = min(num_wanted, num_prompts)
    rows = first_round(num_prompts, num_wanted, iteration, seed)
    assert len(rows) == len(set(rows)) == num_wanted
    assert all(0 <= row < num_prompts for row in rows)


@given(counts, counts, st.integers(0, 4), seeds)
def test_the_iterations_of_an_epoch_share_no_prompt_and_cover_all_but_a_rest(
    num_prompts, num_wanted, epoch, seed
):
    num_wanted = min(num_wanted, num_prompts)
    per_epoch = num_prompts // num_wanted
    iterations = range(epoch * per_epoch + 1, (epoch + 1) * per_epoch + 1)
    rows = [
        row
        for iteration in iterations
        for row in first_round(num_prompts, num_wanted, iteration, seed)
    ]
    assert len(set(rows)) == len(rows) == num_prompts - num_prompts % num_wanted


def test_epochs_are_different_permutations_and_so_are_seeds():
    epochs = [first_round(50, 50, iteration, seed=0) for iteration in (1, 2, 3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert first_round(50, 50, 1, seed=1) != epochs[0]
    assert first_round(50, 50, 2, seed=0) == epochs[1]


def test_what_an_epoch_leaves_over_is_another_rest_in_the_next():
    rests = [set(range(10)) - set(first_round(10, 8, iteration, seed=0)) for iteration in (1, 2, 3)]
    assert len({frozenset(rest) for rest in rests}) > 1


def test_too_few_prompts_are_an_error_with_both_numbers_and_the_key():
    with pytest.raises(ValueError, match=r"needs 9 .*rollout_batch_size.* only 8 training prompts"):
        first_round(8, 9, 1, seed=0)


@given(counts, counts, counts, st.integers(1, 50), seeds)
def test_refill_rounds_never_repeat_a_prompt(num_prompts, first, second, iteration, seed):
    asked = first_round(num_prompts, min(first, num_prompts), iteration, seed)
    refill = refill_round(num_prompts, second, asked, iteration, seed)
    third = refill_round(num_prompts, second, [*asked, *refill], iteration, seed)
    every = [*asked, *refill, *third]
    assert len(every) == len(set(every))
    assert len(refill) == min(second, num_prompts - len(asked))
    assert len(third) == min(second, num_prompts - len(asked) - len(refill))


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 12))
def test_shards_joined_are_the_rows_in_order_whatever_their_number(rows, num_shards):
    parts = [shard_rows(rows, place, num_shards) for place in range(num_shards)]
    assert [row for part in parts for row in part] == rows
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 200), st.integers(1, 20))
def test_a_shard_number_says_its_round_and_place(shard, num_shards):
    this_round, place = round_of(shard, num_shards)
    assert this_round * num_shards + place == shard
    assert 0 <= place < num_shards


@pytest.mark.parametrize(
    ("batch", "factor", "expected"),
    [(256, 1.0, 256), (256, 1.5, 384), (3, 1.2, 4), (100, 1.1, 110)],
)
def test_the_first_round_asks_the_batch_times_the_factor_rounded_up(batch, factor, expected):
    assert num_first_round(batch, factor) == expected


@pytest.mark.parametrize(
    ("groups", "fill", "missing"),
    [(256, 1.0, 0), (255, 1.0, 1), (300, 1.0, 0), (251, 0.98, 0), (250, 0.98, 6), (0, 0.01, 256)],
)
def test_a_batch_that_is_full_enough_is_not_refilled(groups, fill, missing):
    assert num_missing(256, groups, fill) == missing
