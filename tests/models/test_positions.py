"""Lengths beyond a model's positions are refused before anything is computed with them."""

import shutil
from typing import Any

import pytest
from transformers import BloomConfig, GPT2Config, LlamaConfig, OPTConfig, Qwen2Config

from prime_core.models.load import ModelError
from prime_core.models.positions import check_lengths, max_positions
from prime_core.run.state import RunState
from prime_core.settings.reading import parse_settings
from prime_core.stages import build

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100}
SHORT: dict[str, Any] = {
    "data.max_prompt_length": 24,
    "rollout.max_response_length": 40,
    "sft.enabled": False,
}


def stretched(positions: int) -> Qwen2Config:
    return Qwen2Config.from_dict({"max_position_embeddings": positions, "rope_scaling": YARN})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(max_position_embeddings=128), 128),
        (OPTConfig(max_position_embeddings=64), 64),
        (GPT2Config(n_positions=32), 32),
        (BloomConfig(), None),  # ALiBi: no limit
        (stretched(100), 400),
        (stretched(400), 400),
    ],
    ids=["llama", "opt", "gpt2", "bloom", "stretched", "stretched, said so"],
)
def test_positions_are_found_in_every_family(config, expected):
    assert max_positions(config) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rollout.max_response_length": 41}, "data.max_prompt_length 24 and rollout.max_response"),
        (
            {"data.difficulty": {"max_response_length": 60}},
            "data.difficulty.max_response_length 60",
        ),
        ({"sft.enabled": True, "sft.max_length": 65}, "sft.max_length 65"),
        ({"prm.offline": {"file": "x", "max_length": 65}}, "prm.offline.max_length 65"),
    ],
)
def test_each_length_of_a_run_is_checked(changes: dict[str, Any], words, tiny_model):
    usual = SHORT | {"model.path": "there", "data.source": "arithmetic"}
    check_lengths(tiny_model, parse_settings(usual, "test"), "model.path (there)")
    with pytest.raises(ModelError) as caught:
        check_lengths(tiny_model, parse_settings(usual | changes, "test"), "model.path (there)")
    assert words in str(caught.value)
    assert "the 64 positions of model.path (there)" in str(caught.value)


@pytest.mark.parametrize("sampler", ["transformers", "vllm"])
def test_build_refuses_lengths_that_do_not_fit_whatever_the_sampler(sampler, tiny_model, tmp_path):
    changes = {"model.path": str(tiny_model), "results": str(tmp_path), "rollout.sampler": sampler}
    state = RunState(parse_settings(SHORT | changes | {"data.max_prompt_length": 25}, "test"))
    state.begin()
    with pytest.raises(ModelError, match=r"25 and .* 40 together exceed the 64 positions"):
        build.run(state.files.root)
    assert not state.files.base_model.exists()


def test_a_model_that_cannot_be_used_is_named_by_its_setting_not_by_a_temporary_folder(
    tiny_model, tmp_path
):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    changes = {"model.path": str(folder), "results": str(tmp_path)}
    state = RunState(parse_settings(SHORT | changes, "test"))
    state.begin()
    with pytest.raises(ModelError) as caught:
        build.run(state.files.root)
    assert str(caught.value).startswith(f"model.path ({folder}): ")
    assert ".tmp" not in str(caught.value)
