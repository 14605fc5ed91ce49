"""Log-probabilities and entropies: definitions, gradients, chunks, published values."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prime_core.logprobs import head_predictions, predictions
from tests.support.batches import seeds
from tests.support.comparison import agree
from tests.support.reference_checks import check
from tests.support.shared_data import reference_names

temperatures = st.sampled_from([1.0, 0.7, 1.6])


def random_logits(seed: int, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(15, 7, generator=generator)
    return logits.to(dtype), torch.randint(0, 7, (15,), generator=generator)


def plain(logits, tokens, temperature):
    """The same by autograd alone."""
    every = (logits / temperature).log_softmax(-1)
    return every.gather(-1, tokens[..., None]).squeeze(-1), -(every.exp() * every).sum(-1)


def test_odds_of_three_to_one_are_probabilities_of_three_quarters_and_one():
    logits = torch.tensor([[math.log(3.0), 0.0]] * 2)
    logprobs, _ = predictions(logits, torch.tensor([0, 1]))
    assert logprobs.exp().tolist() == pytest.approx([0.75, 0.25])


def test_half_the_temperature_squares_the_odds():
    logits = torch.tensor([[math.log(3.0), 0.0]])
    logprobs, _ = predictions(logits, torch.tensor([0]), temperature=0.5)
    assert float(logprobs.exp()) == pytest.approx(0.9)


def test_entropy_of_an_even_choice_of_four_is_log_4_and_of_a_sure_one_0():
    logits = torch.tensor([[0.0] * 4, [1000.0, 0, 0, 0]])
    _, entropy = predictions(logits, torch.tensor([0, 0]))
    assert entropy.tolist() == pytest.approx([math.log(4), 0])


def test_entropy_is_left_out_unless_asked_for():
    logits, tokens = random_logits(0)
    both, alone = predictions(logits, tokens), predictions(logits, tokens, with_entropy=False)
    assert len(alone) == 1
    assert torch.equal(alone[0], both[0])


@given(seed=seeds, temperature=temperatures, weights=st.sampled_from([(1, 0), (0, 1), (1, 2)]))
def test_gradients_are_those_of_autograd(seed, temperature, weights):
    logits, tokens = random_logits(seed, torch.float64)
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.randn(2, 15, generator=generator, dtype=torch.float64)
    gradients = []
    for function in (predictions, plain):
        leaf = logits.clone().requires_grad_()
        found = function(leaf, tokens, temperature)
        # a weight of 0 leaves the part out of the graph
        loss = sum(
            (weight * part * up).sum()
            for weight, part, up in zip(weights, found, upstream, strict=True)
            if weight
        )
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_logits_in_bfloat16_give_float32_logprobs_and_bfloat16_gradients():
    logits, tokens = random_logits(0, torch.bfloat16)
    logits.requires_grad_()
    logprobs, entropy = predictions(logits, tokens, temperature=0.7)
    torch.testing.assert_close((logprobs, entropy), plain(logits.float(), tokens, 0.7))
    (logprobs + entropy).sum().backward()
    assert logprobs.dtype == entropy.dtype == torch.float32
    assert logits.grad.dtype == torch.bfloat16


def random_head(seed: int, dtype: torch.dtype = torch.float32):
    """An output layer, hidden states of 15 tokens, the tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(5, 7).to(dtype)
        return head, torch.randn(15, 5).to(dtype), torch.randint(0, 7, (15,))


@given(seed=seeds, chunk_tokens=st.integers(1, 20), temperature=temperatures)
def test_chunks_change_neither_values_nor_gradients(seed, chunk_tokens, temperature):
    head, hidden, tokens = random_head(seed)
    hidden.requires_grad_()
    leaves = [hidden, head.weight, head.bias]
    how: Any = {"temperature": temperature, "chunk_tokens": chunk_tokens, "with_entropy": True}
    found = head_predictions(head, hidden, tokens, **how)
    expected = plain(head(hidden), tokens, temperature)
    torch.testing.assert_close(found, expected)
    gradients, wanted = (
        torch.autograd.grad((logprobs + 2 * entropy).square().sum(), leaves)
        for logprobs, entropy in (found, expected)
    )
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_more_logits_than_a_chunk_s_exist_at_once(dtype):
    head, hidden, tokens = random_head(0, dtype)
    rows = []

    def counting(part):
        rows.append(len(part))
        return head(part)

    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    how: Any = {"temperature": 1.0, "chunk_tokens": 4, "with_entropy": True}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logprobs, entropy = head_predictions(counting, hidden, tokens, **how)
    assert rows == [4, 4, 4, 3]
    assert sum(kept) < 15 * 7  # of hidden states and tokens, no chunk's logits
    (logprobs + entropy).sum().backward()
    assert sorted(rows[4:]) == [3, 4, 4, 4]  # computed again


@given(seed=seeds, shift=st.floats(-50, 50))
def test_a_constant_added_to_the_logits_changes_nothing(seed, shift):
    logits, tokens = random_logits(seed)
    found = predictions(logits + shift, tokens)
    torch.testing.assert_close(found, predictions(logits, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", [*reference_names("orig_logprobs_"), *reference_names("orig_entropy_")]
)
def test_logprobs_and_entropies_match_the_published_ones(name):
    agree(check(name))
