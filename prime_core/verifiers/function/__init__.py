"""A user's own reward function: `verification.function: my_rewards.py:score`.

In: a response, and the problem's row as JSON text (prompt_id, prompt, ability, ground_truth,
data_source). Out: a Judgement. The function runs in a process of its own, which stays for the next
responses; what it raises, a hang, too much memory and a value that is no reward are no verdict.
It is the user's own code: it is bounded, not sandboxed.
"""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prime_core.runtime.helper_process import HelperDied, HelperProcess, memory_of, tree_of
from prime_core.verifiers.verdict import Judgement, Verdict

if TYPE_CHECKING:  # the function's process imports this file: it shall not wait for pydantic
    from prime_core.settings.verification import Verification

# Beyond timeout_seconds, for what the file imports.
START_SECONDS = 60.0
_WORKER = "prime_core.verifiers.function.worker"
# One death may be an accident of the machine; the second is the response's.
_TRIES = 2


class FunctionError(RuntimeError):
    """The user's function gave no reward; the message says why."""


class _Unusable(FunctionError):
    """Its process cannot be asked again: it is late, over its limit, or has ended."""


class _Worker(HelperProcess):
    """The process in which one file's function is called."""

    def __init__(self, rules: Verification) -> None:
        assert rules.function is not None
        self.rules = rules
        super().__init__(_WORKER, [rules.function, str(rules.memory_mb)])
        try:
            self._answer(rules.timeout_seconds + START_SECONDS, "is not loaded")
        except BaseException:
            self.kill()
            raise

    def ask(self, response: str, row: dict[str, Any]) -> Any:
        """What the function returned. Raises FunctionError, HelperDied."""
        self.send(json.dumps([response, row["ground_truth"], row]))
        return self._answer(self.rules.timeout_seconds, "has not returned")

    def _answer(self, seconds: float, late: str) -> Any:
        line = self.line(seconds, self._refuse_memory)
        if line is None:
            raise _Unusable(f"{self.rules.function} {late} after {seconds:g} s")
        answer = json.loads(line)
        if "fault" in answer:
            kind = _Unusable if answer["ends"] else FunctionError
            raise kind(f"{self.rules.function} {answer['fault']}")
        return answer["value"]

    def _refuse_memory(self) -> None:
        """The process's own limit (worker.py) counts neither its children nor shared memory."""
        if memory_of(tree_of(self.process.pid)) > self.rules.memory_mb << 20:
            raise _Unusable(
                f"{self.rules.function} uses more than verification.memory_mb "
                f"({self.rules.memory_mb})"
            )


_current: _Worker | None = None
# A file that cannot be loaded is not loaded again for every response.
_unloadable: dict[str, str] = {}


def judge(response: str, problem: str, rules: Verification) -> Judgement:
    """Call the function on one response. Raises FunctionError where it gives no reward."""
    if rules.function is None:
        raise FunctionError("the row's ability is 'function', and verification.function is null")
    row = json.loads(problem)
    for attempt in range(1, _TRIES + 1):
        try:
            return _judgement(_worker(rules).ask(response, row), rules)
        except HelperDied as error:
            stop()
            if attempt == _TRIES:
                raise FunctionError(f"{rules.function}: its process {error}") from None
        except _Unusable:
            stop()  # its late answer would be read as that to the next question
            raise
    raise AssertionError("unreachable")


def _worker(rules: Verification) -> _Worker:
    global _current
    assert rules.function is not None
    if rules.function in _unloadable:
        raise FunctionError(_unloadable[rules.function])
    # A fork inherits its parent's pipe, and would read the parent's answers from it.
    if _current is None or _current.owner != os.getpid() or _current.rules != rules:
        stop()
        try:
            _current = _Worker(rules)
        except FunctionError as error:
            _unloadable[rules.function] = str(error)
            raise
    return _current


def _judgement(value: Any, rules: Verification) -> Judgement:
    """A reward from 0 to 1, or a verdict's name."""
    detail = f"{rules.function} returned {value!r}"
    if isinstance(value, str):
        return Judgement(Verdict(value), None, detail)
    if value == 1:
        return Judgement(Verdict.correct, None, detail)
    return Judgement(Verdict.wrong, None, detail, outcome=float(value))


def problem_text(problem: dict[str, Any]) -> str:
    """A row of PROMPTS as the judge above reads it."""
    prompt = [dict(message) for message in problem["prompt"]]
    names = ("prompt_id", "ability", "ground_truth", "data_source")
    return json.dumps({name: problem[name] for name in names} | {"prompt": prompt})


def function_file(function: str) -> Path:
    """The file of FILE.py:NAME, as the working directory sees it."""
    return Path(function.rpartition(":")[0])


def stop() -> None:
    """End the function's process, if there is one."""
    global _current
    if _current is not None:
        _current.kill()
    _current = None


atexit.register(stop)
