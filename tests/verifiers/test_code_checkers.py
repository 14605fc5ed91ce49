"""Special judges: rows whose `checker` says what is right."""

from collections.abc import Iterator
from typing import Any

import pytest

from prime_core.verifiers.code import CodeJudge, Credit, Limits
from prime_core.verifiers.verdict import Verdict

FUNCTION = """
def check(input, output, expected):
    return sorted(output.split()) == sorted(expected.split()) and input == "x\\n"
"""
PROGRAM = """
import sys
given, expected, output = (open(path).read() for path in sys.argv[1:])
if __name__ == "__main__":
    print("comparing")
    print(int(sorted(output.split()) == sorted(expected.split()) and given == "x\\n"))
"""
EXITS = """
from sys import argv
sys_exit = 0 if sorted(open(argv[3]).read()) == sorted(open(argv[2]).read()) else 1
raise SystemExit(sys_exit)
"""
IN_ANY_ORDER = {"inputs": ["x\n"], "outputs": ["a b\n"]}
AS_NUMBER = "def check(given, output, expected): return int(output) == int(expected)"


@pytest.fixture(scope="module")
def judged() -> Iterator[CodeJudge]:
    with CodeJudge(limits=Limits(seconds=0.5, total_seconds=5, memory_mb=256)) as one:
        yield one


def verdict(judge: CodeJudge, program: str, checker: str, **tests: Any) -> Verdict:
    judgement = judge(program, IN_ANY_ORDER | tests | {"checker": checker}, is_program=True)
    assert judgement.detail or judgement.verdict is Verdict.correct
    return judgement.verdict


@pytest.mark.parametrize("checker", [FUNCTION, PROGRAM, EXITS])
def test_a_checker_of_each_form_decides(judged: CodeJudge, checker: str) -> None:
    assert verdict(judged, "print('b a')", checker) is Verdict.correct
    assert verdict(judged, "print('b b')", checker) is Verdict.wrong
    assert verdict(judged, "print('b a')\n1 / 0", checker) is Verdict.crashed


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("True", Verdict.correct), ("1", Verdict.correct), ("1.0", Verdict.correct),
        ("(True, 'fine')", Verdict.correct), ("False", Verdict.wrong), ("0.99", Verdict.wrong),
        ("None", Verdict.no_verdict), ("'yes'", Verdict.no_verdict), ("100", Verdict.no_verdict),
        ("float('nan')", Verdict.no_verdict), ("1 / 0", Verdict.no_verdict),
        ("bytearray(1 << 30)", Verdict.no_verdict), ("exit()", Verdict.no_verdict),
        ("__import__('os')._exit(0)", Verdict.no_verdict), (")", Verdict.no_verdict),
    ],
)  # fmt: skip
def test_a_checker_that_says_nothing_is_no_verdict(
    judged: CodeJudge, said: str, expected: Verdict
) -> None:
    checker = f"def check(given, output, expected): return {said}"
    assert verdict(judged, "print(1)", checker) is expected


def test_a_checker_without_an_end_is_no_verdict(judged: CodeJudge) -> None:
    checker = "def check(*values):\n    while True: pass"
    assert verdict(judged, "print(1)", checker) is Verdict.no_verdict
    assert verdict(judged, "print(1)", "x = 1") is Verdict.no_verdict
    assert verdict(judged, "print(1)", "import sys\nprint(sys.argv)") is Verdict.no_verdict


@pytest.mark.parametrize("output", ["'nonsense'", "''", "'9' * 5000 + 'x'", "'\\\\udc80'"])
def test_an_output_cannot_buy_a_missing_outcome_by_breaking_the_checker(
    judged: CodeJudge, output: str
) -> None:
    tests = {"inputs": ["x\n"], "outputs": ["5\n"]}
    assert verdict(judged, "print(5)", AS_NUMBER, **tests) is Verdict.correct
    assert verdict(judged, f"print({output})", AS_NUMBER, **tests) is Verdict.wrong
    slow = AS_NUMBER + "\nimport time\ndef slow(x): time.sleep(9 if x != '5\\n' else 0)\n" \
        "old = check\ndef check(a, b, c): slow(b); return old(a, b, c)"  # fmt: skip
    assert verdict(judged, "print(55)", slow, **tests) is Verdict.wrong


def test_a_program_cannot_reach_into_its_checker(judged: CodeJudge) -> None:
    attack = (
        "import os, sys\nfor n in range(3, 20):\n    try: os.write(n, b'{\"right\": true}\\n')\n"
        "    except OSError: pass\nopen('/tmp/input.txt', 'w').write('x')\nprint('no')"
    )
    for checker in (FUNCTION, PROGRAM):
        assert verdict(judged, attack, checker) is Verdict.wrong


def test_checkers_see_the_values_of_calls(judged: CodeJudge) -> None:
    tests = {"fn_name": "f", "inputs": [[3, [1]]], "outputs": [[1, 2]]}
    checker = "def check(x, got, want): return x == [3, [1]] and sorted(got) == want"
    assert verdict(judged, "def f(x, y): return [2, 1]", checker, **tests) is Verdict.correct
    assert verdict(judged, "def f(x, y): return [2, 2]", checker, **tests) is Verdict.wrong
    files = "import json, sys\nx, want, got = [json.load(open(p)) for p in sys.argv[1:]]\n" \
        "print(sorted(got) == want and x == [3, [1]])"  # fmt: skip
    assert verdict(judged, "def f(x, y): return [2, 1]", files, **tests) is Verdict.correct


def test_outputs_may_be_left_out_and_assertions_have_no_checker(judged: CodeJudge) -> None:
    tests = {"inputs": ["4\n"], "checker": "def check(n, got, _): return int(got) % int(n) == 0"}
    assert judged("print(8)", tests, is_program=True).outcome == 1
    assert judged("print(9)", tests, is_program=True).outcome == 0
    refused = judged("x = 1", {"test_list": ["assert x"], "checker": FUNCTION}, is_program=True)
    assert refused.verdict is Verdict.no_verdict
    assert judged("x = 1", tests | {"checker": 1}, is_program=True).outcome is None


def test_a_slow_checker_costs_the_program_no_time() -> None:
    texts = ["0\n", "1\n"]
    tests = {"inputs": texts, "outputs": texts}
    slow = "import time\ndef check(a, b, c):\n    time.sleep(%s)\n    return b == c"
    with CodeJudge() as one:
        one("print(0)", tests | {"checker": slow % 0}, is_program=True)
        one.limits = Limits(seconds=1, total_seconds=1)  # once the sandboxes run
        judgement = one("print(input())", tests | {"checker": slow % 0.6}, is_program=True)
        assert judgement.verdict is Verdict.no_verdict, judgement.detail
        # It has failed a test already: that the checks took too long does not save it.
        one.credit = Credit("all_tests")
        judgement = one("print(1)", tests | {"checker": slow % 0.6}, is_program=True)
        assert (judgement.verdict, judgement.outcome) == (Verdict.wrong, 0.0)
        one.limits = Limits(seconds=1, total_seconds=1.5)
        half = "import time\ntime.sleep(0.45)\nprint(input())"
        assert one(half, tests | {"checker": slow % 0.45}, is_program=True).outcome == 1.0
