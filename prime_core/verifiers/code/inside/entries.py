"""What tests call of a program: `total`, `Solution.total`, `Solution().total`, `Box(3).total`."""

import ast
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_LENGTH = 1000  # of an entry point's text


class Entry(NamedTuple):
    """A function's name; or a class, the arguments of its constructor, and a method's name."""

    class_name: str
    arguments: tuple[Any, ...]
    name: str


@functools.lru_cache
def parse_entry(text: str) -> Entry:
    """The entry point that a text names. ValueError for one of another form."""
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError("too long")
        match ast.parse(text.strip(), mode="eval").body:
            case ast.Name(id=name):
                return Entry("", (), name)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                return Entry(owner, (), name)
            case ast.Attribute(
                value=ast.Call(func=ast.Name(id=owner), args=given, keywords=[]), attr=name
            ):
                return Entry(owner, tuple(ast.literal_eval(one) for one in given), name)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise ValueError(f"no entry point: {text!r:.100}; expected f, Solution.f or Solution().f")


def find_function(names: dict[str, Any], text: str) -> Callable[..., Any]:
    """The method or function that an entry point names. NameError where the program has none.

    Programs are not held to the class: a function will do for a method, and a method of class
    Solution for a function.
    """
    entry = parse_entry(text)
    owner = names.get(entry.class_name or "Solution")
    if owner is not None and hasattr(owner, entry.name):
        return getattr(owner(*entry.arguments), entry.name)
    if entry.name not in names:
        raise NameError(f"the program defines no {text!r}")
    return names[entry.name]
