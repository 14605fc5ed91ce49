r"""math-verify in a process of its own, for answers that our parser does not read.

It is given one box, never a whole response (it reads several boxes as a set). The process starts
at the first question, stays for the next ones, and is killed when a question takes longer than
its limit: no signal interrupts C code in the middle of big-number arithmetic, a kill does.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import select
import subprocess
import sys
import time

from prime_core.verifiers.math.tokens import FUNCTIONS

_WORKER = "prime_core.verifiers.math.fallback_worker"
_START_SECONDS = 60.0  # importing sympy from a cold disk
MAX_CHARS = 600


_MATHEMATICS = re.compile(r"[A-Za-z0-9\s\\{}()\[\]|^_+\-*/=<>.,;:!&%$~']*")
_MACRO = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3,}")


def may_read(text: str) -> bool:
    """Whether a text is worth math-verify's time: LaTeX of a bounded length, no code, no prose."""
    if len(text) > MAX_CHARS or not _MATHEMATICS.fullmatch(text) or "__" in text:
        return False
    # One or two letters may be a product of names; three that are no function are prose or code.
    words = _WORD.findall(_MACRO.sub(" ", text))
    return all(word in FUNCTIONS for word in words)


class FallbackError(RuntimeError):
    """math-verify cannot be started, or died twice on one question."""


class _Worker:
    """One math-verify process, and the pipe to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # math-verify logs there; a pipe that nobody reads would fill up and block it.
            stderr=subprocess.DEVNULL,
            # poll() sees the pipe alone, not what a buffer of Python's would hold.
            bufsize=0,
            # sys.path: the child finds this package where this process did, installed or not.
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        if self._line(_START_SECONDS) != "ready":
            self.kill()
            raise FallbackError("math-verify does not start; is the package installed?")

    def ask(self, answer: str, gold: str, seconds: float) -> str | None:
        """'true', 'false' or 'unread'; None when the limit passed. Raises FallbackError."""
        assert self.process.stdin is not None
        try:
            # JSON escapes line breaks: one line is one question.
            self.process.stdin.write((json.dumps([answer, gold]) + "\n").encode())
        except BrokenPipeError:
            raise FallbackError("math-verify's process is gone") from None
        return self._line(seconds)

    def _line(self, seconds: float) -> str | None:
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        received = b""
        # Not select(), which refuses descriptors from 1024 on.
        events = select.poll()
        events.register(self.process.stdout, select.POLLIN)
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not events.poll(1000 * left):
                return None
            piece = os.read(self.process.stdout.fileno(), 4096)
            if not piece:
                raise FallbackError("math-verify's process died")
            received += piece
        return received.decode().strip()

    def kill(self) -> None:
        """End the process; only by the process that started it."""
        # A fork inherits the atexit entry below, and would end its parent's process.
        if self.owner == os.getpid():
            self.process.kill()
            # Reaped at once: else every timeout would leave a zombie.
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe:
                    pipe.close()


_current: _Worker | None = None


def math_verify(answer: str, gold: str, seconds: float) -> tuple[bool | None, str]:
    """(True | False, how); (None, why) when it reads neither, or ('timeout') past the limit.

    Raises FallbackError when math-verify itself fails, also on a second try.
    """
    global _current
    # A process that was killed since the last question (memory ran out) says nothing of this one.
    for attempt in (1, 2):
        # A fork inherits its parent's pipe, and would read the parent's answers from it.
        if _current is None or _current.owner != os.getpid():
            _current = _Worker()
        try:
            said = _current.ask(answer, gold, seconds)
        except FallbackError:
            stop()
            if attempt == 2:
                raise
            continue
        # Never kept: its late answer would be read as that to the next question.
        if said is None:
            stop()
            return None, "timeout"
        if said in ("true", "false"):
            return said == "true", "math-verify"
        return None, "math-verify cannot parse it"
    raise AssertionError("unreachable")


def stop() -> None:
    """End math-verify's process, if there is one."""
    global _current
    if _current is not None:
        _current.kill()
    _current = None


atexit.register(stop)
