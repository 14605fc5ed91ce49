"""Stages that sample responses or judge them: memory and seconds.

In: a Case. Out: a StagePlan for the difficulty pass, sampling, verification and evaluation.
"""

from __future__ import annotations

from dataclasses import replace

from prime_core.planning import memory
from prime_core.planning.case import Case, StagePlan
from prime_core.planning.disk import model_bytes
from prime_core.planning.hardware import GIB
from prime_core.planning.memory import Memory
from prime_core.planning.seconds import (
    Sampling,
    Seconds,
    forward_flops,
    passes_seconds,
    sampling_seconds,
)
from prime_core.planning.shapes import ModelShape
from prime_core.planning.training_plans import largest_pass
from prime_core.planning.workload import BenchmarkWork, Workload, sampling_rounds
from prime_core.run.stages import STAGES


def sample_plan(case: Case) -> StagePlan:
    """Sampling jobs, as large as those of the first round."""
    rollout, work = case.settings.rollout, case.work
    sampling = BenchmarkWork(
        num_responses=round(work.first_responses / rollout.num_shards),
        n_samples_per_prompt=rollout.n_samples_per_prompt,
        response_tokens=work.response_tokens,
        longest=rollout.max_response_length,
        code_share=work.code_share,
        turns=work.turns,
    )
    return StagePlan(
        stage="sample",
        each="iteration",
        jobs=work.num_shards,
        machine=case.machines["sample"],
        gpu=sampler_memory(case, _longest(case, sampling)),
        host=_host(case, "sample"),
        seconds=_seconds(case, "sample", sampling),
    )


def evaluate_plan(case: Case) -> StagePlan:
    """All benchmarks, each in jobs that sample and judge, and the job that scores given steps.

    The longest job represents them.
    """
    works = case.work.benchmarks.values()
    jobs = [
        (_with_verdicts(case, "evaluate", work.of_a_shard()), work.num_shards) for work in works
    ]
    # Of a benchmark that is split one more job joins the tables, and has no engine to start.
    joins = sum(work.num_shards > 1 for work in works)
    gpus = [sampler_memory(case, _longest(case, work)) for work in works]
    if case.work.step_solutions:
        jobs.append((_step_seconds(case), 1))
        gpus.append(case.with_reserve(_step_memory(case)))
    return StagePlan(
        stage="evaluate",
        each="evaluation",
        jobs=sum(number for _, number in jobs) + joins,
        machine=case.machines["evaluate"],
        gpu=max(gpus, key=lambda parts: sum(parts.values())),
        host=_host(case, "evaluate"),
        seconds=max((seconds for seconds, _ in jobs), key=lambda one: one.total),
        all_seconds=sum(seconds.total * number for seconds, number in jobs),
    )


def difficulty_plan(case: Case) -> StagePlan:
    """All training problems, tried by the start model and judged, one job per shard."""
    difficulty = case.settings.data.difficulty
    assert difficulty is not None  # the stage is planned for such settings alone
    responses = case.assumed.train_problems * difficulty.n_samples_per_prompt
    work = BenchmarkWork(
        num_responses=round(responses / difficulty.num_shards),
        n_samples_per_prompt=difficulty.n_samples_per_prompt,
        response_tokens=case.assumed.response_share * difficulty.max_response_length,
        longest=difficulty.max_response_length,
        code_share=case.work.code_share,
        turns=case.work.turns,
    )
    return StagePlan(
        stage="difficulty",
        each="run",
        jobs=difficulty.num_shards,
        machine=case.machines["difficulty"],
        gpu=sampler_memory(case, _longest(case, work)),
        host=_host(case, "difficulty"),
        seconds=_with_verdicts(case, "difficulty", work),
    )


def verify_plan(case: Case) -> StagePlan:
    """Verdicts of one round's shards, on CPUs alone unless a model of the run's judges."""
    responses = case.work.first_responses / case.settings.rollout.num_shards
    return _judging_plan(case, "verify", case.work.num_shards, responses)


def _judging_plan(case: Case, stage: str, jobs: int, responses: float) -> StagePlan:
    """responses: that one job judges."""
    if case.settings.verification.judges_by_model:
        return _judge_plan(case, stage, jobs, responses)
    machine = case.machines[stage]
    # Each core judges a response at a time, and a model's program may use all that it is allowed.
    programs = machine.cpus_per_task * case.settings.verification.memory_mb * 1e6
    return StagePlan(
        stage=stage,
        each="iteration",
        jobs=jobs,
        machine=machine,
        gpu={},
        host=programs + GIB,
        seconds=case.seconds(stage, compute=_verdicts(case, stage, responses, case.work)),
    )


