"""`prime export` to a folder: what is written, that libraries load it, what is refused."""

import json
import os
import shutil
import signal
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from prime_core.cli.main import main
from prime_core.export import export, weights
from prime_core.export.chosen import ExportError, choose
from prime_core.models.load import save_model
from prime_core.run.layout import RunFiles
from prime_core.runtime import interruption
from prime_core.samplers import Engine, Request, SamplingParams
from prime_core.settings.lora import Lora
from prime_core.training import lora
from tests.support.exported_run import change_settings, make_run_with_weights
from tests.support.tiny_model import tiny
from tests.support.vllm_cases import Case, answers_of_vllm, save_model_for_vllm

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    changes = {"rollout": {"temperature": 0.7, "top_p": 0.9, "max_response_length": 12}}
    return make_run_with_weights(tmp_path_factory.mktemp("results") / "made-up", changes=changes)


def exported(text: object, to: Path, kind: str = "policy", adapter: bool = False) -> Path:
    path = export.run(str(text), str(to), kind, adapter, None, False)  # type: ignore[arg-type]
    assert path == to
    return to


def refused(text: object, to: Path, *, words: str, **how: object) -> None:
    there = sorted(to.parent.iterdir()) if to.parent.exists() else []
    with pytest.raises(ExportError, match=words):
        exported(text, to, **how)  # type: ignore[arg-type]
    assert (sorted(to.parent.iterdir()) if to.parent.exists() else []) == there


def test_transformers_loads_the_folder_and_generates_as_the_run_samples(run_dir, tmp_path):
    folder = exported(f"{run_dir}@4", tmp_path / "new" / "model")
    theirs = load_file(RunFiles(run_dir).policy(4) / "model.safetensors")
    ours = load_file(folder / "model.safetensors")
    assert {name: (w.dtype, w.tolist()) for name, w in ours.items()} == {
        name: (w.dtype, w.tolist()) for name, w in theirs.items()
    }
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = GenerationConfig.from_pretrained(folder)
    assert (config.do_sample, config.temperature, config.top_p) == (True, 0.7, 0.9)
    assert (config.top_k, config.max_new_tokens) == (0, 12)
    assert config.eos_token_id == tokenizer.eos_token_id
    messages = [{"role": "user", "content": "3+4=?"}]
    inputs: Any = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer: Any = model.generate(**inputs)
    assert 0 < answer.shape[1] - inputs["input_ids"].shape[1] <= 12


def test_it_holds_no_training_state_and_others_may_read_it(run_dir, tmp_path):
    folder = exported(f"{run_dir}@4", tmp_path / "model")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("model.safetensors", "config.json", "generation_config.json", "README.md"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    }
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.iterdir())


def test_without_a_number_it_is_the_last_iteration_with_weights(run_dir, monkeypatch):
    assert choose(str(run_dir), "policy").iteration == 4
    monkeypatch.chdir(run_dir.parent.parent)
    (run_dir.parent.parent / "results").unlink(missing_ok=True)
    (run_dir.parent.parent / "results").symlink_to(run_dir.parent)
    assert choose("made-up@3", "policy").iteration == 3


