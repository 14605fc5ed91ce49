"""Programs judged in the sandbox: formats, verdicts, cheats and unusual right programs."""

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from prime_core.verifiers.code import CodeJudge, Limits, judge
from prime_core.verifiers.code.judging import warm_judges
from prime_core.verifiers.verdict import Verdict

SUM = "n = int(input())\nprint(sum(map(int, input().split())))\n"
SUM_TESTS = {"inputs": ["3\n1 2 3\n", "1\n-7\n"], "outputs": ["6\n", "-7\n"]}
CALL_TESTS = {"fn_name": "total", "inputs": ["[1, 2, 3]", "[-7]"], "outputs": ["6", "-7"]}
PROMPT = 'def total(xs):\n    """Sum of xs."""\n'
CHECK_TESTS = {
    "test": "def check(candidate):\n"
    "    assert candidate([1, 2, 3]) == 6\n    assert candidate([-7]) == -7\n",
    "entry_point": "total",
}
MBPP_TESTS = {
    "test_list": [
        "assert set(shared((3, 4), (4, 5))) == set((4,))",
        "assert set(shared((1, 2), (3, 4))) == set(())",
    ]
}


@pytest.fixture(scope="module")
def judged() -> Iterator[CodeJudge]:
    if not shutil.which("bwrap") and os.environ.get("CI"):
        pytest.fail("CI needs bubblewrap")
    with CodeJudge(limits=Limits(seconds=1, total_seconds=6, memory_mb=400)) as one:
        yield one


READS_INPUT = {
    "input": SUM,
    "sys.stdin": "import sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))",
    "lines of sys.stdin": "import sys\nfor line in sys.stdin: pass\n"
    "print(sum(map(int, line.split())))",
    "sys.stdin.buffer": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split()[1:])))",
    "open(0)": "print(sum(map(int, open(0).read().split()[1:])))",
    "os.read": "import os\nprint(sum(map(int, os.read(0, 1 << 20).split()[1:])))",
    "/dev/stdin": "print(sum(map(int, open('/dev/stdin').read().split()[1:])))",
    "fileinput": "import fileinput\nprint(sum(map(int, ' '.join(fileinput.input()).split()[1:])))",
    "a class around the streams": "import os, sys, io\n"
    "class Out(io.IOBase):\n"
    "    def __init__(self, file):\n"
    "        self.fd, self.text, self.writable = file.fileno(), '', 'r' not in file.mode\n"
    "    def write(self, s): self.text += s\n"
    "    def flush(self):\n"
    "        os.write(self.fd, self.text.encode())\n        self.text = ''\n"
    "sys.stdout = Out(sys.stdout)\n" + SUM,
}
ENDS = {
    "exit()": SUM + "exit()\nprint(9)",
    "quit()": SUM + "quit()",
    "sys.exit(0)": SUM + "import sys\nsys.exit(0)",
    "os._exit": SUM + "import os, sys\nsys.stdout.flush()\nos._exit(0)",
    "atexit": f"import atexit\natexit.register(exec, {SUM!r})",
    "a thread": f"import threading\nthreading.Thread(target=exec, args=({SUM!r},)).start()",
    "a daemon thread": SUM + "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
    "an unclosed file": "import sys\nn = input()\nout = open(1, 'w')\n"
    "out.write(str(sum(map(int, input().split()))))",
    "a child that stays": SUM + "import os, sys, time\nsys.stdout.flush()\n"
    "if os.fork() == 0:\n    time.sleep(99)",
    "a main function": "def main():\n    n = input()\n    print(sum(map(int, input().split())))\n"
    "if __name__ == '__main__':\n    main()",
}
USES = {
    "processes": "from multiprocessing import Pool\nif __name__ == '__main__':\n"
    "    with Pool(2) as pool: assert pool.map(abs, [-1]) == [1]\n",
    "an interpreter": "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-c', 'import json'], check=True)\n",
    "an event loop": "import asyncio\nasyncio.run(asyncio.sleep(0))\n",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**6)\n"
    "def f(n): return n and f(n - 1)\nf(50000)\n",
    "large numbers": "len(str(3**20000))\n",
    "temporary files": "import tempfile\ntempfile.TemporaryFile().write(b'x')\n",
    "classes that pickle": "import pickle\nclass A: pass\npickle.loads(pickle.dumps(A()))\n",
    "errors": "import sys\nsys.stderr.write('debug' * 10000)\n",
}


