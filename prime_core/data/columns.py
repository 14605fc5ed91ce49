"""OURS=THEIRS: the names of other people's columns."""

from __future__ import annotations

from prime_core.data.problems import DataError


def column_map(texts: tuple[str, ...]) -> dict[str, str]:
    """{"response": "code"} from ("response=code",). Raises DataError for another form."""
    columns = {}
    for text in texts:
        ours, sign, theirs = text.partition("=")
        if not (ours and sign and theirs):
            raise DataError(f"--column {text}: expected OURS=THEIRS, such as response=solution")
        columns[ours] = theirs
    return columns
