"""Finished rows outlive a kill, to the bit; rows of other inputs do not."""

import math
import random
from pathlib import Path

from prime_core.runtime.partial_rows import PartialRows, partial_path, remove_partial

ROWS = {
    number: [random.Random(number).random() / 3, "é\ud800", [1, 2], None] for number in range(9)
}


def kept(path: Path, fingerprint: str = "a") -> dict[int, list]:
    with PartialRows(path, fingerprint) as rows:
        return rows.rows


def test_rows_come_back_with_their_bits(tmp_path):
    path = partial_path(tmp_path / "table.parquet", "rows")
    assert kept(path) == {}
    with PartialRows(path, "a") as rows:
        rows.keep({1: ROWS[1], 2: ROWS[2]})
        rows.keep({7: [math.pi, "", [], True]})
    assert kept(path) == {1: ROWS[1], 2: ROWS[2], 7: [math.pi, "", [], True]}


def test_rows_of_other_inputs_are_thrown_away(tmp_path):
    path = tmp_path / "rows.jsonl"
    with PartialRows(path, "a") as rows:
        rows.keep(ROWS)
    assert kept(path, "b") == {}
    assert kept(path, "a") == {}, "they are gone"


def test_a_file_cut_off_anywhere_gives_the_rows_before_and_takes_more(tmp_path):
    path = tmp_path / "rows.jsonl"
    with PartialRows(path, "a") as rows:
        rows.keep(ROWS)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        found = kept(path)
        assert found == {number: ROWS[number] for number in range(len(found))}
        with PartialRows(path, "a") as rows:
            rows.keep({8: ROWS[8]})
        assert kept(path) == found | {8: ROWS[8]}


def test_without_a_path_rows_are_known_to_this_process_alone(tmp_path):
    with PartialRows(None, "") as rows:
        rows.keep(ROWS)
        assert rows.rows == ROWS
    assert list(tmp_path.iterdir()) == []


def test_what_was_kept_for_a_table_goes_with_it_and_nothing_else(tmp_path):
    one, other = tmp_path / "a.json", tmp_path / "a.b.json"
    for output in (one, other):
        for what in ("prm", "responses"):
            kept(partial_path(output, what))
    remove_partial(one)
    left = sorted(path.name for path in (tmp_path / ".partial").iterdir())
    assert left == ["a.b+prm.jsonl", "a.b+responses.jsonl"]
