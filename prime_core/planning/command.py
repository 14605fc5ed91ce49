"""`prime plan`: what a run will need, and whether it can work, before anything is submitted.

In: settings as Snakemake takes them, the stages' table, the site's names, the model's config.json
or a known size. Out: a page of text or JSON; exit status 1 where something cannot work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prime_core.launch.arguments import asked_settings, refuse_unknown_options, workflow_folder
from prime_core.launch.site.site import Site, load_site, site_file
from prime_core.launch.site.stage_resources import StageNeeds, load_stages, needs_of_run
from prime_core.planning.case import Case, Machine, Shapes
from prime_core.planning.comparison import plans_of, quickest
from prime_core.planning.gpus import PROCESSORS, USUAL, Gpu, UnknownGpu, gpu_of
from prime_core.planning.hardware import Assumptions
from prime_core.planning.known_shapes import known_shape, shape_of_size
from prime_core.planning.measured import Measured, check_same_gpu, read_measured
from prime_core.planning.page import page
from prime_core.planning.plan import Plan, as_dict, ways_dict
from prime_core.planning.shapes import ModelShape, PlanError, built_shape, shape_from_config
from prime_core.planning.ways import PLACES, Place, way_of
from prime_core.planning.workload import workload
from prime_core.runtime.console import note
from prime_core.runtime.repository import REPOSITORY
from prime_core.settings.notes import notes_on
from prime_core.settings.reading import SettingsError, parse_overrides
from prime_core.settings.run import Settings
from prime_core.storage import hub
from prime_core.storage.gguf_files import GgufError, is_gguf, read_header

DISK, DISK_GB_PER_S = "disk_gb_per_s", 2.0  # a shared disk's usual share of one job


@dataclass(frozen=True)
class Options:
    """Options of `prime plan`. None: as the settings, the site or the GPU's type say.

    way: None: the quickest that can work. gpus: at a time; assume: texts NAME=VALUE, which win over
    measured ones. measured: a file of benchmarks.gpu_trial.
    """

    way: Place | None = None
    model_size: str | None = None
    gpu: str | None = None
    gpu_memory_gb: float | None = None
    gpus: int | None = None
    disk_gb_per_s: float | None = None
    disk_tb: float | None = None
    assume: tuple[str, ...] = ()
    measured: Path | None = None


def run(options: Options, arguments: Sequence[str], as_json: bool) -> int:
    """Print the plan; returns the exit status. Raises SettingsError or PlanError."""
    refuse_unknown_options(arguments)
    settings = asked_settings(arguments)
    for line in notes_on(settings):
        note(line)
    site_path = site_file(workflow_folder())
    site = load_site(site_path) if site_path.exists() else None
    name, shape = find_shape(settings, options.model_size)
    plans = [
        # Apart from the other problems, since a Case knows one type of GPU but not the site.
        replace(found, problems=(*site_problems(found, site), *found.problems))
        for found in plans_of(make_case(settings, site, shape, options), options.disk_tb)
        # On a cluster a machine of one's own is an allocation, unless it is asked for.
        if site is None or found.case.way.place != "local" or options.way == "local"
    ]
    found = chosen_plan(plans, settings, options.way)
    if as_json:
        print(json.dumps({"model": name} | as_dict(found) | ways_dict(plans), indent=1))
    else:
        print(page(found, plans, name, gpu_source(site, site_path, options)))
    if found.problems:
        # On standard error: standard output is the page, or JSON that a program parses.
        note(f"{settings.run}: cannot work, see the {len(found.problems)} reasons above")
    return 1 if found.problems else 0


def chosen_plan(plans: Sequence[Plan], settings: Settings, place: Place | None) -> Plan:
    """The plan of the place that was asked for, else the quickest with these settings."""
    own = {way_of(one, settings): one for one in PLACES}
    mine = [found for found in plans if found.case.way in own]
    asked = [found for found in mine if own[found.case.way] == place]
    # Where none can work, jobs of their own ask for the least: they come last.
    return asked[0] if asked else quickest(mine) or mine[-1]


def make_case(settings: Settings, site: Site | None, shape: ModelShape, options: Options) -> Case:
    """What the plan starts from. site: None where there is no file of one.

    Raises SettingsError for a wrong assumption or stages' table.
    """
    measured = read_measured(options.measured) if options.measured else None
    gpu, remark = choose_gpu(site, options, measured)
    if measured:
        check_same_gpu(measured, gpu)
    table = load_stages(REPOSITORY / settings.stage_resources)
    machines = {
        name: machine_of(needs, has_gpus=gpu != PROCESSORS)
        for name, needs in needs_of_run(table, settings).items()
    }
    given = assumptions(options.assume)
    taken = taken_values(measured, given, options)
    known = {name: taken[name] for name in taken if name != DISK}
    memory = site.pool("gpu").max_mem_mb if site else None
    if memory and "node_gb" not in given.model_fields_set:
        known["node_gb"] = memory / 1000
    assumed = given.model_copy(update=known)
    # How many GPUs a queue gives one run cannot be known: without --gpus, the fewest with which its
    # largest job can run.
    largest = max(machine.num_gpus for machine in machines.values())
    return Case(
        shapes=all_shapes(settings, shape),
        settings=settings,
        work=workload(settings, assumed),
        machines=machines,
        gpu=gpu.for_dtype(settings.model.dtype),
        num_gpus=options.gpus or max(largest, 1),
        assumed=assumed,
        disk_gb_per_s=options.disk_gb_per_s or taken.get(DISK, DISK_GB_PER_S),
        way=way_of(options.way or "slurm", settings),
        remarks=(remark,) if remark else (),
        measured=frozenset(taken),
    )


def taken_values(
    measured: Measured | None, given: Assumptions, options: Options
) -> dict[str, float]:
    """Measured values by name, without those that were given by hand."""
    # What is given wins: it may be of another disk, or a question.
    names = given.model_fields_set | ({DISK} if options.disk_gb_per_s is not None else set())
    values = measured.values if measured else {}
    return {name: value for name, value in values.items() if name not in names}


def machine_of(needs: StageNeeds, has_gpus: bool) -> Machine:
    """A row of the stages' table as numbers, for a site with or without GPUs."""
    gpus = needs.gpus_per_node if has_gpus else 0
    return Machine(
        nodes=needs.nodes,
        gpus_per_node=gpus,
        ranks_per_node=needs.tasks_per_node or max(gpus, 1),
        cpus_per_task=needs.cpus_per_task,
        mem_mb=needs.mem_mb,
        runtime=needs.runtime,
    )


