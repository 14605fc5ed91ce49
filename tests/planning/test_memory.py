"""Planned memory against what real models and a real trainer hold, counted by torch."""

import json
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from prime_core.planning import memory
from prime_core.planning.activations import (
    Pass,
    forward_bytes,
    kept_activations,
    kept_logits,
    work_bytes,
)
from prime_core.planning.disk import model_bytes, state_bytes, state_files
from prime_core.planning.known_shapes import KNOWN
from prime_core.planning.memory import DRAWING, Training, training_memory
from prime_core.samplers.request import Request, SamplingParams
from prime_core.samplers.transformers_generate import _generate
from prime_core.training.batches import Sequences, pad
from prime_core.training.logprob_model import Batch, give_logprobs
from prime_core.training.packing import pack
from prime_core.training.scoring import logprobs_and_entropy, response_logprobs
from tests.support.live_memory import LiveMemory
from tests.support.plan_measurements import (
    KINDS,
    Measured,
    measure,
    plan_with_small_buckets,
    planned,
    shape_of,
)
from tests.support.two_ranks import run_two_ranks

QUICK = {("bfloat16", 2)}  # the others take a few seconds each, too
EACH_KIND = [
    pytest.param(
        *kind, id="-".join(map(str, kind)), marks=() if kind in QUICK else pytest.mark.slow
    )
    for kind in KINDS
]


def in_step(dtype, zero_stage, num_ranks):
    """Planned bytes: between steps, with gradients of a pass, the most in a step."""
    shape, how = planned(dtype, zero_stage, num_ranks)
    with plan_with_small_buckets():
        resident = memory.resident_memory(shape, how)
        most = sum(training_memory(shape, how).values())
    with_gradients = sum(resident.values())
    # ZeRO-3 keeps its gradients' place, the others give it back after a step.
    between = with_gradients if zero_stage == 3 else with_gradients - resident["gradients"]
    return between, with_gradients, most


def assert_as_planned(found: Measured, dtype: str, zero_stage: int) -> None:
    resident, with_gradients, most = in_step(dtype, zero_stage, found.num_ranks)
    assert found.resident == pytest.approx(resident, rel=0.006)
    assert found.with_gradients == pytest.approx(with_gradients, rel=0.02)
    # Gradients that are float32 already go on living for a while, since no copy frees them; of
    # several ranks at most as much as is planned.
    is_rough = dtype == "float32" and zero_stage >= 2
    uncounted = (0.04 if found.num_ranks == 1 else 0.08) if is_rough else 0.02
    assert found.most == pytest.approx(most, rel=uncounted)


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize(("dtype", "zero_stage"), EACH_KIND)
def test_a_trainer_holds_what_was_planned_and_its_folder_is_as_large(dtype, zero_stage, tmp_path):
    found = measure(dtype, zero_stage, tmp_path / "policy")
    assert_as_planned(found, dtype, zero_stage)
    assert_saved_as_planned(tmp_path / "policy", dtype, zero_stage, num_ranks=1)


