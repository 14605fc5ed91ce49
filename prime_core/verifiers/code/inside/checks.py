"""A checker, in the sandbox of the tests: is this output of a program right?

Two forms. A function `check(input, output, expected)` that returns whether it is right, or a number
(1: right; from 0 to below 1: wrong). Or a program that reads the names of three files from
sys.argv, as those of open-r1 do: the input, the expected output, the program's output. It prints
that number (or true, false, yes, no) in its last line; where it prints nothing, its exit code
counts (0: right, 1 and 2: wrong).
"""

import contextlib
import io
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

FILES = ("/tmp/input.txt", "/tmp/correct_output.txt", "/tmp/solution_output.txt")
WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
READS_FILES = re.compile(r"\bargv\b")


def run_checker(
    code: types.CodeType, source: str, values: list[Any], names: dict[str, Any]
) -> dict[str, Any]:
    """{"right": bool}, or {"failed": why}. values: input, output, expected."""
    try:
        if READS_FILES.search(source):
            return {"right": says_program(code, values, names)}
        names["__name__"] = "checker"
        exec(code, names)
        if "check" not in names:
            raise NameError("it defines no function `check`, and does not read sys.argv")
        return {"right": is_right(names["check"](*values))}
    except BaseException as error:
        return {"failed": f"{type(error).__name__}: {error}".replace("\n", " ")[:500]}


def is_right(said: Any) -> bool:
    """The verdict in what a checker returned. Raises ValueError for what is none."""
    if isinstance(said, tuple) and said:
        said = said[0]  # with a message behind it
    # numpy's have item(), too.
    said = said.item() if hasattr(said, "item") else said
    if not isinstance(said, bool | int | float) or not 0 <= said <= 1:
        raise ValueError(f"a checker says true, false or a number from 0 to 1, not {said!r:.100}")
    return said == 1


def says_program(code: types.CodeType, values: list[Any], names: dict[str, Any]) -> bool:
    """The verdict of a checker that is a program."""
    given, got, expected = values
    for path, value in zip(FILES, (given, expected, got), strict=True):
        text = value if isinstance(value, str) else json.dumps(value)
        Path(path).write_bytes(text.encode("utf-8", "surrogatepass"))
    sys.argv = ["checker.py", *FILES]
    names["__name__"] = "__main__"
    printed, exit_code = io.StringIO(), 0
    with contextlib.redirect_stdout(printed):
        try:
            exec(code, names)
        except SystemExit as request:
            # As the shell sees it: a text is written to standard error, and the code is 1.
            given_code = request.code
            exit_code = given_code if isinstance(given_code, int) else int(given_code is not None)
    lines = printed.getvalue().split("\n")
    last = next((line.strip().lower() for line in reversed(lines) if line.strip()), "")
    if last:
        return is_right(WORDS[last] if last in WORDS else float(last)) and not exit_code
    if exit_code not in (0, 1, 2):
        raise ValueError(f"exit code {exit_code}")
    return exit_code == 0
