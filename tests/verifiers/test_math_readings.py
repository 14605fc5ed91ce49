r"""Notations that people write beside the plainest one, by kind, and near misses of each.

math_readings.jsonl holds one pair a line: kind, same, answer (in the box), gold.
"""

import json
from fractions import Fraction
from itertools import groupby

import pytest

from prime_core.verifiers.math import judge
from prime_core.verifiers.math.parse import parse
from prime_core.verifiers.math.rationals import Inexact
from prime_core.verifiers.math.series import infinite_sum, wide
from prime_core.verifiers.math.values import constant
from tests.support.shared_data import ROOT

LINES = (ROOT / "tests" / "support" / "math_readings.jsonl").read_text(encoding="ascii")
ROWS = [json.loads(line) for line in LINES.splitlines()]
KINDS = {kind: list(rows) for kind, rows in groupby(ROWS, key=lambda row: row["kind"])}


@pytest.mark.parametrize("kind", KINDS)
def test_another_notation_is_read_and_a_near_miss_refused(kind: str) -> None:
    wrong = []
    for row in KINDS[kind]:
        judgement = judge(f"so \\boxed{{{row['answer']}}}.", row["gold"])
        # Nor does a right answer need the fallback, which costs a hundred times as much.
        if judgement.outcome != float(row["same"]) or (
            row["same"] and "math-verify" in judgement.detail
        ):
            wrong.append((row["answer"], row["gold"], judgement.detail))
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_answers_to_accept_and_to_refuse(kind: str) -> None:
    assert {row["same"] for row in KINDS[kind]} == {True, False}


@pytest.mark.parametrize(
    "answer",
    [
        "3 \\pmod 7",
        "x \\equiv 1, 4 \\pmod 5",
        "3 \\text{ hours } 30 \\text{ minutes}",
        "29 \\text{ dollars and } 50 \\text{ cents}",
        "\\text{Option B}",
        "A, C",
        "C_{10}^{3}",
        "9 \\text{ cats and } 4 \\text{ dogs}",
        "0.1(6)",
        "1,2,3,\\ldots,9",
    ],
)
def test_a_new_notation_is_right_for_one_bare_value_at_most(answer: str) -> None:
    golds = [*map(str, range(-5, 260)), "3.5", "29.5", "0.6", "\\frac{1}{6}", *"ABCDE"]
    right = [gold for gold in golds if judge(f"\\boxed{{{answer}}}", gold).outcome == 1.0]
    assert len(right) <= 1, right


def test_a_residue_is_right_for_one_class_of_one_modulus() -> None:
    golds = [f"{r} \\pmod {m}" for m in range(2, 12) for r in range(m)]
    right = [gold for gold in golds if judge("\\boxed{x \\equiv 10 \\pmod 7}", gold).outcome == 1.0]
    assert right == ["3 \\pmod 7"]


def test_periods_are_exact_fractions() -> None:
    for text in ("0.1(6)", "0.1666...", "0.1\\dot6", "0.1\\overline{6}", "0.16\u0305"):
        assert constant(parse(text) or ()) == Fraction(1, 6), text


def test_series_are_summed_to_forty_digits_and_divergent_ones_refused() -> None:
    library = wide().library
    basel = infinite_sum(lambda k: 1 / k**2, 1)
    assert abs(basel - library.pi**2 / 6) < 1e-60
    for diverging in (
        lambda k: 1 / k,
        lambda k: 1 / library.sqrt(k),
        lambda k: library.mpf(2) ** k.real,
        lambda k: (-1) ** int(k.real) * library.mpf(1),
    ):
        with pytest.raises(Inexact):
            infinite_sum(diverging, 1)
