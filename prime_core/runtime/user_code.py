"""A user's own code: a function of one of their files, and what it raised, in one sentence."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]
_SHOWN = 300  # characters kept of a message


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


def sentence(error: BaseException) -> str:
    """Kind, message, and the line of the user's code that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_ours(frame.filename)]
    at = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    message = " ".join(str(error).split())[:_SHOWN]
    return f"{type(error).__name__}: {message}{at}"


def _is_ours(filename: str) -> bool:
    return filename.startswith("<frozen") or Path(filename).is_relative_to(_PACKAGE)
