"""The ablations' report on made-up results: pairs, intervals, readings, what is missing."""

import json

import pandas as pd
import pytest

from prime_core.ablations.figures import curve_band, grid_of, points
from prime_core.ablations.page import render_page, summary
from prime_core.ablations.report import run as write_report
from prime_core.ablations.results import collect, comparison_table
from prime_core.ablations.run import left
from prime_core.run.tables import TableError
from tests.support.made_up_ablations import plan, write_results

ACCURACIES = {
    "base-seed0": {0: 0.2},
    "base-seed3": {0: 0.3},
    "one-seed0": {2: 0.5, 4: 0.9},
    "one-seed3": {2: 0.6, 4: 0.8},
    "other-seed0": {2: 0.4, 4: 0.6},
    "other-seed3": {2: 0.4, 4: 0.6},
    "taught-seed0": {2: 0.5},  # still running
}


@pytest.fixture
def folder(tmp_path):
    return write_results(plan(tmp_path), ACCURACIES)


def test_curves_begin_with_the_accuracy_of_the_seeds_base(folder):
    curves = collect(folder).curves
    one = curves[(curves["variant"] == "one") & (curves["seed"] == 3)]
    assert one["iteration"].tolist() == [0, 2, 4]
    assert one["accuracy"].tolist() == [0.3, 0.6, 0.8]
    assert one["training_accuracy"].tolist()[1:] == pytest.approx([0.5, 0.7])


def test_a_comparison_is_the_mean_of_differences_of_equal_seeds(folder):
    """Area: 0.70 - 0.50 and 0.70 - 0.50; last: 0.9 - 0.6 and 0.8 - 0.6."""
    pair = collect(folder).rows[0]
    assert pair.differences["area"].mean == pytest.approx(0.2)
    assert pair.differences["area"].low == pytest.approx(0.2)
    assert pair.reading == "yes"
    assert pair.differences["last"].mean == pytest.approx(0.25)
    # s = 0.0707, half = 12.706 * 0.0707 / sqrt(2)
    assert pair.differences["last"].high == pytest.approx(0.25 + 0.6353, abs=1e-4)
    assert pair.readings["last"] == "not distinguishable"


def test_rollouts_count_for_the_policy_that_they_are_of(folder):
    """Those of iteration 2 are policy 1's: 0.4 and 0.8 of one run; the mean is 0.6."""
    assert collect(folder).measures["training"]["one"][0] == pytest.approx(0.6)


def test_a_run_that_is_still_at_work_is_drawn_and_not_compared(folder):
    results = collect(folder)
    assert "taught" not in results.measures["area"]
    assert results.rows[1].reading == "not run"
    assert (results.num_finished, results.num_runs) == (4, 6)
    assert curve_band(results.curves, "taught")["mean"].to_dict() == {0: 0.2, 2: 0.5}
    assert summary(results) == (
        "Of 2 findings of the paper, 1 is reproduced, 0 are contradicted, 0 are not "
        "distinguishable with 2 seeds; 1 not run yet."
    )


def test_the_band_is_one_standard_error_over_seeds(folder):
    band = curve_band(collect(folder).curves, "one")
    assert band.to_dict("index")[2] == pytest.approx({"mean": 0.55, "error": 0.05})


def test_the_table_has_a_row_for_each_comparison_and_measure_in_points(folder):
    table = comparison_table(collect(folder)).set_index(["comparison", "measure"])
    assert len(table) == 6
    row = table.to_dict("index")[("pair", "last")]
    assert (row["first_mean"], row["second_mean"], row["difference"]) == (85.0, 60.0, 25.0)
    assert row["num_seeds"] == 2
    assert table.loc[("late", "area"), "reading"] == "not run"


def test_the_report_is_written_whole_and_escapes_titles(folder):
    copy = folder / "report" / "ablations-0123456789ab.yaml"
    write_report(folder, copy)
    page = (folder / "report" / "report.html").read_text()
    assert "The &lt;first&gt;" in page
    assert "One &amp; other" in page
    assert "<first>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 2
    curves = pd.read_csv(folder / "report" / "curves.csv")
    assert len(curves) == 14
    assert copy.exists()
    later = copy.with_name("ablations-ba9876543210.yaml")
    write_report(folder, later)
    assert not copy.exists()
    assert later.exists()


