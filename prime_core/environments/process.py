"""Environments in a process of their own, bounded in time, memory and number of processes.

In: a Task (an environment and a seed) and actions. Out: observations and rewards, or
EnvironmentFault with the reason. After a fault the process and all that it has started are ended;
the next request starts another one.

docs/decisions.md#replay
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Self

import psutil

from prime_core.runtime.helper_process import HelperDied, HelperProcess, memory_of, tree_of

START_SECONDS = 60.0  # beyond a request's own limit, for what a process imports
MAX_PROCESSES = 32  # of an environment: a JVM is one, a bomb of forks is many
_WORKER = "prime_core.environments.worker"
_MARK = "PRIME_ENVIRONMENT"
_LOOK_SECONDS = 1.0  # between looks at a process that answers quickly
_SWEEP_SECONDS = 5.0
# One death may be an accident of the machine; the second is the environment's.
_TRIES = 2


class EnvironmentFault(RuntimeError):
    """An environment gave no answer; the message says why."""


class UnknownEnvironment(EnvironmentFault):
    """There is no such environment here, or its package is not installed."""


@dataclass(frozen=True)
class Task:
    """What a problem of the ability `env` is: the environment, its seed, and when it is solved.

    state: digest of the first observation; source: of the file of a user's own environment. Both
    are "" until the environment has been asked.
    """

    id: str
    kwargs: dict[str, Any]
    seed: int
    success_threshold: float
    state: str = ""
    source: str = ""

    def text(self) -> str:
        """As ground_truth holds it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of(cls, ground_truth: str) -> Self:
        """Read back what `text` wrote."""
        return cls(**json.loads(ground_truth))


@dataclass(frozen=True)
class Step:
    """What an environment said to an action."""

    observation: str
    reward: float
    ended: bool
    valid: bool


def digest(observation: str) -> str:
    """By which two observations are compared."""
    return hashlib.sha256(observation.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class EnvironmentProcess:
    """The process, started when it is first asked."""

    def __init__(self, seconds: float, memory_mb: int) -> None:
        """seconds: that a request may take. memory_mb: of the process and all that it starts."""
        self.seconds, self.memory_mb = seconds, memory_mb
        self.mark = uuid.uuid4().hex
        self._helper: HelperProcess | None = None
        self._number, self._looked = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def first(self, task: Task) -> tuple[str, str]:
        """The first observation, and the digest of the environment's source."""
        answer = self._ask(_request(task, [], 0))
        return answer["first"], answer["source"]

    def step(self, task: Task, key: str, actions: list[str]) -> Step:
        """What the last of an episode's actions led to. key: of the episode."""
        answer = self._ask(_request(task, actions, len(actions) - 1, key))
        _refuse_other(task, answer)
        if not answer["steps"]:
            raise EnvironmentFault(
                f"{task.id} is not reproducible: played again, it ended before the last action"
            )
        return Step(*answer["steps"][-1])

    def replay(self, task: Task, actions: list[str]) -> list[Step]:
        """All steps of an episode, played from its seed.

        Raises EnvironmentFault also where it ends before its last action, or begins otherwise.
        """
        answer = self._ask(_request(task, actions, 0))
        _refuse_other(task, answer)
        steps = [Step(*step) for step in answer["steps"]]
        if len(steps) != len(actions):
            raise EnvironmentFault(
                f"{task.id} is not reproducible: it ended after {len(steps)} of {len(actions)} "
                "actions"
            )
        return steps

    def demonstrate(
        self, task: Task, demonstrator: str, draws: int, max_turns: int
    ) -> list[tuple[str, str]]:
        """Observation and action of each turn that a scripted policy plays; draws: its seed."""
        more = {"demonstrator": demonstrator, "draws": draws, "max_turns": max_turns}
        return [(one[0], one[1]) for one in self._ask(_request(task, [], 0) | more)["turns"]]

    def close(self) -> None:
        """End the process and all that it has started; only by the process that started it."""
        helper, self._helper = self._helper, None
        if helper is not None and helper.owner == os.getpid():
            helper.kill()
            _sweep(self.mark)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises EnvironmentFault."""
        for attempt in range(1, _TRIES + 1):
            try:
                answer = self._answer(request)
                break
            except HelperDied as error:
                self.close()
                if attempt == _TRIES:
                    raise EnvironmentFault(f"{request['id']}: its process {error}") from None
            except BaseException:
                # Also when the stage is interrupted: a late answer would be read as the next one.
                self.close()
                raise
        if "fault" not in answer:
            return answer
        if answer["kind"] == "unknown":
            raise UnknownEnvironment(answer["fault"])
        if answer["kind"] == "memory":
            self.close()
        raise EnvironmentFault(f"{request['id']} {answer['fault']}")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        seconds, name = self.seconds, request["id"]
        if self._helper is None or self._helper.owner != os.getpid():
            variables = {_MARK: self.mark}
            self._helper = HelperProcess(_WORKER, [str(self.memory_mb)], variables=variables)
            seconds += START_SECONDS
        self._number += 1
        deadline = time.monotonic() + seconds
        self._helper.send(json.dumps(request | {"number": self._number}), seconds)
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            text = self._helper.line(left, lambda: self._look(name))
            if text is None:
                raise EnvironmentFault(f"{name} has not answered after {self.seconds:g} s")
            # Others may have written as well: forks that the environment made.
            for line in text.splitlines():
                answer = _parsed(line)
                if answer.get("number") == self._number:
                    if time.monotonic() - self._looked > _LOOK_SECONDS:
                        self._look(name)
                    return answer

    def _look(self, name: str) -> None:
        """Raise EnvironmentFault where it has started too much or holds too much memory.

        The process's own limit counts neither its children nor shared memory.
        """
        assert self._helper is not None
        self._looked = time.monotonic()
        tree = tree_of(self._helper.process.pid)
        if len(tree) > MAX_PROCESSES:
            raise EnvironmentFault(f"{name} has started more than {MAX_PROCESSES} processes")
        if memory_of(tree) > self.memory_mb << 20:
            raise EnvironmentFault(
                f"{name} uses more than verification.memory_mb ({self.memory_mb})"
            )


def _request(task: Task, actions: list[str], since: int, key: str = "") -> dict[str, Any]:
    asked = {"id": task.id, "kwargs": task.kwargs, "seed": task.seed}
    return asked | {"key": key, "actions": actions, "since": since}


def _parsed(line: str) -> dict[str, Any]:
    """An answer; nothing where the line is none."""
    with contextlib.suppress(ValueError):
        answer = json.loads(line)
        if isinstance(answer, dict):
            return answer
    return {}


def _refuse_other(task: Task, answer: dict[str, Any]) -> None:
    if task.source and answer["source"] != task.source:
        raise EnvironmentFault(f"{task.id}: its file has changed since the problems were made")
    if task.state and digest(answer["first"]) != task.state:
        raise EnvironmentFault(
            f"{task.id} is not reproducible: from seed {task.seed} its first observation is "
            "another one"
        )


def _sweep(mark: str) -> None:
    """End all processes with this mark in their environment, whatever session they are in."""
    deadline = time.monotonic() + _SWEEP_SECONDS
    while time.monotonic() < deadline:
        found = [one for one in psutil.process_iter() if _has(one, mark)]
        if not found:
            return
        # Stopped first: of a bomb of forks each would else be another one by the time it is killed.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for one in found:
                with contextlib.suppress(psutil.Error):
                    one.send_signal(number)
        psutil.wait_procs(found, timeout=0.2)


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(_MARK) == mark and process.pid != os.getpid()
    except psutil.Error:
        return False
