"""A plan as a page of text, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from prime_core.planning.adapters import adapter_parameters
from prime_core.planning.case import StagePlan
from prime_core.planning.comparison import quickest
from prime_core.planning.critical_path import Step
from prime_core.planning.disk import Disk
from prime_core.planning.gpus import PROCESSORS
from prime_core.planning.hardware import GIB, OF_ENGINES, OF_EPISODES, OF_STEPS, OF_TREES
from prime_core.planning.measured import MeasuredValues
from prime_core.planning.memory import PARTS
from prime_core.planning.moving import memory_between
from prime_core.planning.plan import Plan, checkpointing_choices, num_starts
from prime_core.planning.seconds import PHASES
from prime_core.planning.ways import RESIDENT
from prime_core.run.stages import STOPPABLE
from prime_core.runtime.text import bytes_text, duration, table
from prime_core.settings.training import Training

WIDTH = 96


def page(found: Plan, plans: Sequence[Plan], model_name: str, site_name: str) -> str:
    """The plan as text. plans: of every way; site_name: where the GPU's type comes from."""
    sections = [
        _head(found, model_name, site_name),
        _memory(found),
        _disk(found),
        _seconds(found),
        *([_episodes(found)] if found.case.settings.data.env else []),
        _path(found),
        _run(found),
        _ways(found, plans),
        _assumptions(found),
        _problems(found),
    ]
    return "\n\n".join("\n".join(section) for section in sections)


