"""The weight of an adaptive KL goes from one iteration to the next through a file of the graph."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.state import RunState
from prime_core.run.targets import Targets
from prime_core.settings.reading import parse_settings

ADAPTIVE: dict[str, Any] = {"policy": {"kl_controller": "adaptive", "kl_coef": 0.1}}


def previous_kl(iteration: int, changes: dict[str, Any]) -> list[str]:
    """What the policy stage of an iteration waits for, relative to the run's folder."""
    settings, state = parse_settings(changes | {"iterations": 9}, "test"), cast(RunState, None)
    targets = Targets(settings, RunFiles(Path("run")), state)  # what has run does not matter here
    paths = targets.previous_kl(SimpleNamespace(iteration=f"{iteration:04d}"))
    return [path.removeprefix("run/") for path in paths]


@pytest.mark.parametrize(
    ("settings", "iteration", "expected"),
    [
        ({}, 3, []),
        ({"policy": {"kl_coef": 0.1, "kl_in_reward": True}}, 3, []),
        (ADAPTIVE, 1, []),
        (ADAPTIVE, 3, ["iterations/0002/metrics/policy.json"]),
        (ADAPTIVE | {"init_from": "a@4"}, 5, []),  # the origin's weight is its own
        (ADAPTIVE | {"init_from": "a@4"}, 6, ["iterations/0005/metrics/policy.json"]),
    ],
)
def test_an_adaptive_weight_alone_makes_an_iteration_wait_for_the_figures_before(
    settings, iteration, expected
):
    assert previous_kl(iteration, settings) == expected
