"""`prime plan` where adapters are trained: its counts against a real trainer and real passes."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from prime_core.planning import memory
from prime_core.planning.activations import (
    Pass,
    kept_activations,
    kept_logits,
    work_bytes,
)
from prime_core.planning.adapters import adapter_parameters, adapter_width
from prime_core.planning.disk import state_bytes, state_files
from prime_core.planning.known_shapes import KNOWN
from prime_core.planning.page import page
from prime_core.planning.shapes import PlanError
from prime_core.settings.reading import parse_settings
from prime_core.training.lora import ADAPTER, add_adapter
from tests.planning.test_command import planned as planned_run
from tests.planning.test_memory import measured_pass, model_of, shape_of
from tests.support.lora_steps import adapter
from tests.support.plan_measurements import measure, plan_with_small_buckets, planned, wide_model

START = Path("models/policy-0000")
LORA = {"policy": {"lora": {"rank": 4, "alpha": 8}}}


def numbers(shape, **changes) -> int:
    settings = parse_settings({"policy": {"lora": LORA["policy"]["lora"] | changes}}, "test")
    return adapter_parameters(shape, settings, "policy")


def adapted(dtype):
    """The model of the other measurements, with adapters."""
    model = wide_model(dtype)
    add_adapter(model, adapter(START))
    return model


def test_adapters_have_as_many_numbers_as_planned():
    model = adapted("float32")
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert numbers(shape_of(wide_model("float32"))) == trained
    # 28 layers; q and o 3584 + 3584, k and v 3584 + 512, gate, up and down 3584 + 18944
    qwen = KNOWN["qwen2.5-7b"]
    assert numbers(qwen, rank=32) == 28 * 32 * (2 * 7168 + 2 * 4096 + 3 * 22528) == 80_740_352
    assert numbers(qwen, target_modules=["q_proj", "self_attn.v_proj"]) == 28 * 4 * (7168 + 4096)
    assert adapter_parameters(qwen, parse_settings(LORA, "test"), "prm") == 0
    offline = {"prm": {"offline": {"file": "rows.jsonl", "lora": {"rank": 32}}}}
    settings = parse_settings(LORA | offline, "test")
    assert adapter_parameters(qwen, settings, "prm_offline") == 80_740_352


def test_layers_that_no_such_model_has_are_refused_by_key():
    with pytest.raises(
        PlanError, match=r"policy\.lora\.target_modules: q_pro is not a linear layer"
    ):
        numbers(KNOWN["qwen2.5-7b"], target_modules=["q_pro"])


@pytest.mark.slow
@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize(("dtype", "zero_stage"), [("float32", 0), ("bfloat16", 2)])
def test_a_trainer_of_adapters_holds_and_saves_what_was_planned(dtype, zero_stage, tmp_path):
    shape, how = planned(dtype, zero_stage, num_ranks=1)
    how = replace(how, num_adapter=numbers(shape))
    with patch("tests.support.plan_measurements.wide_model", adapted):
        found = measure(dtype, zero_stage, tmp_path / "policy")
    with plan_with_small_buckets():
        resident = sum(memory.resident_memory(shape, how).values())
        most = sum(memory.training_memory(shape, how).values())
    assert found.with_gradients == pytest.approx(resident, rel=0.03)
    assert found.most == pytest.approx(most, rel=0.05)

    width = how.largest.dtype_bytes
    state = [p for p in tmp_path.rglob("training_state/**/*") if p.is_file()]
    saved = sum(path.stat().st_size for path in state)
    assert saved == pytest.approx(state_bytes(how.num_adapter, width, zero_stage), rel=0.2)
    assert len(state) == state_files(zero_stage, num_ranks=1)
    own = tmp_path / "policy" / ADAPTER / "adapter_model.safetensors"
    assert own.stat().st_size == pytest.approx(width * how.num_adapter, rel=0.05)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
def test_a_pass_beside_frozen_weights_needs_what_was_planned(checkpointing):
    model = model_of(torch.bfloat16, num_hidden_layers=8)
    shape = shape_of(model)
    add_adapter(model, adapter(START))
    width = adapter_width(shape, parse_settings(LORA, "test"), "policy")
    one_pass = Pass(1, 64, 448, 2, checkpointing, adapter_width=width)
    kept, most = measured_pass(model.to(torch.bfloat16), one_pass)
    logits = kept_logits(shape, one_pass)
    activations = kept_activations(shape, one_pass)
    assert 0.9 < kept / (activations + logits) < 1.03  # the first input may need no gradient
    assert 0.89 < most / (activations + work_bytes(shape, one_pass)) < 1.03


def test_a_plan_counts_the_small_states_of_the_model_that_has_adapters(monkeypatch):
    monkeypatch.setenv("PRIME_SITE", "no-such-site.yaml")
    whole, small = planned_run(), planned_run(policy__lora__rank=32)
    assert small.disk.states["policy"] == 14 * 80_740_352
    assert small.disk.states["prm"] == whole.disk.states["prm"] == 14 * 7_615_616_512
    assert small.disk.num_files == whole.disk.num_files + 2 * len(whole.disk.kept)
    parts = small.stages["policy"].gpu
    assert parts["optimizer states"] == 8 * 80_740_352 / 8
    assert parts["weights"] == 2 * (7_615_616_512 + 80_740_352)
    assert small.stages["prm"] == whole.stages["prm"]
    for part in ("read", "compute", "write"):
        assert getattr(small.stages["policy"].seconds, part) < getattr(
            whole.stages["policy"].seconds, part
        )
    text = page(small, [small], "model", "site")
    assert "adapters are trained, parameters: policy 80.74 M" in text
    assert "training state of policy 1.13 GB" in " ".join(text.split())
    assert "training state beside them" in page(whole, [whole], "model", "site")
