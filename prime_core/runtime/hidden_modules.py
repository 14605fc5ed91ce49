"""Libraries that another one would import if it can, though nothing here needs them.

In: names of modules. Out: within the block they cannot be imported, unless they are already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Let optional imports of these modules fail; those in use stay as they are."""
    absent = [name for name in names if name not in sys.modules]
    # What Python itself looks for: None is a module that was not found.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
