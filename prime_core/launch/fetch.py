"""`prime fetch`: download and check beforehand what compute nodes without internet cannot.

In: settings. Out: models in the hub's cache, and a table of models and data files with their sizes;
what is missing is found here, not by a job that has waited in the queue.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from prime_core.launch.arguments import asked_settings, refuse_unknown_options, workflow_folder
from prime_core.launch.site.site import load_site, site_file
from prime_core.run.changes import first_affected_files
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import trains_first_prm
from prime_core.runtime.console import note
from prime_core.runtime.text import bytes_text, table
from prime_core.settings.run import Settings
from prime_core.storage import hub, table_files
from prime_core.storage.caches import use_caches
from prime_core.storage.gguf_files import GgufError, is_gguf, read_header

# How a large file begins where a repository was cloned without git-lfs.
_LFS = b"version https://git-lfs"


class FetchError(ValueError):
    """A model or file that the run needs is missing or incomplete."""


@dataclass(frozen=True)
class Need:
    """A model or table that the settings name. key: the setting; split: what a table is for."""

    key: str
    path: str
    kind: Literal["model", "table"]
    split: str = "benchmark"

    @property
    def is_on_hub(self) -> bool:
        """Whether it is a hub id rather than a local path."""
        if self.kind == "table":
            return table_files.is_on_hub(self.path)
        return hub.is_hub_id(self.path)


@dataclass(frozen=True)
class Found:
    """Where a need was found: size in bytes and path, or the problem."""

    need: Need
    size: int = 0
    location: str = ""
    problem: str = ""


def run(arguments: Sequence[str], to: Path | None, check: bool) -> None:
    """Fetch, or with `check` only look, and print the table. arguments: as Snakemake takes them.

    Raises FetchError naming what is missing.
    """
    refuse_unknown_options(arguments)
    use_caches(load_site(site_file(workflow_folder())).caches)
    found = []
    for need in needs(asked_settings(arguments)):
        if need.is_on_hub and not check:
            # Before the download, which may take an hour; on stderr, apart from the table.
            click.echo(f"{need.key}: {need.path}", err=True)
        found.append(look(need, to, fetch=not check))
    if not found:
        click.echo("nothing to fetch: the model is built and the problems are generated")
        return
    click.echo(_table(found))
    problems = [f"{one.need.key}: {one.problem}" for one in found if one.problem]
    if problems:
        raise FetchError("; ".join(problems))
    if to is not None and any(one.need.is_on_hub for one in found):
        click.echo(f"For jobs to find it: export HF_HUB_CACHE={to.resolve()}")


def refuse_missing_files(
    settings: Settings, files: RunFiles, dry_run: bool, offline: bool = False
) -> None:
    """Raise FetchError for models, tables and environments that a run will need and lacks.

    What it has read already may be gone. Names of the hub are looked up in its cache where the jobs
    will be offline; others may fetch them. In a dry run tables that are missing are only said: jobs
    can be shown before data are there.
    """
    refused = []
    for need in needs(settings):
        affected = first_affected_files(need.key, files, settings, settings)
        if (need.is_on_hub and not offline) or any(path.exists() for path in affected):
            continue
        problem = look(need, None, fetch=False).problem
        if problem and dry_run and need.kind == "table":
            note(f"{need.key}: {problem}; the run will not start without it")
        elif problem:
            refused.append(f"{need.key}: {problem}")
    refused += _environment_problems(settings, files)
    if refused:
        raise FetchError("; ".join(refused))


def _environment_problems(settings: Settings, files: RunFiles) -> list[str]:
    """Why the run's environment does not begin here, if it has not yet made the problems."""
    affected = first_affected_files("data.env.id", files, settings, settings)
    if settings.data.source != "env" or any(path.exists() for path in affected):
        return []
    from prime_core.data.episodes import environment_problem  # starts a process; few runs need it

    problem = environment_problem(settings)
    return [problem] if problem else []


def needs(settings: Settings) -> Iterator[Need]:
    """Models and tables that the settings name; a branch has its start from its origin instead."""
    if settings.model.path is not None and not settings.init_from:
        yield Need("model.path", settings.model.path, "model")
    yield from _prm_needs(settings)
    if settings.value.path is not None and settings.has_value_model and settings.start == 0:
        yield Need("value.path", settings.value.path, "model")
    judge = settings.verification.judge
    if judge is not None and judge.path is not None:
        yield Need("verification.judge.path", judge.path, "model")
    if settings.data.source == "files" and not settings.init_from:
        for name in ("train", "validation", *(["sft"] if settings.sft.enabled else [])):
            path = getattr(settings.data, name)
            if path is not None:
                yield Need(f"data.{name}", path, "table", name)
        for name, source in settings.data.sources.items():
            yield Need(f"data.sources.{name}.file", source.file, "table", "train")
        for file in settings.data.contamination.files:
            yield Need("data.contamination.files", file, "table")
    for name, benchmark in settings.evaluation.benchmarks.items():
        if benchmark.file != "validation":
            yield Need(f"evaluation.benchmarks.{name}.file", benchmark.file, "table")
    if steps := settings.evaluation.steps:
        for name, file in steps.files.items():
            yield Need(f"evaluation.steps.files.{name}", file, "table")


