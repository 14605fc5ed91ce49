"""Settings that cancel each other are said before anything runs."""

import pytest

from prime_core.run.state import RunState
from prime_core.settings.notes import notes_on
from prime_core.settings.reading import parse_settings
from tests.support.lake import AGENT


@pytest.mark.parametrize(
    ("estimator", "whiten", "words"),
    [
        ("reinforce", True, "is reinforce_pp"),
        ("dr_grpo", True, "equals rloo for outcome rewards"),
        ("reinforce_pp", False, "unwhitened it is reinforce"),
        ("reinforce_pp_baseline", False, "unwhitened it is dr_grpo"),
        ("reinforce", False, None),
        ("dr_grpo", False, None),
        ("rloo", True, None),
        ("gigpo", True, "policy.whiten=false is as published"),
        ("gigpo", False, None),
        ("treerl", True, "policy.whiten=false is as published"),
        ("tree_grpo", False, None),
    ],
)
def test_settings_that_cancel_each_other_are_said(estimator, whiten, words):
    raw = {"policy.adv_estimator": estimator, "policy.whiten": whiten}
    if "tree" in estimator:
        raw |= {"rollout": {"tree": {}, "n_samples_per_prompt": 30}}
    elif estimator == "gigpo":
        raw = AGENT | {"policy": AGENT["policy"] | {"adv_estimator": "gigpo", "whiten": whiten}}
    notes = notes_on(parse_settings(raw, "test"))
    assert bool(notes) == bool(words)
    assert all(words in note and f"policy.adv_estimator {estimator}" in note for note in notes)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"policy.process_coef": 0}, "prm.prm_update=none is the same policy"),
        ({"policy.outcome_coef": 2, "prm.prm_update": "none"}, "has no effect"),
        ({"policy.outcome_coef": 2}, None),
        (
            {"policy.outcome_coef": 2, "prm.prm_update": "none", "policy.whiten": False},
            None,
        ),
    ],
)
def test_weights_that_come_to_nothing_are_said(raw, words):
    notes = notes_on(parse_settings(raw, "test"))
    assert [words in note for note in notes] == [True] * bool(words)


def test_the_notes_are_printed_before_a_run_begins(tmp_path, capsys):
    raw = {"policy.adv_estimator": "reinforce", "results": str(tmp_path)}
    RunState(parse_settings(raw, "test")).begin()
    assert "reinforce_pp (REINFORCE++)" in capsys.readouterr().err