def continuations_plan(case: Case) -> StagePlan:
    """Continuations of the batch's states, in as many jobs as a round of sampling has."""
    rollout, work = case.settings.rollout, case.work.continued
    assert work is not None  # the stage is planned for such settings alone
    sampling = BenchmarkWork(
        num_responses=round(work.num_responses / rollout.num_shards),
        n_samples_per_prompt=work.n_continuations,
        response_tokens=work.continued_tokens,
        longest=rollout.max_response_length,
        # What is left of an episode; those before are played again without the model.
        turns=case.work.turns
        * work.continued_tokens
        / (work.prefix_tokens + work.continued_tokens),
    )
    return StagePlan(
        stage="continuations",
        each="iteration",
        jobs=rollout.num_shards,
        machine=case.machines["continuations"],
        gpu=sampler_memory(case, _longest(case, sampling)),
        host=_host(case, "continuations"),
        seconds=_seconds(case, "continuations", sampling, work.prefix_tokens),
    )


def step_values_plan(case: Case) -> StagePlan:
    """Verdicts of all continuations, in one job; on CPUs alone as those of `verify`."""
    work = case.work.continued
    assert work is not None  # likewise
    return _judging_plan(case, "step_values", 1, work.num_responses)


def _judge_plan(case: Case, stage: str, jobs: int, responses: float) -> StagePlan:
    """Verdicts by a model that the stage samples from (verification.judge.path)."""
    judge, rollout = case.settings.verification.judge, case.settings.rollout
    assert judge is not None
    # The judge reads the problem and the response that the policy wrote.
    reads = case.work.prompt_tokens + case.work.response_tokens
    asked = replace(
        case,
        shapes=replace(case.shapes, policy=case.shapes.judge),
        work=replace(case.work, prompt_tokens=reads),
    )
    work = BenchmarkWork(
        num_responses=round(responses * judge.n_samples),
        n_samples_per_prompt=judge.n_samples,
        response_tokens=case.assumed.response_share * judge.max_tokens,
        longest=judge.max_tokens,
    )
    longest = rollout.max_response_length + _longest(asked, work)
    return StagePlan(
        stage=stage,
        each="iteration",
        jobs=jobs,
        machine=case.machines[stage],
        gpu=sampler_memory(asked, min(longest, asked.shape.max_position)),
        host=_host(asked, stage),
        seconds=_seconds(asked, stage, work),
    )


def sampler_memory(case: Case, longest: int) -> Memory:
    """Bytes of a GPU that samples sequences of up to `longest` tokens."""
    rollout = case.settings.rollout
    if not case.uses_vllm:
        prompt = min(case.settings.data.max_prompt_length, longest)
        parts = memory.transformers_memory(
            case.shape, case.dtype_bytes, rollout.sampler_batch_size, prompt, longest
        )
        return case.with_reserve(parts)
    own = case.assumed.sampler_gib * GIB
    parts = memory.vllm_memory(
        case.shape, case.dtype_bytes, rollout.tensor_parallel_size, case.allowed, own
    )
    # gpu_memory_utilization leaves this much free already: reserve_share would count it twice.
    return parts | {"reserve": case.gpu.memory_gib * GIB - case.allowed}


def _step_memory(case: Case) -> Memory:
    """Scoring holds PRM and reference one after the other, and a pass of the longest rows."""
    shape = max(_scoring_shapes(case), key=lambda one: model_bytes(one, case.dtype_bytes))
    return memory.scoring_memory(shape, largest_pass(case, "score"))


def _step_seconds(case: Case) -> Seconds:
    read = compute = 0.0
    for shape in _scoring_shapes(case):
        one = forward_flops(shape, case.work.prompt_tokens, case.work.response_tokens)
        compute += passes_seconds(case.work.step_solutions * one, 1, case.gpu, case.assumed)
        model = model_bytes(shape, case.dtype_bytes)
        read += case.disk_seconds(model, model)
    return case.seconds("evaluate", read=read, compute=compute)


def _scoring_shapes(case: Case) -> tuple[ModelShape, ModelShape]:
    return case.shapes.prm, case.shapes.prm_reference


def _longest(case: Case, work: BenchmarkWork) -> int:
    """Tokens of prompt and response; an evaluation's end with the model's positions."""
    return min(case.settings.data.max_prompt_length + work.longest, case.shape.max_position)