@pytest.mark.parametrize("group", [READS_INPUT, ENDS, {k: u + SUM for k, u in USES.items()}])
def test_unusual_right_programs_pass(judged: CodeJudge, group: dict[str, str]) -> None:
    failed = {
        name: judgement.detail
        for name, program in group.items()
        if (judgement := judged(program, SUM_TESTS, is_program=True)).outcome != 1.0
    }
    assert failed == {}


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        (SUM, Verdict.correct),
        ("print(6)", Verdict.wrong),
        ("print(6", Verdict.unparsable),
        ("print(6)\0", Verdict.unparsable),
        ("(" * 100000, Verdict.unparsable),
        ("", Verdict.no_answer),
        ("while True: pass", Verdict.timeout),
        ("import time\ntime.sleep(99)", Verdict.timeout),
        ("x = bytearray(1 << 33)", Verdict.memory),
        ("x = [0]\nwhile True: x += x", Verdict.memory),
        (SUM + "1 / 0", Verdict.crashed),
        (SUM + "import sys\nsys.exit(1)", Verdict.crashed),
        ("import ctypes\nctypes.string_at(0)", Verdict.crashed),
        ("import socket\nsocket.create_connection(('1.1.1.1', 80))", Verdict.forbidden),
        ("import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)", Verdict.forbidden),
        ("while True: print(6)", Verdict.wrong),
    ],
)
def test_every_verdict_is_told_apart(judged: CodeJudge, program: str, verdict: Verdict) -> None:
    judgement = judged(program, SUM_TESTS, is_program=True)
    assert judgement.verdict is verdict, judgement.detail
    assert judgement.seconds < 20  # six are allowed in all


def test_responses_are_judged_by_their_last_block(judged: CodeJudge) -> None:
    response = f"Wrong:\n```python\nprint(1)\n```\nRight:\n```python\n{SUM}```\nDone."
    judgement = judged(response, json.dumps(SUM_TESTS))
    assert (judgement.verdict, judgement.extracted) == (Verdict.correct, SUM)
    assert judged("I give up.", SUM_TESTS).verdict is Verdict.no_answer
    assert judged("I give up.", SUM_TESTS).outcome == 0.0


@pytest.mark.parametrize("tests", [{"inputs": [], "outputs": []}, {"test_list": []}, {}, "?"])
def test_without_usable_tests_there_is_no_verdict(judged: CodeJudge, tests: object) -> None:
    judgement = judged(SUM, tests, is_program=True)
    assert (judgement.verdict, judgement.outcome) == (Verdict.no_verdict, None)


def test_one_failure_among_many_tests_decides(judged: CodeJudge) -> None:
    tests = {"inputs": [f"1\n{i}\n" for i in range(20)], "outputs": [f"{i}\n" for i in range(20)]}
    lucky = "n = input()\nx = input()\nprint(x if x != '17' else 0)"
    assert judged(SUM, tests, is_program=True).outcome == 1.0
    judgement = judged(lucky, tests, is_program=True)
    assert judgement.verdict is Verdict.wrong
    assert judgement.detail.startswith("test 17:")


WRITES_ANSWER = "import os\ndef total(xs):\n    os.write(3, %s)\n    os._exit(0)"


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("def total(xs): return sum(xs)", Verdict.correct),
        ("class Solution:\n    def total(self, xs: List[int]): return sum(xs)", Verdict.correct),
        ("total = lambda xs: reduce(operator.add, xs, 0)", Verdict.correct),
        ("def total(xs): return pow(sum(xs), 1, 10**9)", Verdict.wrong),
        ("import numpy as np\ndef total(xs): return np.array(xs).sum()", Verdict.correct),
        ("def total(xs): return float(sum(xs))", Verdict.wrong),
        ("def total(xs): return str(sum(xs))", Verdict.wrong),
        ("def other(xs): return sum(xs)", Verdict.crashed),
        ("def total(xs): print(sum(xs))", Verdict.wrong),
        ("def total(xs): raise SystemExit", Verdict.wrong),
        ("def total(xs): return (x for x in [sum(xs)])", Verdict.wrong),
        (WRITES_ANSWER % "b'{\"value\": 6}\\n'", Verdict.wrong),
        (WRITES_ANSWER % "b'[' * 99999 + b'\\n'", Verdict.wrong),
        ("def total(xs): return 10**5000", Verdict.wrong),
        ("import sys\nsys.setrecursionlimit(9**9)\ndef total(xs):\n"
         "    x = []\n    for _ in range(9**5): x = [x]\n    return x", Verdict.wrong),
    ],
)  # fmt: skip
def test_calls_return_plain_values_of_the_right_type(
    judged: CodeJudge, program: str, verdict: Verdict
) -> None:
    if "numpy" in program:
        pytest.importorskip("numpy")
    judgement = judged(program, CALL_TESTS, is_program=True)
    assert judgement.verdict is verdict, judgement.detail


EQUAL_TO_ALL = (
    "class A(int):\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n"
    "    def __abs__(self): return A(0)\n    def __sub__(self, o): return A(0)\n"
)


