"""What a judge is asked: a text file with {question}, {reference} and {response}."""

from __future__ import annotations

import re
from pathlib import Path

OPEN, CLOSE = "<response>", "</response>"
NAMES = ("question", "reference", "response")
_PLACE = re.compile("{(" + "|".join(NAMES) + ")}")


class PromptError(ValueError):
    """A judge's prompt file is missing or has no place for the response."""


def prompt_text(path: str) -> str:
    """The text of a prompt file. Raises PromptError naming it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"verification.judge.prompt {path}: not readable: {error}") from None
    if "{response}" not in text:
        raise PromptError(f"verification.judge.prompt {path}: it has no {{response}}")
    return text


def filled(template: str, question: str, reference: str, response: str) -> str:
    """The prompt for one response, which stands between marks that it cannot contain itself.

    In one pass: a response that holds "{reference}" does not pull the reference in.
    """
    values = {"question": question, "reference": reference}
    values["response"] = f"{OPEN}\n{without_marks(response)}\n{CLOSE}"
    return _PLACE.sub(lambda place: values[place[1]], template)


def without_marks(text: str) -> str:
    """Without the marks, also those that arise where one is taken out."""
    while OPEN in text or CLOSE in text:
        text = text.replace(OPEN, "").replace(CLOSE, "")
    return text
