"""The value model: what it says of states, its folder, its training on any ranks."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Qwen2ForTokenClassification,
)

from prime_core.models.load import ModelError, save_model
from prime_core.training.batches import Sequences, pad
from prime_core.training.packing import pack
from prime_core.training.value_model import give_values, load_value_model, state_values
from tests.support.tiny_model import FIRST_BYTE, ragged_sequences, tiny
from tests.support.training_steps import PLAN, Weights, difference, usual_optimizer
from tests.support.two_ranks import run_two_ranks
from tests.support.value_steps import CPU, loss_of, padded_logits, start_model, take_steps

SEQUENCES = ragged_sequences(6)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """Folder of a value model whose head is not zero."""
    folder = tmp_path_factory.mktemp("value") / "start"
    save_model(start_model(), tiny()[1], folder)
    return folder


def values(model: PreTrainedModel, sequences: Sequences, packed: bool = True) -> torch.Tensor:
    with torch.no_grad():
        return state_values(model, pack(sequences, CPU) if packed else pad(sequences, 0, CPU))


def test_a_value_model_made_of_a_language_model_says_zero(tiny_model):
    model = load_value_model(tiny_model, "float32")
    assert give_values(model)
    assert not values(model, SEQUENCES).any()
    assert not model.training


def test_values_packed_padded_and_one_by_one_are_those_of_the_head_before_each_token(start):
    model = load_value_model(start, "float32")
    packed = values(model, SEQUENCES)
    assert (packed != 0).any()
    torch.testing.assert_close(values(model, SEQUENCES, packed=False), packed, rtol=0, atol=1e-4)
    plain = AutoModelForTokenClassification.from_pretrained(start)
    assert type(plain) is Qwen2ForTokenClassification
    for row, (prompt, response) in enumerate(
        zip(SEQUENCES.prompts, SEQUENCES.responses, strict=True)
    ):
        with torch.no_grad():
            logits = plain(torch.tensor([[*prompt, *response]])).logits[0, :, 0]
        before = logits[len(prompt) - 1 : -1]
        torch.testing.assert_close(packed[row, : len(response)], before, rtol=0, atol=1e-4)
        assert not packed[row, len(response) :].any()


def test_a_value_knows_nothing_of_the_token_that_comes(start):
    model = load_value_model(start, "float32")
    prompt, response = [FIRST_BYTE, FIRST_BYTE + 1], [FIRST_BYTE + 2, FIRST_BYTE + 3]
    one = values(model, Sequences([prompt], [response]))
    other = values(model, Sequences([prompt], [[response[0], FIRST_BYTE + 9]]))
    assert torch.equal(one, other)
    another = values(model, Sequences([prompt], [[FIRST_BYTE + 9, response[1]]]))
    assert one[0, 0] == another[0, 0]
    assert one[0, 1] != another[0, 1]


def test_values_of_a_bfloat16_model_are_float32_numbers(start):
    model = load_value_model(start, "bfloat16")
    found = values(model, SEQUENCES)
    assert found.dtype == torch.float32
    assert (found != found.bfloat16().float()).any()


def test_a_family_that_cannot_be_packed_is_padded(tmp_path):
    config = GPT2Config(vocab_size=270, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    model = load_value_model(tmp_path, "float32")
    assert not give_values(model)
    assert not values(model, SEQUENCES, packed=False).any()
    torch.nn.init.ones_(model.get_submodule("classifier").get_parameter("bias"))
    assert values(model, SEQUENCES, packed=False).sum() == sum(map(len, SEQUENCES.responses))


def test_what_is_no_value_model_is_refused_by_name(start, tmp_path):
    with pytest.raises(ModelError, match=f"{tmp_path / 'nowhere'}: no such folder"):
        load_value_model(tmp_path / "nowhere", "float32")
    Qwen2ForTokenClassification.from_pretrained(
        start, num_labels=2, ignore_mismatched_sizes=True
    ).save_pretrained(tmp_path / "two")
    with pytest.raises(ModelError, match=f"{tmp_path / 'two'}: not usable as a value model"):
        load_value_model(tmp_path / "two", "float32")
    config = tmp_path / "empty" / "config.json"
    config.parent.mkdir()
    config.write_text((start / "config.json").read_text())
    with pytest.raises(ModelError, match=f"{tmp_path / 'empty'}: "):
        load_value_model(tmp_path / "empty", "float32")


@pytest.fixture(scope="module")
def plain(start) -> Weights:
    """Weights after the same steps by transformers and torch alone."""
    model, settings = AutoModelForTokenClassification.from_pretrained(start), usual_optimizer()
    adamw = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    for minibatch in PLAN:
        adamw.zero_grad()
        loss_of(lambda rows: padded_logits(model, rows), minibatch, minibatch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        adamw.step()
    return {name: value.detach() for name, value in model.state_dict().items()}


def weights_in(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize(("zero_stage", "size"), [(0, 1), (0, 6), (1, 3), (2, 3), (3, 3)])
def test_steps_are_those_of_plain_adamw_whatever_the_stage_and_the_passes(
    start, plain, zero_stage, size, tmp_path
):
    take_steps(start, tmp_path / "steps", zero_stage, size)
    found = weights_in(tmp_path / "steps")
    assert difference(found, plain) < 2e-6
    assert difference(found, weights_in(start)) > 1e-4


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one_whatever_the_stage(start, plain):
    run_two_ranks("tests.support.value_steps", str(start.parent))
    for stage in range(4):
        assert difference(weights_in(start.parent / f"steps-{stage}"), plain) < 2e-6, stage
