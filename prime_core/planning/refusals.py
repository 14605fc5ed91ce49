"""What cannot work: one sentence each, with what to change.

In: a Case and its stages. Out: sentences; none where the run fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from prime_core.launch.site.stage_resources import JUDGING
from prime_core.planning.case import Case, StagePlan
from prime_core.planning.gpus import OLDEST_CAPABILITY, PROCESSORS
from prime_core.planning.hardware import GIB
from prime_core.planning.memory import cache_bytes, offloaded_memory, resident_memory
from prime_core.planning.shapes import ModelShape
from prime_core.planning.training_plans import largest_pass, training_of
from prime_core.run.stages import STAGES
from prime_core.runtime.text import bytes_text


def refusals(
    case: Case,
    stages: Mapping[str, StagePlan],
    disk_bytes: float,
    gpu_hours: float,
    disk_tb: float | None,
) -> Iterator[str]:
    """All problems, stage by stage, then those of the whole run."""
    yield from _wrong_gpu(case, stages)
    yield from _impossible(case, stages)
    for stage in stages.values():
        yield from _gpu_memory(case, stage)
        yield from _cache(case, stage)
        yield from _resting(case, stages, stage)
        yield from _node_memory(stage)
        yield from _minutes(case, stage)
        yield from _nodes(case, stage)
    yield from _resting_trainers(case, stages)
    if disk_tb is not None and disk_bytes > disk_tb * 1e12:
        yield (
            f"disk: peaks at {bytes_text(disk_bytes)}, {disk_tb:g} TB available (--disk-tb): "
            f"raise checkpoints.save_freq {case.settings.checkpoints.save_freq} (0 keeps the last "
            f"ones alone), or lower checkpoints.keep_last {case.settings.checkpoints.keep_last}"
        )
    budget = case.settings.max_gpu_hours
    if budget is not None and gpu_hours > budget:
        yield (
            f"max_gpu_hours: the run takes about {gpu_hours:.0f} GPU-hours and would stop after "
            f"{budget:g}: raise it, or lower iterations {case.settings.iterations}"
        )


def _wrong_gpu(case: Case, stages: Mapping[str, StagePlan]) -> Iterator[str]:
    """What the GPU, or the software that is installed for it, cannot do."""
    gpu = case.gpu
    if gpu == PROCESSORS:
        return
    if not gpu.capability:
        yield (
            f"{gpu.name}: needs builds of torch, vLLM and DeepSpeed for ROCm; the project installs "
            "those for CUDA and has been run on no other"
        )
    elif gpu.capability < OLDEST_CAPABILITY:
        yield (
            f"{gpu.name}: its compute capability is {gpu.capability}, and the builds of torch and "
            f"vLLM that the project installs (CUDA 13) need {OLDEST_CAPABILITY} or newer"
        )
    if case.settings.model.dtype == "bfloat16" and not gpu.has_bfloat16:
        yield (
            f"{gpu.name}: does not compute in bfloat16 (that begins with compute capability 8.0, "
            f"and it has {gpu.capability}), which vLLM refuses to emulate: set model.dtype to "
            "float32, which takes twice the memory, or take another GPU"
        )
    several = [name for name, stage in stages.items() if stage.machine.gpus_per_node > 1]
    if gpu.slices and several:
        yield (
            f"{gpu.name}: {', '.join(several)} ask for several GPUs per node, and a process sees "
            "one MIG slice alone: set gpus_per_node to 1 in the file of stage_resources"
        )


def _impossible(case: Case, stages: Mapping[str, StagePlan]) -> Iterator[str]:
    rollout, shape = case.settings.rollout, case.shape
    parallel = rollout.tensor_parallel_size
    if not _cuts(shape, parallel):
        ways = ", ".join(str(ways) for ways in range(1, 65) if _cuts(shape, ways))
        yield (
            f"rollout.tensor_parallel_size {parallel} does not divide the model's "
            f"{shape.num_heads} attention heads ({shape.num_kv_heads} for keys and values): set it "
            f"to one of {ways}"
        )
    # Benchmarks are not checked: evaluations end where the positions do
    # (docs/decisions.md#evaluation-positions).
    longest = {"rollout.max_response_length": rollout.max_response_length}
    if difficulty := case.settings.data.difficulty:
        longest["data.difficulty.max_response_length"] = difficulty.max_response_length
    prompt = case.settings.data.max_prompt_length
    for key, response in longest.items():
        if prompt + response > shape.max_position:
            yield (
                f"{key} {response} plus data.max_prompt_length {prompt} exceeds the model's "
                f"{shape.max_position} positions: lower one of them"
            )
    for stage in (name for name, kind in STAGES.items() if kind.samples and name in stages):
        gpus = case.machines[stage].gpus_per_node
        if case.uses_vllm and parallel > max(gpus, 1):
            yield (
                f"{stage}: rollout.tensor_parallel_size {parallel} needs as many GPUs per job, "
                f"which has {gpus}: raise {stage}.gpus_per_node in the file of stage_resources"
            )


def _gpu_memory(case: Case, stage: StagePlan) -> Iterator[str]:
    limit = case.gpu.memory_gib * GIB
    # vLLM's parts add up to exactly the GPU's memory, but for rounding.
    if not stage.machine.num_gpus or stage.gpu_bytes <= limit * (1 + 1e-9):
        return
    need = f"{stage.stage}: needs {stage.gpu_bytes / GIB:.1f} GiB per GPU, "
    need += f"{case.gpu.memory_gib:g} GiB available"
    # Judging has GPUs where a model of the run's judges: it samples, too.
    if STAGES[stage.stage].samples or stage.stage in JUDGING:
        advice = "lower rollout.gpu_memory_utilization, or raise rollout.tensor_parallel_size"
        if not case.uses_vllm:
            advice = "lower rollout.sampler_batch_size, or set rollout.sampler to vllm"
    elif STAGES[stage.stage].forward_only:
        smaller = _smaller_passes(case, stage.stage)
        advice = " or ".join([*smaller, "lower rollout.max_response_length"])
    else:
        advice = _training_advice(case, stage)
    yield f"{need}: {advice}"


def _training_advice(case: Case, stage: StagePlan) -> str:
    ways = []
    zero_stage = case.settings.training.zero_stage
    # Higher stages divide over ranks: a single one would gain nothing.
    if zero_stage < 3 and stage.machine.num_ranks > 1:
        ways.append(f"raise training.zero_stage {zero_stage}")
    ways += _memory_settings(case)
    ways.append(f"give {stage.stage} more GPUs than {stage.machine.num_gpus} (stage_resources)")
    ways = [*_smaller_passes(case, stage.stage), *ways]
    return ", ".join(ways[:-1]) + (", or " if ways[:-1] else "") + ways[-1]


def _smaller_passes(case: Case, stage: str) -> Iterator[str]:
    """Advice for fewer sequences in a pass; nothing where it holds a single one already."""
    if (rows := largest_pass(case, stage).rows) > 1:
        if budget := case.settings.training.max_token_len_per_gpu:
            yield f"lower training.max_token_len_per_gpu {budget}"
        else:
            yield f"lower {STAGES[stage].section}.micro_batch_size {rows}"


def _memory_settings(case: Case) -> Iterator[str]:
    training = case.settings.training
    if not training.gradient_checkpointing:
        yield "set training.gradient_checkpointing to true"
    # Stage 0 has nothing to off-load and is refused (docs/decisions.md#offloaded-adamw).
    if training.zero_stage and training.offload_optimizer == "none":
        yield "set training.offload_optimizer to cpu"


def _cache(case: Case, stage: StagePlan) -> Iterator[str]:
    """Whether what is left for vLLM's cache is too little for one sequence."""
    # An evaluation may be that of given steps alone, which samples nothing.
    if not STAGES[stage.stage].samples or "key-value cache" not in stage.gpu or not case.uses_vllm:
        return
    parallel = case.settings.rollout.tensor_parallel_size
    longest = case.settings.data.max_prompt_length + _longest(case, stage.stage)
    # vLLM refuses to start where its cache cannot hold one sequence of the greatest length.
    longest = min(longest, case.shape.max_position)
    needed = longest * cache_bytes(case.shape, case.dtype_bytes, parallel)
    room = stage.gpu["key-value cache"]
    if 0 < room < needed:  # with none the weights do not fit, which `_gpu_memory` reports
        yield (
            f"{stage.stage}: vLLM's key-value cache has {room / GIB:.1f} GiB per GPU, but one "
            f"sequence of {longest} tokens needs {needed / GIB:.1f}: raise "
            "rollout.tensor_parallel_size or rollout.gpu_memory_utilization"
        )