@pytest.mark.slow
@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_sums_in_the_models_own_dtype_are_planned(zero_stage):
    shape, how = planned("bfloat16", zero_stage, num_ranks=1)
    found = measure("bfloat16", zero_stage, grad_accum_dtype="model")
    with plan_with_small_buckets():
        parts = memory.resident_memory(shape, replace(how, float32_sums=False))
    assert parts["gradients"] == 2 * shape.num_parameters
    assert found.with_gradients == pytest.approx(sum(parts.values()), rel=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize(
    ("dtype", "zero_stage"), [("float32", 1), ("bfloat16", 1), ("bfloat16", 2), ("bfloat16", 3)]
)
def test_an_off_loaded_optimizer_is_planned_on_the_host(dtype, zero_stage):
    shape, how = planned(dtype, zero_stage, num_ranks=1)
    how = replace(how, offload_optimizer=True)
    found = measure(dtype, zero_stage, offload_optimizer="cpu")  # GPU and host are one here
    with plan_with_small_buckets():
        on_gpu = sum(memory.resident_memory(shape, how).values())
    assert found.with_gradients == pytest.approx(
        on_gpu + memory.offloaded_memory(shape, how), rel=0.03
    )


def assert_saved_as_planned(folder, dtype, zero_stage, num_ranks):
    """Bytes within one percent of the plan's, and files to the number."""
    shape, how = planned(dtype, zero_stage, num_ranks)
    width = how.largest.dtype_bytes
    weights = folder / "model.safetensors"
    state = [path for path in folder.rglob("training_state/**/*") if path.is_file()]
    assert weights.stat().st_size == pytest.approx(model_bytes(shape, width), rel=0.01)
    saved = sum(path.stat().st_size for path in state)
    assert saved == pytest.approx(state_bytes(shape.num_parameters, width, zero_stage), rel=0.01)
    assert len(state) == state_files(zero_stage, num_ranks)


@pytest.mark.slow
@pytest.mark.long
def test_two_ranks_share_what_was_planned(tmp_path):
    run_two_ranks("tests.support.plan_measurements", str(tmp_path))
    for dtype, zero_stage in KINDS:
        name = f"{dtype}-{zero_stage}"
        for rank in (0, 1):
            found = Measured(**json.loads((tmp_path / f"{name}-{rank}.json").read_text()))
            assert_as_planned(found, dtype, zero_stage)
        assert_saved_as_planned(tmp_path / name, dtype, zero_stage, num_ranks=2)


def model_of(dtype, **changes):
    """A model whose activations, or whose logits, are most of what a pass needs."""
    sizes: dict[str, Any] = {
        "vocab_size": 64,
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 1024,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Qwen2ForCausalLM(Qwen2Config(**sizes | changes)).to(dtype).train()


def ragged(one_pass: Pass) -> Batch:
    """Sequences of the pass; where there are several, prompts of different lengths."""
    prompts = [[7] * (one_pass.prompt_tokens - row) for row in range(one_pass.rows)]
    sequences = Sequences(prompts, [[9] * one_pass.response_tokens] * one_pass.rows)
    cpu = torch.device("cpu")
    return pack(sequences, cpu) if one_pass.packed else pad(sequences, 0, cpu)


def measured_pass(model, one_pass):
    """Bytes kept after the forward pass, and the most in forward and backward pass."""
    assert give_logprobs(model)
    batch, chunk_tokens = ragged(one_pass), one_pass.chunk_tokens

    def loss() -> torch.Tensor:
        if not one_pass.entropy:
            return -response_logprobs(model, batch, chunk_tokens=chunk_tokens).sum()
        return -logprobs_and_entropy(model, batch, 1.0, chunk_tokens)[0].sum()

    if one_pass.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    loss().backward()  # gradients have their place
    with LiveMemory() as found:
        value = loss()
        kept = found.live
        value.backward()
    return kept, found.most


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "checkpointing",
    [pytest.param(False, id="kept"), pytest.param(True, id="recomputed", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    ("rows", "packed"), [(1, True), (2, True), (2, False)], ids=["alone", "packed", "padded"]
)
@pytest.mark.parametrize(
    ("sizes", "tokens"),
    [
        pytest.param({}, (64, 448), id="layers"),
        pytest.param(
            {"vocab_size": 8192, "num_hidden_layers": 1},
            (16, 1200),
            id="logits",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_pass_needs_what_was_planned(dtype, checkpointing, rows, packed, sizes, tokens):
    width = torch.finfo(dtype).bits // 8
    entropy = bool(sizes)  # the policy's pass, where logits matter
    prompt, response = tokens
    one_pass = Pass(rows, prompt, response, width, checkpointing, entropy, packed=packed)
    model = model_of(dtype, **sizes)
    shape = shape_of(model)
    kept, most = measured_pass(model, one_pass)
    activations = kept_activations(shape, one_pass)
    assert kept == pytest.approx(activations + kept_logits(shape, one_pass), rel=0.02)
    assert 0.89 < most / (activations + work_bytes(shape, one_pass)) < 1.03


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("vocab_size", [64, 8192])
def test_scoring_needs_what_was_planned(dtype, vocab_size):
    width = torch.finfo(dtype).bits // 8
    one_pass = Pass(1, 64, 1536, width)
    model = model_of(dtype, vocab_size=vocab_size, num_hidden_layers=2)
    give_logprobs(model)
    batch = ragged(one_pass)
    with torch.no_grad(), LiveMemory() as found:
        response_logprobs(model, batch)
    assert found.most == pytest.approx(forward_bytes(shape_of(model), one_pass), rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("vocab_size", "prompt", "response", "temperature", "drawn"),
    [
        (64, 256, 4, 1.0, 0),  # the prompts' layer is most of it
        (64, 64, 256, 1.0, 0),  # less of it beside the cache
        (32768, 8, 4, 0.7, DRAWING),
        (32768, 8, 4, 1.0, DRAWING - 6),
    ],
    ids=["prompts", "responses", "drawing", "plain drawing"],
)
def test_generating_needs_what_was_planned(dtype, vocab_size, prompt, response, temperature, drawn):
    width, rows = torch.finfo(dtype).bits // 8, 4
    model = model_of(dtype, vocab_size=vocab_size, num_hidden_layers=2).eval()
    requests = [Request([7] * (prompt - row), seed=row) for row in range(rows)]
    params = SamplingParams(temperature, 0.9 if temperature < 1 else 1.0, 0, response)
    with LiveMemory() as found:
        _generate(model, requests, params, [vocab_size - 1], 0)
    parts = memory.transformers_memory(shape_of(model), width, rows, prompt, prompt + response)
    planned = sum(parts.values()) - parts["weights"]
    planned -= (DRAWING - drawn) * rows * vocab_size if drawn else 0
    assert found.most == pytest.approx(planned, rel=0.02)


def test_more_ranks_and_higher_stages_need_less():
    shape = KNOWN["qwen2.5-7b"]

    def total(zero_stage, num_ranks, **changes):
        one_pass = Pass(1, 1024, 3072, 2, checkpointing=True)
        return sum(
            training_memory(shape, Training(zero_stage, num_ranks, one_pass, **changes)).values()
        )

    # Stage 1 is computed as stage 2 where gradients add up in a dtype of their own.
    assert total(1, 8) == total(2, 8) > total(3, 8)
    own = {"float32_sums": False}
    assert total(1, 8, **own) > total(2, 8, **own) > total(3, 8, **own)
    assert total(2, 4) > total(2, 8) > total(2, 16)
    assert total(2, 8) > total(2, 8, offload_optimizer=True)


@pytest.mark.parametrize("name", ["qwen2.5-1.5b", "qwen2.5-3b"])
def test_the_roots_of_all_moments_are_more_than_what_a_short_pass_needs(name):
    shape = KNOWN[name]
    parts = training_memory(shape, Training(0, 1, Pass(1, 16, 16, 4, checkpointing=True)))
    # weights, gradients, two moments, roots
    assert sum(parts.values()) == pytest.approx(20 * shape.num_parameters)


def test_the_largest_parts_of_a_7b_model_are_those_of_paper_and_pencil():
    shape = KNOWN["qwen2.5-7b"]
    how = Training(2, 8, Pass(1, 1024, 3072, 2))
    parts = memory.in_gib(training_memory(shape, how))
    billion = 7.615616512e9 / 2**30
    assert parts["weights"] == pytest.approx(2 * billion)
    assert parts["gradients"] == pytest.approx(4 * billion / 8)
    assert parts["float32 copy"] == pytest.approx(4 * billion / 8)
    assert parts["optimizer states"] == pytest.approx(8 * billion / 8)
    # 28 layers, 4 key-value heads of width 128: 57,344 bytes of cache a token
    assert memory.cache_bytes(shape, 2, 1) == 2 * 28 * 4 * 128 * 2
    assert memory.cache_bytes(shape, 2, 4) == 28 * 128 * 2 * 2
    assert memory.cache_bytes(shape, 2, 7) == 28 * 128 * 2 * 2  # a head is not cut


def test_vllm_takes_what_it_may_and_gives_the_rest_to_the_cache():
    shape, allowed = KNOWN["qwen2.5-7b"], 70e9
    parts = memory.vllm_memory(shape, 2, 2, allowed, 4e9)
    assert sum(parts.values()) == pytest.approx(allowed)
    assert parts["weights"] == shape.num_parameters
    assert memory.vllm_memory(shape, 2, 1, 10e9, 4e9)["key-value cache"] == 0


def test_zero_3_loads_whole_weights_before_it_cuts_them():
    shape = KNOWN["qwen2.5-72b"]
    parts = training_memory(shape, Training(3, 64, Pass(1, 16, 16, 2, checkpointing=True)))
    assert sum(parts.values()) == pytest.approx(2 * shape.num_parameters * (1 + 1 / 64))
    assert parts["loading or stepping"] > 0


def test_a_node_reads_the_weights_once_for_each_of_its_ranks():
    shape = KNOWN["qwen2.5-7b"]
    how = Training(2, 8, Pass(1, 16, 16, 2))
    number = shape.num_parameters
    whole = memory.training_host_memory(shape, how, ranks_a_node=8, own=0.0)
    assert whole == pytest.approx(8 * (2 * number + 12 * number / 8))
    with patch.object(memory, "MOMENTS", 0):
        assert memory.training_host_memory(shape, how, 8, 0.0) < whole
