"""What is left of a tree when a response leaves, and the figures of forks."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given

from prime_core.run.selection import filter_groups
from prime_core.run.tree_rows import tree_metrics, with_heirs
from prime_core.settings.run import Filter
from prime_core.trees import Forks, tree_nodes
from tests.support.batches import seeds
from tests.support.random_trees import Trees, random_trees


def table(trees: Trees) -> pd.DataFrame:
    """Rows as a batch has them, as far as trees are concerned."""
    return pd.DataFrame(
        {
            "prompt_id": [f"p{group}" for group in trees.group.tolist()],
            "sample": trees.forks.sample.numpy(),
            "parent": trees.forks.parent.numpy().astype("int32"),
            "fork": trees.forks.fork.numpy().astype("int32"),
            "response_tokens": trees.tokens,
            "outcome": trees.outcome.numpy(),
            "finish_reason": "stop",
        }
    )


@given(seed=seeds)
def test_where_responses_leave_the_others_share_what_they_shared(seed):
    rows = table(random_trees(seed, num_groups=3, num_tokens=12))
    keep = np.random.default_rng(seed).random(len(rows)) < 0.6
    left = with_heirs(rows, keep)[keep]
    assert left.dtypes["parent"] == left.dtypes["fork"] == np.int32
    for _, group in left.groupby("prompt_id"):
        own: list[int] = []
        tokens = dict(zip(group["sample"], group["response_tokens"], strict=True))
        for row in group.to_dict("records"):
            fork = row["fork"]
            own += row["response_tokens"][fork:]
            if row["parent"] >= 0:
                assert tokens[row["parent"]][:fork] == row["response_tokens"][:fork]
        # Each token once: nobody calls his own what another has as well.
        assert sorted(own) == sorted({*(token for one in tokens.values() for token in one)})
        mask = torch.arange(12) < torch.tensor([[len(one)] for one in group["response_tokens"]])
        sample, parent, fork = (
            torch.tensor(group[name].to_numpy(dtype="int64"))
            for name in ("sample", "parent", "fork")
        )
        # It refuses a parent that is not there.
        tree_nodes(Forks(sample, parent, fork), mask, torch.zeros(len(group)).long())


def test_who_shares_most_with_a_response_without_a_verdict_takes_its_place():
    rows = pd.DataFrame(
        {
            "prompt_id": "p",
            "sample": [0, 1, 2, 3],
            "parent": [-1, 0, 0, 1],
            "fork": [0, 2, 3, 4],
            "response_tokens": [[0, 1, 2, 3], [0, 1, 4, 5, 6], [0, 1, 2, 7], [0, 1, 4, 5, 8]],
            "outcome": [np.nan, 1.0, 0.0, 1.0],
            "finish_reason": "stop",
        }
    )
    kept = filter_groups(rows, Filter(filter_accuracy=False))
    assert kept[["sample", "parent", "fork"]].values.tolist() == [[1, 2, 2], [2, -1, 0], [3, 1, 4]]


def test_tokens_that_are_shared_count_once():
    rows = [
        {"prompt_id": "p", "response_tokens": [1, 2, 3, 4], "parent": -1, "fork": 0},
        {"prompt_id": "p", "response_tokens": [1, 2, 3, 5], "parent": 0, "fork": 3},
    ]
    assert tree_metrics(rows) == {
        "tree/num_forks_mean": 1.0,
        "tree/own_share": pytest.approx(5 / 8),
        "tree/fork_position_mean": pytest.approx(3 / 4),
    }
    assert tree_metrics([{"response_tokens": [1]}]) == {}
    assert tree_metrics([]) == {}
