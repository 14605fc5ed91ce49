"""The first seconds of benchmarks/fuzz.py, and that it names what breaks and what hangs."""

import os
import random
import time

import pytest

from benchmarks import fuzz, fuzz_answers, fuzz_mathematics, fuzz_programs
from prime_core.verifiers.math import fallback, judge
from tests.support.shared_data import SHARED

SEED = 20


def test_the_first_seconds_of_mathematics():
    cases = fuzz_mathematics.cases(SEED, *fuzz_mathematics.material(SHARED / "data"))
    result = fuzz.fuzz("math", cases, fuzz.makers("auto")["math"], 2.0)
    assert sum(result.kinds.values()) > 5
    assert not result.failures, "\n".join(fuzz.lines_of("math", result))


def test_answers_of_several_parts_are_read_part_by_part(monkeypatch):
    monkeypatch.setattr(fallback, "math_verify", lambda *_: (None, "not asked"))
    rng = random.Random(SEED)
    for _ in range(800):
        kind, (answer, gold, same) = fuzz_answers.made(rng)
        judgement = judge(f"\\boxed{{{answer}}}", gold)
        assert judgement.outcome == float(same), (kind, answer, gold, judgement)


def test_the_first_seconds_of_programs():
    cases = fuzz_programs.cases(SEED)
    result = fuzz.fuzz("code", cases, fuzz.makers("auto")["code"], 2.0)
    assert sum(result.kinds.values()) > 0
    assert not result.failures, "\n".join(fuzz.lines_of("code", result))


def test_a_hang_and_a_death_are_failures_that_name_their_case(monkeypatch):
    monkeypatch.setitem(fuzz.LIMIT_SECONDS, "math", 0.3)

    def check(case):
        if case["kind"] == "hang":
            time.sleep(60)
        if case["kind"] == "death":
            os._exit(7)
        if case["kind"] == "error":
            raise ZeroDivisionError("by zero")
        return ""

    cases = [{"kind": kind} for kind in ("fine", "hang", "fine", "death", "error", "fine")]
    result = fuzz.fuzz("math", iter(cases), lambda: check, 30.0)
    assert [case["kind"] for _, case in result.failures] == ["hang", "death", "error"]
    hang, death, error = (what for what, _ in result.failures)
    assert hang == "no answer within 0.3 s"
    assert death == "the judging process died with exit code 7"
    assert error == "ZeroDivisionError: by zero"
    assert result.slowest[1] == {"kind": "hang"}
    assert result.kinds["fine"] == 3


@pytest.mark.parametrize("seed", range(3))
def test_rewritten_expressions_have_the_same_values_and_wrong_ones_others(seed):
    rng = random.Random(seed)
    num_known = 0
    for _ in range(100):
        tree = fuzz_mathematics.expression(rng, 3)
        assert not fuzz_mathematics.differ(tree, fuzz_mathematics.same(rng, tree))
        num_known += fuzz_mathematics.differ(tree, fuzz_mathematics.wrong(rng, tree))
    assert num_known > 40


def test_one_seed_makes_the_same_programs():
    first, again = (fuzz_programs.cases(5) for _ in range(2))
    assert [next(first) for _ in range(20)] == [next(again) for _ in range(20)]
