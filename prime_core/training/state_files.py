"""The files of a training state: whose weights they belong to, and read without executing any.

In: a folder training_state/ as DeepSpeed writes it. Out: its record made_from.json, with a digest
of each file and of the weights beside it, so that the state of another model or iteration is
refused although it would load. A state is a pickle, which can name any function to be called, and
init_from may name another person's: torch reads tensors and plain values alone, and a few classes
of DeepSpeed's that hold nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from prime_core.run.atomic import write_json
from prime_core.run.records import RECORD, TableError
from prime_core.runtime.content_digest import content_digest

_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def write_record(state: Path, weights: Path) -> None:
    """Write the record of a state that has been saved.

    weights: the folder whose weights it belongs to, wherever the state itself is.
    """
    write_json(state / RECORD, {"files": digests(state), "weights": _weights_digest(weights)})


def check_record(state: Path, weights: Path) -> None:
    """Raise TableError unless a state is whole and belongs to the weights of this folder.

    A state of an earlier version has no record, and is taken as it is.
    """
    path = state / RECORD
    if not path.exists():
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known, of_weights = dict(record["files"]), str(record["weights"])
    except (ValueError, KeyError, TypeError):
        raise _refusal(weights, "the record of its training state is damaged") from None
    found = digests(state)
    for name in sorted({*known, *found}):
        if found.get(name) != known.get(name):
            raise _refusal(weights, f"{state.name}/{name} is not the file that was written there")
    # One that was saved in the middle of an update has no weights beside it.
    if of_weights and of_weights != _weights_digest(weights):
        raise _refusal(weights, f"{state.name} is that of other weights than those beside it")


def digests(folder: Path) -> dict[str, str]:
    """Digest of each file below a folder but the records, by its path in it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != RECORD)
    return {file.relative_to(folder).as_posix(): content_digest([file]) for file in files}


def _weights_digest(folder: Path) -> str:
    """Of the weights' own files; "" where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    return content_digest(files) if files else ""


def _refusal(folder: Path, what: str) -> TableError:
    return TableError(f"{folder}: {what}; delete it and run again")


@contextmanager
def loading_values_only() -> Iterator[None]:
    """Within, whatever torch loads is tensors and plain values, also where DeepSpeed asks it to.

    Anything else is an UnpicklingError that names it, before it was called.
    """
    # The libraries' own calls say weights_only=False; torch lets the environment overrule them.
    before = os.environ.get(_FORCED)
    os.environ[_FORCED] = "1"
    try:
        with torch.serialization.safe_globals(_of_deepspeed()):
            yield
    finally:
        if before is None:
            del os.environ[_FORCED]
        else:
            os.environ[_FORCED] = before


def _of_deepspeed() -> list[Any]:
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
