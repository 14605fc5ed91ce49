"""Texts around problems, kept as files: templates and system messages.

In: a path, relative to the repository's folder, and a problem. Out: the message's text. A template
holds {prompt} once; a line break at the very end of a file is the editor's, not the text's.
"""

from __future__ import annotations

import os
from functools import lru_cache

from prime_core.runtime.repository import REPOSITORY

_SLOT = "{prompt}"


class PromptFileError(ValueError):
    """A file of a template or a system message is missing or unusable."""


@lru_cache(maxsize=64)
def prompt_file_text(path: str) -> str:
    """A file's text, without the line break at its very end."""
    try:
        return (REPOSITORY / path).read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        raise PromptFileError(
            f"{REPOSITORY / path}: {os.strerror(error.errno or 0)}; named under data.templates or "
            "data.system_prompts, relative to the repository's folder"
        ) from None


def apply_template(path: str, problem: str) -> str:
    """The problem in its template; unchanged where the template's text is already around it."""
    before, after = _parts(path)
    return problem if _is_around(before, after, problem) else before + problem + after


def without_template(path: str, message: str) -> str:
    """The problem alone, where the template's text is around it."""
    before, after = _parts(path)
    if not _is_around(before, after, message):
        return message
    return message.strip().removeprefix(before.strip()).removesuffix(after.strip()).strip()


def _is_around(before: str, after: str, text: str) -> bool:
    text = text.strip()
    return text.startswith(before.strip()) and text.endswith(after.strip())


def _parts(path: str) -> tuple[str, str]:
    before, *rest = prompt_file_text(path).split(_SLOT)
    if len(rest) != 1:
        raise PromptFileError(
            f"{REPOSITORY / path}: holds {_SLOT} {len(rest)} times; a template holds it once, "
            "where the problem stands"
        )
    return before, rest[0]
