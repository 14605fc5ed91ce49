"""Environments that do what none should: a fault with its reason, nothing left behind."""

import json
import time
from pathlib import Path

import psutil
import pytest

from prime_core.environments.process import (
    EnvironmentFault,
    EnvironmentProcess,
    Task,
    digest,
)
from prime_core.settings.verification import Verification
from prime_core.verifiers.pool import Row, judge_rows
from prime_core.verifiers.verdict import Verdict

HERE = Path(__file__).parents[1] / "support" / "hostile_environment.py"
TASK = Task(f"{HERE}:Hostile", {}, 7, 0.5, digest("seed 7"))
# What is done -> what is said of it; None: nothing is wrong.
DEEDS = {
    "hang": "has not answered after",
    "loop in C": "has not answered after",
    "stop itself": "has not answered after",
    "leave an orphan": "has not answered after",
    "die": "its process ended with exit code 3",
    "crash": "its process was ended by signal SIGSEGV",
    "exit": r"raised SystemExit: 3 \(hostile_environment.py, line \d+\)",
    "raises": r"raised KeyError: 'no\\nsuch key' \(hostile_environment.py, line \d+\)",
    "memory": "needs more memory than it may have|raised MemoryError",
    "shared memory": "uses more than verification.memory_mb",
    "children": "uses more than verification.memory_mb",
    "fork bomb": "has started more than 32 processes",
    "fork and return twice": None,
    "print and read": None,
    "close all files": "its process ended with exit code",
    "a number for an observation": "its observation is 7; expected a text",
    "a reward that is none": "step returned the reward nan; expected a finite number",
    "four values": "expected .observation, reward, terminated, truncated, info.",
    "a huge observation": "its observation has 2000000 characters, more than 1000000",
}
WAITS = ("hang", "loop in C", "stop itself", "leave an orphan")


def marked(mark: str) -> list[psutil.Process]:
    """Processes that an environment's process has started, and itself."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PRIME_ENVIRONMENT") == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("deed", DEEDS)
def test_a_hostile_environment_is_a_fault_with_its_reason_and_nothing_is_left(deed):
    with EnvironmentProcess(2 if deed in WAITS else 60, 700) as process:
        process.first(TASK)
        message = DEEDS[deed]
        if message is None:
            assert process.replay(TASK, [deed])[0].observation == "fine"
        else:
            with pytest.raises(EnvironmentFault, match=message):
                process.replay(TASK, [deed])
        # The next one is asked as if nothing had been.
        assert process.replay(TASK, ["nothing"])[0].observation == "fine"
    deadline = time.monotonic() + 30
    while marked(process.mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(process.mark) == []


def test_verification_has_no_verdict_on_it_and_judges_the_others():
    def row(*actions: str, seen: list[str]) -> Row:
        states = [digest(one) for one in seen]
        return Row("env", json.dumps({"actions": actions, "states": states}), TASK.text())

    rows = [
        row("nothing", seen=["seed 7"]),
        row("raises", seen=["seed 7"]),
        row("another observation", "nothing", seen=["seed 7", "what it was"]),
        row("nothing", "too late", seen=["seed 7", "fine"]),
    ]
    rules = Verification(timeout_seconds=60, memory_mb=700)
    said = [one for _, one in sorted(judge_rows(rows, rules, num_workers=1), key=lambda x: x[0])]
    assert [one.verdict for one in said] == [Verdict.correct, *[Verdict.no_verdict] * 3]
    assert said[0].turns is not None
    assert said[0].turns.rewards == (1.0,)
    for one, words in zip(said[1:], ("KeyError", "before action 2", "after 1 of 2"), strict=True):
        assert words in one.detail
        assert one.turns is None