def _prm_needs(settings: Settings) -> Iterator[Need]:
    """What the process reward model, if any, starts from."""
    prm, trains = settings.prm, trains_first_prm(settings)
    has_prm = prm.prm_update != "none" or trains
    if prm.path is not None and has_prm and settings.start == 0:
        yield Need("prm.path", prm.path, "model")
    if prm.reference_path is not None and has_prm:
        yield Need("prm.reference_path", prm.reference_path, "model")
    if prm.offline is not None and trains:
        yield Need("prm.offline.file", prm.offline.file, "table", "train")


def look(need: Need, to: Path | None, fetch: bool) -> Found:
    """Locate a need and measure it; with `fetch`, download it from the hub first."""
    if need.kind == "table":
        return _look_at_table(need, to, fetch)
    if is_gguf(need.path):
        return _look_at_gguf(need)
    folder = Path(need.path)
    if need.is_on_hub:
        try:
            folder = hub.model_folder(need.path, to, local_only=not fetch)
        except hub.HubError as error:
            return Found(need, problem=str(error))
    elif not folder.is_dir():
        return Found(need, problem=f"{need.path}: no such folder; expected a Hugging Face model")
    with_tokenizer = need.key in ("model.path", "value.path")
    parts = hub.incomplete_parts(folder, needs_tokenizer=with_tokenizer)
    if parts:
        return Found(need, problem=f"{need.path}: {parts[0]}")
    return Found(need, hub.model_size(folder), str(folder))


def _look_at_table(need: Need, to: Path | None, fetch: bool) -> Found:
    try:
        paths = table_files.find_tables(need.path, need.split, to, local_only=not fetch)
    except (hub.HubError, table_files.TableFilesError) as error:
        return Found(need, problem=str(error))
    for path in paths:
        if problem := _table_problem(path):
            return Found(need, problem=problem)
    location = str(paths[0] if len(paths) == 1 else paths[0].parent)
    return Found(need, sum(path.stat().st_size for path in paths), location)


def _look_at_gguf(need: Need) -> Found:
    path = Path(need.path)
    # `build` alone converts such files, the run's first model (docs/decisions.md#gguf-once).
    if need.key != "model.path":
        return Found(need, problem=f"{path}: a GGUF file can be model.path only; name a folder")
    try:
        read_header(path)
    except GgufError as error:
        return Found(need, problem=str(error))
    return Found(need, path.stat().st_size, need.path)


def _table(found: list[Found]) -> str:
    """Lines of text: setting, name, size, path."""
    rows = [("setting", "name", "size", "where")]
    for one in found:
        size, location = (
            (bytes_text(one.size), one.location) if not one.problem else ("-", "missing")
        )
        rows.append((one.need.key, one.need.path, size, location))
    return "\n".join(table(rows, "<<><", indent=""))


def _table_problem(path: Path) -> str:
    """What is wrong with a table file; "" where its first (and last) bytes look right."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(len(_LFS))
            file.seek(max(0, size - 4))
            tail = file.read()
        if path.suffix != ".parquet" and not head.startswith(_LFS):
            return _first_line_problem(path)
    except OSError as error:
        return f"{path}: {os.strerror(error.errno) if error.errno else error}"
    if head.startswith(_LFS):
        return f"{path}: only a Git LFS pointer; run `git lfs pull`"
    # The magic bytes stand at both ends: a download that broke off lacks the second.
    whole = head.startswith(b"PAR1") and tail == b"PAR1"
    return "" if whole else f"{path}: not a complete parquet file"


def _first_line_problem(path: Path) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            first = next((line for line in lines if line.strip()), "")
        # An array over many lines: its first line alone is not JSON.
        if first.lstrip().startswith("[") or isinstance(json.loads(first), dict):
            return ""
    # RecursionError is json's answer to thousands of opening brackets.
    except (ValueError, EOFError, gzip.BadGzipFile, RecursionError):
        pass
    return f"{path}: not a table of JSON lines"