def test_a_report_of_no_results_says_so(tmp_path):
    results = collect(write_results(plan(tmp_path), {}))
    assert [row.reading for row in results.rows] == ["not run", "not run"]
    write_report(tmp_path / "results", None)
    assert "no figures yet" in (tmp_path / "results" / "report" / "curves.svg").read_text()
    assert "0 of 6 runs have finished" in render_page(
        results, {"curves": "<svg>", "differences": "<svg>"}
    )


def test_a_folder_without_ablations_is_refused_by_name(tmp_path):
    with pytest.raises(TableError, match=f"{tmp_path}/ablations.yaml: no such file"):
        collect(tmp_path)


def test_the_line_of_a_finished_run_reckons_what_is_left(folder):
    settings = folder / "settings"
    settings.mkdir()
    for name in plan(folder.parent).runs:
        (settings / f"{name}.yaml").touch()
    # Two bases and four variants of eight have finished, none of them in this start.
    assert left(folder).startswith("6 of 8 runs finished")
    marker = next(folder.glob("one-seed0/ablation-*.json"))
    assert json.loads(marker.read_text())["seconds"] == 90.0


def test_differences_are_written_with_sign_and_interval(folder):
    results = collect(folder)
    assert points(results.rows[0].differences["last"]) == "+25.0 [−38.5, 88.5]"
    assert points(results.rows[1].differences["last"]) == "–"


def steps_file(path, f1, outcome_f1):
    """evaluations/<i>/steps.json with a part for the threshold and another."""
    scores = {"step": {"best_f1": 0.9, "f1": f1, "clean_above_lucky": 0.8}}
    part = {"scores": scores, "outcome_only": {"f1": outcome_f1}}
    chosen = {"scores": {"step": {"best_f1": 1.0}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"threshold_part": "a", "parts": {"a": chosen | part, "b": part}}))


def test_a_comparison_may_be_of_the_prms_steps_and_with_what_an_outcome_alone_reaches(tmp_path):
    pair = {"title": "Steps", "first": "one", "second": None, "measure": "f1"}
    own = pair | {"title": "Ranking", "second": "other", "measure": "ranking"}
    comparisons = {
        name: one | {"finding": "none", "paper": "not asked"}
        for name, one in (("steps", pair), ("ranks", own))
    }
    made = plan(tmp_path, comparisons=comparisons)
    folder = write_results(made, {k: v for k, v in ACCURACIES.items() if "taught" not in k})
    for seed, f1 in ((0, 0.7), (3, 0.9)):
        for iteration in (2, 4):
            steps_file(folder / f"one-seed{seed}/evaluations/{iteration:04d}/steps.json", f1, 0.4)
        for variant, share in (("one", 0.8), ("other", 0.6)):
            metrics = folder / f"{variant}-seed{seed}/iterations/0004/metrics"
            (metrics / "score.json").write_text(json.dumps({"prm/true_ranking_accuracy": share}))
    results = collect(folder)
    rows = {row.name: row for row in results.rows}
    assert rows["steps"].differences["area"].mean == pytest.approx(0.4)  # 0.3 and 0.5
    assert rows["steps"].reading == "not distinguishable"
    assert rows["ranks"].reading == "first higher"
    # Scored at iteration 4 is the PRM of iteration 3.
    ranked = results.curves.dropna(subset="ranking")
    assert set(ranked["iteration"]) == {3}
    table = comparison_table(results).set_index(["comparison", "measure"])
    assert table.loc[("steps", "area"), "second"] == "the outcome alone"
    write_report(folder, None)
    page = (folder / "report" / "report.html").read_text()
    assert "the outcome alone" in page
    assert "pairs that the PRM ranks correctly" in page


@pytest.mark.parametrize(
    ("num_panels", "rows_and_columns"),
    [(0, (0, 1)), (1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 3)), (12, (4, 3))],
)
def test_panels_fill_the_page_however_few(num_panels, rows_and_columns):
    assert grid_of(num_panels) == rows_and_columns
