"""Stages that train a model, or compute log-probabilities or values: memory and seconds.

In: a Case. Out: a StagePlan for SFT, offline PRM, PRM, policy, value model, scoring and values.
"""

from __future__ import annotations

from prime_core.planning import memory
from prime_core.planning.activations import Pass
from prime_core.planning.adapters import adapter_parameters, adapter_width
from prime_core.planning.case import Case, StagePlan
from prime_core.planning.disk import model_bytes
from prime_core.planning.hardware import GIB
from prime_core.planning.memory import Training
from prime_core.planning.moving import moving_of
from prime_core.planning.seconds import Seconds, forward_flops, passes_seconds
from prime_core.planning.shapes import ModelShape
from prime_core.run.stages import STAGES
from prime_core.settings.prm import Offline


def largest_pass(case: Case, stage: str) -> Pass:
    """The largest pass of one rank, in a training stage or in scoring."""
    settings = case.settings
    rows, prompt, response = _longest_rows(case, stage)
    training, trains = settings.training, not STAGES[stage].forward_only
    if training.max_token_len_per_gpu:
        # A sequence longer than the budget is a pass of its own (training.batches.cut_into_passes).
        rows = max(training.max_token_len_per_gpu // (prompt + response), 1)
    return Pass(
        rows,
        prompt,
        response,
        case.dtype_bytes,
        checkpointing=trains and training.gradient_checkpointing,
        entropy=stage == "policy",
        adapter_width=adapter_width(case.shape, settings, stage) if trains else 0,
        packed=training.packing,
        chunk_tokens=training.logprobs_chunk_size,
    )


def training_of(case: Case, stage: str) -> Training:
    """How a training stage runs: ZeRO stage, ranks, largest pass, adapters."""
    training = case.settings.training
    return Training(
        training.zero_stage,
        case.machines[stage].num_ranks,
        largest_pass(case, stage),
        training.offload_optimizer == "cpu",
        adapter_parameters(case.shapes.of_stage(stage), case.settings, stage),
        float32_sums=training.grad_accum_dtype == "float32",
    )


def training_plan(case: Case, stage: str) -> StagePlan:
    """Plan of a stage that takes optimizer steps."""
    machine, how, shape = case.machines[stage], training_of(case, stage), _shape(case, stage)
    own = case.assumed.host_gib * GIB
    return StagePlan(
        stage=stage,
        each=STAGES[stage].each,
        jobs=1,
        machine=machine,
        gpu=case.with_reserve(memory.training_memory(shape, how)),
        host=memory.training_host_memory(shape, how, machine.ranks_per_node, own),
        seconds=_training_seconds(case, stage, how),
    )


def training_flops(case: Case, stage: str) -> float:
    """FLOPs of a whole update: a backward pass counts as two forward ones, recomputing as one."""
    settings, work, shape = case.settings, case.work, _shape(case, stage)
    frozen = adapter_parameters(shape, settings, stage) > 0  # no gradients of its weights
    train = 3 - frozen + settings.training.gradient_checkpointing
    if stage == "sft":
        tokens = case.assumed.sft_share * settings.sft.max_length
        demonstrations = settings.sft.num_steps * settings.sft.batch_size
        return train * demonstrations * forward_flops(shape, 0, tokens)
    one = forward_flops(shape, work.prompt_tokens, work.response_tokens)
    if stage == "policy":  # and the log-probabilities before the first step
        return work.trained_responses * one * (1 + train * settings.policy.ppo_epochs)
    if STAGES[stage].trains == "prm":
        return _prm_flops(case, stage, one, train)
    return work.trained_responses * one * train * getattr(settings, STAGES[stage].section).epochs


def num_steps(case: Case, stage: str) -> float:
    """Optimizer steps of one update."""
    settings, responses = case.settings, case.work.trained_responses
    if stage == "sft":
        return settings.sft.num_steps
    if stage == "prm_offline":
        offline = _offline(case)
        return offline.epochs * case.assumed.labelled / offline.mini_batch_size
    if stage == "policy":
        return settings.policy.ppo_epochs * responses / settings.policy.ppo_mini_batch_size
    section = getattr(settings, STAGES[stage].section)
    return section.epochs * responses / section.mini_batch_size


def score_plan(case: Case) -> StagePlan:
    """PRM and reference, one after the other, split over ranks that each hold all weights."""
    machine = case.machines["score"]
    one_pass, models = largest_pass(case, "score"), (case.shapes.prm, case.shapes.prm_reference)
    each = [memory.scoring_memory(shape, one_pass) for shape in models]
    sizes = [model_bytes(shape, case.dtype_bytes) for shape in models]
    flops = sum(_batch_flops(case, shape) for shape in models)
    return StagePlan(
        stage="score",
        each="iteration",
        jobs=1,
        machine=machine,
        gpu=case.with_reserve(max(each, key=lambda parts: sum(parts.values()))),
        host=machine.ranks_per_node * (max(sizes) + case.assumed.host_gib * GIB),
        seconds=case.seconds(
            "score",
            read=sum(
                case.disk_seconds(size, size, in_memory=newest)
                for size, newest in zip(sizes, _newest(case), strict=True)
            ),
            compute=passes_seconds(flops, machine.num_ranks, case.gpu, case.assumed),
        ),
    )


def prm_data_plan(case: Case) -> StagePlan:
    """The PRM's reference on labelled responses, split over ranks that each hold all weights."""
    shape, work = case.shapes.prm_reference, case.work
    one = forward_flops(shape, work.prompt_tokens, work.response_tokens)
    ranks = case.machines["prm_data"].num_ranks
    return _forward_plan(case, "prm_data", shape, case.assumed.labelled * one, ranks)


def values_plan(case: Case) -> StagePlan:
    """The value model of the iteration before, split over ranks that each hold all weights."""
    shape, ranks = case.shapes.value, case.machines["values"].num_ranks
    return _forward_plan(case, "values", shape, _batch_flops(case, shape), ranks)


def _forward_plan(
    case: Case, stage: str, shape: ModelShape, flops: float, num_ranks: int
) -> StagePlan:
    machine, model = case.machines[stage], model_bytes(shape, case.dtype_bytes)
    newest = STAGES[stage].each == "iteration" and case.is_copied(machine)
    return StagePlan(
        stage=stage,
        each=STAGES[stage].each,
        jobs=1,
        machine=machine,
        gpu=case.with_reserve(memory.scoring_memory(shape, largest_pass(case, stage))),
        host=-(-num_ranks // machine.nodes) * (model + case.assumed.host_gib * GIB),
        seconds=case.seconds(
            stage,
            read=case.disk_seconds(model, model, in_memory=newest),
            compute=passes_seconds(flops, num_ranks, case.gpu, case.assumed),
        ),
    )


def _longest_rows(case: Case, stage: str) -> tuple[int, int, int]:
    """Sequences of a pass without a token budget, and the longest prompt and response."""
    settings = case.settings
    prompt, response = settings.data.max_prompt_length, settings.rollout.max_response_length
    section = STAGES[stage].section
    # Nothing bounds a demonstration's prompt or response alone, so all of it may be response, which
    # costs most (logits).
    if section == "sft":
        return settings.sft.micro_batch_size, 0, settings.sft.max_length
    if section == "prm.offline":
        offline = _offline(case)
        return offline.micro_batch_size, 0, offline.max_length
    return getattr(settings, section).micro_batch_size, prompt, response


def _prm_flops(case: Case, stage: str, one: float, train: int) -> float:
    """FLOPs of a PRM's training, online or offline.

    DPO computes rewards before its passes (docs/decisions.md#detached-dpo); with `before` the
    update also runs the reference, whose log-probabilities scoring would have written.
    """
    prm = case.settings.prm
    if stage == "prm_offline":
        offline = _offline(case)
        passes = offline.epochs * (train + offline.compares)
        return case.assumed.labelled * one * passes
    passes = prm.epochs * (train + prm.compares)
    before = prm.prm_update == "before"
    return case.work.trained_responses * one * passes + before * _batch_flops(
        case, case.shapes.prm_reference
    )


def _training_seconds(case: Case, stage: str, how: Training) -> Seconds:
    shape = _shape(case, stage)
    compute = passes_seconds(
        training_flops(case, stage), max(how.num_ranks, 1), case.gpu, case.assumed
    )
    if how.offload_optimizer:
        each = case.assumed.offload_ns * 1e-9 * how.trained_of(shape) / how.num_ranks
        compute += num_steps(case, stage) * each
    if STAGES[stage].each == "run":
        # What runs once saves weights alone: no later iteration continues its optimizer.
        model = model_bytes(shape, case.dtype_bytes)
        once = case.disk_seconds(model, model)
        return case.seconds(stage, read=once, compute=compute, write=once)
    moving = moving_of(case, stage, how)
    return case.seconds(
        stage, read=moving.read, compute=compute, write=moving.write, beside=moving.beside
    )


def _newest(case: Case) -> tuple[bool, bool]:
    """Whether PRM and reference, as `score` reads them, are in the node's memory."""
    copied, prm = case.is_copied(case.machines["score"]), case.settings.prm
    # Frozen models have been written once, before the iterations.
    return copied and prm.prm_update != "frozen", copied and prm.prm_reference == "policy"


def _batch_flops(case: Case, shape: ModelShape) -> float:
    """FLOPs of one pass over the batch."""
    work = case.work
    one = forward_flops(shape, work.prompt_tokens, work.response_tokens)
    return work.trained_responses * one


def _shape(case: Case, stage: str) -> ModelShape:
    return case.shapes.of_stage(stage)


def _offline(case: Case) -> Offline:
    offline = case.settings.prm.offline
    assert offline is not None  # the stage is planned for such settings alone
    return offline
