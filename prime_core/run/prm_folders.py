"""Which models an iteration's implicit rewards come from: the PRM that scores, its reference.

In: settings (prm), a run's files, an iteration. Out: folders. The workflow's rules and the stages
both read them from here.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.run.layout import RunFiles
from prime_core.run.schedule import sampling_policy
from prime_core.settings.run import Settings


def scoring_prm_folder(settings: Settings, files: RunFiles, iteration: int) -> Path:
    """The PRM that scores: before or after this iteration's update, or the first (frozen)."""
    # A branch's frozen PRM is its origin's, as it was where the branch starts.
    which = {"after": iteration - 1, "before": iteration, "frozen": settings.start}
    return files.prm(which[settings.prm.prm_update])


def reward_reference_folder(settings: Settings, files: RunFiles, iteration: int) -> Path:
    """The model that an iteration's rewards are relative to (prm_reference, reference_path)."""
    if settings.prm.prm_reference == "policy":
        return files.policy(sampling_policy(iteration, settings.rollout.lag))
    return frozen_reference_folder(settings, files)


def frozen_reference_folder(settings: Settings, files: RunFiles) -> Path:
    """The frozen reference: the PRM's own where it has one, else the start model."""
    return files.reference if settings.prm.reference_path is None else files.prm_reference


def trains_first_prm(settings: Settings) -> bool:
    """Whether the run trains its first PRM itself; a branch has a later one from its origin."""
    return settings.prm.offline is not None and settings.start == 0


def linked_prm_folders(settings: Settings, files: RunFiles) -> list[Path]:
    """Links beside the first policy: the PRM where none is trained, and its own reference."""
    first = [] if settings.prm.offline else [files.prm(0)]
    return [*first, *([files.prm_reference] if settings.prm.reference_path else [])]


def evaluation_scorer_folders(
    settings: Settings, files: RunFiles, iteration: int
) -> tuple[Path, Path]:
    """The PRM that scores an evaluation's responses, and what it is relative to.

    It is that of the iteration whose policy is evaluated. Where the PRM's reference is the policy
    that sampled (prm_reference), it is the evaluated one: it sampled these responses.
    """
    prm = files.prm(settings.start if settings.prm.prm_update == "frozen" else iteration)
    if settings.prm.prm_reference == "policy":
        return prm, files.policy(iteration)
    return prm, frozen_reference_folder(settings, files)
