r"""Answers that are right and wrong, by kind: what people write, and what a policy would try.

math_pairs.jsonl and math_pairs_*.jsonl hold one pair a line: kind, same, answer (in the box), gold.
"""

import json

import pytest

from prime_core.verifiers.math import judge
from tests.support.shared_data import ROOT

FILES = sorted((ROOT / "tests" / "support").glob("math_pairs*.jsonl"))
ROWS = [json.loads(line) for file in FILES for line in file.read_text("ascii").splitlines()]


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in ROWS}))
def test_an_answer_is_correct_exactly_when_it_says_the_same(kind: str) -> None:
    wrong = [
        (row, judgement.detail)
        for row in ROWS
        if row["kind"] == kind
        for judgement in [judge(f"so \\boxed{{{row['answer']}}}.", row["gold"])]
        if judgement.outcome != float(row["same"])
    ]
    assert wrong == []
