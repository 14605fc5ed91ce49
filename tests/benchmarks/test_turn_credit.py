"""Credit of turns over seeds: a line for each method, and correlations by turn."""

import pytest
import yaml

from benchmarks import turn_credit
from prime_core.report.drawing.plots import render


def row(seed: int, spearman: float | None, title: str = "PRIME", turns: int = 100) -> dict:
    of = {
        "implicit": {"spearman": spearman, "sign": 0.75},
        "outcome": {"spearman": 0.25, "sign": 0.5},
    }
    by_turn = [{"turn": turn, "num_turns": turns} | of for turn in range(3)]
    return {"title": title, "seed": seed, "num_turns": 3 * turns, "by_turn": by_turn} | of


def test_means_and_ends_over_seeds_stand_in_a_line():
    rows = [row(0, -0.25), row(1, 0.75), row(0, None, "iStar")]
    assert list(turn_credit.lines(rows))[2:] == [
        "| PRIME | 2 | 600 | 0.25 (−0.25 to 0.75) | 0.25 (0.25 to 0.25) | 75 (75 to 75) "
        "| 50 (50 to 50) |",
        "| iStar | 1 | 300 | – | 0.25 (0.25 to 0.25) | 75 (75 to 75) | 50 (50 to 50) |",
    ]


@pytest.mark.parametrize(("turns", "lines"), [(100, 2), (turn_credit.LEAST - 1, 0)])
def test_the_figure_has_a_line_for_each_method_and_one_for_outcomes(turns, lines):
    svg = render("t", 2.7, lambda canvas: turn_credit.draw(canvas, [row(0, 0.5, turns=turns)]))
    assert sum(label in svg for label in (">PRIME<", ">outcome alone<")) == lines


def test_a_folder_without_finished_runs_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["turn_credit", "--results", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"ablations\.yaml is missing"):
        turn_credit.main()
    variants = {"prime": {"title": "PRIME"}}
    (tmp_path / "ablations.yaml").write_text(
        yaml.safe_dump({"base": "configs/quickstart.yaml", "seeds": [0]})
        + yaml.safe_dump({"variants": variants, "comparisons": {}})
    )
    (tmp_path / "prime-seed0").mkdir()
    with pytest.raises(SystemExit, match="no run with a PRM has finished"):
        turn_credit.main()
