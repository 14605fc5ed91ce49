"""What the run knows of an exported model: accuracies, data, origins, versions.

In: a chosen model. Out: rows for the card. What was not written down is not guessed: an iteration
without an evaluation has no accuracies, a licence that nobody recorded is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
import yaml

from prime_core.evaluation.statistics.paired import Paired, compare_paired
from prime_core.export.chosen import Chosen
from prime_core.report.tables.collect import evaluation_table
from prime_core.report.tables.data_table import read_data_figures
from prime_core.report.tables.evaluations import problem_means
from prime_core.run.prm_folders import scoring_prm_folder
from prime_core.run.tables import EVALUATION, read_json, read_table
from prime_core.settings.reading import flatten
from prime_core.settings.run import Settings
from prime_core.storage.hub import is_hub_id
from prime_core.storage.table_files import is_on_hub

# Where a run lies and what its jobs may use: of no meaning elsewhere.
_LOCAL_KEYS = ("results", "stage_resources", "max_gpu_hours", "reproduction.authors")


@dataclass(frozen=True)
class Accuracy:
    """One benchmark at the exported iteration. before: of the earliest evaluation, if another."""

    benchmark: str
    figures: dict[str, Any]
    before: dict[str, Any] | None
    change: Paired | None


def accuracies(chosen: Chosen) -> list[Accuracy]:
    """Benchmarks that were evaluated at this iteration, against their first evaluation."""
    table = evaluation_table(chosen.files)
    found = []
    for benchmark, rows in table.dropna(subset="accuracy").groupby("benchmark"):
        by_iteration = {int(row["iteration"]): dict(row) for _, row in rows.iterrows()}
        if chosen.iteration not in by_iteration:
            continue
        first = min(by_iteration)
        earlier = by_iteration[first] if first < chosen.iteration else None
        change = _change(chosen, str(benchmark), first) if earlier else None
        found.append(Accuracy(str(benchmark), by_iteration[chosen.iteration], earlier, change))
    return found


def evaluated_iterations(chosen: Chosen) -> list[int]:
    """Iterations that have any evaluation."""
    table = evaluation_table(chosen.files).dropna(subset="accuracy")
    return sorted({int(number) for number in table["iteration"]})


def _change(chosen: Chosen, benchmark: str, first: int) -> Paired | None:
    tables = [
        chosen.files.evaluation(number, benchmark).with_suffix(".parquet")
        for number in (first, chosen.iteration)
    ]
    if not all(path.exists() for path in tables):
        return None
    before, after = (
        problem_means(read_table(path, EVALUATION, chosen.files.root)) for path in tables
    )
    # num_problems may have changed in between: only pairs can be compared.
    common: pd.Index = after.index.intersection(before.index)
    return compare_paired(after[common], before[common]) if len(common) else None


def ranking(chosen: Chosen) -> tuple[int, dict[str, float]] | None:
    """Iteration whose responses the exported PRM has scored, and figures of that; None: none."""
    for iteration in (chosen.iteration, chosen.iteration + 1):
        path = chosen.files.metrics(iteration, "score")
        scored_by = scoring_prm_folder(chosen.settings, chosen.files, iteration)
        if iteration > chosen.settings.start and scored_by == chosen.folder and path.exists():
            return iteration, read_json(path)
    return None


def base_model(chosen: Chosen) -> str | None:
    """What the weights were trained from, as the settings name it; None: built from scratch."""
    own = {"prm": chosen.settings.prm.path, "value": chosen.settings.value.path}
    return own.get(chosen.kind) or chosen.settings.model.path


def training_tables(settings: Settings) -> dict[str, str]:
    """Setting -> table that models of the run were trained on."""
    data = settings.data
    if data.source != "files":
        return {}
    tables = {"data.train": data.train, "data.sft": data.sft if settings.sft.enabled else None}
    tables |= {f"data.sources.{name}": source.file for name, source in data.sources.items()}
    tables["prm.offline.file"] = settings.prm.offline.file if settings.prm.offline else None
    return {key: path for key, path in tables.items() if path is not None}


def hub_dataset(location: str) -> str | None:
    """The data set of the hub that a table's name means, owner/name; None for local files."""
    if not is_on_hub(location):
        return None
    parts = location.removeprefix("hf://").removeprefix("datasets/").split("/")
    return "/".join(parts[:2]).partition("@")[0]


def shown(location: str) -> str:
    """A name of a model or table as others may see it: of local paths the last part alone."""
    if location.startswith("hf://") or is_on_hub(location) or is_hub_id(location):
        return location
    return PurePath(location).name


def data_counts(chosen: Chosen) -> dict[str, int]:
    """Numbers of problems, as the stage `prepare` has written them."""
    names = {
        "data/num_train": "training problems",
        "data/num_validation": "held-out problems",
        "data/num_demonstrations": "demonstrations",
    }
    figures = read_data_figures(chosen.files)
    return {words: int(figures[key]) for key, words in names.items() if figures.get(key)}


def provenance(chosen: Chosen) -> dict[str, Any]:
    """The last start of the run: commit, versions; empty where it is not recorded."""
    path = chosen.files.provenance
    known = read_json(path) if path.exists() else {}
    starts = known.get("starts") if isinstance(known, dict) else None
    return starts[-1] if isinstance(starts, list) and starts else {}


def own_settings(settings: Settings) -> dict[str, Any]:
    """Settings that differ from the defaults, by dotted key; local paths by their last part."""
    usual = flatten(Settings().model_dump(mode="json"))
    mine = flatten(settings.model_dump(mode="json"))
    return {
        key: _without_folders(value)
        for key, value in mine.items()
        if key not in _LOCAL_KEYS and (key not in usual or usual[key] != value)
    }


def _without_folders(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_folders(one) for one in value]
    is_path = isinstance(value, str) and value.startswith(("/", "~", "../"))
    return PurePath(value).name if is_path else value


def known_licence(name: str, kind: str) -> str | None:
    """Licence of a model or data set, where its card is on this machine; None: unknown.

    kind: "model" or "dataset", as the hub's library calls them. Asks nobody.
    """
    for card in _cards(name, kind):
        try:
            _, front, _ = card.read_text(encoding="utf-8").split("---\n", 2)
            licence = yaml.safe_load(front).get("license")
        except (OSError, ValueError, yaml.YAMLError, AttributeError):
            continue
        if isinstance(licence, str):
            return licence
    return None


def _cards(name: str, kind: str) -> Iterator[Path]:
    if Path(name).is_dir():
        yield Path(name) / "README.md"
    elif is_hub_id(name) if kind == "model" else hub_dataset(name):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "README.md", repo_type=kind)
        if isinstance(found, str):
            yield Path(found)
