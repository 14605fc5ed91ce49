"""`prime export`: weights, tokenizer, generation settings and model card of a run's model.

In: RUN@ITERATION. Out: a folder that transformers and vLLM load, or a new repository of the hub. It
is filled aside and renamed: a folder of that name is whole.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from prime_core.export.card import card_text
from prime_core.export.chosen import WORDS, Chosen, ExportError, Kind, choose
from prime_core.export.weights import files_of, fill, refuse_little_space
from prime_core.run.atomic import atomic_folder, write_text
from prime_core.runtime.console import note, say
from prime_core.runtime.text import bytes_text
from prime_core.storage import hub_upload

HUB = "hf:"


def run(
    text: str, to: str, kind: Kind, adapter: bool, licence: str | None, public: bool
) -> Path | str:
    """Export; returns the folder, or the repository's address.

    Raises ExportError, or HubError, in one sentence.
    """
    chosen = choose(text, kind)
    if adapter and kind == "value":
        raise ExportError("a value model has no adapter: all its weights are trained")
    files = files_of(chosen, adapter)
    if to.startswith(HUB):
        return _to_hub(chosen, files, to.removeprefix(HUB), adapter, licence, public)
    if public:
        raise ExportError(f"--public is for the hub (--to {HUB}OWNER/NAME), and {to} is a folder")
    # A link to an empty folder: the folder itself is what is filled.
    path = Path(to).resolve()
    _refuse_taken(path)
    place = next(one for one in path.parents if one.exists())
    refuse_little_space(files, place)
    made = _missing_parents(path)
    try:
        with atomic_folder(path, replace=False) as folder:
            fill(folder, files, chosen, adapter, link=False)
            write_text(folder / "README.md", card_text(chosen, path.name, adapter, licence))
    except BaseException:
        for parent in made:  # the nearest first; only while they are empty
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise
    say(_line(chosen, adapter, str(path), sum(one.stat().st_size for one in path.iterdir())))
    return path


def _to_hub(
    chosen: Chosen,
    files: list[Path],
    repo_id: str,
    adapter: bool,
    licence: str | None,
    public: bool,
) -> str:
    hub_upload.check_new_repository(repo_id)
    # Beside the run, where hard links to its weights need no room.
    beside = chosen.files.root.resolve().parent
    place = beside if os.access(beside, os.W_OK) else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(dir=place, prefix=".prime-export-") as name:
        folder = Path(name)
        if folder.stat().st_dev != chosen.folder.resolve().stat().st_dev:
            refuse_little_space(files, folder)
        fill(folder, files, chosen, adapter, link=True)
        write_text(folder / "README.md", card_text(chosen, repo_id, adapter, licence))
        size = sum(path.stat().st_size for path in folder.iterdir())
        note(f"uploading {bytes_text(size)} to {repo_id}")
        message = f"Export iteration {chosen.iteration} of {chosen.run}"
        address = hub_upload.upload_folder(folder, repo_id, not public, message)
    seen = "public" if public else "private"
    say(_line(chosen, adapter, f"{address} ({seen})", size))
    return address


def _refuse_taken(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ExportError(f"{path} is a file; name a new folder")
    if path.is_dir() and any(path.iterdir()):
        raise ExportError(f"{path} is not empty: name a new folder, or delete it first")


def _missing_parents(path: Path) -> list[Path]:
    return [parent for parent in path.parents if not parent.exists()]


def _line(chosen: Chosen, adapter: bool, where: str, size: int) -> str:
    what = f"{WORDS[chosen.kind]}'s adapter" if adapter else WORDS[chosen.kind]
    done, last = chosen.num_done, chosen.settings.iterations
    unfinished = f"; the run is not finished ({done} of {last})" if done < last else ""
    return (
        f"{where}: {what} of iteration {chosen.iteration} of {chosen.run}, {bytes_text(size)}"
        f"{unfinished}"
    )
