"""What a fork does behind its walls: run the program, in one of five manners.

    program   as a script: standard input to standard output
    call      one call of one of its functions; the result goes to the host
    serve     calls that the tests in another sandbox ask for, until they ask no more
    tests     trusted assertions, whose calls of the program go through pipes to a `serve`
    check     a trusted checker of one output

Of what the tests expect, only `tests` and `check` ever hear.
"""

import atexit
import builtins
import gc
import io
import json
import os
import random
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from . import asserting, checks, codec, entries, nodes

ANSWER_FD = 3  # call, tests: one message for the host
REQUESTS_FD, REPLIES_FD = 3, 4  # serve
FILE_NAME = "/tmp/solution.py"
UNFLUSHED_EXIT_CODE = 120  # as CPython's own
UNPARSABLE = b"u"
COMPILED = b"c"

PRELUDE = """
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
import bisect, cmath, collections, copy, datetime, decimal, fractions, functools, heapq
import itertools, json, math, operator, queue, random, re, statistics, string, sys, threading, time
"""
"""What sites like LeetCode import before a solution; the server has it loaded for everyone."""


def import_prelude() -> dict[str, Any]:
    """The names of the prelude but those of built-in functions (math.pow is not pow)."""
    names: dict[str, Any] = {}
    exec(PRELUDE, names)
    names |= nodes.CLASSES
    return {k: v for k, v in names.items() if not k.startswith("__") and not hasattr(builtins, k)}


PRELUDE_NAMES = import_prelude()


