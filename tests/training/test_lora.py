"""Adapters: what is trained, what is saved, what goes on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from prime_core.models.build import build_tokenizer
from prime_core.models.load import ModelError, load_model, save_model
from prime_core.run.changes import refused_changes
from prime_core.run.layout import TRAINING_STATE, RunFiles
from prime_core.settings.reading import SettingsError, parse_settings
from prime_core.stages import build
from prime_core.training.engine import Trainer
from prime_core.training.lora import ADAPTER, add_adapter, target_modules
from tests.support.lora_steps import STAGES, adapter, step_and_save, trainer_on
from tests.support.tiny_model import save_tiny_model
from tests.support.training_steps import PLAN, SEQUENCES, cut_small, difference, run_steps
from tests.support.two_ranks import run_two_ranks

pytestmark = pytest.mark.usefixtures("one_rank")

IDS = torch.tensor([[*SEQUENCES.prompts[0], *SEQUENCES.responses[0]]])
ALL = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
KINDS = [("float32", 0), ("float32", 1), ("bfloat16", 2), ("float32", 3)]


@pytest.fixture(autouse=True)
def _cut_small():
    with cut_small():
        yield


@pytest.fixture
def start(tmp_path, tiny_model) -> Path:
    """The first policy of a run: a link, since adapters stand beside its weights."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "policy-0000").symlink_to(tiny_model)
    return tmp_path / "models" / "policy-0000"


def logits(model) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def adapters_of(trainer: Trainer) -> dict[str, Tensor]:
    """The weights that are trained."""
    named = trainer.engine.module.named_parameters()
    return {name: weight for name, weight in named if weight.requires_grad}


def test_an_untrained_adapter_changes_nothing(start):
    model = load_model(start, "float32")
    before = logits(model)
    add_adapter(model, adapter(start))
    assert torch.equal(logits(model), before)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained) == 2 * 2 * 7  # A and B of seven linear layers in each of two layers
    assert all(".lora_" in name for name in trained)


def test_its_numbers_come_from_its_seed_alone(start):
    found = []
    for random_state in (1, 2):
        torch.manual_seed(random_state)
        expected = torch.random.get_rng_state()
        model = load_model(start, "float32")
        add_adapter(model, adapter(start))
        assert torch.equal(torch.random.get_rng_state(), expected)
        found.append({n: w.detach() for n, w in model.named_parameters() if w.requires_grad})
    assert difference(*found) == 0
    assert max(float(weight.abs().max()) for weight in found[0].values()) > 0.1


@pytest.mark.parametrize(("dtype", "zero_stage"), KINDS)
def test_what_is_saved_is_an_ordinary_model_and_the_adapter_apart(
    start, dtype, zero_stage, tmp_path
):
    trainer, tokenizer = trainer_on(start, start, zero_stage, dtype)
    run_steps(trainer, PLAN)
    trainer.save(tmp_path / "policy", tokenizer)
    rounding = 1e-5 if dtype == "float32" else 0.3
    trained, first = logits(trainer.engine), load_model(start, dtype)
    names = {name: weight.shape for name, weight in first.named_parameters()}
    assert float((trained - logits(first)).abs().max()) > 1

    merged = load_model(tmp_path / "policy", dtype)
    assert {name: weight.shape for name, weight in merged.named_parameters()} == names
    assert torch.allclose(logits(merged), trained, atol=rounding)
    beside = PeftModel.from_pretrained(first, str(tmp_path / "policy" / ADAPTER))
    assert torch.allclose(logits(beside), trained, atol=rounding)


