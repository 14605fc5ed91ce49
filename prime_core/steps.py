"""Where the steps of a response end: at blank lines, and before a line that begins "Step N:".

In: the decoded text of each token; other boundaries, if a run has its own (rollout.step_boundary).
Out: one bool a token, True at a step's last token.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

# Where a new step begins: after blank lines, or at a heading.
BOUNDARY = re.compile(r"\n[ \t]*\n\s*|(?<=\n)(?=[ \t#*]*Step \d+:)")


def step_ends(pieces: Sequence[str], boundary: str | None = None) -> list[bool]:
    """Mark the last token of every step, the response's last token among them.

    boundary: regular expression of what ends a step; None: BOUNDARY.

    A token that holds the end of one step and the beginning of the next ends the former. Blank
    lines before the first step or after the last do not count as one.
    """
    # The whole text is searched, since a blank line may be split over tokens or be part of one.
    text = "".join(pieces)
    piece_ends = list(accumulate(map(len, pieces)))
    ends = [False] * len(pieces)
    beginning = 0
    # Trailing blank lines would otherwise begin a step that has no text.
    pattern = BOUNDARY if boundary is None else re.compile(boundary)
    for match in pattern.finditer(text.rstrip()):
        if text[beginning : match.end()].strip():
            # The separator's last character, so that blank lines belong to the step that they end.
            ends[_piece_at(match.end() - 1, piece_ends)] = True
            beginning = match.end()
    if ends:
        ends[-1] = True
    return ends


def _piece_at(position: int, piece_ends: Sequence[int]) -> int:
    """Index of the token that holds the character at this position of the text."""
    # bisect_right passes over tokens without text, whose end equals that of the token before.
    return bisect_right(piece_ends, position)
