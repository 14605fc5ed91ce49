"""Outcomes flipped on purpose: as often as asked, for each response by itself, the truth kept."""

import pandas as pd
import pytest

from prime_core.run.label_flips import with_flips
from prime_core.settings.notes import notes_on
from prime_core.settings.reading import SettingsError, parse_settings


def settings(**flips: float):
    return parse_settings({f"verification.flip_{name}": x for name, x in flips.items()}, "test")


def judged(num: int = 2000) -> pd.DataFrame:
    rows = [(f"p{n // 8}", n % 8, float(n % 2)) for n in range(num)]
    return pd.DataFrame(rows, columns=["prompt_id", "sample", "outcome"])


def test_the_shares_of_right_and_wrong_are_flipped_and_the_truth_stays():
    table = judged()
    found = with_flips(table, settings(correct=0.3, wrong=0.1), 1)
    assert found["true_outcome"].equals(table["outcome"])
    changed = found["outcome"] != found["true_outcome"]
    right = table["outcome"] == 1
    assert changed[right].mean() == pytest.approx(0.3, abs=0.04)
    assert changed[~right].mean() == pytest.approx(0.1, abs=0.03)


def test_a_response_is_flipped_wherever_it_stands_and_differently_in_each_iteration():
    rules = settings(correct=0.4, wrong=0.4)
    table = judged()
    later = with_flips(table.iloc[1000:].reset_index(drop=True), rules, 1)["outcome"]
    assert later.tolist() == with_flips(table, rules, 1)["outcome"].tolist()[1000:]
    other = with_flips(table, rules, 2)["outcome"]
    assert other.tolist() != with_flips(table, rules, 1)["outcome"].tolist()


def test_what_has_no_verdict_stays_without_one_and_a_baseline_is_judged_alike():
    table = judged(80).assign(greedy_outcome=1.0)
    table.loc[3, "outcome"] = None
    found = with_flips(table, settings(correct=0.5), 1)
    assert found["outcome"].isna().sum() == 1
    of_prompts = found.groupby("prompt_id")["greedy_outcome"].nunique()
    assert set(of_prompts) == {1}
    assert found["greedy_outcome"].nunique() == 2


def test_without_the_settings_nothing_changes_and_no_one_is_told():
    table = judged(8)
    assert with_flips(table, settings(), 1) is table
    assert not [note for note in notes_on(settings()) if "flip" in note]
    (note,) = (note for note in notes_on(settings(wrong=0.2)) if "flip" in note)
    assert "flip_wrong 0.2" in note


def test_outcomes_that_say_nothing_are_refused():
    with pytest.raises(SettingsError, match="leave outcomes that say nothing"):
        settings(correct=0.5, wrong=0.5)
