"""Where a table named in the settings is: a file, a pattern, a folder, a data set on the hub.

In: the name, and what the table is for (train, sft, validation, benchmark). Out: paths of its
files, in order; those of the hub are fetched where they may be. Raises TableFilesError or HubError,
one sentence each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import unquote

from prime_core.storage.hub import dataset_files

# By preference, where one data set has its tables in several formats.
SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".json.gz")
# How data sets name the split that a table is for: the first of them that a file's name contains.
_SPLITS = {
    "train": ("train",),
    "sft": ("train", "sft"),
    "validation": ("validation", "valid", "val", "dev", "test"),
    # Many benchmarks on the hub have a single split, and call it train.
    "benchmark": ("test", "validation", "valid", "val", "dev", "train"),
}
_KNOWN = {"train", "sft", "validation", "valid", "val", "dev", "test"}
_HUB = "hf://datasets/"
# The hub's own revisions hold slashes (refs/convert/parquet); those of a branch are written %2F, as
# in the hub's own addresses.
_REVISION = r"refs/(?:convert/[\w.-]+|pr/\d+)|[\w.%-]+"
_HUB_ID = re.compile(rf"[\w.-]+/[\w.-]+(@(?:{_REVISION}))?")
_HUB_PARTS = re.compile(rf"([^/@]+/[^/@]+)(?:@({_REVISION}))?(?:/(.*))?")
# How the library `datasets` names a split's shards.
_PART = re.compile(r"-\d{5}-of-(\d{5})\b")


class TableFilesError(ValueError):
    """No table is where the settings say."""


def is_on_hub(location: str) -> bool:
    """Whether a table's name can only mean a data set on the hub."""
    if location.startswith(_HUB):
        return True
    looks_like_a_file = location.endswith(SUFFIXES) or "*" in location or Path(location).exists()
    return not looks_like_a_file and _HUB_ID.fullmatch(location) is not None


def find_tables(
    location: str, split: str, cache: Path | None = None, local_only: bool = False
) -> list[Path]:
    """Files of a table, in order. cache, local_only: as in prime_core.storage.hub."""
    if is_on_hub(location):
        repo_id, revision, pattern = hub_parts(location)
        chosen = partial(choose_tables, pattern=pattern, split=split, location=location)
        return dataset_files(repo_id, chosen, revision, cache, local_only)
    if "*" in location:
        # pathlib's glob refuses absolute patterns.
        root = Path(PurePath(location).anchor)
        found = sorted(root.glob(str(PurePath(location).relative_to(root))))
        tables = [path for path in found if path.name.endswith(SUFFIXES)]
        if not tables:
            raise TableFilesError(f"{location}: no table has such a name")
        return tables
    folder = Path(location)
    if not folder.is_dir():
        return [folder]
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return [folder / name for name in choose_tables(names, "", split, location)]


def choose_tables(names: Sequence[str], pattern: str, split: str, location: str) -> list[str]:
    """Which of a data set's files to read: those of a pattern, else those of a split.

    names: paths from the data set's folder. Raises TableFilesError naming the location.
    """
    hidden = re.compile(r"(^|/)\.")
    tables = sorted(n for n in names if n.endswith(SUFFIXES) and not hidden.search(n))
    if pattern:
        found = [name for name in tables if fnmatch(name, pattern)]
    else:
        found = _of_split(tables, split)
    if not found:
        wanted = f"'{pattern}'" if pattern else f"with '{_SPLITS[split][0]}' in its name"
        shown = ", ".join(tables[:5]) or "none"
        raise TableFilesError(f"{location}: no table {wanted}; its tables: {shown}")
    # The same rows may be there in several formats, and would be read once for each.
    suffix = next(s for s in SUFFIXES if any(name.endswith(s) for name in found))
    found = [name for name in found if name.endswith(suffix)]
    # Folders are a data set's configurations, often of the same problems (GSM8K: main, socratic).
    folders = sorted({str(PurePosixPath(name).parent) for name in found})
    if len(folders) > 1:
        raise TableFilesError(
            f"{location}: tables in several folders ({', '.join(folders)}); name those of one, "
            f"e.g. {_example(location, found[0])}"
        )
    _check_parts(found, location)
    return found


def _of_split(tables: list[str], split: str) -> list[str]:
    # Whole words: retrained.parquet is not of the split train.
    words = {name: _words(name) for name in tables}
    for word in _SPLITS[split]:
        found = [name for name in tables if word in words[name]]
        if found:
            return found
    # Tables that say what they are for, but not for this, are of other splits; those that say
    # nothing are all of it. Held-out problems are never guessed: they might be trained on.
    is_told_apart = any(words[name] & _KNOWN for name in tables)
    return [] if is_told_apart or split == "validation" else tables


def _words(name: str) -> set[str]:
    """Words of a file's name and of its folder's: "data/train-00000-of-00002.parquet"."""
    path = PurePosixPath(name)
    # The folder's as well: the hub's own conversions are called default/train/0000.parquet.
    return set(re.split(r"[^a-z]+", f"{path.parent.name} {path.name}".lower()))


def _check_parts(found: list[str], location: str) -> None:
    """A table in parts is whole: its names say how many there are."""
    # Otherwise a run would silently train on part of the data after an interrupted download.
    for name in found:
        part, file = _PART.search(name), PurePosixPath(name).name
        if part and len(found) < int(part[1]):
            raise TableFilesError(f"{location}: {len(found)} of the {int(part[1])} parts of {file}")


def hub_parts(location: str) -> tuple[str, str | None, str]:
    """Id, revision and pattern of hf://datasets/owner/name@revision/pattern, or of owner/name."""
    parts = _HUB_PARTS.fullmatch(location.removeprefix(_HUB))
    if not parts:
        raise TableFilesError(
            f"{location}: expected {_HUB}owner/name, {_HUB}owner/name/file or "
            f"{_HUB}owner/name@revision/file"
        )
    repo_id, revision, pattern = parts.groups()
    return repo_id, unquote(revision) if revision else None, pattern or ""


def _example(location: str, name: str) -> str:
    start = location if location.startswith(_HUB) or not is_on_hub(location) else _HUB + location
    return f"{start.rstrip('/')}/{PurePosixPath(name).parent}/*{PurePosixPath(name).suffix}"
