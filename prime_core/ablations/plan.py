"""What `snakemake ablations` compares: variants of a run, and pairs with the paper's finding.

In: configs/ablations/*.yaml, overridden by --config. Out: one typed model, and the settings of
each run. A run of 0 iterations, the base of its seed, prepares data and the warmed-up model; every
variant branches off from it (init_from), so that a pair of runs differs in the named settings
alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, model_validator

from prime_core.ablations.findings import Finding
from prime_core.settings.reading import checked, expand_dotted, load_yaml, merged, parse_settings
from prime_core.settings.run import Settings
from prime_core.settings.section import NAME_PATTERN, FolderPath, Section

BASE = "base"
# Measure -> the column of what an outcome alone reaches.
OUTCOME_LINES = {"f1": "outcome_f1", "own_f1": "own_outcome_f1"}

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class Labelled(Section):
    """Judged responses of another variant's run with the same seed, for prm.offline."""

    variant: str = Field(description="Whose rollouts; not one that needs such a file itself.")
    first: int = Field(1, ge=1, description="First iteration.")
    last: int = Field(1, ge=1, description="Last iteration, inclusive.")


class Variant(Section):
    """One way to train; each seed is a separate run."""

    title: str = Field(description="Name in tables and figures.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings on top of the common ones; dotted or nested."
    )
    labelled: Labelled | None = Field(
        None, description="Where prm.offline.file comes from; null: from the settings, if any."
    )


class Comparison(Section):
    """Two variants, and what the paper found about them."""

    title: str = Field(description="Name in tables and figures.")
    first: str = Field(description="A variant.")
    second: str | None = Field(
        description="The variant that it is compared with; null, with measure f1 or own_f1: what "
        "the outcome alone reaches by pointing at a fixed place."
    )
    measure: Literal["accuracy", "ranking", "f1", "clean_above_lucky", "own_f1"] = Field(
        "accuracy",
        description="What is compared: held-out accuracy; ranking: pairs of a batch that the PRM "
        "ranks correctly, by true outcomes; f1, clean_above_lucky: of evaluation.steps; own_f1: F1 "
        "of first wrong steps in the batch's own chains.",
    )
    finding: Finding = Field(
        description="What the paper finds. first: the first is better; close: no clear difference; "
        "none: it does not say."
    )
    paper: str = Field(description="The paper's words or figures, and where they are.")


class Ablations(Section):
    """All settings of a set of ablations."""

    results: FolderPath = Field(
        "results/ablations", description="Folder of the runs and the report."
    )
    base: str = Field(
        "configs/quickstart.yaml",
        description="Settings of a run; a path from the repository's folder.",
    )
    benchmark: str = Field("validation", description="The evaluation that is compared.")
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = Field(
        (0, 1, 2), description="Each variant is run with each; more may be added later."
    )
    at_once: int | None = Field(
        None,
        ge=1,
        description="Runs at the same time. null: one for each core of this machine; four where "
        "the stages are Slurm jobs.",
    )
    margin: float = Field(
        3.0, gt=0, description="Percentage points; a difference that is smaller counts as none."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Of all runs, on top of the base's."
    )
    variants: dict[Name, Variant] = Field(description="Name -> how it differs.")
    comparisons: dict[Name, Comparison] = Field(description="Name -> pair of variants.")

    @model_validator(mode="after")
    def _names_exist(self) -> Ablations:
        if BASE in self.variants:
            raise ValueError(f"variants: '{BASE}' is the run that the others branch off from")
        # A seed that counts twice would narrow intervals without any new run.
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)}: each may occur only once")
        for name, comparison in self.comparisons.items():
            if comparison.second is None and comparison.measure not in OUTCOME_LINES:
                raise ValueError(
                    f"comparisons.{name}: second null is the outcome's line of measure "
                    f"{' or '.join(OUTCOME_LINES)}, and measure is '{comparison.measure}'"
                )
            for side in (comparison.first, comparison.second):
                if side is not None and side not in self.variants:
                    raise ValueError(f"comparisons.{name}: there is no variant '{side}'")
        for name, variant in self.variants.items():
            source = variant.labelled
            if source and (source.variant not in self.variants or source.variant == name):
                raise ValueError(f"variants.{name}.labelled: no other variant '{source.variant}'")
            # One level only, so that no two runs can wait for each other.
            if source and self.variants[source.variant].labelled:
                raise ValueError(
                    f"variants.{name}.labelled: '{source.variant}' needs labelled responses itself"
                )
        return self


