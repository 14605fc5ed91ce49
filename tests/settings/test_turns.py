"""Which settings of turns can stand together; what conflicts is refused with both keys."""

import re
from typing import Any

import pytest

from prime_core.settings.reading import SettingsError, parse_settings

ISTAR: dict[str, Any] = {
    **{"prm.prime_granularity": "turn", "prm.loss_type": "dpo_pairs"},
    **{"policy.combine": "advantages", "policy.process_centre": "group"},
}


def test_istars_settings_stand_together():
    settings = parse_settings(ISTAR, "test")
    assert settings.prm.objective == "dpo"
    assert settings.batch_columns == ()


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"policy.combine": "returns"}, ("policy.process_centre", "policy.combine")),
        ({"prm.prime_granularity": "whole"}, ("policy.process_centre", "prm.prime_granularity")),
        ({"prm.prm_update": "none"}, ("policy.process_centre", "prm.prm_update")),
        ({"policy.adv_estimator": "opo"}, ("policy.process_centre", "policy.adv_estimator")),
        ({"prm.bon_weight": "bon_acc"}, ("bon_weight", "loss_type")),
        (
            {"policy.adv_estimator": "gigpo", "policy.process_centre": "none"},
            ("policy.adv_estimator 'gigpo'", "data.source"),
        ),
    ],
)
def test_what_conflicts_is_refused_with_both_keys(changes, keys):
    with pytest.raises(SettingsError) as refusal:
        parse_settings(ISTAR | changes, "test")
    for key in keys:
        assert re.search(re.escape(key), str(refusal.value)), refusal.value
