"""Partial credit: outcomes from tests, against a slow loop that judges each test by itself."""

import random
from collections.abc import Iterator

import pytest

from prime_core.settings.verification import Verification
from prime_core.verifiers import VERIFIERS
from prime_core.verifiers.code import CodeJudge, Credit, Limits
from prime_core.verifiers.verdict import Judgement, Verdict

RULES = {
    "none": Credit(),
    "all": Credit("all_tests"),
    "first": Credit("first_tests"),
    "first 3": Credit("first_tests", max_tests=3),
    "all above half": Credit("all_tests", threshold=0.5),
}


@pytest.fixture(scope="module")
def judged() -> Iterator[CodeJudge]:
    with CodeJudge(limits=Limits(seconds=1, total_seconds=20)) as one:
        yield one


def as_published(passed: list[bool], max_tests: int) -> float:
    """The authors' rule: 1 where all pass, else a loop over single tests up to the tenth."""
    if all(passed):
        return 1.0
    results = []
    for number, one in enumerate(passed):
        results.append(one)
        if number >= max_tests - 1:
            break
    return sum(results) / len(results)


@pytest.mark.parametrize("num_tests", [1, 2, 9, 10, 11, 40])
def test_shares_are_those_of_the_paper_and_of_its_code(num_tests: int) -> None:
    draw = random.Random(num_tests)
    for chance in (0.0, 0.3, 0.9, 0.99, 1.0):
        for _ in range(50):
            passed = [draw.random() < chance for _ in range(num_tests)]
            expected = {
                "none": float(all(passed)),
                "all": sum(passed) / num_tests,
                "first": as_published(passed, 10),
                "first 3": as_published(passed, 3),
                "all above half": sum(passed) / num_tests if sum(passed) * 2 >= num_tests else 0,
            }
            for name, credit in RULES.items():
                seen: list[bool] = []
                while not credit.is_settled(seen, num_tests):
                    seen.append(passed[len(seen)])
                assert credit.outcome(seen, num_tests) == expected[name], (name, passed)


def test_tests_that_were_not_reached_have_failed() -> None:
    assert Credit("all_tests").outcome([True, True], 4) == 0.5
    assert Credit("first_tests").outcome([True] * 5, 40) == 0.5
    assert Credit().outcome([True, True], 4) == 0


def table_program(passed: list[bool], how: str) -> str:
    """A function that is right for those arguments, and fails as `how` says for the others."""
    return f"import os\ndef f(x):\n    return x if {passed!r}[x] else {how}"


def rows_of(kind: str, num_tests: int) -> dict:
    if kind == "assertions":
        return {"test_list": [f"assert f({n}) == {n}" for n in range(num_tests)]}
    if kind == "reference":
        inputs = [[n] for n in range(num_tests)]
        return {
            "entry_point": "f",
            "canonical_solution": "def f(x): return x",
            "base_input": inputs,
        }
    if kind == "calls":
        return {"fn_name": "f", "inputs": [[n] for n in range(num_tests)],
                "outputs": list(range(num_tests))}  # fmt: skip
    texts = [f"{n}\n" for n in range(num_tests)]
    return {"inputs": texts, "outputs": texts}


def singles(kind: str, num_tests: int) -> list[dict]:
    """Each of the tests as a row of its own."""
    whole = rows_of(kind, num_tests)
    lists = [key for key, value in whole.items() if isinstance(value, list)]
    return [
        whole | {key: whole[key][number : number + 1] for key in lists}
        for number in range(num_tests)
    ]


@pytest.mark.parametrize(
    ("kind", "how"),
    [("stdin", "-1"), ("calls", "1 / 0"), ("assertions", "os._exit(0)"), ("reference", "-1")],
)
def test_an_outcome_equals_a_slow_loop_over_the_tests(
    judged: CodeJudge, kind: str, how: str
) -> None:
    draw = random.Random(kind + how)
    for chance in (0.5, 1.0):
        passed = [draw.random() < chance for _ in range(5)]
        program = table_program(passed, how)
        if kind == "stdin":
            program += "\nprint(f(int(input())))"
        tests = rows_of(kind, len(passed))
        judged.credit = Credit()
        slow = [judged(program, one, is_program=True) for one in singles(kind, len(passed))]
        assert [one.verdict is Verdict.correct for one in slow] == passed
        whole = judged(program, tests, is_program=True)
        for name in ("all", "first 3"):
            judged.credit = RULES[name]
            judgement = judged(program, tests, is_program=True)
            assert judgement.verdict is whole.verdict, judgement.detail
            expected = sum(passed) / 5 if name == "all" else as_published(passed, 3)
            assert judgement.outcome == expected, judgement.detail
            assert (judgement.verdict is Verdict.correct) == all(passed)


def test_a_program_that_does_not_compile_or_hangs_has_what_it_passed_before() -> None:
    tests = rows_of("stdin", 4)
    slow = "import time\nn = int(input())\nprint(n, flush=True)\ntime.sleep(9 if n > 1 else 0)"
    with CodeJudge(limits=Limits(seconds=0.4, total_seconds=2), credit=RULES["all"]) as one:
        assert one("print(", tests, is_program=True).outcome == 0
        judgement = one(slow, tests, is_program=True)
    assert (judgement.verdict, judgement.outcome) == (Verdict.timeout, 0.5)
    assert judgement.seconds < 9  # what one test sleeps


def test_settings_reach_the_judge_and_evaluations_judge_without_them() -> None:
    program, tests = "def f(x): return min(x, 2)", '{"test_list": ["%s"]}'
    asserts = '", "'.join(f"assert f({n}) == {n}" for n in range(4))
    rules = Verification(partial_credit="first_tests", max_tests=2)
    for chosen, outcome in ((rules, 1.0), (rules.without_partial_credit(), 0.0)):
        judgement = VERIFIERS["program"].judge(program, tests % asserts, chosen)
        assert (judgement.verdict, judgement.outcome) == (Verdict.wrong, outcome)
    assert rules.without_partial_credit() == Verification()


def test_an_outcome_that_its_verdict_does_not_allow_is_refused() -> None:
    assert [Judgement(v, None, "").outcome for v in Verdict if v is not Verdict.no_verdict] == [
        1.0, *[0.0] * 7,
    ]  # fmt: skip
    assert Judgement(Verdict.no_verdict, None, "").outcome is None
    assert Judgement(Verdict.wrong, None, "", outcome=0.25).outcome == 0.25
    for verdict, outcome in (
        (Verdict.correct, 0.5), (Verdict.no_verdict, 0.0), (Verdict.wrong, 1.5),
        (Verdict.wrong, float("nan")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="outcome"):
            Judgement(verdict, None, "", outcome=outcome)