@pytest.mark.parametrize(("dtype", "zero_stage"), KINDS)
def test_only_adapters_have_optimizer_states_and_are_in_the_training_state(
    start, dtype, zero_stage, tmp_path
):
    trainer, tokenizer = trainer_on(start, start, zero_stage, dtype)
    run_steps(trainer, PLAN[:1])
    # 2 layers of width 16, inner width 32: q, k, v, o; gate, up, down
    numbers = 2 * 4 * (4 * (16 + 16) + 3 * (16 + 32))
    optimizer = trainer.engine.optimizer
    states = getattr(optimizer, "optimizer", optimizer).state.values()
    assert sum(state["exp_avg"].numel() for state in states) == numbers
    trainer.save(tmp_path / "policy", tokenizer)
    saved = 0
    for file in (tmp_path / "policy" / TRAINING_STATE).rglob("*.pt"):
        state = torch.load(file, weights_only=False)
        saved += count(state.get("module", {})) + count(state.get("optimizer_state_dict", {}))
        saved += count(state.get("optimizer", {}))
    copies = {("float32", 0): 3, ("float32", 3): 3}.get((dtype, zero_stage), 4)
    assert saved == pytest.approx(copies * numbers, abs=100)  # and counters


@pytest.mark.parametrize(
    "settings", [{"gradient_checkpointing": True}, {"offload_optimizer": "cpu", "zero_stage": 2}]
)
def test_what_saves_memory_changes_nothing_about_adapters(start, settings):
    trained, plain = [], dict[str, Any]()
    for changes in (plain, settings):
        trainer, _ = trainer_on(start, start, **changes)
        run_steps(trainer, PLAN)
        trained.append({n: w.detach().clone() for n, w in adapters_of(trainer).items()})
    assert difference(*trained) < 1e-5


