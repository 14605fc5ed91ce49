"""Fuzz the verifiers of mathematics and programs.

    python -m benchmarks.fuzz [--minutes 20] [--seed 0] [--only math|code] [--sandbox auto]

In: a seed. Cases come from benchmarks/fuzz_mathematics.py and fuzz_programs.py, which say what must
hold of each. They are checked in another process, which is killed after a limit: a hang is found
and named like any other failure. Out: each failure with a line of JSON that repeats it (`--case`),
the number of cases, the slowest one; exit status 1 if something failed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import fuzz_mathematics, fuzz_programs
from prime_core.runtime.console import progress_bar

Case = dict[str, Any]
Check = Callable[[Case], str]

# A case is judged up to three times. Mathematics: 5 s and a start of the fallback each, beyond
# which nobody may compute; programs: total_seconds and two starts of a sandbox.
LIMIT_SECONDS = {"math": 40.0, "code": 60.0}
MAX_FAILURES = 40


@dataclass
class Result:
    """What a fuzzer found. failures: (what, case); slowest: (seconds, case)."""

    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, Case]] = field(default_factory=list)
    slowest: tuple[float, Case] = (0.0, {})


class Served:
    """A check in a process of its own, replaced when it hangs or dies."""

    def __init__(self, make: Callable[[], Check], limit_seconds: float) -> None:
        self.make, self.limit_seconds = make, limit_seconds
        self.start()

    def start(self) -> None:
        """Fork the process."""
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(theirs, self.make)
        )
        self.process.start()
        theirs.close()

    def ask(self, case: Case) -> str:
        """What does not hold of the case; "" if all does."""
        try:
            self.pipe.send(case)
            if self.pipe.poll(self.limit_seconds):
                return self.pipe.recv()
            what = f"no answer within {self.limit_seconds:g} s"
        except (EOFError, OSError):
            self.process.join()
            what = f"the judging process died with exit code {self.process.exitcode}"
        self.close()
        self.start()
        return what

    def close(self) -> None:
        """End the process: by itself, with its helpers, unless it hangs."""
        self.pipe.close()
        self.process.join(5.0)
        self.process.kill()
        self.process.join()


def _serve(pipe: Connection, make: Callable[[], Check]) -> None:
    from prime_core import verifiers

    check = make()
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            break
        try:
            what = check(case)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
        pipe.send(what)
    close = getattr(getattr(check, "judge", None), "close", None)
    if close:
        close()
    verifiers.close()


def fuzz(name: str, cases: Iterator[Case], make: Callable[[], Check], seconds: float) -> Result:
    """Check cases for so many seconds, or until there are MAX_FAILURES failures."""
    result = Result()
    served = Served(make, LIMIT_SECONDS[name])
    deadline = time.monotonic() + seconds
    with progress_bar(max(1, round(seconds)), "s", f"fuzzing {name}") as bar:
        for case in cases:
            start = time.monotonic()
            what = served.ask(case)
            spent = time.monotonic() - start
            result.kinds[case["kind"]] += 1
            if what:
                result.failures.append((what, case))
            if spent > result.slowest[0]:
                result.slowest = (spent, case)
            bar.update(min(seconds - bar.n, spent))
            if time.monotonic() > deadline or len(result.failures) >= MAX_FAILURES:
                break
    served.close()
    return result


def makers(sandbox: str) -> dict[str, Callable[[], Check]]:
    """By name, what makes the check; called in the process that runs it."""
    return {
        "math": lambda: fuzz_mathematics.check,
        "code": lambda: fuzz_programs.Checker(sandbox),
    }


def lines_of(name: str, result: Result) -> list[str]:
    """The failures with their reproductions, and one line of figures."""
    lines = [f"{name}: {what}\n  {json.dumps(case)}" for what, case in result.failures]
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(result.kinds.items()))
    lines.append(
        f"{name}: {sum(result.kinds.values())} cases ({kinds}), {len(result.failures)} failures; "
        f"slowest {result.slowest[0]:.2f} s: {json.dumps(result.slowest[1])[:600]}"
    )
    return lines


def main() -> int:
    """Fuzz for the minutes given, half of them each; 1 when a case fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["math", "code"])
    parser.add_argument("--sandbox", default="auto", help="as in verification.sandbox")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--case", help="check this one case (a printed line of JSON)")
    options = parser.parse_args()
    make = makers(options.sandbox)
    if options.case:
        case = json.loads(options.case)
        name = "code" if "form" in case else "math"
        result = fuzz(name, iter([case]), make[name], 0.0)
        print("\n".join(lines_of(name, result)))
        return int(bool(result.failures))
    sources = {
        "math": lambda: fuzz_mathematics.cases(
            options.seed, *fuzz_mathematics.material(options.data)
        ),
        "code": lambda: fuzz_programs.cases(options.seed),
    }
    names = [options.only] if options.only else list(sources)
    failed = False
    for name in names:
        seconds = 60 * options.minutes / len(names)
        result = fuzz(name, sources[name](), make[name], seconds)
        print("\n".join(lines_of(name, result)), flush=True)
        failed = failed or bool(result.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
