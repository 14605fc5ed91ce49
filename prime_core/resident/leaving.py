"""The end of a process without the interpreter's tear-down.

docs/decisions.md#no-teardown
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NoReturn


def exit_status(main: Callable[[], object]) -> int:
    """Run `main` as the interpreter would run a program: its exit status, errors on stderr."""
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def finish() -> None:
    """Wait for threads, call exit functions, flush: what the interpreter does before tear-down."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads any more
            stream.flush()


def leave(status: int) -> NoReturn:
    """End this process once all is written."""
    finish()
    os._exit(status & 0xFF)
