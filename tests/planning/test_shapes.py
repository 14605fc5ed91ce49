"""Parameter counts of shapes against models of transformers, built without memory."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from prime_core.models.build import build_tokenizer
from prime_core.planning.known_shapes import ALIASES, KNOWN, known_shape, shape_of_size
from prime_core.planning.shapes import (
    BUILT_VOCABULARY,
    ModelShape,
    PlanError,
    built_shape,
    shape_from_config,
)
from prime_core.settings.run import BuildModel

SIZES: dict[str, Any] = {
    "vocab_size": 1003,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
PUBLISHED = {  # as their model cards count them
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "smollm2-135m": 134_515_008,
}


def count(config: PretrainedConfig) -> int:
    """Parameters of the real model, tied ones once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def config_of(shape: ModelShape) -> PretrainedConfig:
    """The configuration of transformers that a known shape stands for."""
    kind = Qwen2Config if shape.qkv_bias else LlamaConfig
    return kind(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        max_position_embeddings=shape.max_position,
        tie_word_embeddings=shape.tied,
    )


@pytest.mark.parametrize("name", KNOWN)
def test_known_shapes_count_as_the_real_models_do(name):
    shape = KNOWN[name]
    config = config_of(shape)
    assert shape.num_parameters == count(config)
    assert shape_from_config(config.to_dict(), name) == shape


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_shapes_have_the_published_number_of_parameters(name):
    assert KNOWN[name].num_parameters == PUBLISHED[name]


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SIZES),
        Qwen2Config(**SIZES, tie_word_embeddings=True),
        Qwen3Config(**SIZES, head_dim=16),
        Qwen3Config(**SIZES, head_dim=16, attention_bias=True),
        LlamaConfig(**SIZES),
        LlamaConfig(**SIZES, attention_bias=True),
        LlamaConfig(**SIZES, mlp_bias=True, head_dim=12),
        MistralConfig(**SIZES, head_dim=16),
    ],
    ids=lambda config: config.model_type,
)
def test_every_kind_and_option_counts_as_the_real_model(config):
    shape = shape_from_config(json.loads(config.to_json_string(use_diff=False)), "model")
    assert shape.num_parameters == count(config)


def test_a_model_built_from_scratch_has_the_planned_shape(tiny_model):
    build = BuildModel(
        num_layers=2, hidden_size=16, num_heads=2, intermediate_size=32, max_position=64
    )
    config = json.loads((tiny_model / "config.json").read_text())
    assert built_shape(build) == shape_from_config(config, "config.json")
    assert len(build_tokenizer()) == BUILT_VOCABULARY


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("PRIME-RL/Eurus-2-7B-SFT", "qwen2.5-math-7b"),
        ("Qwen/Qwen2.5-7B", "qwen2.5-7b"),
        ("Qwen/Qwen2.5-Math-1.5B", "qwen2.5-math-1.5b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"),
        ("7b", "qwen2.5-7b"),
        ("32B", "qwen2.5-32b"),
        ("8b", "llama-3.1-8b"),
    ],
)
def test_models_are_known_by_their_names_and_sizes(name, same):
    assert known_shape(name) == KNOWN[same]


@pytest.mark.parametrize(
    ("name", "same", "positions"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b", 32768),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5-0.5b", 32768),
        ("qwen2.5-32b-instruct", "qwen2.5-32b", 32768),
        ("Qwen/Qwen2.5-Coder-7B", "qwen2.5-7b", 32768),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2.5-7b", 32768),
        ("Qwen/Qwen2.5-Math-7B-Instruct", "qwen2.5-math-7b", 4096),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b", 131072),
    ],
)
def test_variants_have_their_own_positions(name, same, positions):
    assert known_shape(name) == replace(KNOWN[same], max_position=positions)


def test_aliases_lead_to_shapes():
    assert set(ALIASES.values()) <= set(KNOWN)


def test_an_unknown_size_is_refused_with_the_known_ones():
    with pytest.raises(PlanError, match=r"--model-size 9b: unknown; expected one of 0\.5b, .*8b"):
        shape_of_size("9b")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "mixtral"}, "model_type 'mixtral' cannot be planned"),
        ({"hidden_size": None}, "hidden_size is missing, or null"),
        ({"num_hidden_layers": "many"}, "a size is not a number: "),
        ({"vocab_size": [1]}, "a size is not a number: "),
    ],
)
def test_another_kind_of_model_is_refused(changes, expected):
    values = {"model_type": "llama"} | SIZES | changes
    with pytest.raises(PlanError, match=f"somewhere: {expected}"):
        shape_from_config(values, "somewhere")


def test_null_stands_for_the_default_and_a_size_that_is_null_is_missing():
    bare = {"model_type": "llama"} | SIZES
    nulls = {"tie_word_embeddings": None, "attention_bias": None, "head_dim": None}
    assert shape_from_config(bare | nulls, "a") == shape_from_config(bare, "a")
