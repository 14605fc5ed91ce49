r"""math-verify in a process of its own, for answers that our parser does not read.

It is given one box, never a whole response (it reads several boxes as a set). The process starts
at the first question, stays for the next ones, and is killed when a question takes longer than
its limit.
"""

from __future__ import annotations

import atexit
import json
import os
import re

from prime_core.runtime.helper_process import HelperDied, HelperProcess
from prime_core.verifiers.math.tokens import FUNCTIONS

_WORKER = "prime_core.verifiers.math.fallback_worker"
_START_SECONDS = 60.0  # importing sympy from a cold disk
MAX_CHARS = 600


_MATHEMATICS = re.compile(r"[A-Za-z0-9\s\\{}()\[\]|^_+\-*/=<>.,;:!&%$~']*")
_MACRO = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3,}")
_QUANTITY = re.compile(
    r"\d[}\s]*\\(?:text|mathrm|textrm|textbf|mbox|rm)(?![A-Za-z])\s*\{?\s*[A-Za-z]"
)
# Two numbers with nothing between them that makes one value of both, or a letter alone.
_BESIDE = re.compile(
    r"(?<![\w^_.{\\])\d[\d.]*"
    r"(?:\s|\\[,;:! $]|\\(?:q?quad|[lc]?dots)(?![A-Za-z])|~|'|\^\s*\{?\\circ\}?)+[A-Za-z]?\s*\d"
)

_SETS_BESIDE = re.compile(r"\\\}\s*\\\{")


def may_read(text: str) -> bool:
    """Whether a text is worth math-verify's time: LaTeX of a bounded length, no code, no prose."""
    if len(text) > MAX_CHARS or not _MATHEMATICS.fullmatch(text) or "__" in text:
        return False
    # Of 20 ft x 35 ft it would read one number; of 5 6 it would make the sum.
    if len(_QUANTITY.findall(text)) > 1 or _BESIDE.search(text) or _SETS_BESIDE.search(text):
        return False
    # One or two letters may be a product of names; three that are no function are prose or code.
    words = _WORD.findall(_MACRO.sub(" ", text))
    return all(word in FUNCTIONS for word in words)


class FallbackError(RuntimeError):
    """math-verify cannot be started, or died twice on one question."""


class _Worker(HelperProcess):
    """One math-verify process, and the pipe to it."""

    def __init__(self) -> None:
        # quiet: math-verify logs there.
        super().__init__(_WORKER, quiet=True)
        if self._line(_START_SECONDS) != "ready":
            self.kill()
            raise FallbackError("math-verify does not start; is the package installed?")

    def ask(self, answer: str, gold: str, seconds: float) -> str | None:
        """'true', 'false' or 'unread'; None when the limit passed. Raises FallbackError."""
        try:
            self.send(json.dumps([answer, gold]))
        except HelperDied:
            raise FallbackError("math-verify's process is gone") from None
        return self._line(seconds)

    def _line(self, seconds: float) -> str | None:
        try:
            return self.line(seconds)
        except HelperDied:
            raise FallbackError("math-verify's process died") from None


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