@pytest.mark.parametrize(
    ("completion", "passes"),
    [
        ("    return sum(xs)\n", True),
        ("\n    s = 0\n    for x in xs: s += x\n    return s\n\nprint(total([1]))\n", True),
        (PROMPT + "    return sum(xs)\n", True),
        ("    return 6\n", False),
        ("    return A(0)\n" + EQUAL_TO_ALL, False),
        ("    raise AssertionError\n", False),
        ("    exit(0)\n", False),
        ("    import os; os._exit(0)\n", False),
        ("    import sys\n    return sys._getframe(1).f_code.co_consts[-1]\n", False),
        ("    import os\n    os.write(4, b'{\"value\": 6}\\n{\"value\": -7}\\n')\n", True),
        ("    return 0\n\ndef check(candidate): pass\n", False),
        ("    class B:\n        __eq__ = lambda *a: True\n    return B()\n", False),
        ("    yield 6\n", False),
        ("    while True: pass\n", False),
        ("    import gc\n    for o in gc.get_objects():\n"
         "        if type(o) is str and 'assert cand' in o: return sum(xs)\n", False),
    ],
)  # fmt: skip
def test_assertions_cannot_be_talked_into_passing(
    judged: CodeJudge, completion: str, passes: bool
) -> None:
    """A program that answers ahead, right, on the pipe only knows what its author knew."""
    judgement = judged(completion, CHECK_TESTS, is_program=True, prompt=PROMPT)
    assert judgement.outcome == float(passes), judgement.detail


@pytest.mark.parametrize(
    ("program", "passes"),
    [
        ("def shared(a, b): return tuple(set(a) & set(b))", True),
        ("def shared(a, b): return (x for x in a if x in b)", True),
        ("def shared(a, b): return a", False),
        ("def set(x): return 0\ndef shared(a, b): return 0", False),
        ("import builtins\nbuiltins.set = lambda x: 0\ndef shared(a, b): return 0", False),
        ("def shared(a, b): raise NameError('x')", False),
    ],
)
def test_what_tests_do_with_results_is_done_out_of_reach(
    judged: CodeJudge, program: str, passes: bool
) -> None:
    judgement = judged(program, MBPP_TESTS, is_program=True)
    assert judgement.outcome == float(passes), judgement.detail


def test_faults_of_the_tests_are_no_verdict(judged: CodeJudge) -> None:
    faulty = "assert total([1] ==", "assert 1 == 1", "import nowhere\nassert total([1])"
    for test in faulty:
        judgement = judged("def total(xs): return 1", {"test_list": [test]}, is_program=True)
        assert judgement.verdict is Verdict.no_verdict, judgement.detail


def test_expected_errors_of_the_program_reach_the_tests(judged: CodeJudge) -> None:
    raises = (
        "try:\n    total(None)\n    assert False\n"
        "except ValueError as error:\n    assert 'no list' in str(error)"
    )
    tests = {"test_list": [raises, "assert total([1]) == 1"]}
    checked = "def total(xs):\n    if xs is None: raise ValueError('no list')\n    return sum(xs)"
    assert judged(checked, tests, is_program=True).outcome == 1.0
    assert judged("def total(xs): return sum(xs)", tests, is_program=True).outcome == 0.0


def test_a_reference_solution_decides_on_many_inputs(judged: CodeJudge) -> None:
    tests = {
        "entry_point": "half", "canonical_solution": "def half(x): return [x / 2]\n",
        "base_input": [[1]], "plus_input": [[i] for i in range(200)], "atol": 1e-6,
    }  # fmt: skip
    assert judged("def half(x): return [x * 0.5 + 1e-9]", tests, is_program=True).outcome == 1.0
    assert (
        judged("def half(x): return [x / 2 if x != 77 else 0]", tests, is_program=True).outcome == 0
    )
    broken = {**tests, "canonical_solution": "def half(x): return 1 / 0\n"}
    judgement = judged("def half(x): return [x / 2]", broken, is_program=True)
    assert judgement.verdict is Verdict.no_verdict


def test_all_tests_together_have_a_limit() -> None:
    slow = "import time\ntime.sleep(0.2)\n" + SUM
    tests = {"inputs": ["1\n1\n"] * 50, "outputs": ["1\n"] * 50}
    with CodeJudge(limits=Limits(seconds=1, total_seconds=1.5)) as one:
        judgement = one(slow, tests, is_program=True)
    assert judgement.verdict is Verdict.timeout
    assert judgement.seconds < 8  # 50 tests of 0.2 s and a process each would take longer


def test_programs_are_deterministic(judged: CodeJudge) -> None:
    program = "import random\nprint(hash('text'), random.random(), list({'a', 'b', 'c'}))"
    tests = {"inputs": [""], "outputs": ["-"]}
    details = {judged(program, tests, is_program=True).detail for _ in range(3)}
    assert len(details) == 1


def test_the_function_judge_keeps_its_sandboxes_warm() -> None:
    assert judge(SUM, SUM_TESTS, is_program=True).outcome == 1.0
    started = [worker.process.pid for one in warm_judges.values() for worker in one.workers]
    assert judge(SUM, SUM_TESTS, is_program=True).outcome == 1.0
    assert started
    assert started == [worker.process.pid for one in warm_judges.values() for worker in one.workers]


@pytest.mark.parametrize("field", ["seconds", "memory_mb", "max_processes"])
def test_limits_are_positive(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: 0})
