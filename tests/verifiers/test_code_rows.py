"""Rows of other people's data sets are read in bounded time and memory, or refused in words."""

import base64
import json
import math
import pickle
import tracemalloc
import zlib
from typing import Any

import pytest

from prime_core.settings.verification import Verification
from prime_core.verifiers.code import packed
from prime_core.verifiers.code.formats import StdinTests, parse_tests
from prime_core.verifiers.code.pickled import read_pickle
from prime_core.verifiers.pool import Row, judge_row


def pack(content: bytes) -> str:
    """As LiveCodeBench packs its private tests."""
    return base64.b64encode(zlib.compress(content)).decode()


NESTED: Any = []
for _ in range(40):
    NESTED = [NESTED, NESTED]
HOSTILE_ROWS: dict[str, Any] = {
    "a function": pack(pickle.dumps(print)),
    "a memo of two thousand million places": pack(b"\x80\x04\x8c\x01[r\xff\xff\xff\x7f."),
    "lists in lists without end": pack(pickle.dumps(NESTED)),
    "a text that is longer than all": pack(b"\x80\x04X\xff\xff\xff\x7fabc."),
    "a buffer of any size": pack(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"."),
    "a text many times": pack(
        b"\x80\x04]\x94(X\x00\x00\x01\x00" + b"x" * 65536 + b"\x94" + b"h\x01" * 100 + b"e."
    ),
    "empty lists": pack(b"\x80\x04" + b"]" * 500_000),
    "keys of one hash": pack(b"\x80\x04}(" + b"K\x01K\x02" * 9 + b"u."),
    "a method of a text": pack(b"\x80\x04\x8c\x01xK\x01a."),
    "an empty stack": pack(b"\x80\x04a."),
    "no end": pack(b"\x80\x04\x8c\x02[]"),
    "two texts": pack(b"\x80\x04\x8c\x02[]\x8c\x02[]."),
    "much of little": pack(bytes(2 << 20)),
    "many values": "[" + "[]," * 2000 + "[]]",
    "many values, packed": pack(("[" + "[]," * 2000 + "[]]").encode()),
    "deep": "[" * 100_000,
    "deep, packed": pack(b"[" * 100_000),
    "deep arguments": {"fn_name": "f", "inputs": ["[" * 100_000], "outputs": ["1"]},
    "many arguments": {"fn_name": "f", "inputs": ["[" + "[]," * 2000 + "1]"], "outputs": ["1"]},
    **{
        f"tolerance {value!r}": {"inputs": ["1"], "outputs": ["1"], "tolerance": value}
        for value in ("x", 1e9, 1, -1e-9, math.inf, math.nan, True, [1], {"a": 1}, 10**400)
    },
    "atol 1e9": {"entry_point": "f", "canonical_solution": "", "base_input": [[1]], "atol": 1e9},
    "a name that is no text": {"fn_name": 5, "inputs": [[1]], "outputs": [1]},
    "inputs that are a text": {"inputs": "12", "outputs": "12"},
    "an adapter that is no text": {"fn_name": "f", "inputs": [[1]], "outputs": [1], "adapter": 1},
}


@pytest.mark.parametrize("row", HOSTILE_ROWS.values(), ids=HOSTILE_ROWS.keys())
def test_rows_that_cost_too_much_or_say_nothing_are_refused_in_words(
    row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MAX_UNPACKED_BYTES", 1 << 20)
    monkeypatch.setattr(packed, "MAX_VALUES", 1000)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"[a-z]{3}"):
        parse_tests(row)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_plain_data_are_read(protocol: int) -> None:
    same = "a text that occurs twice"
    value = {"inputs": [same, "1"], same: [1, -1, 300, 70000, 1.5, None, True, False, [], {}]}
    content = pickle.dumps(value, protocol)
    limits = {"max_bytes": 1000, "max_steps": 100}
    assert read_pickle(content, **limits) == value
    for end in range(len(content)):
        with pytest.raises(ValueError, match="packed tests"):
            read_pickle(content[:end], **limits)


def test_separators_inside_texts_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MAX_VALUES", 1000)
    text = json.dumps({"inputs": ['1,[{"\\' * 1000], "outputs": ["2"]})
    assert parse_tests(text) == parse_tests(pack(text.encode()))
    assert parse_tests(pack(pickle.dumps(text, protocol=2))) == parse_tests(text)


@pytest.mark.parametrize("tolerance", ["x", 1e9, True, [0.1]])
def test_a_gold_with_no_tolerance_of_numbers_is_no_verdict(tolerance: Any) -> None:
    gold = json.dumps({"answer": "2", "tolerance": tolerance})
    judgement = judge_row(Row("math", r"\boxed{3}", gold), Verification())
    assert judgement.outcome is None
    assert "a tolerance is a number" in judgement.detail


def test_texts_of_tolerances_are_read() -> None:
    tests = parse_tests({"inputs": ["1"], "outputs": ["1"], "tolerance": "1e-3"})
    assert tests == StdinTests(["1"], ["1"], 1e-3)
