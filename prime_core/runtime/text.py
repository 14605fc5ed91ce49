"""Durations, bytes, columns and foreign text as people read them, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def duration(seconds: float) -> str:
    """Seconds in units that fit: "8.2 s", "45 s", "4 min 05 s", "31 min", "2 h 05 min", "3 d 4 h".

    Negative durations count as 0: hosts' clocks differ.
    """
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{round(seconds, 1):g} s"
    # Compared as rounded, here and below: 99.6 s would else be "100 s", and 100 s "1 min 40 s".
    if round(seconds) < 100:
        return f"{seconds:.0f} s"
    if round(seconds) < 600:
        return _two_units(round(seconds), 60, ("min", "s"))
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return _two_units(minutes, 60, ("h", "min"))
    return _two_units(round(seconds / 3600), 24, ("d", "h"), digits=1)


def _two_units(number: int, size: int, names: tuple[str, str], digits: int = 2) -> str:
    """`number` of the second unit, of which the first has `size`; whole ones stand alone."""
    whole, rest = divmod(number, size)
    return f"{whole} {names[0]}" + (f" {rest:0{digits}d} {names[1]}" if rest else "")


def bytes_text(number: float) -> str:
    """Bytes in three digits and decimal units, as disks are sold: "519 B", "15.2 GB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5:  # more would be rounded to 1e+03
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} PB"


def table(rows: Sequence[Sequence[str]], sides: str, indent: str = "  ") -> Iterator[str]:
    """Lines of aligned columns, each as wide as its longest cell.

    sides: "<" or ">" for each column, flush left or right; the last holds for those that follow.
    """
    sides += sides[-1] * len(rows[0])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, sides, widths, strict=False)  # `sides` is longer
        yield (indent + "  ".join(f"{cell:{side}{width}}" for cell, side, width in cells)).rstrip()


def printable(text: str) -> str:
    """Text that others wrote as one line that no terminal takes for commands.

    Line ends and other white space become blanks; escape and direction characters, half surrogates
    and whatever else has no glyph are written out (\\x1b, \\u202e).
    """
    if text.isprintable():
        return text
    return "".join(_glyph(character) for character in text)


def _glyph(character: str) -> str:
    """A character, a blank, or its escape."""
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
