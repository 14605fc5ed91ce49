"""Packed sequences: no padding, and none sees another, in every family that is packed."""

import json
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from prime_core.training import logprob_model
from prime_core.training.batches import Sequences, pad
from prime_core.training.logprob_model import FAMILIES, attention_for, give_logprobs
from prime_core.training.packing import PACKED, WASTED_PAIRS, WASTED_SHARE, _groups, pack
from prime_core.training.scoring import response_logprobs
from tests.support.tiny_model import ragged_sequences, tiny

CPU = torch.device("cpu")
SEQUENCES = ragged_sequences(6, seed=1)
SIZES = {
    "vocab_size": 262,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "pad_token_id": None,
}
WINDOW = {"sliding_window": 4}  # tokens: shorter than most sequences
KINDS: dict[str, tuple[Any, Any, dict]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None}),
    "mistral with a window": (MistralConfig, MistralForCausalLM, WINDOW),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen2 with a window in its last layer": (
        Qwen2Config,
        Qwen2ForCausalLM,
        WINDOW | {"use_sliding_window": True, "max_window_layers": 1},
    ),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
}


def model_of(kind: str) -> PreTrainedModel:
    config, model, changes = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return model(config(**SIZES | changes)).eval()


def one_by_one(model: PreTrainedModel, sequences: Sequences) -> list[torch.Tensor]:
    """Log-probabilities of each response, its sequence alone, by the untouched model."""
    rows = []
    for prompt, response in zip(sequences.prompts, sequences.responses, strict=True):
        logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
        logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
        rows.append(logprobs.gather(1, torch.tensor(response)[:, None]).squeeze(1))
    return rows


def test_a_pack_has_no_padding_and_its_positions_begin_anew():
    batch = pack(Sequences([[1, 2, 3], [4]], [[5], [6, 7]]), CPU)
    assert batch.input_ids.tolist() == [[1, 2, 3, 5, 4, 6, 7]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert batch.predictor_index.tolist() == [2, 4, 5]  # 3 predicts 5, 4 predicts 6, 6 predicts 7
    assert batch.targets.tolist() == [5, 6, 7]
    assert batch.mask.tolist() == [[True, False], [True, True]]


def test_a_padded_batch_predicts_the_same_tokens_from_the_same_places():
    sequences = ragged_sequences(5)
    packed, padded = pack(sequences, CPU), pad(sequences, 0, CPU)
    assert torch.equal(packed.targets, padded.targets)
    assert torch.equal(packed.mask, padded.mask)
    before = [
        batch.input_ids.flatten()[batch.predictor_index].tolist() for batch in (packed, padded)
    ]
    assert before[0] == before[1]


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_give_what_each_gives_alone(kind):
    plain, model = model_of(kind), model_of(kind)
    assert give_logprobs(model)
    batch = pack(SEQUENCES, CPU)
    assert len(batch.groups) > 1 or batch.groups[0].spread is not None  # none of one length
    logprobs, wanted = response_logprobs(model, batch), one_by_one(plain, SEQUENCES)
    torch.testing.assert_close(logprobs[batch.mask], torch.cat(wanted), rtol=1e-4, atol=1e-5)
    weights = torch.linspace(-1, 1, len(batch.targets))
    losses = (logprobs[batch.mask] * weights).sum(), (torch.cat(wanted) * weights).sum()
    gradients, expected = (
        torch.autograd.grad(loss, list(one.parameters()))
        for loss, one in zip(losses, (model, plain), strict=True)
    )
    torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-4)
    assert min(float(gradient.abs().max()) for gradient in gradients) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_other_calls_of_a_taught_model_are_those_of_the_untouched_one(kind):
    plain, model = model_of(kind), model_of(kind)
    give_logprobs(model)
    padded = pad(SEQUENCES, 0, CPU)
    inputs = {"input_ids": padded.input_ids, "attention_mask": padded.attention_mask}
    assert torch.equal(model(**inputs).logits, plain(**inputs).logits)
    longest = {"input_ids": padded.input_ids[:1]}
    assert torch.equal(model(**longest).logits, plain(**longest).logits)