@dataclass(frozen=True)
class Run:
    """One run of the set.

    values: its settings as a file for Snakemake holds them; settings: the same, checked.
    """

    name: str
    seed: int
    values: dict[str, Any]
    settings: Settings
    labelled: Labelled | None = None

    @cached_property
    def digest(self) -> str:
        """Short digest of the settings, different where any of them is."""
        # Of the checked settings: how they are written does not count, a changed default does.
        return digest(self.settings.model_dump(mode="json"))

    @property
    def text(self) -> str:
        """Its settings as YAML."""
        return yaml.safe_dump(self.values, sort_keys=False)

    @property
    def marker(self) -> str:
        """The file that exists once the run has finished with exactly these settings."""
        # The digest is in the name, since Snakemake compares file times alone
        # (docs/decisions.md#finished-by-digest).
        return f"{self.settings.run_dir}/ablation-{self.digest}.json"


class Plan:
    """All runs of a set of ablations, and the paths of their files."""

    def __init__(self, ablations: Ablations, folder: Path) -> None:
        """folder: where the settings of the base are looked for.

        Raises SettingsError naming the run and the key where settings are wrong.
        """
        self.ablations = ablations
        self.common = merged(
            expand_dotted(load_yaml(folder / ablations.base)), expand_dotted(ablations.settings)
        )
        self.runs = {run.name: run for run in self._all()}

    @property
    def root(self) -> Path:
        """Folder of the runs and the report."""
        return Path(self.ablations.results)

    @property
    def resolved(self) -> Path:
        """The settings of the ablations as they are now, overrides included."""
        return self.root / "ablations.yaml"

    def settings_file(self, name: str) -> Path:
        """Settings of one run, for `prime run --configfile`."""
        return self.root / "settings" / f"{name}.yaml"

    @cached_property
    def markers(self) -> list[str]:
        """The files that exist once all runs have finished."""
        return [run.marker for run in self.runs.values()]

    @property
    def digest(self) -> str:
        """Digest of everything that the report shows besides results."""
        # How many runs go at once changes no result, so it must not renew the report.
        return digest(self.ablations.model_dump(mode="json", exclude={"at_once"}))

    def needed(self, name: str) -> list[str]:
        """What a run waits for: the base of its seed, and responses that its PRM learns from."""
        run = self.runs[name]
        base = self.runs[run_name(BASE, run.seed)]
        files = [] if run is base else [base.marker]
        return files + ([self.labelled(run.labelled, run.seed)] if run.labelled else [])

    def labelled(self, source: Labelled, seed: int) -> str:
        """File of a run's judged responses."""
        name = run_name(source.variant, seed)
        return f"{self.root}/labelled/{name}.{source.first}-{source.last}.parquet"

    def _all(self) -> Iterator[Run]:
        for seed in self.ablations.seeds:
            name = run_name(BASE, seed)
            yield self._run(name, seed, {"iterations": 0}, None)
            for variant_name, variant in self.ablations.variants.items():
                own = expand_dotted(variant.settings)
                # All variants of a seed start from the same data and weights, so that what differs
                # is the variant alone.
                own["init_from"] = f"{name}@0"
                if variant.labelled:
                    file = {"file": self.labelled(variant.labelled, seed)}
                    own = merged(own, {"prm": {"offline": file}})
                yield self._run(run_name(variant_name, seed), seed, own, variant.labelled)

    def _run(self, name: str, seed: int, own: dict[str, Any], labelled: Labelled | None) -> Run:
        identity = {"run": name, "results": self.ablations.results, "seed": seed}
        # Last, so that no variant's settings can lead into the folder of another run.
        values = merged(merged(self.common, own), identity)
        return Run(name, seed, values, parse_settings(values, f"ablations, {name}"), labelled)


def run_name(variant: str, seed: int) -> str:
    """Name of a variant's run with one seed."""
    return f"{variant}-seed{seed}"


def parse_ablations(raw: dict[str, Any], source: str) -> Ablations:
    """Settings of ablations from nested plain values. Raises SettingsError naming the key."""
    return checked(Ablations, expand_dotted(raw), source)


def load_ablations(path: Path) -> Ablations:
    """Settings of ablations from a YAML file. Raises SettingsError naming file and key."""
    return parse_ablations(load_yaml(path), str(path))


def dump_ablations(ablations: Ablations) -> str:
    """YAML text of all settings of ablations, defaults included."""
    return yaml.safe_dump(ablations.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def digest(values: dict[str, Any]) -> str:
    """A short digest of plain values."""
    # Sorted: the order of keys in a file is no setting.
    text = json.dumps(values, sort_keys=True)
    # Twelve digits are also what workflow/rules/ablations.smk expects in a file's name.
    return hashlib.sha256(text.encode()).hexdigest()[:12]
