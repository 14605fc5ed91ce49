"""Which of two choices a judge's reply names."""

from __future__ import annotations

import re
from collections.abc import Sequence

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


def named_choice(reply: str, choices: Sequence[str]) -> str | None:
    """The last of the choices that stands alone in the reply, outside of a think block.

    Case does not matter. None: neither does, so that the reply is no verdict.
    """
    # Longest first: of "correct" and "not correct" the latter is meant where it stands.
    longest = sorted(choices, key=len, reverse=True)
    words = "|".join(re.escape(choice) for choice in longest)
    found = re.findall(rf"(?<!\w)({words})(?!\w)", _THOUGHT.sub(" ", reply), re.IGNORECASE)
    if not found:
        return None
    return next(choice for choice in choices if choice.lower() == found[-1].lower())
