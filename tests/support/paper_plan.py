"""The plan of the paper's main run, with changed settings and stages."""

from typing import Any

import yaml

from prime_core.planning.command import Options, find_shape, make_case
from prime_core.planning.plan import Plan, plan
from prime_core.settings.reading import parse_settings
from tests.support.shared_data import ROOT

PRIME = ROOT / "configs" / "paper" / "eurus2_7b_prime.yaml"


def planned(
    stages: dict[str, dict] | None = None,
    options: Options | None = None,
    disk_tb: float | None = None,
    **changes: Any,
) -> Plan:
    """The plan of the paper's run with changed settings (dotted, `__` for a point) and stages."""
    raw = yaml.safe_load(PRIME.read_text(encoding="utf-8"))
    raw |= {key.replace("__", "."): value for key, value in changes.items()}
    settings = parse_settings(raw, "test")
    case = make_case(settings, None, find_shape(settings, None)[1], options or Options())
    machines = dict(case.machines)
    for name, values in (stages or {}).items():
        machines[name] = type(machines[name])(**vars(machines[name]) | values)
    return plan(type(case)(**vars(case) | {"machines": machines}), disk_tb)
