"""Continuing from an iteration of another run (init_from): whether it can, and what it takes over.

In: a run's settings and folder, the origin's folder. Out: folders and tables that the run takes
over, refusals by name, what provenance.json says of the origin.

A branch continues the numbering of iterations. It holds what its first own iteration reads: the
data, the start models, and of the origin's iteration the policy, the PRM and the value model with
their training states. So no stage has to know that they come from another run, and the origin may
delete its own. docs/decisions.md#branch-start
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prime_core.run.changes import is_changeable
from prime_core.run.input_digest import input_digest
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import linked_prm_folders
from prime_core.run.reward_function import is_other_function
from prime_core.run.schedule import sampling_policy
from prime_core.run.tables import read_json
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.reading import SettingsError, flatten, load_settings
from prime_core.settings.run import Settings

# Settings of the data, the start model and the warm-up, all of which are the origin's.
_TAKEN = ("model.", "data.", "sft.")
# Settings that the weights of a later iteration were trained with.
# Not their optimizers': the branch's own rates and betas are laid over the training state's.
_TRAINED = (
    *("policy.lora", "prm.path", "prm.offline", "prm.reference_path", "prm.lora"),
    "value.path",
)


class BranchError(SettingsError):
    """A run cannot continue from the one that init_from names."""


@dataclass(frozen=True)
class Origin:
    """The run that a branch continues, and the iteration after which it does."""

    files: RunFiles
    settings: Settings
    iteration: int

    @property
    def updates_prm(self) -> bool:
        """Whether each iteration has its own PRM."""
        return "prm" in self.settings.trained


def taken_folders(settings: Settings, files: RunFiles) -> list[Path]:
    """Folders of weights that a branch takes from its origin, including the start models.

    Where labelled responses train the first PRM (prm.offline), that is done in the branch itself.
    """
    start, prm = settings.start, settings.prm
    folders = [
        files.base_model,
        files.policy(0),
        files.reference,
        *own_prm_folders(settings, files),
    ]
    # A branch at 0 begins with a first PRM of its own, which own_prm_folders has added already.
    folders += [files.prm(0)] if start > 0 else []
    folders += [files.policy(iteration) for iteration in _policies(settings)]
    if start > 0:
        # Of a frozen PRM as well: it scores as it was after that iteration.
        folders += [] if prm.prm_update == "none" else [files.prm(start)]
        folders += [files.value(start)] if settings.has_value_model else []
    return folders


def taken_tables(settings: Settings, files: RunFiles) -> list[Path]:
    """Tables that a branch takes from its origin."""
    surplus = settings.rollout.keeps_surplus and settings.start > 0
    tables = [files.train, files.validation, files.demonstrations]
    return [*tables, *([files.surplus(settings.start)] if surplus else [])]


def _policies(settings: Settings) -> list[int]:
    """Iterations whose policies the first own ones train, or sample from; models/ has the first."""
    sampled = sampling_policy(settings.start + 1, settings.rollout.lag)
    return [iteration for iteration in range(sampled, settings.start + 1) if iteration > 0]


def origin_root(settings: Settings, root: Path) -> Path:
    """Folder of the run that init_from names; a name alone is beside the run's own folder, root."""
    # From the right: a path may hold an @ of its own.
    name = str(settings.init_from).rpartition("@")[0]
    return Path(name) if "/" in name else root.parent / name


def path_in_origin(path: Path, files: RunFiles, origin: Origin) -> Path:
    """The origin's file or folder that becomes `path` in the branch."""
    start = origin.iteration
    if start > 0 and path == files.prm(start) and not origin.updates_prm:
        return origin.files.prm(origin.settings.start)  # it was never updated
    return origin.files.root / path.relative_to(files.root)


