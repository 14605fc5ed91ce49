"""Advantages of trees: numbers for paper, reference values, slow loops, properties."""

import dataclasses

import pytest
import torch
from hypothesis import given
from torch import Tensor

from prime_core.trees import TREE_ESTIMATORS, TREE_WEIGHTS, Forks, tree_grpo, tree_nodes
from tests.support.batches import padded, seeds
from tests.support.comparison import agree
from tests.support.random_trees import Trees, random_trees, trees_of
from tests.support.reference_advantages import advantages
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

PLAIN = {"whiten": False, "baseline": "paper"}
WEIGHTS = {"sqrt": 0.5, "uniform": 1.0, "none": 0.0}  # exponents of the number of leaves


def forks(sample: list[int], parent: list[int], fork: list[int]) -> Forks:
    return Forks(torch.tensor(sample), torch.tensor(parent), torch.tensor(fork))


# Two chains of four tokens; a continuation from the first, of its last two tokens.
SMALL = trees_of(
    [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 8, 9]],
    torch.tensor([1.0, 0.0, 0.0]).double(),
    torch.zeros(3).long(),
    forks([0, 1, 2], [-1, -1, 0], [0, 0, 2]),
)


def of(trees: Trees, adv_estimator: str, **settings) -> Tensor:
    found, _ = advantages(
        trees.outcome,
        settings.pop("reward", None),
        trees.mask,
        trees.group,
        adv_estimator=adv_estimator,
        forks=dataclasses.replace(trees.forks, weight=settings.pop("weight", "sqrt")),
        **(PLAIN | settings),
    )
    return found


def test_a_node_is_credited_with_what_it_adds_to_the_prompts_value_and_to_its_parents():
    # Less the others' mean: 1, -1/2, -1/2; the shared node's value is 1/4, of two leaves.
    shared, right, wrong = 2 * 0.25 / 2**0.5, 2 * 1 - 0.25, -2 * 0.5 - 0.25
    expected = torch.tensor([[shared] * 2 + [right] * 2, [-1.0] * 4, [shared] * 2 + [wrong] * 2])
    torch.testing.assert_close(of(SMALL, "treerl"), expected)


def test_tree_grpo_compares_within_the_tree_and_within_the_prompt():
    found = of(SMALL, "tree_grpo")[:, 0]
    half, third = 0.5**0.5, 1 / 3**0.5  # (r - mean) / std of 1, 0 and of 1, 0, 0
    expected = torch.tensor([2 * third + half, -third, -third - half])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*reference_names("treerl_"), *reference_names("tree_grpo_")])
def test_the_codes_forms_agree_with_published_values(name):
    agree(check(name), 1e-6)


@given(seed=seeds)
def test_treerl_equals_a_slow_loop_over_the_equation(seed):
    trees = random_trees(seed)
    leaves: dict[int, list[int]] = {}
    for row, tokens in enumerate(trees.tokens):
        for token in tokens:
            leaves.setdefault(token, []).append(row)
    rewards, groups = trees.outcome.tolist(), trees.group.tolist()

    def centred(row: int) -> float:
        whole = [rewards[n] for n, group in enumerate(groups) if group == groups[row]]
        return rewards[row] - (sum(whole) - rewards[row]) / (len(whole) - 1)

    def value(rows: list[int]) -> float:
        return sum(map(centred, rows)) / len(rows)

    for weight, exponent in WEIGHTS.items():
        found = of(trees, "treerl", weight=weight)
        for row, tokens in enumerate(trees.tokens):
            whole = [n for n, group in enumerate(groups) if group == groups[row]]
            before, here = whole, whole
            for place, token in enumerate(tokens):
                if leaves[token] != here or (place == 0):
                    before, here = here if place else whole, leaves[token]
                expected = (2 * value(here) - value(whole) - value(before)) / len(here) ** exponent
                assert found[row, place].item() == pytest.approx(expected, abs=1e-5)


