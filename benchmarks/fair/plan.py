"""What the fair comparison runs: a screening of trials for each method, then each at its best.

In: comparison.yaml. Out: two sets of ablations for each task (prime_core.ablations): their variants
are a method with one of its trials, and a method with the trial that was best for it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from prime_core.ablations.plan import Ablations, Comparison, Name, Variant
from prime_core.ablations.results import READ, Results
from prime_core.settings.reading import checked, expand_dotted, load_yaml, merged
from prime_core.settings.section import FolderPath, Section

FILE = Path(__file__).with_name("comparison.yaml")
Trainer = Literal["workflow", "trl"]


class Method(Section):
    """One way to train; title: its name in tables; settings: on top of the task's."""

    title: str
    trainer: Trainer = "workflow"
    settings: dict[str, Any] = Field(default_factory=dict)


class Task(Section):
    """One kind of problems; settings: on top of the common ones."""

    title: str
    settings: dict[str, Any] = Field(default_factory=dict)


class Screening(Section):
    """How trials are run; settings: on top of everything else."""

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    settings: dict[str, Any] = Field(default_factory=dict)


class Fair(Section):
    """The whole comparison. trials: name -> settings on top of a method's, the same for all."""

    results: FolderPath
    base: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    benchmark: str
    margin: float = Field(gt=0)  # percentage points
    settings: dict[str, Any]
    screening: Screening
    tasks: dict[Name, Task]
    methods: dict[Name, Method]
    trials: dict[Name, dict[str, Any]] = Field(min_length=1)
    comparisons: dict[Name, Comparison]

    @model_validator(mode="after")
    def _seeds_apart(self) -> Fair:
        shared = sorted({*self.seeds} & {*self.screening.seeds})
        if shared:
            raise ValueError(f"screening.seeds {shared}: used again, they would favour the chosen")
        return self

    def trained_by(self, trainer: Trainer) -> list[str]:
        """Names of the methods of a trainer."""
        return [name for name, method in self.methods.items() if method.trainer == trainer]

    def trainer_of(self, variant: str) -> Trainer:
        """Who trains a variant of either set; a base is this project's."""
        of_trl = self.trained_by("trl")
        trials = {_variant(method, trial) for method in of_trl for trial in self.trials}
        return "trl" if variant in {*of_trl, *trials} else "workflow"

    def screened(self, task: str, methods: Sequence[str]) -> Ablations:
        """The trials of these methods; each is compared with the method's first one."""
        variants = {
            _variant(method, trial): Variant(
                title=f"{self.methods[method].title}, {trial}",
                settings=self._settings(method, trial),
            )
            for trial in self.trials
            for method in methods
        }
        first, *others = self.trials
        comparisons = {
            _variant(method, trial): Comparison(
                title=f"{self.methods[method].title}: {trial} or {first}",
                first=_variant(method, trial),
                second=_variant(method, first),
                finding="none",
                paper="not compared",
            )
            for method in methods
            for trial in others
        }
        common = merged(self._common(task), expand_dotted(self.screening.settings))
        folder = f"{task}-screening"
        return self._ablations(folder, self.screening.seeds, common, variants, comparisons)

    def at_best(self, task: str, chosen: Mapping[str, str]) -> Ablations:
        """Methods with the trial that was chosen for each. chosen: method -> trial."""
        variants = {
            method: Variant(
                title=f"{self.methods[method].title} ({trial})",
                settings=self._settings(method, trial),
            )
            for method, trial in chosen.items()
        }
        comparisons = {
            name: pair
            for name, pair in self.comparisons.items()
            if {pair.first, pair.second} <= chosen.keys()
        }
        return self._ablations(task, self.seeds, self._common(task), variants, comparisons)

    def best(self, results: Results, methods: Sequence[str]) -> dict[str, str]:
        """Method -> the trial with the highest mean accuracy over the screening's seeds.

        Raises ValueError naming a trial that has not run with all of them.
        """
        figures = results.measures[READ]
        chosen = {}
        for method in methods:
            means = {}
            for trial in self.trials:
                of_seeds = figures.get(_variant(method, trial), {})
                if of_seeds.keys() != {*self.screening.seeds}:
                    raise ValueError(f"{_variant(method, trial)} has not run with all seeds")
                means[trial] = statistics.fmean(of_seeds.values())
            assert not any(map(math.isnan, means.values()))
            chosen[method] = max(means, key=lambda trial: means[trial])  # of equal ones the first
        return chosen

    def _common(self, task: str) -> dict[str, Any]:
        own = expand_dotted(self.tasks[task].settings)
        return merged(expand_dotted(self.settings), own)

    def _settings(self, method: str, trial: str) -> dict[str, Any]:
        of_method = expand_dotted(self.methods[method].settings)
        return merged(of_method, expand_dotted(self.trials[trial]))

    def _ablations(
        self,
        folder: str,
        seeds: Sequence[int],
        common: dict[str, Any],
        variants: dict[str, Variant],
        comparisons: dict[str, Comparison],
    ) -> Ablations:
        return Ablations(
            results=f"{self.results}/{folder}",
            base=self.base,
            benchmark=self.benchmark,
            seeds=tuple(seeds),
            margin=self.margin,
            settings=common,
            variants=variants,
            comparisons=comparisons,
        )


def load_fair(path: Path = FILE) -> Fair:
    """The comparison of a file. Raises SettingsError naming file and key."""
    return checked(Fair, load_yaml(path), str(path))


def _variant(method: str, trial: str) -> str:
    return f"{method}-{trial}"