def _gpus(case: Case) -> int:
    """GPUs that share one copy of the model."""
    return case.settings.rollout.tensor_parallel_size if case.uses_vllm else 1


def _host(case: Case, stage: str) -> float:
    """Bytes of a node: a model on its way to its GPUs, and a process of environments a core."""
    model = model_bytes(case.shape, case.dtype_bytes)
    rules, cores = case.settings.verification, case.machines[stage].cpus_per_task
    environments = cores * rules.memory_mb * 1e6 if case.settings.data.env else 0.0
    return model + _gpus(case) * case.assumed.host_gib * GIB + environments


def _seconds(case: Case, stage: str, work: BenchmarkWork, prefix_tokens: float = 0) -> Seconds:
    """prefix_tokens: of responses that have begun, beside their prompts."""
    rollout, gpus = case.settings.rollout, _gpus(case)
    prompt_tokens = case.work.prompt_tokens + prefix_tokens
    parts = sampler_memory(case, _longest(case, work))
    # The mean: vLLM gives a sequence blocks as it grows, not room for the longest one.
    tokens = prompt_tokens + work.response_tokens
    room = parts["key-value cache"] / (
        memory.cache_bytes(case.shape, case.dtype_bytes, gpus) * tokens
    )
    model = model_bytes(case.shape, case.dtype_bytes)
    tree = rollout.tree if stage == "sample" else None
    samplings = [
        Sampling(
            num_responses=one.num_responses,
            num_prompts=one.num_responses / one.n_samples_per_prompt,
            prompt_tokens=prompt_tokens + one.begun_tokens,
            response_tokens=one.response_tokens,
            longest=_longest_call(case, one),
            # At least one: a cache without room is refused elsewhere, and must not divide by zero.
            at_once=max(1, min(rollout.sampler_batch_size, int(room))),
            num_gpus=gpus,
            continuous=case.uses_vllm,
            turns=one.turns,
            drawn_share=case.work.drawn_share if one.turns else 1.0,
        )
        for one in sampling_rounds(work, tree, case.assumed.fork_position)
    ]
    machine = case.machines[stage]
    # What is sampled from once is the start model, which no stage of this allocation has written.
    # Nor is a judge.
    newest = STAGES[stage].samples and STAGES[stage].each != "run" and case.is_copied(machine)
    return case.seconds(
        stage,
        engine=case.uses_vllm,
        read=case.disk_seconds(model, model / gpus, in_memory=newest),
        compute=sum(
            sampling_seconds(case.shape, case.dtype_bytes, one, case.gpu, case.assumed)
            for one in samplings
        )
        + _environment_seconds(case, stage, work.num_responses, work.turns),
    )


def _with_verdicts(case: Case, stage: str, work: BenchmarkWork) -> Seconds:
    """Seconds of a job that also judges its responses, and has the PRM score them where asked."""
    sampled = _seconds(case, stage, work)
    compute = sampled.compute + _verdicts(case, stage, work.num_responses, work)
    read = sampled.read
    for shape in _scoring_shapes(case) if work.scored else ():
        one = forward_flops(shape, case.work.prompt_tokens, work.response_tokens)
        compute += passes_seconds(work.num_responses * one, 1, case.gpu, case.assumed)
        model = model_bytes(shape, case.dtype_bytes)
        read += case.disk_seconds(model, model)
    return replace(sampled, read=read, compute=compute)


def _verdicts(
    case: Case, stage: str, num_responses: float, work: BenchmarkWork | Workload
) -> float:
    """Seconds of verdicts, a core each: of answers, of programs, or of episodes played again."""
    if work.turns:
        return _environment_seconds(case, stage, num_responses, work.turns)
    assumed, code_share = case.assumed, work.code_share
    each = (1 - code_share) * assumed.math_verdict_ms + code_share * assumed.code_verdict_ms
    return num_responses * each / 1000 / case.machines[stage].cpus_per_task


def _environment_seconds(case: Case, stage: str, num_responses: float, turns: float) -> float:
    """Seconds of all steps of the environments, spread over a job's cores."""
    steps = num_responses * turns
    return steps * case.assumed.env_step_ms / 1000 / case.machines[stage].cpus_per_task


def _longest_call(case: Case, work: BenchmarkWork) -> int:
    """Tokens that one call of the sampler may draw for a response: of an episode, a turn's."""
    env = case.settings.data.env
    longest = min(work.longest, case.shape.max_position)
    return min(longest, env.max_turn_length) if env and work.turns else longest