def test_every_packed_family_is_tested():
    assert {config.model_type for config, _, _ in KINDS.values()} == FAMILIES


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_does_not_see_its_neighbours(kind):
    model = model_of(kind)
    give_logprobs(model)
    others = ragged_sequences(6, seed=2)
    mixed = Sequences(
        [[9] * len(SEQUENCES.prompts[0]), *SEQUENCES.prompts[1:]],
        [[8] * len(SEQUENCES.responses[0]), *SEQUENCES.responses[1:]],
    )
    with torch.no_grad():
        logprobs, changed = (
            response_logprobs(model, pack(sequences, CPU)) for sequences in (SEQUENCES, mixed)
        )
        assert torch.equal(logprobs[1:], changed[1:])  # to the bit
        assert not torch.equal(logprobs[0], changed[0])
        apart = response_logprobs(model, pack(others, CPU))
        both = Sequences(
            [*others.prompts, *SEQUENCES.prompts], [*others.responses, *SEQUENCES.responses]
        )
        together = response_logprobs(model, pack(both, CPU))[: len(others)]
    torch.testing.assert_close(together[:, : apart.shape[1]], apart, rtol=1e-4, atol=1e-5)


@given(st.permutations(range(6)))
def test_the_order_in_the_pack_changes_nothing(order):
    model = tiny()[0]
    give_logprobs(model)
    with torch.no_grad():
        logprobs = response_logprobs(model, pack(SEQUENCES, CPU))
        other = response_logprobs(model, pack(SEQUENCES.take(order), CPU))
    torch.testing.assert_close(other, logprobs[list(order)], rtol=1e-4, atol=1e-5)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_groups_hold_every_token_once_and_waste_little(lengths):
    groups, number = _groups(lengths, CPU), sum(lengths)
    tokens = torch.arange(number, dtype=torch.float)[:, None, None]
    rows = [group.rows_of(tokens) for group in groups]
    back = [group.pack_of(row.transpose(1, 2)) for group, row in zip(groups, rows, strict=True)]
    assert torch.equal(torch.cat(back), tokens)
    sizes = iter(lengths)
    for group, row in zip(groups, rows, strict=True):
        own = [next(sizes) for _ in range(group.rows)]
        assert row.shape == (len(own), 1, max(own), 1)
        needed = sum(length**2 for length in own)
        wasted = len(own) * max(own) ** 2 - needed
        assert wasted <= max(WASTED_PAIRS, WASTED_SHARE * needed)


def test_no_call_of_attention_holds_a_matrix_of_the_whole_pack():
    sequences = Sequences([[7] * 300 for _ in range(6)], [[9] * (4 * row + 1) for row in range(6)])
    batch, seen = pack(sequences, CPU), []
    attention = torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, attn_mask=None, **named):
        seen.append((query.shape[0], query.shape[2], attn_mask))
        return attention(query, key, value, attn_mask=attn_mask, **named)

    model = model_of("llama")
    give_logprobs(model)
    with torch.no_grad(), patch("torch.nn.functional.scaled_dot_product_attention", watched):
        response_logprobs(model, batch)
    assert all(mask is None and length <= max(batch.lengths) for _, length, mask in seen)
    assert len(seen) == 2 * len(batch.groups)  # layers


def test_a_family_that_is_not_known_stays_as_it_is():
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=11))
    assert not give_logprobs(model)
    assert type(model) is GPT2LMHeadModel
    assert model.config._attn_implementation == "sdpa"


def test_a_taught_model_is_saved_as_the_untouched_one(tmp_path):
    for name, teach in (("plain", False), ("taught", True)):
        model = tiny()[0]
        if teach:
            assert give_logprobs(model)
            assert give_logprobs(model)  # twice is once
        model.save_pretrained(tmp_path / name)
    for file in ("config.json", "model.safetensors"):
        plain, taught = ((tmp_path / name / file).read_bytes() for name in ("plain", "taught"))
        assert plain == taught
    assert json.loads((tmp_path / "taught" / "config.json").read_text())["architectures"] == [
        "Qwen2ForCausalLM"
    ]


def test_flash_attention_is_taken_on_a_gpu_in_half_precision_where_it_is_installed():
    gpu = torch.device("cuda")
    with patch.object(logprob_model, "is_flash_attn_2_available", lambda: True):
        assert attention_for(gpu, torch.bfloat16) == "flash_attention_2"
        assert attention_for(gpu, torch.float32) == PACKED
        assert attention_for(CPU, torch.bfloat16) == PACKED
    with patch.object(logprob_model, "is_flash_attn_2_available", lambda: False):
        assert attention_for(gpu, torch.bfloat16) == PACKED


def test_flash_attention_is_given_the_lengths_and_no_mask():
    arguments = pack(Sequences([[1, 2], [3]], [[4], [5, 6, 7]]), CPU).attention_arguments(
        "flash_attention_2"
    )
    assert arguments.pop("attention_mask") is None
    assert arguments.pop("cu_seq_lens_q").tolist() == [0, 3, 7]
    bounds = arguments.pop("cu_seq_lens_k")
    assert (bounds.tolist(), bounds.dtype) == ([0, 3, 7], torch.int32)
    assert arguments == {"max_length_q": 4, "max_length_k": 4}
