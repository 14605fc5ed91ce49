"""Models in a GGUF file become ordinary folders: same weights, same tokens; others are refused."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import Qwen2Tokenizer

from prime_core.launch.fetch import Need, look, needs
from prime_core.models.gguf import load_gguf
from prime_core.models.load import (
    ModelError,
    eos_token_ids,
    load_model,
    load_tokenizer,
    save_model,
)
from prime_core.models.prompts import prompt_tokens
from prime_core.planning.command import find_shape
from prime_core.planning.shapes import PlanError
from prime_core.run.state import RunState
from prime_core.run.tables import read_json
from prime_core.settings.reading import parse_settings
from prime_core.settings.run import Settings
from prime_core.stages import build
from prime_core.storage import gguf_files
from tests.support.gguf_writer import END, MERGES, SPECIAL, TOKENS, small_model, write_gguf


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A Llama in a file."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "a.gguf", small_model("llama"), "llama")


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory) -> Path:
    """The same as a Hugging Face folder."""
    path = tmp_path_factory.mktemp("folder")
    save_model(*load_gguf(file, "float32"), path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder):
    """The folder's, as every stage loads it."""
    return load_tokenizer(folder)


def learned_tokenizer() -> Tokenizer:
    """How the models named smollm learned to part a text: each digit by itself."""
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=MERGES))
    tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return tokenizer


def missing(settings: Settings) -> list[str]:
    """What is wrong with the settings' models and tables."""
    looks = [look(need, None, fetch=False) for need in needs(settings)]
    return [f"{one.need.key}: {one.problem}" for one in looks if one.problem]


def settings_of(path: Path, **others: object) -> Settings:
    return parse_settings({"model.path": str(path), **others}, "test")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", gguf_files.ARCHITECTURES)
def test_the_folder_predicts_what_the_model_in_the_file_did(architecture, tied, tmp_path):
    model = small_model(architecture, tied)
    path = write_gguf(tmp_path / "a.gguf", model, architecture)
    save_model(*load_gguf(path, "float32"), tmp_path / "folder")
    loaded = load_model(tmp_path / "folder", "float32")
    assert type(loaded) is type(model)
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    ids = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_quantised_weights_become_the_numbers_that_they_stand_for(tmp_path):
    kind = gguf.GGMLQuantizationType.Q4_1
    model = small_model("llama")
    path = write_gguf(tmp_path / "a.gguf", model, "llama", quantization=kind)
    loaded, _ = load_gguf(path, "float32")
    for name in ("model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"):
        exact = model.state_dict()[name].numpy()
        meant = gguf.quants.dequantize(gguf.quants.quantize(exact, kind), kind)
        assert torch.equal(loaded.state_dict()[name], torch.from_numpy(meant)), name
        assert abs(meant - exact).max() > 0.01, "a coarse kind, or this test compares nothing"


