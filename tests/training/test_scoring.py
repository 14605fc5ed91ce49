"""Log-probabilities of responses: those of a slow loop, whatever stands beside them in a pass."""

from dataclasses import replace

import pytest
import torch

from prime_core.training.batches import Sequences, pad
from prime_core.training.logprob_model import give_logprobs
from prime_core.training.packing import pack
from prime_core.training.passes import Passes
from prime_core.training.scoring import logprobs_and_entropy, ragged_logprobs, response_logprobs
from tests.support.tiny_model import ragged_sequences, tiny

CPU = torch.device("cpu")
SEQUENCES = ragged_sequences(10)
PADDED = Passes(4, None, packing=False, chunk_tokens=7, pad_token_id=0, device=CPU)
PACKED = replace(PADDED, packing=True)


@pytest.fixture(scope="module")
def plain():
    """A model as transformers loads it: of a family that is not known it stays so."""
    return tiny()[0]


@pytest.fixture(scope="module")
def taught():
    model = tiny()[0]
    assert give_logprobs(model)
    return model


@pytest.fixture(params=["packed", "padded", "own logits"])
def way(request, plain, taught):
    """A model and how it is given sequences."""
    if request.param == "own logits":
        return plain, PADDED
    return taught, PACKED if request.param == "packed" else PADDED


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
def test_log_probabilities_are_those_of_a_slow_loop(plain, way, temperature):
    expected = all_slow(plain, SEQUENCES, temperature)
    spread = torch.tensor([value for row in expected for value in row]).std()
    assert spread > 0.5  # predictions differ, so a shift by one token would show
    model, passes = way
    for most_rows, most_tokens, chunk_tokens in ((1, None, 1), (3, None, 7), (10, 25, 1000)):
        passes = replace(
            passes, most_rows=most_rows, most_tokens=most_tokens, chunk_tokens=chunk_tokens
        )
        assert_close(ragged_logprobs(model, SEQUENCES, passes, temperature=temperature), expected)


def test_the_order_of_the_sequences_does_not_matter(way):
    model, passes = way
    order = [7, 2, 9, 0, 4]
    rows = ragged_logprobs(model, SEQUENCES, passes)
    other = ragged_logprobs(model, SEQUENCES.take(order), passes)
    assert_close(other, [rows[index] for index in order])


def test_neither_the_padding_token_nor_its_amount_matters(plain, taught):
    for model in (plain, taught):
        batch = pad(SEQUENCES, 0, CPU)
        expected = response_logprobs(model, batch)
        other = response_logprobs(model, pad(SEQUENCES, 9, CPU))
        assert torch.allclose(other, expected, atol=1e-5)
        longer = Sequences([*SEQUENCES.prompts, [8] * 20], [*SEQUENCES.responses, [9] * 20])
        wide = response_logprobs(model, pad(longer, 0, CPU))
        assert torch.allclose(wide[:-1, : expected.shape[1]], expected, atol=1e-5)


def test_log_probabilities_behind_a_response_are_zero(way):
    model, passes = way
    batch = passes.batch(SEQUENCES)
    logprobs = response_logprobs(model, batch)
    assert bool((~batch.mask).any())
    assert bool((logprobs[~batch.mask] == 0).all())
    assert bool((logprobs[batch.mask] < 0).all())


def test_gradients_of_a_pass_are_those_of_its_sequences_one_by_one(plain, way):
    def gradients(model, batch) -> tuple[torch.Tensor, ...]:
        logprobs, entropy = logprobs_and_entropy(model, batch, 0.7, chunk_tokens=5)
        loss = (logprobs - 0.3 * entropy).masked_fill(~batch.mask, 0.0).sum()
        return torch.autograd.grad(loss, list(model.parameters()))

    model, passes = way
    sequences = SEQUENCES.take([0, 1, 2])
    apart = [gradients(plain, pad(sequences.take([row]), 0, CPU)) for row in range(3)]
    together = gradients(model, passes.batch(sequences))
    for found, *parts in zip(together, *apart, strict=True):
        torch.testing.assert_close(found, sum(parts), rtol=1e-4, atol=1e-4)
        assert float(found.abs().max()) > 1e-3


def test_entropy_is_that_of_the_predictions(plain, way):
    model, passes = way
    batch = passes.batch(SEQUENCES)
    with torch.no_grad():
        logprobs, entropy = logprobs_and_entropy(model, batch, temperature=0.7, chunk_tokens=11)
        assert torch.equal(logprobs, response_logprobs(model, batch, 0.7, chunk_tokens=11))
        context = torch.tensor([[*SEQUENCES.prompts[3], *SEQUENCES.responses[3][:-1]]])
        log_p = (plain(input_ids=context).logits[0, -1].double() / 0.7).log_softmax(0)
    last = len(SEQUENCES.responses[3]) - 1
    assert float(entropy[3, last]) == pytest.approx(float(-(log_p.exp() * log_p).sum()), abs=1e-5)


def test_the_same_pass_gives_the_same_bits(taught):
    batch = pack(SEQUENCES, CPU)
    assert torch.equal(response_logprobs(taught, batch), response_logprobs(taught, batch))


def test_progress_counts_every_sequence(plain):
    counted: list[int] = []
    ragged_logprobs(plain, SEQUENCES, PADDED, progress=counted.append)
    assert counted == [4, 4, 2]