@given(seed=seeds)
def test_tree_grpo_equals_a_slow_loop_over_the_equation(seed):
    trees = random_trees(seed)
    tree = tree_nodes(trees.forks, trees.mask, trees.group).tree.tolist()
    found = of(trees, "tree_grpo")[:, 0]
    first = [tokens[0] for tokens in trees.tokens]  # the same token: the same chain
    for row in range(len(first)):
        same = [n for n, token in enumerate(first) if token == first[row]]
        assert [n for n, name in enumerate(tree) if name == tree[row]] == same
        prompt = [n for n in range(len(first)) if trees.group[n] == trees.group[row]]
        expected = 0.0
        for rows in (same, prompt):
            some = trees.outcome[rows]
            if len(rows) > 1:
                expected += float((trees.outcome[row] - some.mean()) / (some.std() + 1e-6))
        assert found[row].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("adv_estimator", TREE_ESTIMATORS)
@given(seed=seeds)
def test_neither_the_order_of_leaves_nor_padding_matters(adv_estimator, seed):
    trees = random_trees(seed)
    reward = torch.randn(trees.mask.shape, generator=torch.Generator().manual_seed(seed))
    expected = of(trees, adv_estimator, reward=reward)
    order = torch.randperm(len(trees.tokens), generator=torch.Generator().manual_seed(seed))
    again = of(trees.rows(order), adv_estimator, reward=reward[order])
    torch.testing.assert_close(again, expected[order])
    wide = dataclasses.replace(trees, mask=padded(trees.mask, 3, value=False))
    nan = padded(reward, 3, float("nan"))
    torch.testing.assert_close(of(wide, adv_estimator, reward=nan), padded(expected, 3, value=0.0))


@pytest.mark.parametrize(
    ("adv_estimator", "other", "factor"),
    [("treerl", "rloo", 2), ("tree_grpo", "grpo", 1), ("tree_grpo_code", "grpo", 1)],
)
@given(seed=seeds)
def test_without_forks_responses_are_chains(adv_estimator, other, factor, seed):
    trees = random_trees(seed)
    none = torch.full_like(trees.forks.parent, -1)
    trees.forks = Forks(trees.forks.sample, none, torch.zeros_like(none))
    expected = of(trees, other)
    torch.testing.assert_close(of(trees, adv_estimator), factor * expected)


@given(seed=seeds)
def test_process_returns_are_added_as_for_any_estimator(seed):
    trees = random_trees(seed)
    reward = torch.randn(trees.mask.shape, generator=torch.Generator().manual_seed(seed))
    alone = torch.zeros_like(trees.outcome)
    for adv_estimator, other in (("treerl", "rloo"), ("tree_grpo", "grpo")):
        process, _ = advantages(
            alone, reward, trees.mask, trees.group, adv_estimator=other, **PLAIN
        )
        expected = of(trees, adv_estimator) + process
        torch.testing.assert_close(of(trees, adv_estimator, reward=reward), expected)


def test_holes_in_the_mask_have_no_advantage_and_end_no_node():
    mask = SMALL.mask.clone()
    mask[:, 1] = False
    trees = dataclasses.replace(SMALL, mask=mask)
    expected = of(SMALL, "treerl") * mask
    torch.testing.assert_close(of(trees, "treerl"), expected)


@pytest.mark.parametrize(
    ("parent", "fork", "words"),
    [
        ([-1, -1, 5], [0, 0, 2], "sample 2 of group 0 forked from 5: not there"),
        ([-1, -1, 0], [0, 0, 4], "at token 4: expected 1 to 3"),
        ([-1, -1, 0], [0, 0, 0], "at token 0: expected 1 to 3"),
        ([-1, -1, -1], [0, 0, 2], "at token 2: expected 0 to 0"),
        ([1, 0, -1], [2, 2, 0], "at token 2: expected 3 to 3"),
    ],
)
def test_forks_that_cannot_be_are_refused(parent, fork, words):
    with pytest.raises(ValueError, match=words):
        tree_nodes(forks([0, 1, 2], parent, fork), SMALL.mask, SMALL.group)


def test_what_a_tree_needs_is_asked_for():
    with pytest.raises(ValueError, match="'treerl' needs the forks"):
        advantages(SMALL.outcome, None, SMALL.mask, SMALL.group, adv_estimator="treerl")
    with pytest.raises(ValueError, match=r"treerl has no discount: gamma_outcome 0\.5"):
        of(SMALL, "treerl", gamma_outcome=0.5)
    with pytest.raises(ValueError, match="have a single response"):
        tree_grpo(torch.ones(1), torch.tensor([4]), torch.tensor([0]))
    assert set(TREE_WEIGHTS) == set(WEIGHTS)
    with pytest.raises(KeyError, match="magic"):
        of(SMALL, "treerl", weight="magic")