def find_shape(settings: Settings, model_size: str | None) -> tuple[str, ModelShape]:
    """Name and shape of the run's model: from --model-size, its files, the cache, a known name.

    Raises PlanError naming the model where none of these knows it.
    """
    path = settings.model.path
    # First, so that the same settings can be planned for a model of another size.
    if model_size is not None:
        return model_size, shape_of_size(model_size)
    if path is None:
        return "built from scratch", built_shape(settings.model.build)
    return path, _shape_at(path, "model.path")


def all_shapes(settings: Settings, policy: ModelShape) -> Shapes:
    """The run's models; those that no setting names are of the policy's shape.

    Raises PlanError naming the key of a model that is not known.
    """
    prm, value, judge = settings.prm, settings.value, settings.verification.judge

    def named(path: str | None, key: str) -> ModelShape:
        return policy if path is None else _shape_at(path, key)

    return Shapes(
        policy=policy,
        prm=named(prm.path, "prm.path"),
        prm_reference=named(prm.reference_path, "prm.reference_path"),
        value=replace(named(value.path, "value.path"), scalar_head=True),
        judge=named(judge.path, "verification.judge.path") if judge else policy,
    )


def _shape_at(path: str, key: str) -> ModelShape:
    if is_gguf(path):
        return _gguf_shape(path)
    folder = _folder(path, key)
    if folder is not None:
        return shape_from_config(_config(folder / "config.json"), str(folder))
    shape = known_shape(path)
    if shape is None:
        raise PlanError(
            f"{key} {path}: neither a folder, nor fetched, nor a known name: "
            "run `prime fetch`, or give its size with --model-size"
        )
    return shape


