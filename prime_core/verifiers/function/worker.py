"""The process of a user's reward function: loads its file, answers one JSON line a response.

Arguments: FILE.py:NAME, and the limit of its memory in MB. Standard output belongs to the answers:
what the function prints goes to standard error, a stage's log.
"""

import contextlib
import importlib.util
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any

from prime_core.verifiers.helper_process import die_with_parent
from prime_core.verifiers.verdict import Verdict

_SHOWN = 300  # characters kept of a message or value


def main() -> None:
    """Serve until standard input ends."""
    where, memory_mb = sys.argv[1], int(sys.argv[2])
    questions, answers = _own_pipes()
    die_with_parent()
    # Not RLIMIT_AS, which counts what libraries merely reserve (numpy, torch: gigabytes).
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))

    def answer(**said: Any) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    try:
        function = load(where)
    except (Exception, SystemExit) as error:
        answer(fault=f"cannot be loaded: {_sentence(error)}", ends=True)
        return
    answer(value=None)
    for line in questions:
        try:
            answer(**reward(function(*json.loads(line))))
        except MemoryError:
            answer(fault=f"needs more than verification.memory_mb ({memory_mb})", ends=True)
            return  # what is left of it in this process is not known
        except (Exception, SystemExit) as error:
            traceback.print_exception(error)
            answer(fault=f"raised {_sentence(error)}", ends=False)


def _own_pipes() -> tuple[Any, Any]:
    """Standard input and output as files of ours alone; the function has neither."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return questions, answers


def load(where: str) -> Callable[..., Any]:
    """The function of FILE.py:NAME; files beside it can be imported by name."""
    path, _, name = where.rpartition(":")
    file = Path(path).resolve()
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # as an import would: dataclasses and pickle look there
    spec.loader.exec_module(module)
    function = getattr(module, name)
    if not callable(function):
        raise TypeError(f"{name} is not a function")
    return function


def reward(value: Any) -> dict[str, Any]:
    """{"value": ...}: a number from 0 to 1 or the name of a verdict; else {"fault": why, ...}."""
    if getattr(value, "ndim", None) == 0:  # of numpy or torch
        value = value.item()
    if isinstance(value, str):
        if value in {*Verdict} - {Verdict.no_verdict}:
            return {"value": str(value)}
    elif isinstance(value, Real) and 0 <= (number := float(value)) <= 1:  # not NaN
        return {"value": number}
    names = ", ".join(Verdict)
    shown = repr(value)[:_SHOWN]
    fault = f"returned {shown}; expected a number from 0 to 1, or one of: {names}"
    return {"fault": fault, "ends": False}


def _sentence(error: BaseException) -> str:
    """Kind, message, and the line of the user's code that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__]
    own = [frame for frame in own if not frame.filename.startswith("<frozen")]
    at = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    message = " ".join(str(error).split())[:_SHOWN]
    return f"{type(error).__name__}: {message}{at}"


if __name__ == "__main__":
    main()