def count(value) -> int:
    """Numbers in the tensors of a nested value."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, dict):
        return sum(map(count, value.values()))
    return sum(map(count, value)) if isinstance(value, list | tuple) else 0


@pytest.mark.parametrize(("dtype", "zero_stage"), KINDS)
def test_iterations_with_an_interruption_are_those_without_bit_for_bit(
    start, dtype, zero_stage, tmp_path
):
    trainer, tokenizer = trainer_on(start, start, zero_stage, dtype)
    run_steps(trainer, PLAN[:1])
    trainer.save(tmp_path / "1", tokenizer)
    run_steps(trainer, PLAN[1:])
    trainer.save(tmp_path / "undisturbed", tokenizer)

    trainer, _ = trainer_on(tmp_path / "1", start, zero_stage, dtype)
    run_steps(trainer, PLAN[1:2])
    trainer.save_state(tmp_path / ".2.unfinished")
    again, _ = trainer_on(tmp_path / "1", start, zero_stage, dtype, tmp_path / ".2.unfinished")
    assert again.num_steps == 2
    run_steps(again, PLAN[2:])
    again.save(tmp_path / "2", tokenizer)
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        one, other = (tmp_path / run / name for run in ("undisturbed", "2"))
        assert one.read_bytes() == other.read_bytes()
    assert (tmp_path / "2" / "adapter" / "adapter_config.json").read_bytes() == (
        tmp_path / "1" / "adapter" / "adapter_config.json"
    ).read_bytes()


def test_merging_rounds_once_whatever_the_number_of_iterations(start, tmp_path):
    folder = start
    for iteration in (1, 2, 3):
        trainer, tokenizer = trainer_on(folder, start, 2, "bfloat16")
        run_steps(trainer, PLAN * 3)
        trainer.save(tmp_path / str(iteration), tokenizer)
        if folder != start:
            shutil.rmtree(folder)  # as a workflow does with weights that are not kept
        folder = tmp_path / str(iteration)
    frozen, merged = (load_model(place, "bfloat16").state_dict() for place in (start, folder))
    own = load_file(folder / ADAPTER / "adapter_model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    a, b = (own[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "AB")
    exact = frozen[f"{name}.weight"].double() + 8 / 4 * (b @ a)
    found = merged[f"{name}.weight"].double()
    assert bool(((found - exact).abs() <= 1.001 * 2.0**-8 * exact.abs()).all())  # half a unit
    assert float((found - frozen[f"{name}.weight"].double()).abs().max()) > 0.1
    untouched = "model.layers.1.input_layernorm.weight"
    assert torch.equal(merged[untouched], frozen[untouched])


def test_an_iteration_without_its_training_state_is_refused_and_never_begun_afresh(start, tmp_path):
    save_model(load_model(start, "float32"), build_tokenizer(), tmp_path / "policy")
    with pytest.raises(ValueError, match=r"policy: holds no training state"):
        trainer_on(tmp_path / "policy", start)


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        (("v_proj", "q_proj"), ["q_proj", "v_proj"]),
        (("self_attn.o_proj",), ["self_attn.o_proj"]),
        ("all-linear", ALL),
    ],
)
def test_adapters_stand_where_the_settings_say(start, targets, adapted):
    chosen = adapter(start, target_modules=targets)
    model = load_model(start, "float32")
    assert target_modules(model, chosen.settings, chosen.key) == adapted
    add_adapter(model, chosen)
    layers = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert layers == {
        name
        for name, _ in load_model(start, "float32").named_modules()
        if name.endswith(tuple(adapted))
    }


@pytest.mark.parametrize("name", ["q_pro", "lm_head", "embed_tokens", "proj", "mlp"])
def test_layers_that_the_model_has_not_are_refused_by_key_before_anything_is_trained(
    name, tmp_path
):
    files = RunFiles(tmp_path)
    settings = {"policy": {"lora": {"target_modules": ["q_proj", name]}}}
    files.config.write_text(str(settings))
    with pytest.raises(ModelError) as caught:
        build.run(tmp_path)
    assert str(caught.value) == (
        f"policy.lora.target_modules: the model has no linear layer {name}; expected 'all-linear' "
        "or some of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ({"policy.lora": {"rnak": 3}}, ["unknown key 'policy.lora.rnak'; did you mean 'rank'?"]),
        ({"prm.lora.rank": 0}, ["prm.lora.rank: ", "greater than or equal to 1", "got 0"]),
        ({"sft.lora": {"dropout": 1.0}}, ["sft.lora.dropout: ", "less than 1", "got 1.0"]),
        ({"policy.lora.target_modules": []}, ["policy.lora.target_modules"]),
        ({"policy.lora.target_modules": "q_proj"}, ["policy.lora.target_modules", "'all-linear'"]),
    ],
)
def test_wrong_settings_of_adapters_are_refused_by_key(raw, parts):
    with pytest.raises(SettingsError) as caught:
        parse_settings(raw, "run.yaml")
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("lora", "change"),
    [({"rank": 8}, "policy.lora.rank: 4 -> 8"), (None, "policy.lora.rank: 4 -> None")],
)
def test_adapters_stay_as_they_are_once_an_iteration_has_begun(lora, change, tmp_path):
    old, new = (parse_settings({"policy.lora": one}, "test") for one in ({"rank": 4}, lora))
    files = RunFiles(tmp_path)
    assert refused_changes(old, new, files) == []
    files.shard_count(1).parent.mkdir(parents=True)
    files.shard_count(1).write_text("2")
    assert change in refused_changes(old, new, files)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """What two ranks wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    save_tiny_model(folder / "start")
    run_two_ranks("tests.support.lora_steps", str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", STAGES)
def test_two_ranks_train_the_adapters_of_one_and_go_on_bit_for_bit(two_ranks, zero_stage, tmp_path):
    start = two_ranks / "start"
    trainer, tokenizer = trainer_on(start, start)
    run_steps(trainer, PLAN[:2])
    trainer.save(tmp_path / "one", tokenizer)
    file = "model.safetensors"
    one, two, again = (
        load_file(folder / file)
        for folder in (
            tmp_path / "one",
            two_ranks / f"{zero_stage}-2",
            two_ranks / f"{zero_stage}-again",
        )
    )
    assert difference(two, again) == 0
    assert difference(one, load_file(start / file)) > 1e-2
    assert difference(one, two) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 0), (3, 1), (1, 3)])
def test_adapters_of_two_ranks_go_on_on_one_at_another_zero_stage(
    two_ranks, before, after, tmp_path
):
    step_and_save(two_ranks / f"{before}-1", two_ranks / "start", tmp_path / "policy", 1, after)
    weights = load_file(tmp_path / "policy" / "model.safetensors")
    expected = load_file(two_ranks / f"{before}-2" / "model.safetensors")
    assert difference(weights, expected) < 1e-4