def _resting(case: Case, stages: Mapping[str, StagePlan], stage: StagePlan) -> Iterator[str]:
    """Whether engines that rest on the same GPU leave too little of it."""
    resting = [name for name in stages if case.keeps(name) and name != stage.stage]
    if not resting or not stage.gpu or not stage.machine.num_gpus:
        return
    # Each of them is a process with a context of its own, which the usual reserve counts once.
    contexts = (len(resting) + 1) * case.assumed.resting_gib
    needed = (stage.gpu_bytes - stage.gpu.get("reserve", 0.0)) / GIB + contexts
    if needed <= case.gpu.memory_gib or stage.gpu_bytes > case.gpu.memory_gib * GIB * (1 + 1e-9):
        return
    lower = "rollout.gpu_memory_utilization" if STAGES[stage.stage].samples else "the passes"
    yield (
        f"{stage.stage}: beside the resting engines of {', '.join(resting)} it needs {needed:.1f} "
        f"GiB per GPU, {case.gpu.memory_gib:g} GiB available: lower {lower}, or set resident to "
        "fork"
    )


def _resting_trainers(case: Case, stages: Mapping[str, StagePlan]) -> Iterator[str]:
    """Whether trainers that have left their GPUs fit into a node's memory together."""
    names = [name for name in stages if case.keeps(name) and STAGES[name].trains]
    needed = 0.0
    for name in names:
        shape, how = case.shapes.of_stage(name), training_of(case, name)
        parts = resident_memory(shape, how)
        held = sum(parts[part] for part in ("weights", "float32 copy", "optimizer states"))
        needed += case.machines[name].ranks_per_node * (held + offloaded_memory(shape, how))
    if case.machines["policy"].gpus_per_node and needed > case.assumed.node_gb * 1e9:
        yield (
            f"the resting trainers of {', '.join(names)} keep {needed / 1e9:.0f} GB of a node's "
            f"memory, {case.assumed.node_gb:.0f} available (--assume node_gb): set resident to fork"
        )


