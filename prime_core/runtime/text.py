"""Durations, bytes and columns as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def minutes(seconds: float) -> str:
    """A duration for people: "45 s", "31 min", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def table(rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Columns as wide as they must be; the first `left` of them flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield ("  " + "  ".join(_cells(row, widths, left))).rstrip()


def _cells(row: Sequence[str], widths: Sequence[int], left: int) -> Iterable[str]:
    for column, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.ljust(width) if column < left else text.rjust(width)


def bytes_text(number: float) -> str:
    """Bytes for readers: '519 B', '15.2 GB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
