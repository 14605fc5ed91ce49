r"""Answers that are right and wrong, by kind: what people write, and what a policy would try.

math_pairs.jsonl holds one pair a line: kind, same, answer (in the box), gold.
"""

import json

import pytest

from prime_core.verifiers.math import judge
from tests.support.shared_data import ROOT

LINES = (ROOT / "tests" / "support" / "math_pairs.jsonl").read_text(encoding="ascii").splitlines()
PAIRS = [(row["answer"], row["gold"], row["same"]) for row in map(json.loads, LINES)]


@pytest.mark.parametrize(("answer", "gold", "same"), PAIRS)
def test_an_answer_is_correct_exactly_when_it_says_the_same(
    answer: str, gold: str, same: bool
) -> None:
    judgement = judge(f"so \\boxed{{{answer}}}.", gold)
    assert judgement.outcome == float(same), judgement
