"""Tables between stages: written whole or not at all, refused by name when they are damaged."""

import errno
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prime_core.run import tables
from prime_core.run.atomic import atomic_folder, atomic_path, write_json, write_text
from prime_core.run.job_records import SubmittedJob, record_job
from prime_core.run.layout import RunFiles
from prime_core.run.tables import (
    BATCH,
    DEMONSTRATIONS,
    EVALUATION,
    OPTIONAL,
    OUTCOMES,
    PROMPTS,
    REWARDS,
    ROLLOUTS,
    TableError,
    read_json,
    read_table,
    write_table,
)
from prime_core.runtime.run_lock import RunLock

SCHEMAS = {
    "prompts": PROMPTS,
    "demonstrations": DEMONSTRATIONS,
    "rollouts": ROLLOUTS,
    "outcomes": OUTCOMES,
    "batch": BATCH,
    "rewards": REWARDS,
    "evaluation": EVALUATION,
}
MESSAGES = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+2=? é\n"}]
VALUES: dict[str, list] = {
    "prompt_id": ["a", "b"],
    "sample": [0, 1],
    "prompt": [MESSAGES, MESSAGES[1:]],
    "ability": ["math", "code"],
    "ground_truth": ["3", '{"inputs": []}'],
    "data_source": ["sums", "sums"],
    "response": ["3", ""],
    "prompt_tokens": [[1, 2], [3]],
    "response_tokens": [[4], []],
    "sampler_logprobs": [[-0.5], []],
    "text": ["3", ""],
    "finish_reason": ["stop", "length"],
    "policy_iteration": [0, 0],
    "outcome": [1.0, None],
    "verdict": ["right", "no_verdict"],
    "extracted": ["3", None],
    "seconds": [0.01, 0.0],
    "implicit_reward": [[0.25], []],
    "reference_logprobs": [[-0.75], []],
    "response_length": [1, 0],
    "greedy_outcome": [0.0, 1.0],
    "response_mask": [[True], []],
    "parent": [-1, 0],
    "fork": [0, 1],
    "turn_rewards": [[0.5], []],
    "states": [["ab12"], []],
    "actions": [["left", "up"], ["down"]],
    "true_outcome": [0.0, 1.0],
    "valid_actions": [[False], []],
}


def example(schema: pa.Schema) -> list[dict]:
    """Two rows of a table."""
    return [{name: VALUES[name][row] for name in schema.names} for row in (0, 1)]


def plain(value: object) -> object:
    """Arrays as lists, missing values as None."""
    if isinstance(value, np.ndarray):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def rows_of(table: pd.DataFrame) -> list[dict]:
    return [{key: plain(value) for key, value in row.items()} for row in table.to_dict("records")]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_table_comes_back_as_it_was_written(name, tmp_path):
    path, rows = tmp_path / "new" / "table.parquet", example(SCHEMAS[name])
    write_table(path, rows, SCHEMAS[name])
    table = read_table(path, SCHEMAS[name])
    assert rows_of(table) == rows
    write_table(path, table, SCHEMAS[name])
    assert rows_of(read_table(path, SCHEMAS[name])) == rows


@pytest.mark.parametrize("name", ["rollouts", "outcomes", "batch"])
def test_optional_columns_are_written_where_the_rows_have_them(name, tmp_path):
    path, schema = tmp_path / "table.parquet", SCHEMAS[name]
    optional = OPTIONAL[schema]
    write_table(path, example(schema), schema)
    assert pq.read_schema(path).names == schema.names
    for field in optional:
        rows = example(pa.schema([*schema, field]))
        write_table(path, rows, schema)
        assert rows_of(read_table(path, schema)) == rows
    rows = example(pa.schema([*schema, *optional]))
    write_table(path, pd.DataFrame(rows), schema)
    assert rows_of(read_table(path, schema)) == rows
    assert rows_of(read_table(path, schema, also=[optional.names[-1]])) == rows


