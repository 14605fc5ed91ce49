"""A user's own reward function: rewards, verdicts, and whatever can be wrong with one."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from prime_core.settings.verification import Verification
from prime_core.tools.judge import judge_text
from prime_core.verifiers import function
from prime_core.verifiers.function.worker import reward
from prime_core.verifiers.pool import Row, judge_rows
from prime_core.verifiers.resumable import fingerprint
from prime_core.verifiers.verdict import Judgement, Verdict

# What a response says is what the function does with it.
OBEDIENT = """
import mmap, os, subprocess, sys, time
from helper import EXPECTED

calls = 0

def score(response, ground_truth, row):
    global calls
    calls += 1
    print("printed, and read from", repr(sys.stdin.read()))
    if response == "calls":
        return {calls} and float(calls > 1)
    if response == "row":
        return row["ground_truth"] == ground_truth == EXPECTED and [*row] == [
            "prompt_id", "ability", "ground_truth", "data_source", "prompt"]
    if response == "hang":
        time.sleep(10_000)
    if response == "loop in C":
        9 ** 9 ** 9 ** 9
    if response == "memory":
        return len(bytearray(1 << 40)) * 0.0
    if response == "shared memory":
        shared = mmap.mmap(-1, 400 << 20)
        for at in range(0, len(shared), 4096):
            shared[at] = 1
        time.sleep(10_000)
    if response == "children":
        held = "x = bytearray(150 << 20); x[::4096] = b'1' * len(x[::4096]); "
        sleeper = [sys.executable, "-c", held + "import time; time.sleep(10_000)"]
        [subprocess.Popen(sleeper) for _ in range(3)][0].wait()
    if response == "exit":
        sys.exit(3)
    if response == "die":
        os._exit(3)
    if response == "raise":
        raise KeyError("no\\nsuch key")
    return eval(response)
"""


@pytest.fixture
def rules(tmp_path: Path) -> Verification:
    (tmp_path / "mine.py").write_text(OBEDIENT)
    (tmp_path / "helper.py").write_text("EXPECTED = 'gold'")
    where = f"{tmp_path}/mine.py:score"
    return Verification(function=where, timeout_seconds=60, memory_mb=300)


def row_of(response: str) -> Row:
    problem = {"prompt_id": "p", "ability": "math", "ground_truth": "gold", "data_source": "mine"}
    return Row("function", response, function.problem_text(problem | {"prompt": []}))


def judged(rules: Verification, *responses: str) -> list[Judgement]:
    rows = [row_of(response) for response in responses]
    return [one for _, one in sorted(judge_rows(rows, rules, num_workers=1))]


def test_numbers_and_verdicts_are_outcomes_and_rows_share_one_process(rules):
    said = ["0.25", "1", "True", "0", "False", "'correct'", "'timeout'", "row", "calls"]
    found = judged(rules, *said)
    assert [one.outcome for one in found] == [0.25, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    assert [one.verdict for one in found[:2]] == [Verdict.wrong, Verdict.correct]
    assert found[6].verdict is Verdict.timeout


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), np.float64(0.5)])
def test_what_numpy_calls_a_number_is_one(value):
    assert reward(value) == {"value": 0.5}
    assert reward(np.bool_(True)) == {"value": 1.0}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("raise", r"raised KeyError: 'no\\nsuch key' \(mine.py, line 36\)"),
        ("exit", "raised SystemExit: 3"),
        ("die", "its process ended with exit code 3"),
        ("memory", "needs more than verification.memory_mb"),
        ("shared memory", "uses more than verification.memory_mb"),
        ("children", "uses more than verification.memory_mb"),
        ("None", "returned None; expected a number from 0 to 1"),
        ("'no_verdict'", "returned 'no_verdict'"),
        ("'perfect'", "returned 'perfect'"),
        ("1.5", r"returned 1\.5"),
        ("-0.1", r"returned -0\.1"),
        ("float('nan')", "returned nan"),
        ("{'score': 1}", "returned {'score': 1}"),
        ("(lambda: 1)", "returned <function"),
    ],
)
def test_what_is_no_reward_is_no_verdict_and_the_next_response_has_one(rules, response, reason):
    bad, good = judged(rules, response, "0.5")
    assert (bad.verdict, bad.outcome) == (Verdict.no_verdict, None)
    assert re.search(reason, bad.detail), bad.detail
    assert good.outcome == 0.5


@pytest.mark.parametrize("response", ["hang", "loop in C"])
def test_a_function_that_does_not_return_is_ended_with_its_process(rules, response):
    late = rules.model_copy(update={"timeout_seconds": 0.5})
    (bad,) = judged(late, response)
    assert bad.verdict is Verdict.no_verdict
    assert "has not returned after 0.5 s" in bad.detail
    running = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    assert not [command for command in running if late.function in command]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nothing_of_that_name", "cannot be loaded: ModuleNotFoundError"),
        ("def score(", "cannot be loaded: SyntaxError"),
        ("other = 1", "cannot be loaded: AttributeError"),
        ("score = 1", "score is not a function"),
        ("def score(response): return 1", r"raised TypeError: score\(\) takes 1"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, text, reason):
    (tmp_path / "mine.py").write_text(text)
    found = judged(Verification(function=f"{tmp_path}/mine.py:score"), "a", "b")
    assert all(one.outcome is None for one in found)
    assert re.search(reason, found[1].detail), found[1].detail


def test_saved_judgements_are_of_the_file_as_it_was(rules):
    before = fingerprint([row_of("1")], rules)
    assert fingerprint([row_of("1")], rules) == before
    path = function.function_file(str(rules.function))
    path.write_text(path.read_text() + "\n# edited\n")
    assert fingerprint([row_of("1")], rules) != before


def test_one_response_is_judged_by_hand(rules, capsys):
    assert judge_text("0.75", "gold", function=rules.function).outcome == 0.75
    assert "mine.py:score returned 0.75" in capsys.readouterr().out
    function.stop()


def test_the_process_imports_nothing_of_the_workflows():
    program = "import sys, prime_core.verifiers.function.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not {"torch", "pandas", "pydantic"} & {*done.stdout.split()}
