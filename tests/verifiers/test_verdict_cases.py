"""Answers that were once judged wrongly, by kind, from the folder `shared` beside the project."""

import pytest

from prime_core.verifiers.math import judge
from tests.support.shared_data import read_jsonl

# A wrong answer of one of these kinds would be a reward.
KINDS = [
    "condition", "equations for values", "hedge", "logic", "membership", "piecewise", "rounding",
    "text", "thousands", "unsolved", "words after number", "words before number",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_of_a_kind_is_judged_as_expected(kind: str) -> None:
    rows = [row for row in read_jsonl("verdict_cases_2.jsonl") if row["kind"] == kind]
    assert rows
    assert [row["id"] for row in rows if verdict(row) != row["expected"]] == []


def test_no_wrong_answer_of_any_kind_is_accepted() -> None:
    rows = [row for row in read_jsonl("verdict_cases_2.jsonl") if "ground_truth" in row]
    assert [row["id"] for row in rows if not row["expected"] and verdict(row)] == []


def verdict(row: dict) -> bool:
    return judge(row["response"], row["ground_truth"]).outcome == 1.0
