"""First wrong steps: predictions, exact search of thresholds, AUC, what an outcome alone does."""

import numpy as np
import pytest

from prime_core.evaluation.statistics.first_errors import (
    ThresholdSearch,
    f1_samples,
    first_below,
    fixed_place,
    found,
    resampled,
    step_auc,
)
from prime_core.evaluation.step_figures import Part, step_figures
from tests.support.reference_steps import SEARCHES, scores_of
from tests.support.shared_data import read_jsonl, reference

SCORES, LABELS = [[0.9, 0.2, 0.8], [0.7, 0.6], [0.3, 0.9], [0.5]], [1, -1, 0, -1]


@pytest.mark.parametrize(
    ("scores", "threshold", "step"), [([0.9, 0.2], 0.5, 1), ([0.5], 0.5, -1), ([0.4, 0.1], 0.5, 0)]
)
def test_the_first_step_below_the_threshold_is_the_prediction(scores, threshold, step):
    assert first_below(scores, threshold) == step


def test_f1_is_the_harmonic_mean_of_both_shares_and_zero_without_a_hit():
    half = found([1, 0, -1, -1], [1, 1, -1, -1])
    assert (half.acc_error, half.acc_correct, half.f1) == (0.5, 1.0, pytest.approx(2 / 3))
    assert found([0, 0], [1, -1]).f1 == 0


def test_the_search_finds_the_best_of_all_thresholds():
    search = ThresholdSearch(SCORES, LABELS)
    tried = [
        found([first_below(one, tau) for one in SCORES], LABELS).f1 for tau in search.thresholds()
    ]
    assert search.f1() == pytest.approx(tried)
    assert search.best() == 0.5
    assert search.f1().max() == 1


@pytest.mark.parametrize("seed", range(20))
def test_no_grid_finds_a_better_threshold(seed):
    rng = np.random.default_rng(seed)
    # Few values, so that scores tie.
    scores = [list(rng.integers(0, 12, rng.integers(1, 6)) / 12) for _ in range(30)]
    labels = [int(rng.integers(-1, len(one))) for one in scores]
    search = ThresholdSearch(scores, labels)
    grid = [
        found([first_below(one, tau) for one in scores], labels).f1
        for tau in np.linspace(-0.1, 1.1, 500)
    ]
    assert search.f1().max() == pytest.approx(max(grid), abs=1e-12)
    weights = rng.integers(0, 3, 30)
    twice = [one for one, n in zip(scores, weights, strict=True) for _ in range(n)]
    repeated = [one for one, n in zip(labels, weights, strict=True) for _ in range(n)]
    expected = [
        found([first_below(one, tau) for one in twice], repeated).f1 for tau in search.thresholds()
    ]
    assert search.f1(weights) == pytest.approx(expected)


@pytest.mark.parametrize("scores", [[], [[]], [[float("nan")]]])
def test_solutions_without_scores_are_refused(scores):
    with pytest.raises(ValueError, match="expected"):
        ThresholdSearch(scores, [-1] * len(scores))


@pytest.mark.parametrize("search", SEARCHES)
def test_f1_at_published_thresholds_is_the_published_one(search):
    scores, threshold, published = scores_of("processbench_f1_gsm8k")[search]
    labels = reference("processbench_f1_gsm8k")[0]["label"].tolist()

    def f1(tau):
        return found([first_below(one, tau) for one in scores], labels).f1

    assert f1(threshold) == pytest.approx(published, abs=1e-12)
    ours = ThresholdSearch(scores, labels)
    assert f1(ours.best()) == pytest.approx(float(ours.f1().max()), abs=1e-12)
    assert ours.f1().max() >= published - 1e-12
    if search == "implicitprm":
        taus = np.linspace(0, 1, 1000)
        best = taus[int(np.argmax([f1(tau) for tau in taus]))]
        assert best == pytest.approx(threshold, abs=1e-12)


def test_auc_counts_pairs_ties_half_and_leaves_out_what_follows_the_error():
    assert step_auc([[0.9, 0.2, 0.0], [0.2]], [1, -1]) == pytest.approx(0.75)
    assert step_auc([[0.9]], [-1]) is None


@pytest.mark.parametrize(
    ("part", "lucky", "f1"),
    [
        ("gsm8k", 7, 45.52),
        ("math", 94, 37.93),
        ("olympiadbench", 161, 28.53),
        ("omnimath", 259, 26.12),
    ],
)
def test_an_outcome_alone_reaches_the_known_figures(part, lucky, f1):
    rows = read_jsonl(f"processbench_{part}.jsonl.gz")
    labels = [row["label"] for row in rows]
    right = [row["final_answer_correct"] for row in rows]
    best, place = fixed_place([len(row["steps"]) for row in rows], right, labels)
    assert 100 * best.f1 == pytest.approx(f1, abs=0.005)
    assert 0 < place < 1
    assert sum(r and label >= 0 for r, label in zip(right, labels, strict=True)) == lucky


def test_a_threshold_is_chosen_on_one_part_and_used_on_the_others():
    chosen = Part(LABELS, [False, True, False, True], {"step": SCORES})
    other = Part([0, -1, 0], [True, True, False], {"step": [[0.45], [0.55], [0.6]]})
    figures = step_figures({"one": chosen, "two": other}, "one")
    assert "f1" not in figures["one"]["scores"]["step"]
    assert figures["one"]["scores"]["step"]["best_f1"] == 1
    two = figures["two"]["scores"]["step"]
    assert two["threshold"] == 0.5
    assert (two["acc_error"], two["acc_correct"]) == (0.5, 1.0)
    assert two["f1_low"] <= two["f1"] <= two["f1_high"]
    assert (two["right_by_luck_found"], figures["two"]["num_right_by_luck"]) == (1.0, 1)
    assert figures["two"]["outcome_only"]["f1"] == pytest.approx(2 / 3)


def test_without_known_answers_there_is_no_line_of_outcomes():
    part = Part(LABELS, [None, True, False, True], {"step": SCORES})
    assert step_figures({"one": part}, "one")["one"]["outcome_only"] is None


def test_samples_of_the_bootstrap_repeat_and_count_every_row_once_on_average():
    counts = resampled(50, seed=3)
    assert (counts == resampled(50, seed=3)).all()
    assert (counts.sum(1) == 50).all()
    predicted, labels = [0, -1] * 25, [0, -1] * 25
    assert f1_samples(predicted, labels, counts) == pytest.approx(1.0)
