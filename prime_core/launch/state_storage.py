"""Whether updates leave their training states in this machine's memory, and where.

In: settings (training.state_storage), what stages ask for, the site. Out: the answer, which the
graph depends on, and PRIME_STATE_MEMORY for the stages. docs/decisions.md#states-in-memory
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from prime_core.launch.arguments import as_snakemake_reads
from prime_core.launch.site.site import Site
from prime_core.launch.site.stage_resources import StageNeeds
from prime_core.run.deadline import DEADLINE
from prime_core.runtime.console import note
from prime_core.runtime.private_folder import require_private
from prime_core.settings.reading import SettingsError
from prime_core.settings.run import Settings
from prime_core.storage import node_cache, state_memory

_MEMORY = "/dev/shm"


def keep_states(settings: Settings, needs: Mapping[str, StageNeeds], site: Site) -> bool:
    """Tell stages where to leave training states; whether that is in memory.

    Raises SettingsError, NotPrivate and OSError for a folder that cannot be used.
    """
    os.environ.pop(state_memory.PLACE, None)  # of a workflow that started this one
    if settings.training.state_storage == "disk":
        return False
    if why_not := _why_not(settings, needs):
        note(f"training.state_storage 'memory' has no effect: {why_not}")
        return False
    place = _place(site)
    if place.exists():
        require_private(place)
    os.environ[state_memory.PLACE] = str(place)
    return True


def _why_not(settings: Settings, needs: Mapping[str, StageNeeds]) -> str:
    """Why no other stage could read such a state; "" where all can."""
    if as_snakemake_reads(sys.argv[1:]).executor not in (None, "local"):
        return "stages are jobs of their own, on any node"
    if wide := [name for name in settings.trained if needs[name].nodes > 1]:
        return f"{', '.join(wide)} has ranks on several nodes"
    if DEADLINE in os.environ and node_cache.STORAGE not in os.environ:
        return "the allocation has no fast storage (fast_storage_gb, or several nodes)"
    return ""


def _place(site: Site) -> Path:
    if storage := os.environ.get(node_cache.STORAGE):
        return state_memory.place_in(Path(storage))
    memory = Path(site.fast_storage or _MEMORY)
    if not memory.is_dir():
        raise SettingsError(
            f"training.state_storage 'memory': {memory} is no folder; name one of this machine in "
            "fast_storage of site.yaml"
        )
    # As the supervisor of an allocation names it, which removes what dead jobs have left.
    job = os.environ.get("SLURM_JOB_ID")
    return memory / "-".join(filter(None, ("prime", str(os.getuid()), job)))