def choose_gpu(
    site: Site | None, options: Options, measured: Measured | None = None
) -> tuple[Gpu, str]:
    """The GPU of --gpu, else of the site's type, else the measured or the usual one, with its
    memory as given, else as measured; and what was assumed.

    PROCESSORS on a site without GPUs. Raises PlanError for a --gpu that is not known.
    """
    # --gpu asks what the run would need elsewhere, whatever this site has.
    if site is not None and not site.pool("gpu").gpus_per_node and options.gpu is None:
        return PROCESSORS, ""
    name = options.gpu or (site.pool("gpu").gpu_model if site else None)
    if name:
        gpu, remark = _named_gpu(name, options)
    else:
        gpu, remark = measured.gpu if measured else gpu_of(f"{USUAL}_80gb")[0], ""
    if options.gpu_memory_gb is not None:
        return replace(gpu, memory_gib=options.gpu_memory_gb), remark
    return gpu, remark


def _named_gpu(name: str, options: Options) -> tuple[Gpu, str]:
    try:
        return gpu_of(name)
    except UnknownGpu as error:
        # With its memory given only the speed is open, and hours are estimates anyway.
        if options.gpu and options.gpu_memory_gb is None:
            raise PlanError(
                f"--gpu {error}; or give its memory with --gpu-memory-gb, and times are an A100's"
            ) from None
    gpu, _ = gpu_of(f"{USUAL}_80gb")
    if options.gpu_memory_gb is not None:
        return replace(gpu, name=name), f"{name} is not known: assumed to be as fast as an {USUAL}"
    return gpu, (
        f"the site's type of GPU, {name}, is not known: assumed to be an {USUAL} of 80 GB; name it "
        "with --gpu, or give --gpu-memory-gb"
    )


def gpu_source(site: Site | None, path: Path, options: Options) -> str:
    """Where the type of GPU comes from, for the page."""
    if options.gpu:
        return "--gpu"
    if site and (site.pool("gpu").gpu_model or not site.pool("gpu").gpus_per_node):
        return str(path)
    if options.measured:
        return str(options.measured)
    return "assumed: --gpu names another"


def site_problems(found: Plan, site: Site | None) -> list[str]:
    """Stages that ask for more GPUs than the site's nodes have, where it says how many."""
    most = site.pool("gpu").gpus_per_node if site else 0
    return [
        f"{name}: {stage.machine.gpus_per_node} GPUs per node, but the site's have {most}: lower "
        f"{name}.gpus_per_node in the file of stage_resources"
        for name, stage in found.stages.items()
        if 0 < most < stage.machine.gpus_per_node
    ]


def assumptions(texts: Sequence[str]) -> Assumptions:
    """Assumptions from texts NAME=VALUE. Raises SettingsError naming a malformed or wrong one."""
    expected = f"NAME=VALUE, NAME one of {', '.join(Assumptions.model_fields)}"
    values = parse_overrides(texts, "--assume", expected)
    if unknown := [name for name in values if name not in Assumptions.model_fields]:
        raise SettingsError(f"--assume {unknown[0]}={values[unknown[0]]}: expected {expected}")
    try:
        return Assumptions.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(
            f"--assume {first['loc'][0]}={first['input']}: {first['msg']}"
        ) from None


def _gguf_shape(path: str) -> ModelShape:
    try:
        return shape_from_config(read_header(Path(path)).config, path)
    except GgufError as error:
        raise PlanError(f"model.path {error}; or give its size with --model-size") from None


def _folder(path: str, key: str) -> Path | None:
    """The model's folder, local or in the hub's cache; None where it is not fetched."""
    if not hub.is_hub_id(path):
        if not (Path(path) / "config.json").exists():
            raise PlanError(f"{key} {path}: no such folder, or no config.json in it")
        return Path(path)
    # Only the cache is asked: a plan must work without a network, and before `prime fetch`.
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(path, "config.json")
    # It may also return a marker object: the file is known not to exist in that repository.
    return Path(found).parent if isinstance(found, str) else None


def _config(path: Path) -> Mapping[str, Any]:
    try:
        # Not AutoConfig, which would replace sizes that the file lacks by its own defaults.
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: not readable: {error}") from None
    if not isinstance(values, dict):
        raise PlanError(f"{path}: expected a mapping, found {type(values).__name__}")
    return values
