"""The process of a user's reward function: loads its file, answers one JSON line a response.

Arguments: FILE.py:NAME, and the limit of its memory in MB. Standard output belongs to the answers:
what the function prints goes to standard error, a stage's log.
"""

import json
import sys
import traceback
from numbers import Real
from typing import Any

from prime_core.runtime.helper_process import die_with_parent, limit_memory, own_pipes
from prime_core.runtime.user_code import load, sentence
from prime_core.verifiers.verdict import Verdict

_SHOWN = 300  # characters kept of a message or value


def main() -> None:
    """Serve until standard input ends."""
    where, memory_mb = sys.argv[1], int(sys.argv[2])
    questions, answers = own_pipes()
    die_with_parent()
    limit_memory(memory_mb)

    def answer(**said: Any) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    try:
        function = load(where)
    except (Exception, SystemExit) as error:
        answer(fault=f"cannot be loaded: {sentence(error)}", ends=True)
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
            answer(fault=f"raised {sentence(error)}", ends=False)


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


if __name__ == "__main__":
    main()
