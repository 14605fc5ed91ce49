"""Models and data sets on the Hugging Face hub: which files are needed, whether all are there.

In: an id, e.g. "Qwen/Qwen2.5-Math-7B". Out: the folder of the hub's cache that holds it, fetched
where allowed. Every failure is one sentence (HubError). Nothing here loads a model.

docs/decisions.md#choice-of-files
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prime_core.storage.gguf_files import is_gguf

# Files beside the weights, and weights that are there again in another format or precision.
_BESIDE = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
_TWICE = ["*/*", "consolidated*", "*.fp16*", "*.bf16*", "*.fp32*"]
# Weights by preference: the first format that a model has.
_FORMATS = ("*.safetensors", "*.bin")
_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken")
_ABANDONED = 3600.0  # seconds without a byte after which a download is given up
FETCH = "run `prime fetch` on a machine with internet"


class HubError(ValueError):
    """A model or a data set has not been fetched, or cannot be."""


def is_hub_id(path: str) -> bool:
    """Whether a model's path can only be a hub id: no such folder, owner/name."""
    looks_local = Path(path).is_absolute() or path.startswith((".", "~")) or path.count("/") > 1
    looks_local = looks_local or is_gguf(path)
    return not (looks_local or Path(path).is_dir())


def model_folder(repo_id: str, cache: Path | None = None, local_only: bool = False) -> Path:
    """Folder of a complete model in the hub's cache; missing files are fetched.

    cache: another cache than the environment's (HF_HUB_CACHE); local_only: fetch nothing. Raises
    HubError.
    """
    from huggingface_hub import constants

    offline = local_only or constants.HF_HUB_OFFLINE
    try:
        folder = _snapshot(repo_id, cache, local_only)
    except Exception as error:  # of the hub, of its HTTP library, of the disk
        raise HubError(f"{repo_id}: {_reason(repo_id, error, offline)}") from None
    problems = incomplete_parts(folder)
    if problems:
        raise HubError(f"{repo_id}: fetched in part only ({problems[0]}): {FETCH} again")
    if not offline:
        _remove_leftovers(folder)
    return folder


def dataset_files(
    repo_id: str,
    choose: Callable[[list[str]], list[str]],
    revision: str | None = None,
    cache: Path | None = None,
    local_only: bool = False,
) -> list[Path]:
    """Files of a data set in the hub's cache; missing files are fetched.

    choose: which of all its files, by name. revision: a branch, tag or commit; None: the newest.
    Without the hub the files are chosen from those that were fetched. Raises HubError.
    """
    from huggingface_hub import HfApi, constants, errors, snapshot_download

    offline = local_only or constants.HF_HUB_OFFLINE
    dataset: dict[str, Any] = {"repo_id": repo_id, "repo_type": "dataset", "revision": revision}
    names = None
    try:
        names = None if offline else HfApi().list_repo_files(**dataset)
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise HubError(f"{repo_id}: {_reason(repo_id, error, offline, 'data set')}") from None
    except Exception:  # no answer from the hub: files that were fetched before will do
        names = None
    chosen = None if names is None else choose(names)
    try:
        folder = Path(
            snapshot_download(
                **dataset,
                cache_dir=cache,
                local_files_only=names is None,
                allow_patterns=chosen or [],  # without the hub: whatever was fetched
            )
        )
    except Exception as error:  # of the hub, of its HTTP library, of the disk
        raise HubError(f"{repo_id}: {_reason(repo_id, error, offline, 'data set')}") from None
    if chosen is None:
        found = (path for path in folder.rglob("*") if path.is_file())
        chosen = choose([str(path.relative_to(folder)) for path in found])
    else:
        _remove_leftovers(folder)
    return [folder / name for name in chosen]


def incomplete_parts(folder: Path, needs_tokenizer: bool = False) -> list[str]:
    """What a model's folder lacks, one text each; weights are checked, not loaded."""
    problems = []
    if not (folder / "config.json").exists():
        problems.append("config.json is missing")
    problems += _incomplete_weights(folder)
    if needs_tokenizer and not any(any(folder.glob(name)) for name in _TOKENIZERS):
        problems.append("the tokenizer is missing")
    return problems


def model_size(folder: Path) -> int:
    """Bytes of a model's files, training state left out."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _snapshot(repo_id: str, cache: Path | None, local_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    for weights in _FORMATS:
        folder = Path(
            snapshot_download(
                repo_id,
                cache_dir=cache,
                local_files_only=local_only,
                # Never more than was fetched: offline the library refuses a snapshot without it.
                allow_patterns=[*_BESIDE, weights],
                ignore_patterns=_TWICE,
            )
        )
        if any(folder.glob(weights)):
            break
    return folder


def _remove_leftovers(folder: Path) -> None:
    """Parts of files left by killed downloads, which the hub's library does not reuse."""
    # The hub's cache: blobs/ and snapshots/<commit>/ side by side in a repository's folder.
    for path in (folder.parent.parent / "blobs").glob("*.incomplete"):
        with contextlib.suppress(OSError):  # another's, in a shared cache
            # Another process's download, still running, has been written to more recently.
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def _reason(repo_id: str, error: Exception, offline: bool, kind: str = "model") -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.HFValidationError):
        return f"no such folder, and not a name that a {kind} on the hub could have"
    page = constants.ENDPOINT + ("" if kind == "model" else "/datasets")
    # Subclasses first: to the library a gated repository is one that is not found, too.
    if isinstance(error, errors.GatedRepoError):
        return (
            f"the hub provides it only to those who accept its terms: do so at "
            f"{page}/{repo_id} and log in with `hf auth login`"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"the hub has no such {kind}, or it is private: check the name; "
            "for a private one log in with `hf auth login`"
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if not offline:
            return "the hub cannot be reached: check the network, then run again"
        # By its name: not every version that may be installed has IncompleteSnapshotError.
        part = "fetched in part only" if "ncomplete" in type(error).__name__ else "not fetched"
        return f"{part}, and nothing may be fetched here (offline): {FETCH}"
    if isinstance(error, errors.HfHubHTTPError):
        status = getattr(error.response, "status_code", "")
        if status == 401:
            return "the hub refuses your token: log in again with `hf auth login`"
        return f"the hub answered with status {status}: run again later"
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"not fetched completely ({line}): run again, what is there is kept"


def _incomplete_weights(folder: Path) -> list[str]:
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if (folder / index).exists():
            try:
                names = set(json.loads((folder / index).read_text())["weight_map"].values())
            except (OSError, ValueError, KeyError, AttributeError):
                return [f"{index} is not readable"]
            return [text for name in sorted(names) if (text := _incomplete_file(folder / name))]
    weights = [path for pattern in _FORMATS for path in sorted(folder.glob(pattern))]
    if not weights:
        return ["the weights (model.safetensors) are missing"]
    return [text for path in weights if (text := _incomplete_file(path))]


def _incomplete_file(path: Path) -> str:
    """Why a file of weights is incomplete, as far as its size tells; "" where it is not."""
    if not path.exists():
        return f"{path.name} is missing"
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        return "" if size else f"{path.name} is empty"
    try:
        with path.open("rb") as file:
            # Length of the header, header, numbers: where they end is known without reading them.
            length = int.from_bytes(file.read(8), "little")
            # Before it is read: eight damaged bytes may claim any length.
            if length > size:
                return f"{path.name} is cut short"
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except OSError as error:
        return f"{path.name}: {os.strerror(error.errno or 0)}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{path.name} is damaged"
    return "" if size == 8 + length + max(ends, default=0) else f"{path.name} is cut short"