def run_task(report: int) -> None:
    """Read the task, compile the program, say so, run it."""
    # The host hands the task over last, and the server adds its report.
    with os.fdopen(report - 1, "rb") as file:
        task = json.loads(file.read())
    try:
        code = compile(task["source"], FILE_NAME, "exec", dont_inherit=True)
    # MemoryError: CPython's parser raises it for source that is nested too deep.
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        os.write(report, UNPARSABLE + f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(1)
    os.write(report, COMPILED)
    # What the program could write there would be taken for ours.
    os.close(report)
    fresh_streams()
    random.seed(0)  # a program that draws gets the same verdict each time
    KINDS[task["kind"]](code, task)


def fresh_streams() -> None:
    """Standard streams as a new interpreter has them: ours were opened on other files."""
    sys.stdin = sys.__stdin__ = stream(0, "<stdin>")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = stream(1, "<stdout>")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = stream(2, "<stderr>")  # type: ignore[misc]


def stream(number: int, name: str) -> io.TextIOWrapper:
    """One standard stream; standard error is written line by line."""
    file = open(  # noqa: SIM115
        number,
        "w" if number else "r",
        buffering=1 if number == 2 else -1,
        encoding="utf-8",
        errors="backslashreplace" if number == 2 else "surrogateescape",
        closefd=False,
    )
    file.buffer.raw.name = name  # type: ignore[attr-defined]
    return file


def module_of(name: str) -> dict[str, Any]:
    """The namespace of a new module of this name, the one that `import` finds."""
    module = types.ModuleType(name)
    module.__dict__.update(__builtins__=builtins, __file__=FILE_NAME)
    sys.modules[name] = module  # where pickle looks for its classes
    sys.argv = [FILE_NAME]
    return module.__dict__


def run_program(code: types.CodeType, _task: dict[str, Any]) -> None:
    """As `python solution.py` would."""
    names = module_of("__main__")
    exit_code = 0
    try:
        exec(code, names)
    except SystemExit as request:
        exit_code = exit_code_of(request.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        exit_code = 1
    leave(names, exit_code)


def exit_code_of(code: object) -> int:
    """What the shell would see of sys.exit(code)."""
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def leave(names: dict[str, Any], exit_code: int) -> None:
    """End as an interpreter does, without taking apart the modules that the server loaded (5 ms).

    Threads are waited for, exit functions called, streams flushed; then the program's names go,
    which closes and so writes out the files that it left open.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    flushed = flush(sys.stdout, sys.stderr)
    names.clear()
    gc.collect()
    flushed = flush(sys.__stdout__, sys.__stderr__) and flushed
    os._exit(exit_code if exit_code or flushed else UNFLUSHED_EXIT_CODE)


def flush(*files: Any) -> bool:
    """Whether all of these could be flushed."""
    try:
        for file in files:
            if file is not None and not getattr(file, "closed", False):
                file.flush()
    except Exception:
        return False
    return True


def define_functions(code: types.CodeType, known: dict[str, Any]) -> dict[str, Any]:
    """Run a program for its definitions: its `if __name__ == "__main__":` part is skipped."""
    names = module_of("solution")
    names.update(known)
    exec(code, names)
    return names


def run_call(code: types.CodeType, task: dict[str, Any]) -> None:
    """Call the function once and send what it returns; nodes come and go as lists."""
    names = define_functions(code, PRELUDE_NAMES)
    function = entries.find_function(names, task["fn_name"])
    arguments, result = as_annotated(function, codec.decode(task["arguments"]), names)
    value = nodes.plain(function(*arguments), result)
    try:
        answer = codec.dumps({"value": codec.encode(value)})
    except RecursionError:  # nested more deeply than any expected value
        answer = codec.dumps({"value": {"opaque": [type(value).__name__, True]}})
    write_all(ANSWER_FD, answer)
    sys.stderr.flush()
    os._exit(0)  # threads that are still running have nothing to add


def as_annotated(
    function: Callable[..., Any], arguments: list[Any], names: dict[str, Any]
) -> tuple[list[Any], Any]:
    """The arguments with nodes where a parameter is annotated so, and the result's annotation."""
    annotations = getattr(function, "__annotations__", None)
    if not isinstance(annotations, dict) or not annotations:
        return arguments, None
    spec = getattr(getattr(function, "__func__", function), "__code__", None)
    parameters = list(spec.co_varnames[: spec.co_argcount]) if spec else []
    parameters = parameters[hasattr(function, "__self__") :]
    built = [
        nodes.built(value, annotations.get(parameter), names)
        for parameter, value in zip(parameters, arguments, strict=False)
    ]
    return [*built, *arguments[len(built) :]], annotations.get("return")


def run_serve(code: types.CodeType, task: dict[str, Any]) -> None:
    """Answer one call a line until there are no more."""
    names = define_functions(code, PRELUDE_NAMES if task["prelude"] else {})
    with open(REQUESTS_FD, "rb") as requests:
        for line in requests:
            write_all(REPLIES_FD, codec.dumps(answer_call(names, codec.loads(line))))
    os._exit(0)


def answer_call(names: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """{"value": ...}, or {"error": name of the exception, "message": ...}."""
    try:
        function = entries.find_function(names, request["name"])
        positional, named = codec.decode(request["arguments"])
        return {"value": codec.encode(function(*positional, **named))}
    except MemoryError:
        raise  # ends the program, whose verdict is then `memory`
    except BaseException as error:
        return {"error": type(error).__name__, "message": str(error)[:500]}


def run_tests(_code: types.CodeType, task: dict[str, Any]) -> None:
    """Run trusted assertions (there is no program here) and send how they went."""
    verdict = asserting.run_assertions(task)
    write_all(ANSWER_FD, codec.dumps(verdict))
    os._exit(0)


def run_check(code: types.CodeType, task: dict[str, Any]) -> None:
    """Run a trusted checker on one output and send what it says."""
    values = codec.decode(task["values"])
    answer = checks.run_checker(code, task["source"], values, module_of("checker"))
    write_all(ANSWER_FD, codec.dumps(answer))
    os._exit(0)


def write_all(descriptor: int, content: bytes) -> None:
    """Write it all, however little the pipe takes at a time."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


KINDS: dict[str, Callable[[types.CodeType, dict[str, Any]], None]] = {
    "program": run_program,
    "call": run_call,
    "serve": run_serve,
    "tests": run_tests,
    "check": run_check,
}
