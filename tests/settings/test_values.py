"""Where values of steps come from: what can stand together, and what is refused by name."""

from typing import Any

import pytest

from prime_core.settings.reading import SettingsError, parse_settings

PPO: dict[str, Any] = {"policy.adv_estimator": "gae", "prm.prm_update": "none"}
MONTE_CARLO = PPO | {"value.source": "monte_carlo"}
DIFFERENCES = {"prm.source": "monte_carlo", "prm.prm_update": "none", "policy.outcome_coef": 0}
VISITS = PPO | {"value.source": "visits", "policy.gae_level": "step", "sft.enabled": False}
VISITS |= {"data.source": "env", "data.env": {"id": "FrozenLake-v1"}}


@pytest.mark.parametrize(
    ("changes", "continues"),
    [
        ({}, False),
        (PPO, False),
        (MONTE_CARLO, True),
        (MONTE_CARLO | {"policy.adv_estimator": "rloo"}, False),  # nothing reads the values
        (MONTE_CARLO | {"prm.prm_update": "after", "policy.combine": "advantages"}, True),
        (DIFFERENCES, True),
        (DIFFERENCES | {"policy.credit": "min"}, True),  # they stand at steps' ends
        (VISITS, False),
    ],
)
def test_responses_are_continued_where_their_values_are_read(changes, continues):
    settings = parse_settings(changes, "test")
    assert settings.draws_continuations == continues
    assert settings.batch_columns == (("states",) if changes == VISITS else ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (MONTE_CARLO | {"prm.prm_update": "after"}, "needs policy.combine 'advantages'"),
        (MONTE_CARLO | {"policy.gamma_outcome": 0.9}, "needs policy.gamma_outcome 1"),
        (MONTE_CARLO | {"policy.overlong_buffer_len": 9}, "needs policy.overlong_buffer_len 0"),
        (DIFFERENCES | {"policy.outcome_coef": 1}, "count the outcome twice"),
        (DIFFERENCES | {"prm.prm_update": "after"}, "prm.prm_update must be 'none'"),
        (DIFFERENCES | {"policy.adv_estimator": "gae"}, "would subtract values twice"),
        (DIFFERENCES | {"policy.process_coef": 0}, "leaves no reward"),
        (VISITS | {"policy.gae_level": "token"}, "policy.gae_level must be 'step'"),
        (VISITS | {"policy.gamma_outcome": 0.9}, "value.gamma_visits discounts"),
        (VISITS | {"prm.prm_update": "after"}, "learns from outcomes alone"),
        (
            VISITS | {"data.source": "arithmetic", "data.env": None},
            "in free text no state comes twice",
        ),
        ({"rollout.step_boundary": "("}, "rollout.step_boundary: no regular expression"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        parse_settings(changes, "test")
