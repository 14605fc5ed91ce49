"""How sequences go through a model: it changes steps by rounding alone."""

from dataclasses import replace

import pytest
import torch

from prime_core.masked import masked_sum
from prime_core.settings.training import Training
from prime_core.training.batches import Padded
from prime_core.training.packing import Packed
from prime_core.training.passes import Passes, passes_of
from prime_core.training.scoring import logprobs_and_entropy
from prime_core.training.updates import take_step
from tests.support.one_rank import as_one_rank
from tests.support.tiny_model import tiny
from tests.support.training_steps import SEQUENCES, Weights, difference, trainer_of, weights_of

PASSES = Passes(
    4, None, packing=False, chunk_tokens=1000, pad_token_id=0, device=torch.device("cpu")
)
MINIBATCHES = [[0, 1, 2, 3, 4, 5], [6, 5, 4, 3]]
NUM_TOKENS = sum(len(response) for response in SEQUENCES.responses)


def steps(passes: Passes) -> tuple[Weights, list[float]]:
    """Weights after two steps on log-probabilities and entropies; the gradients' norms."""
    trainer = trainer_of()

    def loss_of(rows: list[int], counted: bool) -> torch.Tensor:
        assert counted
        batch = passes.batch(SEQUENCES.take(rows))
        logprobs, entropy = logprobs_and_entropy(trainer.engine, batch, 0.7, passes.chunk_tokens)
        return -masked_sum(logprobs + 0.1 * entropy, batch.mask) / NUM_TOKENS

    norms = [take_step(trainer, SEQUENCES, rows, passes, loss_of) for rows in MINIBATCHES]
    return weights_of(trainer), norms


@pytest.fixture(scope="module")
def usual():
    with as_one_rank():
        return steps(PASSES)


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize(
    "changes",
    [
        {"packing": True},
        {"packing": True, "most_rows": 1, "chunk_tokens": 5},
        {"packing": True, "most_tokens": 21},
        {"packing": True, "most_tokens": 1000, "chunk_tokens": 5},
        {"most_tokens": 21, "chunk_tokens": 5},
    ],
    ids=str,
)
def test_neither_packing_nor_the_size_of_passes_and_chunks_changes_a_step(usual, changes):
    weights, norms = steps(replace(PASSES, **changes))
    assert difference(weights, usual[0]) < 1e-6
    assert norms == pytest.approx(usual[1], rel=1e-4)
    assert difference(weights, tiny()[0].state_dict()) > 1e-5


@pytest.mark.usefixtures("one_rank")
def test_packed_steps_repeat_to_the_bit():
    passes = replace(PASSES, packing=True, most_tokens=30, chunk_tokens=5)
    (weights, norms), (again, norms_again) = steps(passes), steps(passes)
    assert difference(weights, again) == 0
    assert norms == norms_again


def test_the_settings_say_how(capsys):
    tokenizer = tiny()[1]
    training = Training(max_token_len_per_gpu=77, logprobs_chunk_size=33)
    passes = passes_of(training, 5, tokenizer, packs=True)
    assert (passes.most_rows, passes.most_tokens, passes.chunk_tokens) == (5, 77, 33)
    assert isinstance(passes.batch(SEQUENCES), Packed)
    unpacked = passes_of(Training(packing=False), 5, tokenizer, packs=True)
    assert isinstance(unpacked.batch(SEQUENCES), Padded)
    assert not capsys.readouterr().err


def test_a_family_that_cannot_be_packed_is_padded_and_it_is_said(capsys):
    passes = passes_of(Training(), 5, tiny()[1], packs=False)
    assert isinstance(passes.batch(SEQUENCES), Padded)
    assert "padded" in capsys.readouterr().err
