"""The built model and tokenizer: an ordinary Hugging Face folder, the same from the same seed."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from prime_core.models.build import BOXED, build_model, build_tokenizer

SIZES: dict[str, Any] = {
    "num_layers": 2,
    "hidden_size": 16,
    "num_heads": 2,
    "intermediate_size": 32,
    "max_position": 64,
    "initializer_range": 0.08,
}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tokenizer.save_pretrained(path)
    build_model(tokenizer, **SIZES, seed=0).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def loaded_tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def test_the_opening_of_the_box_is_one_token_and_every_character_another(tokenizer):
    ids = tokenizer(r"3+4=7: \boxed{7}")["input_ids"]
    assert tokenizer.batch_decode([[i] for i in ids]) == [*"3+4=7: ", BOXED, "7", "}"]


def test_the_box_survives_decoding_without_special_tokens(tokenizer):
    ids = tokenizer(r"\boxed{7}" + tokenizer.eos_token)["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == r"\boxed{7}"


def test_the_chat_template_writes_the_roles_and_opens_the_answer(tokenizer):
    messages = [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": "1+2=?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "4+5=?"},
    ]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == ("<|system|>Add.<|user|>1+2=?<|assistant|>3<|end|><|user|>4+5=?<|assistant|>")
    ids = tokenizer.apply_chat_template(messages[1:2], add_generation_prompt=True)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|user|>", *"1+2=?", "<|assistant|>"]


def test_padding_the_end_and_the_unknown_are_three_tokens(tokenizer):
    ids = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    assert len(ids) == 3
    assert None not in ids


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_the_loaded_tokenizer_encodes_any_text_as_the_built_one(loaded_tokenizer, text):
    tokenizer = build_tokenizer()
    ids = tokenizer(text)["input_ids"]
    assert loaded_tokenizer(text)["input_ids"] == ids
    normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    assert loaded_tokenizer.decode(ids, clean_up_tokenization_spaces=False) == normal


def test_the_loaded_tokenizer_keeps_template_special_tokens_and_side(tokenizer, loaded_tokenizer):
    assert loaded_tokenizer.chat_template == tokenizer.chat_template
    assert loaded_tokenizer.special_tokens_map == tokenizer.special_tokens_map
    assert loaded_tokenizer.padding_side == "left"
    assert len(loaded_tokenizer) == len(tokenizer)


def test_the_loaded_model_has_the_weights_and_stops_at_the_end_token(folder, tokenizer):
    built, loaded = (
        build_model(tokenizer, **SIZES, seed=0),
        AutoModelForCausalLM.from_pretrained(folder),
    )
    assert loaded.dtype == torch.float32
    for name, weight in built.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    for config in (
        loaded.generation_config,
        GenerationConfig.from_pretrained(folder),
        loaded.config,
    ):
        assert config.eos_token_id == tokenizer.eos_token_id
        assert config.pad_token_id == tokenizer.pad_token_id


def test_the_seed_decides_the_weights_and_the_global_random_state_is_left_alone(tokenizer):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, other = (build_model(tokenizer, **SIZES, seed=seed) for seed in (0, 1))
    assert torch.equal(torch.rand(3), expected)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_the_weights_spread_as_asked_for(tokenizer):
    wide, narrow = (
        build_model(tokenizer, **{**SIZES, "initializer_range": std}, seed=0) for std in (0.5, 0.01)
    )
    name = "model.embed_tokens.weight"
    assert wide.state_dict()[name].std().item() == pytest.approx(0.5, rel=0.1)
    name = "model.layers.0.mlp.up_proj.weight"
    assert narrow.state_dict()[name].std().item() == pytest.approx(0.01, rel=0.1)


def test_a_model_generates_from_the_chat_template_in_a_padded_batch(tokenizer):
    model = build_model(tokenizer, **SIZES, seed=0)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
        )
        for text in ("1+2=?", "10+20+30=?")
    ]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    tokens = model.generate(**batch, do_sample=False, max_new_tokens=4)  # type: ignore[misc]
    assert len(tokens) == 2
    assert batch["attention_mask"][0].tolist()[:5] == [0] * 5


def test_heads_that_do_not_divide_the_width_are_refused(tokenizer):
    with pytest.raises(ValueError, match="hidden_size = 16, num_heads = 3"):
        build_model(tokenizer, **{**SIZES, "num_heads": 3}, seed=0)
