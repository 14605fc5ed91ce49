"""Each stage of a run: memory of its GPUs and nodes, seconds of its jobs.

In: a Case, which is everything that a plan starts from. Out: a StagePlan for each stage that
computes with models, and for verification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from prime_core.planning import memory
from prime_core.planning.activations import Pass
from prime_core.planning.adapters import adapter_parameters, adapter_width
from prime_core.planning.disk import model_bytes, state_bytes
from prime_core.planning.hardware import GIB, Assumptions, Gpu
from prime_core.planning.memory import Memory, Training
from prime_core.planning.seconds import (
    Sampling,
    Seconds,
    forward_flops,
    passes_seconds,
    sampling_seconds,
)
from prime_core.planning.shapes import ModelShape
from prime_core.planning.workload import BenchmarkWork, Workload
from prime_core.settings import Settings

DTYPE_BYTES = {"float32": 4, "bfloat16": 2}
STOPPABLE = ("sft", "prm", "policy")  # they save a checkpoint when they are told to stop


@dataclass(frozen=True)
class Machine:
    """What one job of a stage asks for: GPUs and ranks a node, MB a node, minutes."""

    nodes: int
    gpus_per_node: int
    ranks_per_node: int
    cpus_per_task: int
    mem_mb: int
    runtime: int

    @property
    def num_gpus(self) -> int:
        """GPUs of the job."""
        return self.nodes * self.gpus_per_node

    @property
    def num_ranks(self) -> int:
        """Ranks of the job."""
        return self.nodes * self.ranks_per_node


@dataclass(frozen=True)
class Case:
    """What is planned. machines: by stage; num_gpus: that the run may use at a time.

    disk_gb_per_s: of one job.
    """

    shape: ModelShape
    settings: Settings
    work: Workload
    machines: Mapping[str, Machine]
    gpu: Gpu
    num_gpus: int
    assumed: Assumptions
    disk_gb_per_s: float

    @cached_property
    def dtype_bytes(self) -> int:
        """Of a number in training and sampling."""
        return DTYPE_BYTES[self.settings.model.dtype]

    @property
    def reserve(self) -> float:
        """Bytes of a GPU that tensors do not get."""
        return self.assumed.reserve_share * self.gpu.memory_gib * GIB

    @property
    def uses_vllm(self) -> bool:
        """Whether responses come from vLLM; `auto` takes it where the jobs have GPUs."""
        wanted = self.settings.rollout.sampler in ("vllm", "auto")
        return wanted and self.machines["sample"].gpus_per_node > 0

    @property
    def allowed(self) -> float:
        """Bytes of a GPU that vLLM takes."""
        return self.settings.rollout.gpu_memory_utilization * self.gpu.memory_gib * GIB


@dataclass(frozen=True)
class StagePlan:
    """One stage. gpu: bytes by part of one GPU (without GPUs: of one rank); host: bytes of a node
    beside them; seconds: of one job.

    jobs: of a run, an iteration or an evaluation, as `each` says.
    """

    stage: str
    each: str
    jobs: int
    machine: Machine
    gpu: Memory
    host: float
    seconds: Seconds

    @property
    def gpu_bytes(self) -> float:
        """All parts together."""
        return sum(self.gpu.values())

    @property
    def node_bytes(self) -> float:
        """Of a node's own memory; where it has no GPUs, the models lie there."""
        if self.machine.gpus_per_node:
            return self.host
        return self.host + self.machine.ranks_per_node * self.gpu_bytes


def stage_plans(case: Case) -> dict[str, StagePlan]:
    """All stages that take long or much, in the order of the workflow."""
    settings, update = case.settings, case.settings.prm.prm_update
    plans = [_build(case)]
    plans += [_training(case, "sft")] if settings.sft.enabled else []
    plans += [_sample(case), _verify(case)]
    plans += [_score(case)] if update != "none" else []
    plans += [_training(case, "prm")] if update in ("after", "before") else []
    plans += [_training(case, "policy")]
    plans += [_evaluate(case)] if case.work.benchmarks else []
    return {plan.stage: plan for plan in plans}


