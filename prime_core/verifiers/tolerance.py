"""The tolerance that a data row states for its numbers."""

from typing import Any


def tolerance_of(value: Any) -> float:
    """A row's tolerance, a number or its text. ValueError for any other, and from 1 on.

    Within a relative tolerance of 1, every answer of the right sign and size would be right, and
    within 1e9 every answer.
    """
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0 <= number < 1:
        raise ValueError(f"a tolerance is a number from 0 to less than 1, not {value!r:.50}")
    return number
