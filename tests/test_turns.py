"""Turns are runs of sampled tokens."""

import torch

from prime_core.turns import turn_ends, turn_index

MASK = torch.tensor(
    [
        [True, True, False, True, False, True, False],  # three turns
        [True, True, True, True, False, False, False],  # one, then padding
        [False, False, False, False, False, False, False],
        [False, True, True, True, True, True, True],
    ]
)


def test_a_turn_is_a_run_of_sampled_tokens():
    assert turn_index(MASK).tolist() == [
        [0, 0, -1, 1, -1, 2, -1],
        [0, 0, 0, 0, -1, -1, -1],
        [-1] * 7,
        [-1, 0, 0, 0, 0, 0, 0],
    ]
    assert turn_ends(MASK).nonzero().tolist() == [[0, 1], [0, 3], [0, 5], [1, 3], [3, 6]]