def largest_pass(case: Case, stage: str) -> Pass:
    """The most tokens that one rank of a training stage, or of scoring, takes at a time."""
    settings = case.settings
    prompt, response = settings.data.max_prompt_length, settings.rollout.max_response_length
    if stage == "sft":  # demonstrations: all of it may be response
        rows, prompt, response = settings.sft.micro_batch_size, 0, settings.sft.max_length
    else:
        rows = (settings.policy if stage == "policy" else settings.prm).micro_batch_size
    training, trains = settings.training, stage != "score"
    if training.max_token_len_per_gpu:
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
    """How a training stage runs."""
    training = case.settings.training
    return Training(
        training.zero_stage,
        case.machines[stage].num_ranks,
        largest_pass(case, stage),
        training.offload_optimizer == "cpu",
        adapter_parameters(case.shape, case.settings, stage),
    )


def _training(case: Case, stage: str) -> StagePlan:
    machine, how = case.machines[stage], training_of(case, stage)
    own = case.assumed.host_gib * GIB
    return StagePlan(
        stage=stage,
        each="run" if stage == "sft" else "iteration",
        jobs=1,
        machine=machine,
        gpu=_with_reserve(case, memory.training_memory(case.shape, how)),
        host=memory.training_host_memory(case.shape, how, machine.ranks_per_node, own),
        seconds=_training_seconds(case, stage, how),
    )


def _training_seconds(case: Case, stage: str, how: Training) -> Seconds:
    flops = training_flops(case, stage)
    model = model_bytes(case.shape, case.dtype_bytes)
    state = state_bytes(how.trained_of(case.shape), case.dtype_bytes, how.zero_stage)
    whole = case.dtype_bytes * how.trained_of(case.shape) if how.zero_stage in (1, 2) else 0.0
    own = model + (state - whole) / how.num_ranks + whole  # what one rank handles
    saved = 0.0 if stage == "sft" else state
    return Seconds(
        start=case.assumed.start_s,
        read=_disk_seconds(case, model + saved, own),
        compute=passes_seconds(flops, max(how.num_ranks, 1), case.gpu, case.assumed),
        write=_disk_seconds(case, model + saved, own),
    )


def training_flops(case: Case, stage: str) -> float:
    """FLOPs of a whole update: a backward pass is two forward ones, recomputing one more."""
    settings, work = case.settings, case.work
    frozen = adapter_parameters(case.shape, settings, stage) > 0  # no gradients of its weights
    train = 3 - frozen + settings.training.gradient_checkpointing
    if stage == "sft":
        longest = settings.sft.max_length
        prompt = case.assumed.prompt_share * longest
        one = forward_flops(case.shape, prompt, case.assumed.response_share * longest)
        return train * settings.sft.num_steps * settings.sft.batch_size * one
    one = forward_flops(case.shape, work.prompt_tokens, work.response_tokens)
    if stage == "policy":  # and the log-probabilities before the first step
        return work.trained_responses * one * (1 + train * settings.policy.ppo_epochs)
    return work.trained_responses * one * train * settings.prm.epochs


def _score(case: Case) -> StagePlan:
    """PRM and reference, one after the other, on one GPU."""
    work, model = case.work, model_bytes(case.shape, case.dtype_bytes)
    flops = 2 * work.trained_responses
    flops *= forward_flops(case.shape, work.prompt_tokens, work.response_tokens)
    parts = memory.scoring_memory(case.shape, largest_pass(case, "score"))
    return StagePlan(
        stage="score",
        each="iteration",
        jobs=1,
        machine=case.machines["score"],
        gpu=_with_reserve(case, parts),
        host=model + case.assumed.host_gib * GIB,
        seconds=Seconds(
            start=case.assumed.start_s,
            read=_disk_seconds(case, 2 * model, 2 * model),
            compute=passes_seconds(flops, 1, case.gpu, case.assumed),
            write=0.0,
        ),
    )


def _sample(case: Case) -> StagePlan:
    rollout, work = case.settings.rollout, case.work
    responses = work.first_responses / rollout.num_shards
    sampling = BenchmarkWork(round(responses), work.response_tokens, rollout.max_response_length)
    prompts = responses / rollout.n_samples_per_prompt
    return _sampling_plan(case, "sample", "iteration", work.num_shards, sampling, prompts)


