"""What `prime launch` adds where another way would be much quicker.

In: settings, the site, the way that is launched. Out: a sentence, or "" where there is nothing to
say, or the model is of a kind that cannot be planned.
"""

from __future__ import annotations

from collections.abc import Sequence

from prime_core.launch.arguments import asked_settings, workflow_folder
from prime_core.launch.site.site import load_site, site_file
from prime_core.launch.snakemake_command import translated
from prime_core.planning.command import Options, chosen_plan, find_shape, make_case
from prime_core.planning.comparison import much_quicker, plans_of
from prime_core.planning.shapes import PlanError
from prime_core.planning.ways import Place, way_of
from prime_core.runtime.text import duration
from prime_core.settings.reading import SettingsError


def quicker_way(arguments: Sequence[str], place: Place) -> str:
    """A sentence naming a way that this run would be much quicker in than in this one.

    arguments: as Snakemake takes them.
    """
    settings = asked_settings(translated(arguments))
    path = site_file(workflow_folder())
    try:
        shape = find_shape(settings, None)[1]
        case = make_case(settings, load_site(path) if path.exists() else None, shape, Options())
    except (PlanError, SettingsError):  # a model, or a site, of which nothing can be planned
        return ""
    # With the settings as they are: how stages start in one place is another question.
    own = [way_of(one, settings) for one in ("allocation", "slurm")]
    plans = [one for one in plans_of(case) if one.case.way in own]
    chosen = chosen_plan(plans, settings, place)
    best = much_quicker(chosen, plans)
    if best is None:
        return ""
    return (
        f"much quicker by the plan: {best.case.way.command(settings.resident)}, about "
        f"{duration(3600 * best.total.hours)} in place of {duration(3600 * chosen.total.hours)}, "
        "time in the queue not counted (prime plan compares all ways)"
    )