def test_the_weights_have_the_number_format_that_is_asked_for(file):
    assert load_gguf(file, "bfloat16")[0].dtype == torch.bfloat16


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text(" \n\t07the<|im_end|>", max_size=30)))
def test_any_text_has_the_tokens_that_the_model_learned_and_comes_back(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == learned_tokenizer().encode(text).ids
    assert tokenizer.decode(ids) == text


def test_digits_stand_alone_and_line_breaks_before_them_stay_together(tokenizer):
    pieces = tokenizer.tokenize("the answer:\n\n12  345 and 6.\n")
    assert [piece for piece in pieces if any(map(str.isdigit, piece))] == [*"123456"]
    assert "ĊĊ" in pieces
    assert "ĠĠ" in pieces


def test_the_saved_tokenizer_knows_its_end_its_padding_and_its_template(folder, tokenizer):
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", END)
    assert tokenizer.pad_token_id == END
    assert len(tokenizer) == len(TOKENS)
    assert eos_token_ids(load_model(folder, "float32"), tokenizer) == [END]
    tokens = prompt_tokens(tokenizer, [{"role": "user", "content": "1+2"}])
    assert tokenizer.decode(tokens) == "<|im_start|>user\n1+2<|im_end|>\n<|im_start|>assistant\n"
    assert tokens[0] == SPECIAL.index("<|im_start|>")
    assert tokenizer.decode([*tokenizer("3")["input_ids"], END], skip_special_tokens=True) == "3"


def test_the_tokenizer_of_a_qwen_is_qwens(tmp_path):
    path = write_gguf(tmp_path / "a.gguf", small_model("qwen2"), "qwen2")
    save_model(*load_gguf(path, "float32"), tmp_path / "folder")
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    merges: Any = MERGES
    text = "the  the:\n\n12"
    expected = Qwen2Tokenizer(vocab=vocabulary, merges=merges)(text)["input_ids"]
    assert load_tokenizer(tmp_path / "folder")(text)["input_ids"] == expected


def test_stage_build_makes_a_folder_of_a_file(file, tmp_path):
    fits = {"data.max_prompt_length": 64, "rollout.max_response_length": 64, "sft.enabled": False}
    run = RunState(settings_of(file, results=str(tmp_path), **fits))
    run.begin()
    build.run(run.files.root)
    base = run.files.base_model
    assert not (base / "model.safetensors").is_symlink()
    num_parameters = load_model(base, "float32").num_parameters()
    assert read_json(run.files.setup_metrics("build"))["model/num_parameters"] == num_parameters


@pytest.mark.parametrize("share", [0.0, 0.002, 0.02, 0.5, 0.99999])
def test_a_file_that_is_cut_short_is_refused_by_name(share, file, tmp_path):
    path = tmp_path / "cut.gguf"
    content = file.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"cut\.gguf: (cut short or damaged|not a GGUF file)$"):
        load_gguf(path, "float32")
    [need] = needs(settings_of(path))
    assert look(need, None, fetch=False).problem.startswith(f"{path}: ")


def test_an_absent_file_is_refused_by_name(tmp_path):
    path = tmp_path / "absent.gguf"
    with pytest.raises(ModelError, match=r"absent\.gguf: no such file$"):
        load_gguf(path, "float32")
    [need] = needs(settings_of(path))
    assert look(need, None, fetch=False).problem == f"{path}: no such file"
    with pytest.raises(PlanError, match=r"absent\.gguf: no such file; .*--model-size"):
        find_shape(settings_of(path), None)


def test_another_architecture_is_refused_by_name(file, tmp_path):
    path = tmp_path / "other.gguf"
    path.write_bytes(file.read_bytes().replace(b"llama", b"bloom"))
    with pytest.raises(ModelError, match="architecture 'bloom' is not supported; expected one of"):
        load_gguf(path, "float32")


def test_an_unknown_way_to_part_texts_is_refused_by_name(tmp_path):
    path = write_gguf(tmp_path / "a.gguf", small_model("llama"), "llama", "poro-chat")
    with pytest.raises(ModelError, match=r"a\.gguf: how its tokenizer splits.*'poro-chat'"):
        load_gguf(path, "float32")


def test_a_file_with_a_layer_missing_is_refused(tmp_path):
    model = small_model("llama")
    model.config.num_hidden_layers = 3
    path = write_gguf(tmp_path / "a.gguf", model, "llama")
    with pytest.raises(ModelError, match=r"a\.gguf: weights .*layers\.2"):
        load_gguf(path, "float32")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", gguf_files.ARCHITECTURES)
def test_a_plan_knows_the_size_of_a_file_without_loading_it(architecture, tied, tmp_path):
    model = small_model(architecture, tied)
    path = write_gguf(tmp_path / "a.gguf", model, architecture)
    _, shape = find_shape(settings_of(path), None)
    assert shape.num_parameters == model.num_parameters()


def test_fetch_looks_at_a_file_and_takes_it_for_the_start_model_only(file):
    [need] = needs(settings_of(file))
    assert not need.is_on_hub
    found = look(need, None, fetch=True)
    assert (found.size, found.location) == (file.stat().st_size, str(file))
    of_the_prm = look(Need("prm.path", str(file), "model"), None, fetch=True)
    assert of_the_prm.problem.endswith("a GGUF file can be model.path only; name a folder")
