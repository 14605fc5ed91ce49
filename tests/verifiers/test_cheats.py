"""No text is right without solving anything: the short form of benchmarks/cheats.py.

Our own reader alone: math-verify, which the long form asks too, takes 50 ms a pair.
"""

import random
from collections.abc import Iterator

import pytest

from benchmarks import cheat_texts, cheats
from prime_core.verifiers.math import fallback, judge
from tests.support.shared_data import SHARED, shared

NUM_MEMBERS = 4
NUM_GOLDS = 5  # of each benchmark
# 100% is 100 and 1 by a rule that docs/verification.md states.
TWO_BY_RULE = ("100\\%", "1000\\%")


@pytest.fixture(autouse=True)
def _own_reader_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "math_verify", lambda *_: (None, "not asked"))


@pytest.fixture(scope="module")
def problems() -> dict[str, list[cheats.Problem]]:
    for name in ("gsm8k_test", "math500", "olympiadbench", "college_math"):
        shared(f"data/{name}.jsonl.gz")
    return cheats.read_problems(SHARED / "data")


def right_for(text: str, golds: list[str]) -> list[str]:
    return [gold for gold in golds if judge(text, gold).outcome == 1.0]


def joined() -> Iterator[tuple[str, str]]:
    for family, joiners in cheat_texts.JOINED.items():
        yield from ((family, name) for name in joiners)


@pytest.mark.parametrize("benchmark", ["GSM8K", "MATH-500"])
def test_several_answers_in_one_text_are_worth_one_at_most(benchmark, problems):
    golds = cheats.commonest(problems[benchmark])[:NUM_MEMBERS]
    for family, name in joined():
        for members in (golds, golds[:2]):
            text = cheat_texts.JOINED[family][name](members)
            assert len(right_for(text, golds)) <= 1, (family, name, text)


def test_texts_that_name_no_answer_are_right_for_one_gold_at_most(problems):
    rng = random.Random(0)
    golds = [gold for rows in problems.values() for gold in cheats.commonest(rows)[:3]]
    for rows in problems.values():
        golds += [problem.gold for problem in rng.sample(rows, NUM_GOLDS)]
    different = list({cheats.spelling(gold): gold for gold in golds}.values())
    for family, answers in cheat_texts.FIXED.items():
        for answer in answers:
            found = right_for(cheat_texts.boxed(answer), different)
            assert len(found) <= 1 + (answer in TWO_BY_RULE), (family, answer, found)


def test_golds_with_wrong_numbers_are_wrong(problems):
    for rows in problems.values():
        for problem in random.Random(1).sample(rows, NUM_GOLDS):
            for name, text in cheat_texts.changed_golds(problem.gold).items():
                assert not right_for(text, [problem.gold]), (name, text, problem.gold)


def test_all_numbers_of_a_problem_are_worth_one_at_most(problems):
    for problem in random.Random(2).sample(problems["GSM8K"], 6):
        numbers = [cheat_texts.written(value) for value in cheat_texts.own_numbers(problem.text)]
        for name, text in cheat_texts.own_texts(problem.text).items():
            assert len(right_for(text, numbers)) <= 1, (name, text, numbers)


def test_more_than_the_commonest_answers_share_fails_and_the_share_itself_does_not():
    one = cheats.Attempt("made up", "chains", "approx", "", num=1000, right=45, explained=40.0)
    assert not one.fails  # five in a thousand may be the same answer in another spelling
    one.right = 46
    assert one.fails
    found = cheats.Search([one])
    assert found.failures == [one]
    assert "**4.6**" in cheats.table(found)[-1]


def test_a_gold_is_counted_by_its_spelling():
    assert cheats.spelling(" $\\left( 1,\\dfrac12\\right)$. ") == "(1,\\frac12)"
    assert cheats.spelling("1,234") == "1234"
    assert cheats.spelling("1,23") == "1,23"


def test_wrong_numbers_are_wrong_and_an_answer_without_one_is_left():
    assert cheat_texts.changed_golds("x+y") == {}
    changed = cheat_texts.changed_golds("\\frac{3}{4}")
    assert changed["first number"] == "The answer is $\\boxed{\\frac{4}{4}}$."
    assert changed["last digit"] == "The answer is $\\boxed{\\frac{3}{5}}$."