def _longest(case: Case, stage: str) -> int:
    if stage in ("sample", "continuations"):
        return case.settings.rollout.max_response_length
    if stage == "difficulty" and (difficulty := case.settings.data.difficulty):
        return difficulty.max_response_length
    return max(work.longest for work in case.work.benchmarks.values())


def _node_memory(stage: StagePlan) -> Iterator[str]:
    limit = stage.machine.mem_mb * 1e6
    if stage.node_bytes > limit:
        yield (
            f"{stage.stage}: needs {stage.node_bytes / 1e9:.0f} GB of host memory per node, and "
            f"its job asks for {limit / 1e9:.0f}: set {stage.stage}.mem_mb to "
            f"{_round_up(stage.node_bytes / 1e6)} in the file of stage_resources"
        )


def _nodes(case: Case, stage: StagePlan) -> Iterator[str]:
    """Whether one machine is not enough for a stage."""
    nodes = stage.machine.nodes
    if case.way.place == "local" and nodes > 1:
        yield (
            f"{stage.stage}: {nodes} nodes, but stages of one machine have it alone: set "
            f"{stage.stage}.nodes to 1 in the file of stage_resources, or --way slurm"
        )


def _minutes(case: Case, stage: StagePlan) -> Iterator[str]:
    if case.way.place != "slurm":  # stages of an allocation, or of a machine, have no limits
        return
    needed, asked = stage.seconds.total / 60, stage.machine.runtime
    if needed <= asked:
        return
    key = (
        f"set {stage.stage}.runtime to {_round_up(1.5 * needed, 10)} in the file of stage_resources"
    )
    # Those that stop at a checkpoint requeue their job and go on, so a time limit below the whole
    # time is fine as long as each start gets somewhere (docs/decisions.md#stage-requeues-itself).
    if not STAGES[stage.stage].stops:
        more = ", or split it into more shards (rollout.num_shards)"
        yield (
            f"{stage.stage}: takes about {math.ceil(needed)} minutes, and its job asks for "
            f"{asked}: {key}{more if stage.stage in ('sample', 'continuations') else ''}"
        )
    elif stage.seconds.write > case.assumed.warning_s:
        yield (
            f"{stage.stage}: takes about {needed:.0f} minutes in jobs of {asked}, and its "
            f"checkpoint takes {stage.seconds.write:.0f} s to write, more than the "
            f"{case.assumed.warning_s:.0f} s of warning before a job's limit: {key}, or warn "
            "earlier (slurm_extra in the profile, and --assume warning_s)"
        )
    elif 60 * asked < stage.seconds.start + stage.seconds.read + 2 * stage.seconds.write:
        yield (
            f"{stage.stage}: its job of {asked} minutes ends before it has read its weights and "
            f"written a checkpoint: {key}"
        )


def _cuts(shape: ModelShape, parallel: int) -> bool:
    """Whether `parallel` GPUs can share the heads: key heads may be replicated, but evenly."""
    heads = shape.num_kv_heads
    even = heads % parallel == 0 or parallel % heads == 0
    return shape.num_heads % parallel == 0 and even


def _round_up(number: float, step: int = 1000) -> int:
    return int(-(-number // step) * step)