def open_origin(settings: Settings, files: RunFiles) -> Origin:
    """The run to continue from. Raises BranchError where it cannot, saying what would help."""
    root = origin_root(settings, files.root)
    there = RunFiles(root)
    if not there.config.exists():
        raise _error(settings, f"{root} holds no run (config.yaml is missing); run it first")
    origin = Origin(there, load_settings(there.config), settings.start)
    if files.root.resolve() in {root.resolve(), *map(Path, _ancestors(there))}:
        raise _error(settings, f"it leads back to {files.root} itself")
    _refuse_unfinished(settings, origin)
    _refuse_absent(settings, files, origin)
    _refuse_untrained_prm(settings, origin)
    refused = [text for key, text in _differences(settings, origin) if _is_fixed(key, settings)]
    if refused:
        raise _error(
            settings,
            f"what is taken over from {root} was made with other settings: {'; '.join(refused)}. "
            "Restore these keys, or start an independent run",
        )
    return origin


def origin_record(settings: Settings, files: RunFiles) -> dict[str, Any]:
    """What provenance.json keeps of the origin, and of its own origins. Raises BranchError."""
    origin = open_origin(settings, files)
    known = read_json(origin.files.provenance) if origin.files.provenance.exists() else {}
    last = known.get("starts", [{}])[-1]
    return {
        "run": str(origin.files.root.resolve()),
        "iteration": origin.iteration,
        **{key: last[key] for key in ("git_commit", "git_dirty") if key in last},
        "settings_digest": input_digest(origin.settings, []),
        "differs": [text for _, text in _differences(settings, origin)],
        **({"origin": known["origin"]} if "origin" in known else {}),
    }


def evaluated_by_origin(
    settings: Settings, files: RunFiles, iteration: int, benchmark: str
) -> Path | None:
    """The origin's figures of an evaluation that would come out the same; None where it has none.

    At the iteration that a branch starts from, the policy is the origin's; a PRM that scores need
    not be.
    """
    begins = settings.init_from is not None and iteration == settings.start
    if not begins or settings.evaluation.uses_prm(benchmark):
        return None
    own = settings.evaluation.benchmarks[benchmark]
    there = RunFiles(origin_root(settings, files.root))
    found = there.evaluation(iteration, benchmark)
    if not there.config.exists() or not found.exists():
        return None
    theirs = load_settings(there.config)
    same = (
        # Data and model need no comparing: a branch has its origin's (_TAKEN).
        _in_one_job(theirs.evaluation.benchmarks.get(benchmark)) == _in_one_job(own)
        and theirs.verification.without_partial_credit()
        == settings.verification.without_partial_credit()
        and not is_other_function(settings, there)
        # Samplers draw different responses from the same seeds. docs/decisions.md#vllm-seeds
        and (theirs.seed, theirs.rollout.sampler) == (settings.seed, settings.rollout.sampler)
    )
    return found if same else None


def _in_one_job(benchmark: Benchmark | None) -> Benchmark | None:
    return benchmark and benchmark.model_copy(update={"num_shards": 1})


def _error(settings: Settings, what: str) -> BranchError:
    return BranchError(f"init_from '{settings.init_from}': {what}")


def _ancestors(files: RunFiles) -> Iterator[str]:
    """Folders of the runs that a run comes from, the nearest first."""
    known = read_json(files.provenance) if files.provenance.exists() else {}
    while known := known.get("origin", {}):
        yield known["run"]


def _refuse_unfinished(settings: Settings, origin: Origin) -> None:
    iteration, files, first = origin.iteration, origin.files, origin.settings.start
    if 0 < iteration < first:
        raise _error(
            settings,
            f"{files.root} itself continues '{origin.settings.init_from}' and has no iteration "
            f"{iteration}; name that run",
        )
    if iteration in (0, first):  # its start has no update; _refuse_absent looks for its folders
        return
    done = [number for number in range(first + 1, iteration + 1) if _is_finished(origin, number)]
    if iteration not in done:
        far = f"the last finished one is {done[-1]}" if done else "none is"
        raise _error(settings, f"iteration {iteration} of {files.root} is not finished; {far}")


def _is_finished(origin: Origin, iteration: int) -> bool:
    stages = origin.settings.trained
    # By figures, not by weights: those of old iterations are deleted, and figures stay.
    return all(origin.files.metrics(iteration, stage).exists() for stage in stages)


