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


@pytest.mark.parametrize(
    ("key", "value", "needed", "beside"),
    [
        ("policy.gae_lambda", 0.5, "policy.adv_estimator gae", {"policy.adv_estimator": "gae"}),
        ("policy.gamma_turn", 0.5, "policy.adv_estimator gigpo", None),
        ("policy.tree_weight", "none", "policy.adv_estimator treerl", None),
        ("policy.kl_estimator", "k1", "policy.kl_coef in the loss", {"policy.kl_coef": 0.1}),
        ("policy.target_kl", 0.2, "policy.kl_controller adaptive", None),
        ("policy.tis_level", "sequence", "policy.tis_clip", {"policy.tis_clip": 2.0}),
        ("policy.rejection_low", 0.1, "rejection_level", {"policy.rejection_level": "token"}),
        (
            "policy.overlong_penalty_factor",
            2.0,
            "policy.overlong_buffer_len",
            {"policy.overlong_buffer_len": 8},
        ),
    ],
)
def test_a_setting_that_needs_another_is_said_where_that_is_not_there(key, value, needed, beside):
    (note,) = notes_on(parse_settings({key: value}, "test"))
    assert note.startswith(f"{key} {value} has no effect without ")
    assert needed in note
    if beside is not None:
        assert notes_on(parse_settings(beside | {key: value}, "test")) == []


def test_the_notes_are_printed_before_a_run_begins(tmp_path, capsys):
    raw = {"policy.adv_estimator": "reinforce", "results": str(tmp_path)}
    RunState(parse_settings(raw, "test")).begin()
    assert "reinforce_pp (REINFORCE++)" in capsys.readouterr().err