def _evaluate(case: Case) -> StagePlan:
    """The longest benchmark stands for all of them."""
    benchmarks = case.settings.evaluation.benchmarks
    name, work = max(
        case.work.benchmarks.items(), key=lambda item: item[1].num_responses * item[1].longest
    )
    prompts = work.num_responses / benchmarks[name].n_samples_per_prompt
    return _sampling_plan(case, "evaluate", "evaluation", len(benchmarks), work, prompts)


def _sampling_plan(
    case: Case, stage: str, each: str, jobs: int, work: BenchmarkWork, prompts: float
) -> StagePlan:
    rollout, machine = case.settings.rollout, case.machines[stage]
    longest = case.settings.data.max_prompt_length + work.longest
    gpus = rollout.tensor_parallel_size if case.uses_vllm else 1
    parts = sampler_memory(case, longest)
    tokens = case.work.prompt_tokens + work.response_tokens
    room = parts["key-value cache"] / (
        memory.cache_bytes(case.shape, case.dtype_bytes, gpus) * tokens
    )
    model = model_bytes(case.shape, case.dtype_bytes)
    sampling = Sampling(
        num_responses=work.num_responses,
        num_prompts=prompts,
        prompt_tokens=case.work.prompt_tokens,
        response_tokens=work.response_tokens,
        longest=work.longest,
        at_once=max(1, min(rollout.sampler_batch_size, int(room))),
        num_gpus=gpus,
        continuous=case.uses_vllm,
    )
    return StagePlan(
        stage=stage,
        each=each,
        jobs=jobs,
        machine=machine,
        gpu=parts,
        host=model + gpus * case.assumed.host_gib * GIB,
        seconds=Seconds(
            start=case.assumed.start_s + (case.assumed.engine_s if case.uses_vllm else 0.0),
            read=_disk_seconds(case, model, model / gpus),
            compute=sampling_seconds(
                case.shape, case.dtype_bytes, sampling, case.gpu, case.assumed
            ),
            write=0.0,
        ),
    )


def sampler_memory(case: Case, longest: int) -> Memory:
    """Bytes of a GPU that samples sequences of so many tokens."""
    rollout = case.settings.rollout
    if not case.uses_vllm:
        parts = memory.transformers_memory(
            case.shape, case.dtype_bytes, rollout.sampler_batch_size, longest
        )
        return _with_reserve(case, parts)
    own = case.assumed.sampler_gib * GIB
    parts = memory.vllm_memory(
        case.shape, case.dtype_bytes, rollout.tensor_parallel_size, case.allowed, own
    )
    return parts | {"reserve": case.gpu.memory_gib * GIB - case.allowed}


def _verify(case: Case) -> StagePlan:
    machine, rollout = case.machines["verify"], case.settings.rollout
    responses = case.work.first_responses / rollout.num_shards
    programs = machine.cpus_per_task * case.settings.verification.memory_mb * 1e6
    return StagePlan(
        stage="verify",
        each="iteration",
        jobs=case.work.num_shards,
        machine=machine,
        gpu={},
        host=programs + GIB,
        seconds=Seconds(
            start=case.assumed.start_s,
            read=0.0,
            compute=responses * case.assumed.verify_s / machine.cpus_per_task,
            write=0.0,
        ),
    )


def _build(case: Case) -> StagePlan:
    model = model_bytes(case.shape, case.dtype_bytes)
    return StagePlan(
        stage="build",
        each="run",
        jobs=1,
        machine=case.machines["build"],
        gpu={},
        host=model + case.assumed.host_gib * GIB,
        seconds=Seconds(case.assumed.start_s, _disk_seconds(case, model, model), 0.0, 0.0),
    )


def _disk_seconds(case: Case, on_disk: float, of_a_rank: float) -> float:
    """The disk's time for all bytes, or one rank's for its own, whichever is longer."""
    return max(on_disk / (case.disk_gb_per_s * 1e9), of_a_rank / (case.assumed.host_gbs * 1e9))


def _with_reserve(case: Case, parts: Memory) -> Memory:
    return parts | {"reserve": case.reserve}
