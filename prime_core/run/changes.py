"""Which settings may change while a run is under way, and which would alter finished work.

docs/decisions.md#config-no-input
"""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from prime_core.run.layout import RunFiles
from prime_core.settings.reading import flatten
from prime_core.settings.run import Settings
from prime_core.settings.verification import CREDIT_FIELDS


def refused_changes(old: Settings, new: Settings, files: RunFiles) -> list[str]:
    """One text per change, "key: old -> new", that would alter files that exist already.

    The numbers of iterations, shards, evaluations and kept weights may change at any time; other
    settings until the first file that depends on them exists.
    """
    before, after = flatten(old.model_dump(mode="json")), flatten(new.model_dump(mode="json"))
    changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in changed
        if not is_changeable(key)
        and any(path.exists() for path in first_affected_files(key, files, old, new))
    ]


def is_changeable(key: str) -> bool:
    """Whether the setting is declared to have no influence on finished results."""
    section: type[BaseModel] = Settings
    for part in key.split("."):
        field = section.model_fields.get(part)
        if field is None:
            return False
        if _says_changeable(field):
            return True
        # A name that the user chose follows (of a benchmark, of a source), which may hold dots.
        if get_origin(field.annotation) is dict:
            named = get_args(field.annotation)[1]
            last = getattr(named, "model_fields", {}).get(key.rpartition(".")[2])
            return last is not None and _says_changeable(last)
        sections = [kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)]
        if not sections:
            return False
        section = sections[0]
    return False


def _says_changeable(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("changeable"))


def _kinds(annotation: Any) -> list[type]:
    """The types that a field may have: of `Offline | None` both."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]
    return [kind for kind in kinds if isinstance(kind, type)]


def first_affected_files(key: str, files: RunFiles, old: Settings, new: Settings) -> list[Path]:
    """The first files that depend on a setting."""
    # Its number of shards is what an iteration writes before anything else: where that exists,
    # sampling has begun.
    first = new.start + 1
    if key.startswith("evaluation.benchmarks."):
        return _evaluations(key.removeprefix("evaluation.benchmarks."), files, old, new)
    if key == "evaluation.steps.score":
        return []  # only shown
    if key.startswith("evaluation.steps"):
        return sorted((files.root / "evaluations").glob("*/steps.json"))
    if key.startswith("model.") or key == "init_from":
        return [files.base_model]
    if key == "seed":
        return [files.base_model, files.train, files.candidates]
    # By what is there, not by num_shards, which may be what changes.
    tried = sorted(files.difficulty(0).parent.glob("*.parquet"))
    # The bounds alone: the trial does not know them. docs/decisions.md#difficulty-trial
    if key.startswith("data.difficulty.accuracy_"):
        return [files.train]
    if key.startswith("data.difficulty"):
        return [files.train, *tried]
    if key.startswith("data."):
        return [files.train, files.candidates]
    if key.startswith("sft."):
        return [files.policy(0)]
    if key == "prm.path":
        return [files.prm(0)]
    # Labelled responses carry the reference's log-probabilities.
    if key == "prm.reference_path":
        return [files.prm_reference, files.labelled, files.shard_count(first)]
    if key.startswith("prm.offline"):
        return [files.prm(0), files.labelled]
    # Evaluations and the difficulty trial count whole passes, whatever these say.
    if key.removeprefix("verification.") in CREDIT_FIELDS:
        return [files.iteration(first) / "outcomes"]
    if key.startswith("verification."):
        judged = (files.root / "evaluations").glob("*/*.json")
        return [files.iteration(first) / "outcomes", *judged, *tried]
    if key == "rollout.sampler":
        return [files.shard_count(first), *tried]
    reads_values = old.policy.adv_estimator == "gae" or old.draws_continuations
    if key.startswith("value.") and not reads_values:
        return []  # nothing has read it
    if key in ("run", "results", "evaluation.benchmarks"):
        return []
    return [files.shard_count(first)]


def _evaluations(key: str, files: RunFiles, old: Settings, new: Settings) -> list[Path]:
    """Finished evaluations of a benchmark whose own settings change; none where it is new.

    key: e.g. math-500.temperature or math-500.columns.prompt; names may contain dots, too.
    """
    both = old.evaluation.benchmarks.keys() & new.evaluation.benchmarks.keys()
    names = [name for name in both if key.startswith(f"{name}.")]
    folder = files.root / "evaluations"
    return sorted(path for name in names for path in folder.glob(f"*/{name}.json"))