def test_the_prm_is_exported_with_what_its_rewards_are_relative_to(run_dir, tmp_path):
    folder = exported(f"{run_dir}@3", tmp_path / "prm", "prm")
    ours = load_file(folder / "model.safetensors")
    theirs = load_file(RunFiles(run_dir).prm(3) / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    text = (folder / "README.md").read_text()
    assert "with beta 0.05" in text
    assert "the run's start model, frozen (`prime export made-up@0` writes it)" in text
    assert "max_new_tokens" not in (folder / "generation_config.json").read_text()


def test_a_frozen_prm_is_that_of_the_start_and_without_one_it_is_refused(tmp_path):
    run = make_run_with_weights(
        tmp_path / "run", changes={"prm": {"prm_update": "frozen", "path": str(tmp_path)}}
    )
    assert choose(f"{run}@4", "prm").folder == RunFiles(run).prm(0)
    change_settings(run, {"prm": {"prm_update": "none", "path": None}})
    refused(f"{run}@4", tmp_path / "out", words="has no PRM: it learns from", kind="prm")
    refused(f"{run}@4", tmp_path / "out", words="trains no value model", kind="value")


def test_weights_that_were_deleted_are_named_with_those_that_are_kept(run_dir, tmp_path):
    words = r"weights of iteration 2 .* are gone \(checkpoints.keep_last 2.*\); .* of 0, 3, 4"
    refused(f"{run_dir}@2", tmp_path / "out", words=words)
    refused(f"{run_dir}@9", tmp_path / "out", words="has no iteration 9: it ends with 4")
    refused(tmp_path / "nothing", tmp_path / "out", words="holds no run")


def test_of_a_run_that_is_running_finished_iterations_are_exported(tmp_path):
    run = make_run_with_weights(tmp_path / "run", iterations=3, planned=9, evaluated=(0,))
    RunFiles(run).metrics(3, "policy").unlink()  # weights are written before figures
    refused(f"{run}@3", tmp_path / "out", words="iteration 3 of .* is not finished; .* of 0")
    assert choose(f"{run}@3", "prm").iteration == 3
    RunFiles(run).metrics(3, "policy").write_text("{}")
    text = (exported(f"{run}@3", tmp_path / "out") / "README.md").read_text()
    assert "**The run was not finished when this was exported**: 3 of 9 iterations." in text
    assert "The run was not evaluated at iteration 3. It was at 0." in text
    assert "model-index" not in text


def test_a_target_with_files_is_refused_and_stays(run_dir, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    refused(f"{run_dir}@4", tmp_path / "full", words="is not empty")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    refused(f"{run_dir}@4", tmp_path / "full" / "mine.txt", words="is a file")
    (tmp_path / "empty").mkdir()
    assert (exported(f"{run_dir}@4", tmp_path / "empty") / "config.json").exists()


def test_a_target_that_another_fills_meanwhile_stays(run_dir, tmp_path, monkeypatch):
    def filled(*_: object) -> str:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
        return ""

    monkeypatch.setattr(export, "card_text", filled)
    with pytest.raises(OSError, match="not empty"):
        exported(f"{run_dir}@4", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_a_disk_with_too_little_room_is_found_out_first(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(1e9, 0, 1e6))
    refused(f"{run_dir}@4", tmp_path / "a" / "b", words=r"takes .* and 1 MB are free")


def test_weights_that_vanish_meanwhile_leave_nothing(run_dir, tmp_path, monkeypatch):
    copy = weights._copy

    def vanishing(source: Path, target: Path, link: bool) -> None:
        if source.suffix == ".safetensors":
            raise FileNotFoundError(2, "No such file", str(source))
        copy(source, target, link)

    monkeypatch.setattr(weights, "_copy", vanishing)
    refused(f"{run_dir}@4", tmp_path / "a" / "out", words="gone while it was copied")


def test_incomplete_weights_are_refused(tmp_path):
    run = make_run_with_weights(tmp_path / "run")
    path = RunFiles(run).policy(4) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    refused(f"{run}@4", tmp_path / "out", words="model.safetensors is cut short")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing(number, run_dir, tmp_path, monkeypatch):
    def interrupted(*_: object) -> str:
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
        return ""

    monkeypatch.setattr(export, "card_text", interrupted)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    # A shell starts what it puts into the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        CliRunner().invoke(main, ["export", f"{run_dir}@4", "--to", str(tmp_path / "a" / "out")])
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        interruption._request.first.clear()  # this process goes on, and nobody asks it to stop
    assert not list(tmp_path.iterdir())


def test_weights_of_an_older_format_become_safetensors(tmp_path):
    run = make_run_with_weights(tmp_path / "run")
    folder = RunFiles(run).policy(4)
    held = {
        name: weight.to(torch.bfloat16)
        for name, weight in load_file(folder / "model.safetensors").items()
    }
    torch.save(held, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    out = exported(f"{run}@4", tmp_path / "out")
    assert not list(out.glob("*.bin"))
    found = load_file(out / "model.safetensors")
    assert {weight.dtype for weight in found.values()} == {torch.bfloat16}
    assert all(torch.equal(found[name], weight) for name, weight in held.items() if name in found)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A run with adapters: its policy of iteration 4 is merged, with the adapter beside it."""
    run = make_run_with_weights(
        tmp_path_factory.mktemp("adapted") / "run",
        changes={"policy": {"lora": {"rank": 2}}, "prm": {"lora": {"rank": 2}}},
    )
    files = RunFiles(run)
    model, tokenizer = tiny(seed=1)
    model.save_pretrained(files.policy(0))
    adapter = lora.adapter_of(Lora(rank=2), "policy", files.policy(0), 0)
    assert adapter is not None
    lora.add_adapter(model, adapter)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    whole = model.state_dict()
    folder = files.policy(4)
    shutil.rmtree(folder)
    folder.mkdir()
    lora.save_adapter(model, whole, folder / lora.ADAPTER)
    plain, _ = tiny(seed=1)
    save_model(plain, tokenizer, folder, lora.merged_weights(model, whole))
    return run


def test_of_adapters_the_merged_weights_are_written_or_the_adapter_alone(
    adapted, tmp_path, monkeypatch
):
    from peft import AutoPeftModelForCausalLM

    assert weights.ADAPTER == lora.ADAPTER
    merged = exported(f"{adapted}@4", tmp_path / "merged")
    assert not (merged / "adapter").exists()
    alone = exported(f"{adapted}@4", tmp_path / "alone", adapter=True)
    assert {path.name for path in alone.iterdir()} >= {
        *("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md")
    }
    assert not list(alone.glob("model*.safetensors"))
    text = (alone / "README.md").read_text()
    assert "library_name: peft" in text
    assert "`prime export run@0 --model policy --to ./run-policy-0` writes" in text
    config = json.loads((alone / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "./run-policy-0"
    start = exported(f"{adapted}@0", tmp_path / "run-policy-0")
    tokens = torch.arange(10, 30)[None]
    with torch.no_grad():
        wanted = AutoModelForCausalLM.from_pretrained(merged)(tokens).logits
        base = AutoModelForCausalLM.from_pretrained(start)
        apart = base(tokens).logits
        monkeypatch.chdir(tmp_path)
        found = AutoPeftModelForCausalLM.from_pretrained(alone)(tokens).logits
    assert torch.allclose(found, wanted, atol=1e-3)  # rounding, through two ways
    assert not torch.allclose(apart, wanted, atol=0.1)


def test_an_adapter_on_a_model_of_the_hub_names_it(adapted):
    change_settings(
        adapted, {"model": {"path": "lab/base"}, "sft": {"enabled": False}, "iterations": 4}
    )
    assert weights.adapter_base(choose(f"{adapted}@4", "policy")) == "lab/base"
    change_settings(adapted, {"sft": {"enabled": True}})
    assert weights.adapter_base(choose(f"{adapted}@4", "policy")) == "./run-policy-0"


def test_without_an_adapter_asking_for_one_is_refused(run_dir, tmp_path):
    words = r"has no adapter: all weights were trained \(policy.lora is null\)"
    refused(f"{run_dir}@4", tmp_path / "out", words=words, adapter=True)


def test_the_command_says_what_was_written_where(run_dir, tmp_path):
    words = ["export", f"{run_dir}@4", "--to", str(tmp_path / "out"), "--license", "apache-2.0"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert f"{tmp_path}/out: policy of iteration 4 of made-up, " in done.output
    assert "license: apache-2.0" in (tmp_path / "out" / "README.md").read_text()
    again = CliRunner().invoke(main, [*words, "--public"])
    assert again.exit_code == 1
    assert "--public is for the hub" in again.output


@pytest.mark.slow
@pytest.mark.xdist_group("vllm")
def test_vllm_loads_the_folder_and_generates(tmp_path):
    run = make_run_with_weights(tmp_path / "run")
    shutil.rmtree(RunFiles(run).policy(4))
    save_model_for_vllm(RunFiles(run).policy(4))
    folder = exported(f"{run}@4", tmp_path / "out")
    requests = [Request([7, 8, 9], 1), Request([10, 11], 2)]
    params = SamplingParams(1.0, 1.0, 0, 8)
    case = Case(folder, requests, params, Engine(2))
    found = answers_of_vllm({"exported": case}, tmp_path)[0]["exported"]
    assert not found.error
    assert all(0 < len(one.tokens) <= 8 for one in found.responses)


def test_large_models_in_parts_keep_their_parts(tmp_path):
    run = make_run_with_weights(tmp_path / "run")
    folder = RunFiles(run).policy(4)
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(whole)
    parts = {"model-00001-of-00002.safetensors": names[::2]}
    parts["model-00002-of-00002.safetensors"] = names[1::2]
    for file, held in parts.items():
        save_file({name: whole[name] for name in held}, folder / file, {"format": "pt"})
    weight_map = {name: file for file, held in parts.items() for name in held}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    out = exported(f"{run}@4", tmp_path / "out")
    assert {*parts, "model.safetensors.index.json"} <= {path.name for path in out.iterdir()}
    AutoModelForCausalLM.from_pretrained(out)
