"""Which changes of settings a run under way can take, and which would change finished work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from prime_core.layout import RunFiles
from prime_core.settings import Settings


def refused_changes(old: Settings, new: Settings, files: RunFiles) -> list[str]:
    """One text a change, "key: old -> new", for each that would alter files that exist already.

    How many iterations, shards, evaluations and kept weights there are may change at any time;
    other settings may change until the first file that they enter is there.
    """
    before, after = flat(old.model_dump(mode="json")), flat(new.model_dump(mode="json"))
    changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in changed
        if not is_changeable(key) and any(path.exists() for path in affected(key, files, old, new))
    ]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def is_changeable(key: str) -> bool:
    """Whether the setting is declared to have no influence on finished results."""
    section: type[BaseModel] = Settings
    for part in key.split("."):
        field = section.model_fields.get(part)
        if field is None:
            return False
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("changeable"):
            return True
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section = field.annotation
        else:
            return False
    return False


def affected(key: str, files: RunFiles, old: Settings, new: Settings) -> list[Path]:
    """The first files that a setting enters."""
    if key.startswith("evaluation.benchmarks."):
        name = key.removeprefix("evaluation.benchmarks.").rpartition(".")[0]
        return _evaluations(name, files, old, new)
    if key.startswith("model."):
        return [files.base_model]
    if key == "seed":
        return [files.base_model, files.train]
    if key.startswith("data."):
        return [files.train]
    if key.startswith("sft."):
        return [files.policy(0)]
    if key == "prm.path":
        return [files.prm(0)]
    if key.startswith("verification."):
        judged = (files.root / "evaluations").glob("*/*.json")
        return [files.iteration(1) / "outcomes", *judged]
    if key in ("run", "results", "evaluation.benchmarks"):
        return []
    return [files.shard_count(1)]


def _evaluations(name: str, files: RunFiles, old: Settings, new: Settings) -> list[Path]:
    """Finished evaluations of a benchmark whose own settings change; none where it is new."""
    if name not in old.evaluation.benchmarks or name not in new.evaluation.benchmarks:
        return []
    return sorted((files.root / "evaluations").glob(f"*/{name}.json"))
