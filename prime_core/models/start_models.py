"""The PRM models that a run begins with and does not train: links beside the first policy.

In: settings (prm.path, prm.reference_path), models/policy-0000. Out: models/prm-0000, unless it is
trained (prm.offline), and models/prm-reference where the settings name one.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.models.load import (
    ModelError,
    check_same_tokens,
    find_model,
    link_model,
)
from prime_core.models.positions import check_lengths
from prime_core.run.atomic import atomic_folder
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import linked_prm_folders
from prime_core.run.records import Made, write_weights_record
from prime_core.settings.run import Settings


def link_start_prms(settings: Settings, files: RunFiles) -> None:
    """Link them all, as the settings name them; a branch does this by its own settings."""
    for target in linked_prm_folders(settings, files):
        with atomic_folder(target) as folder:
            source = start_prm_source(target, settings, files)
            link_model(source, folder)
            write_weights_record(folder, target, Made(files.root, [source]))


def start_prm_source(target: Path, settings: Settings, files: RunFiles) -> Path:
    """What models/prm-0000 or models/prm-reference is linked to, or trained from.

    Raises ModelError naming the setting where its tokens are not the policy's.
    """
    is_first = target == files.prm(0)
    key, path = (
        ("path", settings.prm.path)
        if is_first
        else (
            "reference_path",
            settings.prm.reference_path,
        )
    )
    if path is None:
        return files.policy(0)
    folder = find_model(path)
    try:
        # A PRM of another tokenizer would score other words, without any error.
        check_same_tokens(folder, files.policy(0))
    except ModelError as error:
        raise ModelError(f"prm.{key}: {error}") from None
    check_lengths(folder, settings, f"prm.{key} ({path})")
    return folder


def previous_value_folder(settings: Settings, files: RunFiles, iteration: int) -> Path:
    """The value model before an iteration's update; the first is where the settings say."""
    if iteration > 1:
        return files.value(iteration - 1)
    path = settings.value.path
    if path is None:
        return files.policy(0)
    folder = find_model(path)
    check_lengths(folder, settings, f"value.path ({path})")
    return folder
