"""Assumptions that were measured: the file of `python -m benchmarks.gpu_trial`.

In: the file, the GPU that is planned for. Out: values by the assumption's name. A file of other
GPUs, or with a name that the plan does not know, is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from prime_core.planning.gpus import PROCESSORS, Gpu, gpu_called
from prime_core.planning.hardware import Assumptions
from prime_core.settings.reading import SettingsError

# Tables round a GPU's memory down, drivers keep a little of it, and a site may say its own figure.
MEMORY_TOLERANCE = 0.03
TINY = "tiny"  # the trial's model that shows on a CPU that the parts run


class MeasuredValues(Assumptions):
    """All that may be measured: the assumptions, and the disk, which has an option of its own."""

    disk_gb_per_s: float = Field(2.0, gt=0, description="shared disk's bandwidth for one job")


@dataclass(frozen=True)
class Measured:
    """path: the file. values: by name, those in the file alone."""

    path: Path
    gpu: Gpu
    values: dict[str, float]


def read_measured(path: Path) -> Measured:
    """What a trial has measured. Raises SettingsError naming the file and what is wrong in it."""
    content = _content(path)
    values = content["assumptions"]
    if not isinstance(values, dict) or not values:
        raise SettingsError(
            f"--measured {path}: nothing in it was measured (`assumptions` is empty)"
        )
    known = MeasuredValues.model_fields
    if unknown := sorted(set(values) - set(known)):
        raise SettingsError(
            f"--measured {path}: the plan has no assumption {', '.join(unknown)}; expected some of "
            f"{', '.join(known)}"
        )
    try:
        checked = MeasuredValues.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"--measured {path}: {where} = {first['input']}: {first['msg']}"
        ) from None
    return Measured(path, _gpu(path, content), {name: getattr(checked, name) for name in values})


def check_same_gpu(measured: Measured, gpu: Gpu) -> None:
    """Raise SettingsError unless the file is of the GPU that is planned for."""
    path, theirs = measured.path, measured.gpu
    if theirs.name != gpu.name:
        raise SettingsError(
            f"--measured {path}: measured on {theirs.name}, but this plan is for {gpu.name}; "
            "shares of one GPU's speed say nothing about another's"
        )
    if abs(theirs.memory_gib - gpu.memory_gib) > MEMORY_TOLERANCE * gpu.memory_gib:
        raise SettingsError(
            f"--measured {path}: measured on a GPU of {theirs.memory_gib:.1f} GiB, but this plan "
            f"is for {gpu.name} with {gpu.memory_gib:g} GiB (--gpu, --gpu-memory-gb)"
        )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--measured {path}: not readable: {error}") from None
    expected = ("gpu", "model", "assumptions")
    missing = [key for key in expected if not isinstance(content, dict) or key not in content]
    if missing:
        raise SettingsError(
            f"--measured {path}: without {', '.join(missing)}: not a file of benchmarks.gpu_trial"
        )
    return dict(content)


def _gpu(path: Path, content: dict[str, Any]) -> Gpu:
    """The plan's GPU of that type, with the memory that was found."""
    try:
        kind, memory = str(content["gpu"]["type"]), float(content["gpu"]["memory_gib"])
        size = str(content["model"]["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"--measured {path}: `gpu` or `model` is incomplete: {error}") from None
    found = gpu_called(kind)
    if found is None:
        raise SettingsError(f"--measured {path}: gpu.type {kind!r} is none that the plan knows")
    if size == TINY and found != PROCESSORS:
        raise SettingsError(
            f"--measured {path}: its figures are of the tiny model, which shows that all parts "
            "run, not what the GPU does; run benchmarks.gpu_trial without --size"
        )
    return found if found == PROCESSORS else replace(found, memory_gib=memory)