def _head(found: Plan, model_name: str, site_name: str) -> Iterator[str]:
    case = found.case
    shape, settings, gpu = case.shape, case.settings, case.gpu
    yield (
        f"{settings.run}: {model_name}, {count_text(shape.num_parameters)} parameters, "
        f"{settings.model.dtype}, {_training_text(settings.training)}"
    )
    yield (
        f"{shape.num_layers} layers, {shape.hidden_size} wide, {shape.num_heads} heads "
        f"({shape.num_kv_heads} for keys and values), vocabulary {shape.vocab_size}"
    )
    yield from _adapters(found)
    if gpu == PROCESSORS:
        yield f"no GPUs ({site_name}): {gpu.tflops:g} TFLOP/s and {gpu.gb_per_s:g} GB/s per rank"
        return
    yield (
        f"{case.num_gpus} x {gpu.name} ({site_name}): {gpu.memory_gib:g} GiB, "
        f"{gpu.tflops:g} TFLOP/s, {gpu.gb_per_s:g} GB/s"
    )
    for remark in case.remarks:
        yield from textwrap.wrap(remark, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _training_text(training: Training) -> str:
    text = f"ZeRO stage {training.zero_stage}"
    text += ", gradient checkpointing" * training.gradient_checkpointing
    return text + ", optimizer on the host" * (training.offload_optimizer == "cpu")


def _adapters(found: Plan) -> Iterator[str]:
    case = found.case
    numbers = {
        stage: adapter_parameters(case.shapes.of_stage(stage), case.settings, stage)
        for stage in STOPPABLE
        if stage in found.stages
    }
    texts = [f"{stage} {count_text(number)}" for stage, number in numbers.items() if number]
    if texts:
        yield f"only adapters are trained, parameters: {', '.join(texts)}"


def _memory(found: Plan) -> Iterator[str]:
    """Parts are rows, stages columns; the last rows compare the sum with what jobs ask for."""
    stages = [stage for stage in found.stages.values() if stage.gpu]
    yield f"MEMORY OF ONE {'RANK' if found.case.gpu == PROCESSORS else 'GPU'}, GiB"
    rows = [["", *(stage.stage for stage in stages)]]
    for part in PARTS:
        if any(stage.gpu.get(part) for stage in stages):
            rows.append([part, *(_gib(stage.gpu.get(part, 0.0)) for stage in stages)])
    rows.append(["total", *(_gib(stage.gpu_bytes) for stage in stages)])
    rows.append(["GPUs per job", *(_gpus(stage) for stage in stages)])
    yield from table(rows, "<>")
    choices = checkpointing_choices(found)
    if choices:
        texts = [
            f"{name} {with_:.1f} ({without:.1f})" for name, (without, with_) in choices.items()
        ]
        yield f"  total with gradient checkpointing (without): {', '.join(texts)}"
    yield ""
    yield "MEMORY OF A NODE, GB"
    every = list(found.stages.values())
    yield from table(
        [
            ["", *(stage.stage for stage in every)],
            ["needed", *(f"{stage.node_bytes / 1e9:.0f}" for stage in every)],
            ["the job asks for", *(f"{stage.machine.mem_mb / 1e3:.0f}" for stage in every)],
        ],
        "<>",
    )
    waiting = memory_between(found.case, found.disk)
    if waiting:
        texts = [f"{size / 1e9:.0f} GB of {name}" for name, size in waiting.items()]
        yield f"  between stages, if there is room: {', '.join(texts)}"


def _disk(found: Plan) -> Iterator[str]:
    disk, settings = found.disk, found.case.settings
    yield "DISK"
    speed = found.case.disk_gb_per_s * 1e9
    rows = (
        ("weights of one model", disk.model, f"{duration(disk.model / speed)} to read or write"),
        *((name, state, duration(state / speed)) for name, state in _states(disk)),
        ("tables of the run", disk.tables, "at most: they are compressed"),
        (
            "the finished run",
            disk.at_end,
            f"weights of {_counted(len(disk.kept), 'iteration')} (keep_last "
            f"{settings.checkpoints.keep_last}, save_freq {settings.checkpoints.save_freq})",
        ),
        ("peak while it runs", disk.most, f"{disk.num_files:,} files at the end"),
        ("to resume on other ranks", disk.conversion, "beside a training state, for minutes"),
    )
    yield from table([(name, bytes_text(number), note) for name, number, note in rows], "<><")


def _states(disk: Disk) -> Iterator[tuple[str, float]]:
    sizes = {*disk.states.values()}
    if len(sizes) == 1:
        yield "training state beside them", sizes.pop()
    else:
        yield from ((f"training state of {name}", state) for name, state in disk.states.items())


def _seconds(found: Plan) -> Iterator[str]:
    yield "SECONDS OF ONE JOB"
    names = ("stage", "jobs", "GPUs", "start", "read", "compute", "write", "total", "asks for")
    rows = [list(names)]
    for stage in found.stages.values():
        seconds = stage.seconds
        starting = seconds.queue + seconds.start + seconds.engine
        parts = (starting, seconds.read, seconds.compute, seconds.write)
        rows.append(
            [
                stage.stage,
                f"{stage.jobs} per {stage.each}",
                str(stage.machine.num_gpus),
                *(f"{part:.0f}" for part in parts),
                duration(seconds.total),
                duration(60 * stage.machine.runtime),
            ]
        )
    yield from table(rows, "<<>")


def _episodes(found: Plan) -> Iterator[str]:
    """What an episode is made of."""
    work, env = found.case.work, found.case.settings.data.env
    assert env is not None
    drawn = work.response_tokens * work.drawn_share
    replay = work.turns * found.case.assumed.env_step_ms / 1000
    yield f"AN EPISODE, {env.id}"
    rows = (
        ("turns", f"{work.turns:.1f}", f"of at most {env.max_turns}"),
        ("tokens drawn", f"{drawn:,.0f}", f"{drawn / work.turns:,.0f} a turn"),
        ("tokens of observations", f"{work.response_tokens - drawn:,.0f}", "after the prompt"),
        ("tokens read", f"{work.read_tokens:,.0f}", "the prompt, and all so far for each turn"),
        ("seconds of the environment", f"{replay:.2g}", "on a core; in sampling, and in replay"),
    )
    yield from table(rows, "<><")


def _path(found: Plan) -> Iterator[str]:
    """What waits for one another, a row a step, phases as columns."""
    if not found.path:
        yield "CRITICAL PATH: no iterations"
        return
    yield f"CRITICAL PATH OF AN ITERATION, SECONDS ({found.case.way.name})"
    rows = [["step", "GPUs", *PHASES, "total"]]
    for step in found.path:
        name = f"{step.stage}, refill" if step.refill else step.stage
        rows.append([name, str(step.num_gpus), *_phases([step])])
    rows.append(["all", "", *_phases(found.path)])
    yield from table(rows, "<>")
    beside = sum(stage.seconds.beside for stage in found.stages.values())
    starts = f"  {num_starts(found.path)} starts of processes and engines"
    yield starts + f"; training states reach the disk beside it, in {beside:.0f} s" * (beside > 0)


def _phases(steps: Sequence[Step]) -> Iterator[str]:
    """Seconds of the steps by phase, and in all."""
    sums = [sum(getattr(step.seconds, phase) for step in steps) for phase in PHASES]
    return (f"{seconds:.0f}" for seconds in (*sums, sum(sums)))


def _run(found: Plan) -> Iterator[str]:
    total, settings = found.total, found.case.settings
    work = found.case.work
    yield f"RUN ({found.case.way.name})"
    yield (
        f"  per iteration: {work.sampled_responses:.0f} responses sampled, "
        f"{work.trained_responses:.0f} trained on, {duration(total.iteration_seconds)}"
    )
    if settings.rollout.tree is not None:
        yield (
            f"  trees: {work.sampled_tokens:,.0f} tokens sampled, {work.trained_tokens:,.0f} "
            f"trained on ({work.own_share:.0%} of a response's are its own)"
        )
    if work.continued is not None:
        yield (
            f"  and {work.continued.num_responses:.0f} continuations of "
            f"{work.continued.num_states:.0f} states: {work.continued_ratio:.1f} tokens for each "
            "of a response that is trained on"
        )
    queue = ", plus time in the queue" if found.case.way.place != "local" else ""
    yield (
        f"  {settings.iterations} iterations and {len(work.evaluated_iterations)} evaluations "
        f"({duration(total.evaluation_seconds)} each): {duration(3600 * total.hours)}{queue}"
    )
    hours = "" if found.case.gpu == PROCESSORS else f"{total.gpu_hours:,.0f} GPU-hours, "
    yield f"  {hours}{total.num_jobs:,} jobs"


def _ways(found: Plan, plans: Sequence[Plan]) -> Iterator[str]:
    """Every way in a row, and the quickest that can work."""
    yield "WAYS"
    rows = [["place, resident", "iteration", "starts", "start", "read", "compute"]]
    rows[0] += ["write", "run", "GPU-hours", "fits"]
    for one in plans:
        queue, start, engine, read, compute, write, _ = _phases(one.path)
        starting = int(queue) + int(start) + int(engine)
        cells = [one.case.way.name, f"{one.total.iteration_seconds:.0f} s", num_starts(one.path)]
        cells += [starting, read, compute, write, duration(3600 * one.total.hours)]
        cells += [f"{one.total.gpu_hours:,.0f}", "no" if one.problems else "yes"]
        rows.append([str(cell) for cell in cells])
    yield from table(rows, "<>")
    best, usual = quickest(plans), found.case.settings.resident
    if best is not None:
        name, hours = best.case.way.name, best.total.hours
        slowest = max(one.total.hours for one in plans if not one.problems)
        than = f", {slowest / hours:.1f} times as quick as the slowest" * (slowest > 1.05 * hours)
        yield f"  quickest that fits: {name}{than}"
        yield f"    {best.case.way.command(usual)}"


def _assumptions(found: Plan) -> Iterator[str]:
    measured = found.case.measured
    where = ", OR MEASURED" if measured else ""
    yield f"ASSUMED{where} (--assume NAME=VALUE, --disk-gb-per-s)"
    values = found.case.assumed.model_dump() | {"disk_gb_per_s": found.case.disk_gb_per_s}
    # What nothing here uses is not said: engines that nobody keeps, forks of no tree, no episodes.
    unused: tuple[str, ...] = () if "engines" in RESIDENT else OF_ENGINES
    unused += () if found.case.settings.rollout.tree else OF_TREES
    unused += () if found.case.settings.data.env else OF_EPISODES
    unused += () if found.case.settings.draws_continuations else OF_STEPS
    fields = [(k, v) for k, v in MeasuredValues.model_fields.items() if k not in unused]
    rows = [
        (
            name,
            f"{values[name]:.4g}" if name in measured else f"{values[name]:g}",
            "measured: " * (name in measured) + (field.description or ""),
        )
        for name, field in fields
    ]
    yield from table(rows, "<")


def _problems(found: Plan) -> Iterator[str]:
    if not found.problems:
        yield "It fits."
        return
    yield "CANNOT WORK"
    for problem in found.problems:
        yield from textwrap.wrap(problem, WIDTH, initial_indent="  - ", subsequent_indent="    ")


def count_text(number: int) -> str:
    """A count as text: '7.62 B', '134.50 M'."""
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.2f} M"


def _gib(number: float) -> str:
    # A part that exists must not look like none, however small the model.
    gib = number / GIB
    return "-" if number == 0 else f"{gib:.1f}" if gib >= 0.05 else "<0.1"


def _gpus(stage: StagePlan) -> str:
    machine = stage.machine
    if machine.nodes == 1:
        return str(machine.gpus_per_node)
    return f"{machine.nodes} x {machine.gpus_per_node}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