def test_an_optional_column_that_is_needed_and_missing_is_named(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, example(BATCH), BATCH)
    with pytest.raises(TableError, match=r"columns \['turn_rewards'\] are missing"):
        read_table(path, BATCH, also=["turn_rewards"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_empty_table_keeps_its_columns(name, tmp_path):
    write_table(tmp_path / "table.parquet", [], SCHEMAS[name])
    table = read_table(tmp_path / "table.parquet", SCHEMAS[name])
    assert list(table.columns) == SCHEMAS[name].names
    assert table.empty


def test_the_same_rows_are_the_same_bytes(tmp_path):
    frame = pd.DataFrame(example(ROLLOUTS), index=[7, 3])
    write_table(tmp_path / "a.parquet", example(ROLLOUTS), ROLLOUTS)
    write_table(tmp_path / "b.parquet", frame, ROLLOUTS)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_columns_that_no_one_asked_for_are_left_out(tmp_path):
    write_table(tmp_path / "a.parquet", pd.DataFrame(example(BATCH)).assign(more=1), BATCH)
    assert pq.read_schema(tmp_path / "a.parquet").names == BATCH.names
    assert list(read_table(tmp_path / "a.parquet", REWARDS_KEYS).columns) == REWARDS_KEYS.names


REWARDS_KEYS = pa.schema([BATCH.field("prompt_id"), BATCH.field("sample")])


def test_a_missing_table_is_refused_by_name(tmp_path):
    with pytest.raises(TableError, match=r"00\.parquet: no such table; run the stage"):
        read_table(tmp_path / "00.parquet", ROLLOUTS)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_table_is_refused_by_name(share, tmp_path):
    path = tmp_path / "00.parquet"
    write_table(path, example(ROLLOUTS) * 50, ROLLOUTS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TableError, match=r"00\.parquet: not a complete parquet file .*delete it"):
        read_table(path, ROLLOUTS)


def test_a_table_with_a_damaged_page_is_refused_by_name(tmp_path):
    path = tmp_path / "00.parquet"
    write_table(path, example(ROLLOUTS) * 50, ROLLOUTS)
    content = bytearray(path.read_bytes())
    content[4:300] = bytes(296)
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"00\.parquet: not a complete parquet file"):
        read_table(path, ROLLOUTS)


def test_a_table_of_another_kind_is_refused_with_both_lists_of_columns(tmp_path):
    path = tmp_path / "00.parquet"
    write_table(path, example(OUTCOMES), OUTCOMES)
    with pytest.raises(TableError, match=r"00\.parquet: columns \['prompt_tokens'.*'verdict'"):
        read_table(path, ROLLOUTS)


def test_columns_of_another_type_are_refused_by_name(tmp_path):
    path = tmp_path / "00.parquet"
    rows = pd.DataFrame(example(OUTCOMES)).assign(outcome=["right", "wrong"])
    pq.write_table(pa.Table.from_pandas(rows), path)
    with pytest.raises(TableError, match=r"00\.parquet: wrong column types"):
        read_table(path, OUTCOMES)


def test_numbers_too_large_for_their_column_are_refused(tmp_path):
    path = tmp_path / "00.parquet"
    rows = pd.DataFrame(example(OUTCOMES)).assign(sample=[0, 2**40])
    pq.write_table(pa.Table.from_pandas(rows), path)
    with pytest.raises(TableError, match=r"00\.parquet: wrong column types"):
        read_table(path, OUTCOMES)


def test_wider_integers_of_foreign_tables_are_taken(tmp_path):
    path = tmp_path / "00.parquet"
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(example(OUTCOMES))), path)
    assert read_table(path, OUTCOMES)["sample"].dtype == np.int32


def test_a_full_disk_leaves_the_old_table_and_nothing_else(monkeypatch, tmp_path):
    path = tmp_path / "00.parquet"
    write_table(path, example(OUTCOMES), OUTCOMES)
    before = path.read_bytes()

    def full(_writer, _table):
        raise OSError(errno.ENOSPC, "Error writing bytes to file. No space left on device")

    monkeypatch.setattr(tables.pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_table(path, example(OUTCOMES) * 2, OUTCOMES)
    assert path.read_bytes() == before
    assert leftovers(tmp_path) == []
    assert str(caught.value.filename) == str(path)


def test_a_full_disk_found_only_when_flushing_leaves_the_old_file(monkeypatch, tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("prime_core.run.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert leftovers(tmp_path) == []


def test_a_failure_in_the_middle_leaves_no_new_file(tmp_path):
    def fail() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_there_before_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o002, 0o664, 0o775), (0o077, 0o600, 0o700)]
)
def test_what_is_written_is_as_open_as_the_user_wants_it(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "a")
        with atomic_folder(tmp_path / "policy") as aside:
            (aside / "weights").write_text("w")
        record_job(RunFiles(tmp_path), SubmittedJob("1", "sft", 0, "", 1, 0.0, ""))
        RunLock(tmp_path / "run").take()
    finally:
        os.umask(before)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 4
    assert {oct(path.stat().st_mode & 0o777) for path in written} == {oct(file)}
    folders = {path for path in tmp_path.rglob("*") if path.is_dir()}
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {oct(folder)}


def test_a_folder_takes_the_place_of_another_as_a_whole(tmp_path):
    path = tmp_path / "policy"
    for names in (("a", "b"), ("b", "c")):
        with atomic_folder(path) as folder:
            for name in names:
                (folder / "inner").mkdir(exist_ok=True)
                (folder / "inner" / name).write_text(name)
        assert sorted(file.name for file in (path / "inner").iterdir()) == sorted(names)
    assert [file.name for file in tmp_path.iterdir()] == ["policy"]


def test_a_failure_leaves_the_old_folder_as_it_was(tmp_path):
    path = tmp_path / "policy"
    with atomic_folder(path) as folder:
        (folder / "weights").write_text("old")

    def fail() -> None:
        with atomic_folder(path) as folder:
            (folder / "weights").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (path / "weights").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["policy"]


def test_json_comes_back_and_its_keys_are_in_order(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.5, None]})
    write_json(tmp_path / "b.json", {"a": [0.5, None], "b": 1})
    assert read_json(tmp_path / "a.json") == {"b": 1, "a": [0.5, None]}
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xff"])
def test_broken_json_is_refused_by_name(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(TableError, match=r"a\.json: not readable as JSON"):
        read_json(tmp_path / "a.json")


def test_absent_json_is_refused_by_name(tmp_path):
    with pytest.raises(TableError, match=r"a\.json: no such file"):
        read_json(tmp_path / "a.json")
