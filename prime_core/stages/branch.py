"""Stage `branch`: what a run takes over from the iteration of another run that it continues.

In: settings (init_from), the origin's folder.
Out: models/, data/; for a later iteration than 0 its policy, PRM and value model in
iterations/<i>/ (prime_core.run.branching says which), metrics/branch.json.

Files of weights become hard links where the disk allows, else copies: the origin may then delete
its own, and nothing is stored twice. Tables are copied: Snakemake sets the times of files that a
job has written, through a link also those of the origin's, which would make its later work stale.
docs/decisions.md#branch-start

Raises BranchError where the run cannot continue from the origin.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from prime_core.models import start_models
from prime_core.models.load import link_model
from prime_core.run.atomic import atomic_folder, atomic_path
from prime_core.run.branching import (
    BranchError,
    Origin,
    is_empty_surplus,
    open_origin,
    own_prm_folders,
    path_in_origin,
    taken_folders,
    taken_tables,
)
from prime_core.run.layout import TRAINING_STATE, RunFiles
from prime_core.run.records import Made, checked_weights, write_weights_record
from prime_core.run.tables import BATCH, write_table
from prime_core.run.work import finish, open_run
from prime_core.runtime.console import progress_bar
from prime_core.runtime.locks import only_one
from prime_core.runtime.text import bytes_text
from prime_core.settings.run import Settings
from prime_core.storage.hub import incomplete_parts
from prime_core.storage.state_memory import MARK


def run(run_dir: Path) -> None:
    """Take over what the run's first own iteration starts from."""
    settings, files = open_run(run_dir)
    if settings.init_from is None:
        raise BranchError(f"{files.config}: init_from is null: there is no run to continue from")
    with only_one(files.setup_metrics("branch"), run_dir):
        origin = open_origin(settings, files)
        try:
            linked, copied = _take_folders(settings, files, origin)
            _take_tables(settings, files, origin)
        except FileNotFoundError as error:
            raise BranchError(
                f"init_from '{settings.init_from}': {error.filename or error} went away meanwhile "
                "(checkpoints.keep_last, save_freq of the origin)"
            ) from error
        finish(
            files.setup_metrics("branch"),
            {
                "branch/iteration": origin.iteration,
                "branch/bytes_linked": linked,
                "branch/bytes_copied": copied,
            },
            f"branch: continues from iteration {origin.iteration} of {origin.files.root}, "
            f"{bytes_text(linked)} of weights linked, {bytes_text(copied)} copied",
        )


def _take_folders(settings: Settings, files: RunFiles, origin: Origin) -> tuple[int, int]:
    """All folders of weights; bytes of their files that are linked, and that are copied."""
    own = own_prm_folders(settings, files)
    linked = copied = 0
    folders = taken_folders(settings, files)
    with progress_bar(len(folders), "folder", "taking over") as bar:
        for path in folders:
            with atomic_folder(path) as folder:
                if path in own:  # what the branch's own settings name
                    prm = start_models.start_prm_source(path, settings, files)
                    link_model(prm, folder)
                    write_weights_record(folder, path, Made(files.root, [prm]))
                else:
                    source = path_in_origin(path, files, origin)
                    sizes = _take_folder(source, folder, files.root, origin.files.root)
                    linked, copied = linked + sizes[0], copied + sizes[1]
                    # Checked after copying: the origin may be running, and deletes old weights.
                    _refuse_part(source, folder, is_trained(path, files, origin))
                    checked_weights(source, origin.files.root)
                    if source.relative_to(origin.files.root) != path.relative_to(files.root):
                        write_weights_record(folder, path, Made(files.root))
            bar.update()
    return linked, copied


def _take_folder(source: Path, folder: Path, root: Path, origin: Path) -> tuple[int, int]:
    """One folder with its training state; bytes of files that are linked, and that are copied.

    Links to the origin's own models become links to this run's; other links stay what they are.
    """
    linked = copied = 0
    models = (origin / "models").resolve()
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        if file.name.startswith("."):  # Snakemake's
            continue
        target, real = folder / file.relative_to(source), file.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        # The branch has these models itself; a link into the origin would break when that is
        # deleted.
        if file.is_symlink() and real.is_relative_to(models):
            target.symlink_to(root.resolve() / "models" / real.relative_to(models))
        elif file.is_symlink() and not real.is_relative_to(origin.resolve()):
            target.symlink_to(real)
        elif link_or_copy(real, target):
            linked += real.stat().st_size
        else:
            copied += real.stat().st_size
    return linked, copied


def is_trained(folder: Path, files: RunFiles, origin: Origin) -> bool:
    """Whether a folder has a training state: an update wrote it."""
    if folder == files.prm(origin.iteration) and not origin.updates_prm:
        return False
    return folder.is_relative_to(files.root / "iterations")


def _refuse_part(source: Path, folder: Path, trained: bool) -> None:
    """Raise FileNotFoundError where the source was being removed while it was taken over, and
    BranchError where its state is still in memory.

    Without its training state a model would silently continue with fresh moments.
    """
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    if trained and (source / MARK).exists() and not (source / TRAINING_STATE).exists():
        raise BranchError(
            f"{source}: its training state is not on disk yet (training.state_storage 'memory' of "
            "the origin); try again when its stage save_state has ended"
        )
    whole = all((source / name).exists() for name in names) and not incomplete_parts(folder)
    if not whole or (trained and not (folder / TRAINING_STATE).is_dir()):
        raise FileNotFoundError(f"a part of {source}")


def link_or_copy(source: Path, target: Path, link: Callable[[Path, Path], None] = os.link) -> bool:
    """Make `target` the same file as `source`, or a copy of it; whether it is the same.

    Another disk, a disk without hard links, or another owner's protected file: a copy.
    """
    try:
        link(source, target)
    # The source is gone, and a copy would fail as well; `run` says what removed it.
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
        return False
    return True


def _take_tables(settings: Settings, files: RunFiles, origin: Origin) -> None:
    for target in taken_tables(settings, files):
        if is_empty_surplus(target, files, origin):
            write_table(target, [], BATCH, Made(files.root))
            continue
        with atomic_path(target) as temporary:
            shutil.copyfile(path_in_origin(target, files, origin), temporary)