def _refuse_absent(settings: Settings, files: RunFiles, origin: Origin) -> None:
    """Refuse where something to take over is missing."""
    absent = _absent(settings, files, origin)
    if not absent:
        return
    if origin.iteration == 0 or files.train in absent:
        raise _error(
            settings,
            f"{', '.join(str(path_in_origin(path, files, origin)) for path in absent)}: missing; "
            "run the origin until it has its data and start models",
        )
    names = ", ".join(str(path_in_origin(path, files, origin)) for path in absent)
    others = _possible(settings, files, origin)
    raise _error(
        settings,
        f"{names}: gone (checkpoints.keep_last, save_freq) or never written; iterations to "
        f"continue from: {', '.join(map(str, others)) or 'none'}",
    )


def _refuse_untrained_prm(settings: Settings, origin: Origin) -> None:
    """Refuse to take over a PRM that was never trained where that makes it useless."""
    prm, theirs = settings.prm, origin.settings
    if settings.start == 0 or origin.updates_prm:
        return
    if prm.lora and prm.prm_update in ("after", "before"):
        raise _error(settings, f"{origin.files.root} trained no adapter for prm.lora to continue")
    untrained = theirs.prm.path is None and theirs.prm.offline is None and theirs.start == 0
    if prm.prm_update == "frozen" and untrained:
        raise _error(
            settings,
            f"the PRM of {origin.files.root} was never trained: prm.prm_update 'frozen' would give "
            "zero rewards forever",
        )


def _absent(settings: Settings, files: RunFiles, origin: Origin) -> list[Path]:
    paths = [*taken_folders(settings, files), *taken_tables(settings, files)]
    own = own_prm_folders(settings, files)
    return [
        path
        for path in paths
        # What the branch links by its own settings need not be in the origin.
        if path not in own
        and not path_in_origin(path, files, origin).exists()
        and not is_empty_surplus(path, files, origin)
    ]


def own_prm_folders(settings: Settings, files: RunFiles) -> list[Path]:
    """Folders that a branch links as its own settings say: another PRM may begin at iteration 0."""
    linked = linked_prm_folders(settings, files)
    return [path for path in linked if settings.start == 0 or path != files.prm(0)]


def is_empty_surplus(path: Path, files: RunFiles, origin: Origin) -> bool:
    """Whether this is a table of groups left over, and the origin keeps none."""
    return path == files.surplus(origin.iteration) and not origin.settings.rollout.keeps_surplus


def _possible(settings: Settings, files: RunFiles, origin: Origin) -> list[int]:
    """Iterations of the origin that could be named instead, up to four around the wanted one."""
    numbers = [int(path.parent.name) for path in origin.files.root.glob("iterations/*/policy")]
    there = []
    for number in sorted(numbers):
        name = str(settings.init_from).rpartition("@")[0]
        other = settings.model_copy(update={"init_from": f"{name}@{number}"})
        instead = Origin(origin.files, origin.settings, number)
        if not _absent(other, files, instead):
            there.append(number)
    return sorted(sorted(there, key=lambda number: abs(number - origin.iteration))[:4])


def _differences(settings: Settings, origin: Origin) -> list[tuple[str, str]]:
    """Keys whose values differ from the origin's, each with "key: origin's -> own"."""
    theirs, own = (flatten(one.model_dump(mode="json")) for one in (origin.settings, settings))
    return [
        (key, f"{key}: {theirs.get(key)!r} -> {own.get(key)!r}")
        for key in sorted({*theirs, *own})
        if theirs.get(key) != own.get(key)
        and not is_changeable(key)
        and key not in ("run", "results", "init_from")
    ]


def _is_fixed(key: str, settings: Settings) -> bool:
    """Whether what is taken over depends on this setting."""
    if key.startswith(_TAKEN):
        return True
    # At 0 nothing that these keys shaped is taken over; dropout shapes no adapter's weights.
    if settings.start == 0 or key.endswith(".dropout"):
        return False
    # Nobody is held to settings of a model that the branch does not have.
    unused = (
        *(["prm."] if settings.prm.prm_update == "none" else []),
        *([] if settings.has_value_model else ["value."]),
    )
    return key.startswith(_TRAINED) and not key.startswith(unused)
