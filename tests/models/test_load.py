"""Models and tokenizers that cannot be used are refused with their path."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

from prime_core.models.load import (
    ModelError,
    attention,
    eos_token_ids,
    find_model,
    link_model,
    load_model,
    load_tokenizer,
    save_model,
    saved_eos_token_ids,
)
from prime_core.models.prompts import prompt_tokens
from prime_core.training.value_model import load_value_model


@pytest.fixture
def copy(tiny_model, tmp_path) -> Path:
    """A folder of the tiny model, to be damaged."""
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def refusal(load, *arguments) -> str:
    """The sentence of the refusal."""
    with pytest.raises(ModelError) as caught:
        load(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["absent", "deeply/absent/folder"])
def test_an_absent_folder_is_refused_by_name(name, tmp_path):
    path = tmp_path / name
    for message in (
        refusal(load_model, path, "float32"),
        refusal(load_tokenizer, path),
        refusal(find_model, str(path)),
    ):
        assert message.startswith(f"{path}: no such folder; expected a Hugging Face ")


@pytest.mark.parametrize("path", ["./absent", "absent", "nobody/such-model", "a/b/c"])
def test_a_name_that_neither_disk_nor_hub_has_is_refused_with_it(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert refusal(find_model, path).startswith(f"{path}: ")


def test_a_folder_without_configuration_is_refused_by_name(tmp_path):
    (tmp_path / "README.md").write_text("weights to come")
    message = refusal(load_model, tmp_path, "float32")
    assert message.startswith(f"{tmp_path}: not loadable as a causal language model: ")
    assert refusal(load_tokenizer, tmp_path).startswith(f"{tmp_path}: not loadable as a tokenizer")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_folder_without_one_of_its_files_is_refused_by_name(file, copy):
    (copy / file).unlink()
    assert refusal(load_model, copy, "float32").startswith(f"{copy}: ")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_folder_with_a_truncated_file_is_refused_by_name(file, share, copy):
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: int(share * len(content))])
    assert refusal(load_model, copy, "float32").startswith(f"{copy}: ")


def test_a_model_of_another_kind_is_refused_by_name(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "no-such-kind"}))
    assert refusal(load_model, copy, "float32").startswith(f"{copy}: not loadable as a causal")


def test_weights_of_other_sizes_are_refused_by_name(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    assert refusal(load_model, copy, "float32").startswith(f"{copy}: ")


def test_weights_that_lack_a_layer_are_refused_by_name(copy):
    config = json.loads((copy / "config.json").read_text())
    del config["layer_types"]
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert refusal(load_model, copy, "float32").startswith(f"{copy}: ")


def test_a_tokenizer_without_end_is_refused_by_name(copy):
    path = copy / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"eos_token": None}))
    message = refusal(load_tokenizer, copy)
    assert message.startswith(f"{copy}: the tokenizer has no EOS token")
    assert "tokenizer_config.json" in message


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_truncated_tokenizer_is_refused_by_name(share, copy):
    content = (copy / "tokenizer.json").read_bytes()
    (copy / "tokenizer.json").write_bytes(content[: int(share * len(content))])
    assert refusal(load_tokenizer, copy).startswith(f"{copy}: not loadable as a tokenizer: ")


def test_a_tokenizer_without_padding_pads_with_its_end(copy):
    path = copy / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"pad_token": None}))
    tokenizer = load_tokenizer(copy)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert tokenizer.padding_side == "left"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_is_loaded_in_the_asked_format_and_without_dropout(dtype, tiny_model):
    model = load_model(tiny_model, dtype)
    assert {weight.dtype for weight in model.parameters()} == {getattr(torch, dtype)}
    assert not model.training


def test_a_linked_folder_loads_like_the_original(tiny_model, tmp_path):
    source, folder = find_model(str(tiny_model)), tmp_path / "linked"
    (folder).mkdir()
    link_model(source, folder)
    assert all(file.is_symlink() for file in folder.iterdir())
    ids = torch.tensor([[7, 8, 9]])
    logits = [load_model(path, "float32")(input_ids=ids).logits for path in (source, folder)]
    assert torch.equal(*logits)


def test_links_leave_training_state_and_hidden_files_behind(copy, tmp_path):
    (copy / "training_state").mkdir()
    (copy / ".cache").write_text("")
    folder = tmp_path / "linked"
    folder.mkdir()
    link_model(copy, folder)
    names = {file.name for file in folder.iterdir()}
    assert "model.safetensors" in names
    assert not names & {"training_state", ".cache"}


def test_prompts_follow_the_chat_template_and_without_one_stand_as_they_are(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    messages = [{"role": "user", "content": "1+2=?"}]
    tokens = prompt_tokens(tokenizer, messages)
    assert tokenizer.decode(tokens) == "<|user|>1+2=?<|assistant|>"
    tokenizer.chat_template = None
    tokens = prompt_tokens(tokenizer, [*messages, {"role": "user", "content": "3"}])
    assert tokenizer.decode(tokens) == "1+2=?\n3"


def test_a_response_ends_at_the_ends_of_tokenizer_and_generation_settings(tiny_model, tmp_path):
    model, tokenizer = load_model(tiny_model, "float32"), AutoTokenizer.from_pretrained(tiny_model)
    assert eos_token_ids(model, tokenizer) == [tokenizer.eos_token_id]
    model.generation_config.eos_token_id = [200, tokenizer.eos_token_id, 100]
    assert eos_token_ids(model, tokenizer) == [tokenizer.eos_token_id, 100, 200]
    model.save_pretrained(tmp_path)
    assert saved_eos_token_ids(tmp_path, tokenizer) == [tokenizer.eos_token_id, 100, 200]
    (tmp_path / "generation_config.json").unlink()  # the model's own configuration names one
    assert saved_eos_token_ids(tmp_path, tokenizer) == [tokenizer.eos_token_id]
    model.generation_config.eos_token_id = None
    assert eos_token_ids(model, tokenizer) == [tokenizer.eos_token_id]


def gemma2(cap: float | None = 2.0) -> Gemma2ForCausalLM:
    """A small Gemma 2 whose cap on attention scores bites."""
    config = Gemma2Config(
        vocab_size=263,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=1.0,
        attn_logit_softcapping=cap,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Gemma2ForCausalLM(config).eval()


def test_capped_attention_is_computed_as_configured(tiny_model, tmp_path):
    ids = torch.arange(7, 19)[None]
    model = gemma2()
    save_model(model, load_tokenizer(tiny_model), tmp_path)
    model.set_attn_implementation("eager")
    expected = model(input_ids=ids).logits
    assert torch.allclose(load_model(tmp_path, "float32")(input_ids=ids).logits, expected)
    value_model = load_value_model(tmp_path, "float32")
    assert value_model.config._attn_implementation == "eager"
    model.set_attn_implementation("sdpa")  # what transformers would choose
    assert not torch.allclose(model(input_ids=ids).logits, expected, atol=0.1)
    assert attention(gemma2(cap=None).config) is None


@pytest.mark.parametrize("load", [lambda path: load_model(path, "float32"), load_tokenizer])
def test_a_model_that_needs_code_of_its_own_is_refused_in_words(load, copy):
    own: dict = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    own |= {"AutoTokenizer": ["own.OwnTokenizer", None]}
    kinds = {"model_type": "own-kind", "tokenizer_class": "OwnTokenizer", "auto_map": own}
    for name in ("config.json", "tokenizer_config.json"):
        config = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps(config | kinds))
    (copy / "own.py").write_text("raise SystemExit('it was executed')")
    message = refusal(load, copy)
    assert "code of its own (auto_map" in message
    assert "no setting for trust_remote_code" in message
