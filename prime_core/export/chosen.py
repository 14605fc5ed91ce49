"""Which model is exported: of a run, after an iteration, the policy, the PRM or the value model.

In: RUN@ITERATION and the kind of model. Out: the folder of its weights. Every refusal says what
there is instead: weights of old iterations are deleted (checkpoints.keep_last, save_freq), and a
run may still be running.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prime_core.run.layout import RunFiles
from prime_core.run.naming import split_run_at
from prime_core.settings.reading import load_settings
from prime_core.settings.run import Settings

Kind = Literal["policy", "prm", "value"]
WORDS = {"policy": "policy", "prm": "process reward model", "value": "value model"}


class ExportError(ValueError):
    """A model cannot be exported: it is not there, or its target is taken."""


@dataclass(frozen=True)
class Chosen:
    """A model of a run. folder: its weights; trained: whether the run's iterations train it."""

    files: RunFiles
    settings: Settings
    kind: Kind
    iteration: int
    folder: Path
    trained: bool

    @property
    def run(self) -> str:
        """The run's name."""
        return self.files.root.resolve().name

    @property
    def num_done(self) -> int:
        """The last finished iteration of the run; its start where none is."""
        done = [
            number
            for number in self.settings.own_iterations
            if self.files.metrics(number, "policy").exists()
        ]
        return max(done, default=self.settings.start)


def choose(text: str, kind: Kind) -> Chosen:
    """The model that RUN@ITERATION means; without a number the last whose weights are there.

    Raises ExportError.
    """
    run_dir, iteration = split_run_at(text)
    if not run_dir.exists() and len(run_dir.parts) == 1:
        run_dir = Path("results") / run_dir
    files = RunFiles(run_dir)
    if not files.config.exists():
        raise ExportError(f"{run_dir} holds no run (config.yaml is missing)")
    settings = load_settings(files.config)
    _refuse_kind(settings, kind, run_dir)
    kept = kept_iterations(files, settings, kind)
    if iteration is None:
        if not kept:
            raise ExportError(f"{run_dir}: no weights of a {WORDS[kind]} are there yet")
        iteration = kept[-1]
    if iteration not in kept:
        raise ExportError(_why_not(files, settings, kind, iteration, kept))
    folder = folder_of(files, settings, kind, iteration)
    return Chosen(files, settings, kind, iteration, folder, kind in settings.trained)


def folder_of(files: RunFiles, settings: Settings, kind: Kind, iteration: int) -> Path:
    """Where the weights are; a PRM that is not trained stays as it was at the start."""
    frozen = kind == "prm" and "prm" not in settings.trained and iteration > 0
    return files.weights(kind, settings.start if frozen else iteration)


def kept_iterations(files: RunFiles, settings: Settings, kind: Kind) -> list[int]:
    """Finished iterations whose weights are there, 0 and a branch's start included."""
    first = [] if kind == "value" else [0]
    numbers = sorted({*first, *([settings.start] if settings.start else [])})
    numbers += settings.own_iterations
    return [
        number
        for number in numbers
        if (folder_of(files, settings, kind, number) / "config.json").exists()
        and _is_finished(files, settings, kind, number)
    ]


def _is_finished(files: RunFiles, settings: Settings, kind: Kind, iteration: int) -> bool:
    if iteration <= settings.start:  # what it begins with; folders are renamed when complete
        return True
    stage = kind if kind in settings.trained else "policy"
    return files.metrics(iteration, stage).exists()


def _refuse_kind(settings: Settings, kind: Kind, run_dir: Path) -> None:
    if kind == "prm" and settings.prm.prm_update == "none":
        raise ExportError(
            f"{run_dir} has no PRM: it learns from outcome rewards only (prm.prm_update none)"
        )
    if kind == "value" and not settings.has_value_model:
        raise ExportError(
            f"{run_dir} trains no value model (policy.adv_estimator is "
            f"{settings.policy.adv_estimator}, value.source {settings.value.source})"
        )


def _why_not(
    files: RunFiles, settings: Settings, kind: Kind, iteration: int, kept: list[int]
) -> str:
    root = files.root
    there = f"there are those of {', '.join(map(str, kept)) or 'none'}"
    if iteration > settings.iterations:
        return f"{root} has no iteration {iteration}: it ends with {settings.iterations}; {there}"
    if 0 < iteration < settings.start:
        return (
            f"{root} continues '{settings.init_from}' and has no iteration {iteration}: export it "
            "from that run"
        )
    if not _is_finished(files, settings, kind, iteration):
        return f"iteration {iteration} of {root} is not finished; of weights {there}"
    if iteration == 0:
        return f"{root}: the start model is not there yet, or there is none of a {WORDS[kind]}"
    checkpoints = settings.checkpoints
    return (
        f"the weights of iteration {iteration} of {root} are gone (checkpoints.keep_last "
        f"{checkpoints.keep_last}, save_freq {checkpoints.save_freq}); {there}"
    )
