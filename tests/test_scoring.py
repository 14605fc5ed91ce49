"""Log-probabilities of responses: those of a slow loop, whatever stands beside them in a batch."""

import pytest
import torch

from prime_core.training.batches import Sequences, pad
from prime_core.training.scoring import logprobs_and_entropy, response_logprobs, score
from tests.tiny_model import ragged_sequences, tiny

CPU = torch.device("cpu")
SEQUENCES = ragged_sequences(10)


@pytest.fixture(scope="module")
def model():
    return tiny()[0]


def slow_logprobs(model, prompt, response, temperature=1.0) -> list[float]:
    """One sequence, no padding, one token after the other.

    log p(y_t | x, y_<t) = l[y_t] - log sum_v exp l[v]
    """
    values = []
    for place, token in enumerate(response):
        context = torch.tensor([[*prompt, *response[:place]]])
        logits = model(input_ids=context).logits[0, -1].double() / temperature
        values.append(float(logits[token] - logits.exp().sum().log()))
    return values


def all_slow(model, sequences: Sequences, temperature: float = 1.0) -> list[list[float]]:
    with torch.no_grad():
        return [
            slow_logprobs(model, prompt, response, temperature)
            for prompt, response in zip(sequences.prompts, sequences.responses, strict=True)
        ]


def assert_close(rows: list[list[float]], expected: list[list[float]]) -> None:
    assert [len(row) for row in rows] == [len(row) for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_a_slow_loop(model, temperature):
    expected = all_slow(model, SEQUENCES, temperature)
    spread = torch.tensor([value for row in expected for value in row]).std()
    assert spread > 0.5  # predictions differ, so a shift by one token would show
    for size in (1, 3, 10):
        rows = score(
            model,
            SEQUENCES,
            pad_token_id=0,
            device=CPU,
            micro_batch_size=size,
            temperature=temperature,
        )
        assert_close(rows, expected)


def test_the_order_of_the_sequences_does_not_matter(model):
    order = [7, 2, 9, 0, 4]
    rows = score(model, SEQUENCES, pad_token_id=0, device=CPU, micro_batch_size=4)
    other = score(model, SEQUENCES.take(order), pad_token_id=0, device=CPU, micro_batch_size=4)
    assert_close(other, [rows[index] for index in order])


def test_neither_the_padding_token_nor_its_amount_matters(model):
    batch = pad(SEQUENCES, 0, CPU)
    expected = response_logprobs(model, batch)
    assert torch.allclose(response_logprobs(model, pad(SEQUENCES, 9, CPU)), expected, atol=1e-5)
    longer = Sequences([*SEQUENCES.prompts, [8] * 20], [*SEQUENCES.responses, [9] * 20])
    wide = response_logprobs(model, pad(longer, 0, CPU))
    assert torch.allclose(wide[:-1, : expected.shape[1]], expected, atol=1e-5)


def test_log_probabilities_behind_a_response_are_zero(model):
    batch = pad(SEQUENCES, 0, CPU)
    logprobs = response_logprobs(model, batch)
    assert bool((~batch.mask).any())
    assert bool((logprobs[~batch.mask] == 0).all())
    assert bool((logprobs[batch.mask] < 0).all())


def test_gradients_of_padding_are_zero_and_those_of_tokens_are_those_of_the_slow_loop(model):
    def gradient(loss: torch.Tensor) -> torch.Tensor:
        weight = model.model.layers[0].self_attn.q_proj.weight
        return torch.autograd.grad(loss, weight)[0]

    sequences = SEQUENCES.take([0, 1, 2])
    together = gradient(response_logprobs(model, pad(sequences, 0, CPU)).sum())
    apart = sum(
        gradient(response_logprobs(model, pad(sequences.take([row]), 0, CPU)).sum())
        for row in range(3)
    )
    assert torch.allclose(together, torch.as_tensor(apart), rtol=1e-4, atol=1e-4)
    assert float(together.abs().max()) > 1e-2


def test_entropy_is_that_of_the_predictions(model):
    batch = pad(SEQUENCES, 0, CPU)
    with torch.no_grad():
        logprobs, entropy = logprobs_and_entropy(model, batch, temperature=0.7)
        assert torch.equal(logprobs, response_logprobs(model, batch, 0.7))
        context = torch.tensor([[*SEQUENCES.prompts[3], *SEQUENCES.responses[3][:-1]]])
        log_p = (model(input_ids=context).logits[0, -1].double() / 0.7).log_softmax(0)
    last = len(SEQUENCES.responses[3]) - 1
    assert float(entropy[3, last]) == pytest.approx(float(-(log_p.exp() * log_p).sum()), abs=1e-5)


def test_progress_counts_every_sequence(model):
    counted: list[int] = []
    score(model, SEQUENCES, pad_token_id=0, device=CPU, micro_batch_size=4, progress=counted.append)
    assert counted == [4, 4, 2]
