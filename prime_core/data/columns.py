"""OURS=THEIRS: the names that columns have in a user's file."""

from __future__ import annotations

from prime_core.data.problems import DataError


def column_map(texts: tuple[str, ...]) -> dict[str, str]:
    """{"response": "code"} from ("response=code",). Raises DataError for another form."""
    columns = {}
    for text in texts:
        ours, sign, theirs = text.partition("=")
        if not (ours and sign and theirs):
            raise DataError(f"--column {text}: expected OURS=THEIRS, e.g. response=solution")
        columns[ours] = theirs
    return columns
