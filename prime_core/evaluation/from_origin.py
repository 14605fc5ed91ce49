"""An evaluation that a branch takes from its origin (init_from) instead of sampling it again.

In: a run's settings and files, the origin's evaluation of the iteration that the branch starts at.
Out: the same figures and responses as the branch's own, without the origin's seconds.
"""

from __future__ import annotations

import shutil

from prime_core.run.atomic import atomic_path, write_json
from prime_core.run.branching import evaluated_by_origin
from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from prime_core.run.work import progress_label
from prime_core.runtime.console import say
from prime_core.settings.run import Settings


def take_evaluation(settings: Settings, files: RunFiles, iteration: int, benchmark: str) -> bool:
    """Copy the origin's evaluation if its settings are the same; whether they were."""
    theirs = evaluated_by_origin(settings, files, iteration, benchmark)
    if theirs is None:
        return False
    path = files.evaluation(iteration, benchmark)
    figures = {key: value for key, value in read_json(theirs).items() if "timing_s/" not in key}
    # Responses first, as in the stage: where figures exist, the responses do.
    with atomic_path(path.with_suffix(".parquet")) as temporary:
        shutil.copyfile(theirs.with_suffix(".parquet"), temporary)
    write_json(path, figures)
    say(
        f"{progress_label(iteration, settings)} evaluate {benchmark}: "
        f"accuracy {figures['accuracy']:.3f}, taken over from {theirs}"
    )
    return True
