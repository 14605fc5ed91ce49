"""Data rows' text becomes plain values, whatever the text is: in bounded memory and time.

Rows come from other people's data sets, and are read in the judging process itself.
"""

import base64
import binascii
import json
import re
import zlib
from typing import Any

from ..tolerance import tolerance_of
from .pickled import read_pickle

# A few packed kilobytes can unpack to more than the memory. Public sets stay below 100 MB.
MAX_UNPACKED_BYTES = 256 << 20
MAX_VALUES = 4 << 20  # each takes up to 100 bytes, also where its text takes 3
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
TEXTS = ("fn_name", "entry_point", "adapter", "checker", "prompt", "test_setup_code",
         "canonical_solution")  # fmt: skip
LISTS = ("inputs", "outputs", "test_list", "test_imports", "base_input", "plus_input")
TOLERANCES = ("tolerance", "atol")


def read_json(text: str) -> Any:
    """The value of JSON text. ValueError for other text, and for too many or too deep values."""
    if num_separators(text) > MAX_VALUES and num_separators(STRING.sub("", text)) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values in one text of JSON")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None


def num_separators(text: str) -> int:
    """At least the number of values in JSON text, less one; more where there are any in strings."""
    return sum(text.count(separator) for separator in ",[{")


def unpack(text: str) -> Any:
    """JSON text, or base64 of zlib of JSON or of a pickle of plain data. ValueError if neither."""
    try:
        return read_json(text)
    except json.JSONDecodeError:
        pass
    try:
        unpacker = zlib.decompressobj()
        # validate: else foreign characters are skipped, and any text is taken for a packed one.
        content = unpacker.decompress(base64.b64decode(text, validate=True), MAX_UNPACKED_BYTES)
    except (binascii.Error, zlib.error, ValueError):
        raise ValueError(f"tests are neither JSON nor packed: {text!r:.100}") from None
    if unpacker.unconsumed_tail:
        raise ValueError(f"packed tests are larger than {MAX_UNPACKED_BYTES} bytes")
    if content[:1] == b"\x80":  # with which a pickle begins, and no JSON
        value = read_pickle(content, max_bytes=MAX_UNPACKED_BYTES, max_steps=4 * MAX_VALUES)
    else:
        value = read_json(content.decode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogatepass")
    # LiveCodeBench pickles the JSON's text.
    return read_json(value) if isinstance(value, str) else value


def check_row(tests: dict[str, Any]) -> dict[str, Any]:
    """The tests with their tolerances as numbers. ValueError for a key of the wrong kind.

    Else a fault of the row would show when a program runs, and count against it.
    """
    for key in TEXTS:
        if tests.get(key) and not isinstance(tests[key], str):
            raise ValueError(f"`{key}` is text, not {tests[key]!r:.100}")
    for key in LISTS:
        if tests.get(key) and not isinstance(tests[key], list | tuple):  # {}: none, in MBPP+
            raise ValueError(f"`{key}` is a list, not {tests[key]!r:.100}")
    stated = [key for key in TOLERANCES if tests.get(key) is not None]
    return {**tests, **{key: tolerance_of(tests[key]) for key in stated}}
