"""The same run planned in every way, and which of them is the quickest that can work.

In: a Case. Out: Plans by way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from prime_core.planning.case import Case
from prime_core.planning.gpus import PROCESSORS
from prime_core.planning.plan import Plan, plan
from prime_core.planning.ways import PLACES, all_ways

# As many times as quick is worth saying: below it a queue may decide.
MUCH = 1.5
# What a plan cannot tell apart.
EQUAL = 1.02


def plans_of(case: Case, disk_tb: float | None = None) -> list[Plan]:
    """The plan of each way that this version has."""
    found = [plan(replace(case, way=way), disk_tb) for way in all_ways()]
    # Without GPUs nobody needs an allocation to have them at once: of equals the plainer first.
    return found if case.gpu != PROCESSORS else sorted(found, key=_plainness)


def quickest(plans: Iterable[Plan]) -> Plan | None:
    """Of those that can work, the one that takes the fewest hours; the first of near equals."""
    fitting = [one for one in plans if not one.problems]
    fewest = min((one.total.hours for one in fitting), default=0.0)
    return next((one for one in fitting if one.total.hours <= EQUAL * fewest), None)


def much_quicker(chosen: Plan, others: Sequence[Plan]) -> Plan | None:
    """The quickest of the others, if it takes less than chosen's hours by a factor of MUCH."""
    best = quickest(others)
    if best is None or MUCH * best.total.hours > chosen.total.hours:
        return None
    return best


def _plainness(found: Plan) -> bool:
    return found.case.way.place != PLACES[1]
