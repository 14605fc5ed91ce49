"""What a stage's work depends on, as one digest: settings and the contents of its inputs."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

from prime_core.run.changes import is_changeable
from prime_core.runtime.content_digest import content_digest
from prime_core.settings.reading import flatten
from prime_core.settings.run import Settings

# Settings that no training stage reads.
_APART = ("evaluation.", "checkpoints.", "verification.")


def input_digest(settings: Settings, inputs: Sequence[Path]) -> str:
    """A digest of the settings that results depend on, and of files and folders by content.

    Of a folder its files count, its subfolders and what is hidden in it (Snakemake's, a mark of
    state_memory) do not. Raises OSError for a missing input.
    """
    matters = json.dumps(_settings_that_matter(settings), sort_keys=True).encode()
    return content_digest([file for path in inputs for file in _files(path)], matters)


def folder_digest(folder: Path) -> str:
    """A digest of a folder of weights, by content. Raises OSError where it is gone.

    Its training state does not count: it may be in memory, and come to disk later.
    """
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(folder))
    return content_digest(_files(folder))


def _settings_that_matter(settings: Settings) -> dict[str, object]:
    return {
        key: value
        for key, value in flatten(settings.model_dump(mode="json")).items()
        # run, results: a run that was renamed or moved may still resume from its checkpoints.
        if not is_changeable(key) and not key.startswith(_APART) and key not in ("run", "results")
    }


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
