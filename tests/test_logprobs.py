import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prime_core.logprobs import token_entropy, token_logprobs
from tests.batches import seeds
from tests.comparison import agree
from tests.reference_checks import check
from tests.shared_data import reference_names


def random_logits(seed: int, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 5, 7, generator=generator)
    return logits.to(dtype), torch.randint(0, 7, (3, 5), generator=generator)


def test_odds_of_three_to_one_are_probabilities_of_three_quarters_and_one():
    logits = torch.tensor([[[math.log(3.0), 0.0]] * 2])
    logprobs = token_logprobs(logits, torch.tensor([[0, 1]]))
    assert logprobs.exp().tolist()[0] == pytest.approx([0.75, 0.25])


def test_entropy_of_an_even_choice_of_four_is_log_4_and_of_a_sure_one_0():
    logits = torch.tensor([[[0.0] * 4, [1000.0, 0, 0, 0]]])
    assert token_entropy(logits).tolist()[0] == pytest.approx([math.log(4), 0])


def test_logits_in_bfloat16_give_float32_logprobs_and_bfloat16_gradients():
    logits, tokens = random_logits(0, torch.bfloat16)
    logits.requires_grad_()
    logprobs = token_logprobs(logits, tokens, chunk_tokens=4)
    torch.testing.assert_close(logprobs, token_logprobs(logits.float(), tokens))
    logprobs.sum().backward()
    assert logprobs.dtype == torch.float32
    assert logits.grad.dtype == torch.bfloat16


@given(seed=seeds, chunk_tokens=st.integers(1, 20))
def test_chunks_change_neither_values_nor_gradients(seed, chunk_tokens):
    logits, tokens = random_logits(seed)
    chunked, whole = (logits.clone().requires_grad_() for _ in range(2))
    logprobs = token_logprobs(chunked, tokens, chunk_tokens)
    entropy = token_entropy(chunked, chunk_tokens)
    expected = whole.log_softmax(-1)
    expected_logprobs = expected.gather(-1, tokens[..., None]).squeeze(-1)
    expected_entropy = -(expected.exp() * expected).sum(-1)
    torch.testing.assert_close(logprobs, expected_logprobs)
    torch.testing.assert_close(entropy, expected_entropy)
    (logprobs + 2 * entropy).square().sum().backward()
    (expected_logprobs + 2 * expected_entropy).square().sum().backward()
    torch.testing.assert_close(chunked.grad, whole.grad, rtol=1e-4, atol=1e-5)


def test_no_float32_copy_of_the_whole_logits_is_kept_for_the_backward_pass():
    logits, tokens = random_logits(0, torch.bfloat16)
    logits.requires_grad_()
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        token_logprobs(logits, tokens, chunk_tokens=4)
    widened = sum(tensor.numel() for tensor in kept if tensor.dtype == torch.float32)
    assert kept
    assert widened < logits.numel()


@given(seed=seeds, shift=st.floats(-50, 50))
def test_a_constant_added_to_the_logits_changes_nothing(seed, shift):
    logits, tokens = random_logits(seed)
    shifted = token_logprobs(logits + shift, tokens), token_entropy(logits + shift)
    plain = token_logprobs(logits, tokens), token_entropy(logits)
    torch.testing.assert_close(shifted, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", [*reference_names("orig_logprobs_"), *reference_names("orig_entropy_")]
)
def test_logprobs_and_entropies_match_the_published_ones(name):
    agree(check(name))
