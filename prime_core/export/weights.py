"""The files of an exported model: weights, tokenizer, generation settings.

In: a chosen model. Out: files in a folder: weights as safetensors in the format that they are held
in, never the training state. Of a model with adapters the merged weights, or the adapter alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prime_core.export.chosen import Chosen, ExportError
from prime_core.run.atomic import write_json
from prime_core.run.probe import PROBE
from prime_core.run.records import RECORD
from prime_core.run.tables import read_json
from prime_core.runtime.text import bytes_text
from prime_core.storage import hub

ADAPTER = "adapter"  # as prime_core.training.lora names the folder beside the merged weights
_BESIDE = 1_000_000  # bytes of what is written anew
_CARD = "README.md"  # a base model's own is not about these weights
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def files_of(chosen: Chosen, adapter: bool) -> list[Path]:
    """The files to copy. Raises ExportError for an incomplete model, or without an adapter."""
    if problems := hub.incomplete_parts(chosen.folder, needs_tokenizer=True):
        raise ExportError(f"{chosen.folder}: {problems[0]}")
    found = sorted(path for path in chosen.folder.iterdir() if _is_wanted(path))
    if not adapter:
        if any(path.suffix == ".safetensors" for path in found):
            # The same weights again, in a format that executes what it holds.
            found = [path for path in found if path.suffix not in _WEIGHTS[1:]]
        return found
    folder = chosen.folder / ADAPTER
    if not (folder / "adapter_config.json").exists():
        raise ExportError(
            f"{chosen.folder} has no adapter: all weights were trained ({chosen.kind}.lora is null)"
        )
    beside = [path for path in found if path.suffix not in _WEIGHTS and path.name != "config.json"]
    indexes = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
    beside = [path for path in beside if path.name not in indexes]
    return [*beside, *sorted(path for path in folder.iterdir() if _is_wanted(path))]


def _is_wanted(path: Path) -> bool:
    # A probe holds responses of the run, for its own sampler.
    apart = (_CARD, PROBE, RECORD)
    return path.is_file() and not path.name.startswith(".") and path.name not in apart


def refuse_little_space(files: list[Path], place: Path) -> None:
    """Raise ExportError where the disk has too little room for the copies."""
    needed = sum(path.stat().st_size for path in files) + _BESIDE
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ExportError(
            f"{place}: the model takes {bytes_text(needed)}, and {bytes_text(free)} are free"
        )


def fill(folder: Path, files: list[Path], chosen: Chosen, adapter: bool, link: bool) -> None:
    """Copy the files into a folder. link: hard links will do, where the disk has them.

    Raises ExportError where a running workflow removes the weights meanwhile.
    """
    try:
        for source in files:
            _copy(source.resolve(strict=True), folder / source.name, link)
    except FileNotFoundError as error:
        raise ExportError(
            f"{error.filename}: gone while it was copied: the run has removed the weights of "
            f"iteration {chosen.iteration} (checkpoints.keep_last)"
        ) from None
    if adapter:
        _name_base(folder / "adapter_config.json", chosen)
        return
    if not any(path.suffix == ".safetensors" for path in files):
        _convert(folder)
    if chosen.kind == "policy":
        write_json(folder / "generation_config.json", generation_settings(chosen))


def _copy(source: Path, target: Path, link: bool) -> None:
    if link:
        with contextlib.suppress(OSError):  # another disk, or one without links
            os.link(source, target)
            return
    # Not the mode: weights of a run may be readable by their owner alone.
    shutil.copyfile(source, target)


def generation_settings(chosen: Chosen) -> dict[str, Any]:
    """How the run samples, as transformers and vLLM read it from generation_config.json.

    Without what the base model's own file may hold beside (penalties): the run sampled without it.
    """
    from prime_core.models.load import load_tokenizer, saved_eos_token_ids

    rollout = chosen.settings.rollout
    tokenizer = load_tokenizer(chosen.folder)
    ends = saved_eos_token_ids(chosen.folder, tokenizer)
    return {
        "do_sample": True,
        "temperature": rollout.temperature,
        "top_p": rollout.top_p,
        "top_k": rollout.top_k,  # 0: off
        "max_new_tokens": rollout.max_response_length,
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
        "pad_token_id": tokenizer.pad_token_id,
    }


def adapter_base(chosen: Chosen) -> str:
    """What an adapter is added to: a hub id, or a folder for an export of the run's start model."""
    settings = chosen.settings
    own = settings.prm.path if chosen.kind == "prm" else None
    base = own or (None if settings.sft.enabled else settings.model.path)
    first_prm = chosen.kind == "prm" and settings.prm.offline is not None
    if base is not None and hub.is_hub_id(base) and not first_prm and not settings.init_from:
        return base
    # With a dot: models/policy-0000, as the run has it, would be looked up on the hub.
    return f"./{chosen.run}-{chosen.kind}-0"


def _name_base(config: Path, chosen: Chosen) -> None:
    write_json(config, read_json(config) | {"base_model_name_or_path": adapter_base(chosen)})


def _convert(folder: Path) -> None:
    """Weights of an older format become safetensors, in the same precision."""
    from transformers import AutoModelForCausalLM

    old = list(_of_older_formats(folder))
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    model.save_pretrained(folder)
    for path in old:
        path.unlink()


def _of_older_formats(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix in _WEIGHTS[1:] or path.name == "pytorch_model.bin.index.json":
            yield path
