"""A program for the resident process that says what it is given, and ends as it is told.

`python -m tests.support.resident_program LISTENER PATH CONSOLE` serves it.
"""

import os
import signal
import sys
import time
from pathlib import Path

from prime_core.resident import server
from prime_core.resident.client import hand_over
from prime_core.resident.leaving import exit_status, leave
from prime_core.runtime import kept


def program() -> None:
    """argv: any stage's name, then what to do."""
    todo, *rest = sys.argv[2:]
    if todo == "say":
        print(sys.argv[2:], os.environ.get("WORD"), Path.cwd(), oct(os.umask(0o22)))
        print(sys.stdin.readline().strip(), file=sys.stderr)
    elif todo == "exit":
        sys.exit(int(rest[0]) if rest[0].isdigit() else rest[0])
    elif todo == "fail":
        raise RuntimeError("a fault")
    elif todo == "wait":
        _wait(rest)
    elif todo == "keep":
        _keep(rest)
    elif todo == "ignored":
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)


class _Engine:
    def rest(self) -> None:
        print("at rest", file=sys.stderr)

    def end(self) -> None:
        print("ended", file=sys.stderr)


def _keep(how: list[str]) -> None:
    """Say which process this is, and whether the stage before has left its engine to it."""
    engine = kept.take()
    if engine is not None and "unfit" in how:
        raise kept.Unfit("of another kind")
    print(os.getpid(), "again" if engine else "new", flush=True)
    if "stop" in how:
        sys.exit(75)
    if "fail" in how and kept.keeps():
        raise RuntimeError("a fault")
    if "long" in how and kept.keeps():
        time.sleep(60)
    if "copy" in how:
        os.dup(2)
    kept.keep(_Engine())


def _wait(how: list[str]) -> None:
    if "handled" in how:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    print(os.getpid(), flush=True)
    time.sleep(60 if "long" in how else 1)


def main() -> None:
    """As `prime`: ask, else run here."""
    hand_over()
    print("cold", flush=True)
    leave(exit_status(program))


if __name__ == "__main__":
    if sys.argv[1] == "client":
        del sys.argv[1]
        main()
    else:
        server.run(
            int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), program, prepare=lambda: None
        )
