"""The weight of an iteration's KL: where it stands, and whose it is.

An adaptive weight goes from one update to the next through metrics/policy.json. A file of figures
has no record of its own, so the record of the weights that the same update wrote has the number as
well: figures of another iteration or run are refused. docs/decisions.md#records
"""

from __future__ import annotations

from pathlib import Path

from prime_core.run.layout import RunFiles
from prime_core.run.records import TableError, weights_fact
from prime_core.run.tables import read_json
from prime_core.settings.run import Settings

NEXT_COEF = "actor/kl_coef_next"


def kl_coef_files(settings: Settings, files: RunFiles, iteration: int) -> list[Path]:
    """Figures of the iteration before, with an adaptive KL; nothing where policy.kl_coef holds."""
    # A branch begins with its own kl_coef: its origin may have had another controller, or none.
    if settings.policy.kl_controller == "fixed" or iteration == settings.start + 1:
        return []
    return [files.metrics(iteration - 1, "policy")]


def read_kl_coef(settings: Settings, files: RunFiles, iteration: int) -> float:
    """The weight of an iteration's KL. Raises TableError for figures that are not this run's."""
    paths = kl_coef_files(settings, files, iteration)
    if not paths:
        return settings.policy.kl_coef
    found, weights = read_json(paths[0]).get(NEXT_COEF), files.policy(iteration - 1)
    known = weights_fact(weights, NEXT_COEF)
    # Weights of an earlier version do not say it.
    if found is None or known not in (None, found):
        raise TableError(
            f"{paths[0]}: {NEXT_COEF} is {found}, where the update that wrote {weights} left "
            f"{known}; these figures are not its own. Put them back, or delete both and run again"
        )
    return float(found)
