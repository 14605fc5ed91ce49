"""The program in a response: the last fenced python block."""

import re
import textwrap

# As in CommonMark, no backtick may follow in the line: ```x``` is code within a text. Any
# indentation, unlike there: blocks inside lists are indented deeply.
FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+.-]*)[^`\n]*$", re.MULTILINE)
PYTHON = {"python", "py", "python3", "python2", "pypy", "pypy3"}


def blocks(response: str) -> list[tuple[str, str]]:
    """(language, content) of each fenced block; the last one may lack its closing fence.

    A fence closes a block when it has the same character, is at least as long and names no
    language; so a block may contain shorter or named fences as text.
    """
    found: list[tuple[str, str]] = []
    opening: re.Match[str] | None = None
    for fence in FENCE.finditer(response):
        if opening is None:
            opening = fence
        elif fence[1].startswith(opening[1]) and not fence[2]:
            found.append((opening[2].lower(), response[opening.end() : fence.start()]))
            opening = None
        elif fence[2].lower() in PYTHON:
            opening = fence  # the block before it was never closed
    if opening is not None:
        found.append((opening[2].lower(), response[opening.end() :]))
    return found


def extract_program(response: str) -> str | None:
    """The last block marked as Python, else the last one without a language; None without any."""
    found = blocks(response.replace("\r\n", "\n"))
    for wanted in (PYTHON, {""}):
        contents = [content for language, content in found if language in wanted]
        if contents and contents[-1].strip():
            return textwrap.dedent(contents[-1]).strip("\n") + "\n"
    return None
