"""What a process prints: a progress bar, its one line, notes on the way.

Standard error of a stage is its log. Of several ranks only the first prints, except for errors.
Lines may quote what others wrote (answers, data, names, other programs' errors): no terminal takes
any of it for commands.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from prime_core.runtime.rank import is_first_rank
from prime_core.runtime.text import printable

if TYPE_CHECKING:
    from tqdm import tqdm

# Set in the shell of a rule, where standard error is a log and standard output is seen.
IN_WORKFLOW = "PRIME_IN_WORKFLOW"
# Set there as well where an iteration has many jobs: their lines are in their logs alone.
FEW_LINES = "PRIME_FEW_LINES"


def progress_bar(total: int, unit: str, description: str) -> tqdm:
    """A bar on standard error: live on a terminal, a line every ten seconds in a log."""
    from tqdm import tqdm  # 40 ms, which commands without a bar need not spend

    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        # A log keeps every refresh; at tqdm's ten a second it would hold little else.
        mininterval=0.2 if live else 10.0,
        dynamic_ncols=live,
        leave=True,
        disable=not is_first_rank(),
    )


def say(line: str, error: bool = False, of_many: bool = False) -> None:
    """Print the line that a stage or a workflow ends with, or an error of any rank.

    It appears once: on standard output, an error on standard error. In a job of the workflow on
    both: whoever started the workflow sees one; the other ends the stage's log, whose last lines
    are shown when a Slurm job fails. of_many: the line of a job that each iteration has.
    """
    if not (error or is_first_rank()):
        return
    in_log = IN_WORKFLOW in os.environ
    shown = not (of_many and FEW_LINES in os.environ)
    if shown and (in_log or not error):
        show(line)
    if in_log or error:
        print(harmless(line), file=sys.stderr, flush=True)


def note(line: str) -> None:
    """Print a note on the way, on standard error alone."""
    if is_first_rank():
        print(harmless(line), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print what a command is asked for, on standard output."""
    print(harmless(text), flush=True)


def harmless(text: str) -> str:
    """A text of several lines in which no character commands a terminal; lines stay lines."""
    # Blanks that stand for tabs and the like are kept apart from line ends alone.
    return "\n".join(printable(line) for line in text.split("\n"))
