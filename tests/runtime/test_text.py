"""Durations, bytes and columns as people read them."""

import pytest

from prime_core.runtime.text import bytes_text, duration, printable, table

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (8.16, "8.2 s"),
        (3, "3 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (45.4, "45 s"),
        (99.4, "99 s"),
        (99.6, "1 min 40 s"),
        (245, "4 min 05 s"),
        (5 * MINUTE, "5 min"),
        (599.4, "9 min 59 s"),
        (599.6, "10 min"),
        (31 * MINUTE + 29, "31 min"),
        (59 * MINUTE + 29, "59 min"),
        (59 * MINUTE + 31, "1 h"),
        (5370, "1 h 30 min"),
        (2 * HOUR + 5 * MINUTE, "2 h 05 min"),
        (DAY - 31, "23 h 59 min"),
        (DAY - 29, "1 d"),
        (DAY + HOUR, "1 d 1 h"),
        (3 * DAY + 4 * HOUR + 1700, "3 d 4 h"),
        (12 * DAY + 23 * HOUR + 1900, "13 d"),
    ],
)
def test_a_duration_is_told_in_units_that_fit(seconds, text):
    assert duration(seconds) == text


def test_a_time_that_has_passed_is_none():
    assert duration(-3.5) == "0 s"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (519, "519 B"),
        (999.4, "999 B"),
        (999.6, "1 kB"),
        (3_086_467, "3.09 MB"),
        (999_600_000, "1 GB"),
        (15_231_233_024, "15.2 GB"),
        (107e9, "107 GB"),
        (2.234e12, "2.23 TB"),
        (1.5e15, "1.5 PB"),
    ],
)
def test_bytes_are_three_digits_and_a_unit(number, text):
    assert bytes_text(number) == text


def test_columns_are_as_wide_as_their_longest_cell_each_on_its_side():
    rows = [("stage", "jobs", ""), ("sft", "1", "done"), ("evaluate", "12", "")]
    assert list(table(rows, "<>")) == [
        "  stage     jobs",
        "  sft          1  done",
        "  evaluate    12",
    ]
    assert list(table(rows, "<", indent="")) == [
        "stage     jobs",
        "sft       1     done",
        "evaluate  12",
    ]


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        list(table([("a", "b"), ("c",)], "<"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x = 5", "x = 5"),
        ("программа 你好 é ∑", "программа 你好 é ∑"),
        ("two\nlines\r\n\tand\u2028more\x85", "two lines   and more "),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("\u202eabc\u2066\u200f", "\\u202eabc\\u2066\\u200f"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_foreign_text_is_one_line_that_no_terminal_obeys(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()
