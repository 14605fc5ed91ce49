"""Rows one after another: what is read, what is refused, and tables that are written in parts."""

import gzip
import json
import tracemalloc
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prime_core.data.problems import Problem, stream_problems
from prime_core.data.prompt_files import apply_template, without_template
from prime_core.data.prompts import ability_of, conversation
from prime_core.data.reading import BadLine, DataError, read_rows, stream_rows
from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import prompt_lengths, prompt_tokens
from prime_core.run.tables import (
    DEMONSTRATIONS,
    TableError,
    read_table,
    stream_table,
    table_writer,
    write_table,
)
from prime_core.settings.data import Data
from tests.support.shared_data import shared

KEYS = {"q": "data.columns.prompt"}


def test_bad_lines_come_with_their_reason_and_a_list_of_json_is_a_table(tmp_path):
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"q": 1}\n\n[1, 2]\n{"q": \n{"q": 2}\n')
    found = list(stream_rows([lines], KEYS))
    assert [found[0], found[3]] == [{"q": 1}, {"q": 2}]
    assert found[1] == BadLine("is not an object", "[1, 2]\n")
    assert isinstance(found[2], BadLine)
    assert found[2].reason.startswith("is not JSON (Expecting value")
    with pytest.raises(DataError, match=r"a\.jsonl: line 2 is not an object"):
        read_rows(lines)
    whole = tmp_path / "b.json.gz"
    whole.write_bytes(gzip.compress(b' \n[{"q": 1}, 5, {"q": 2}]'))
    assert list(stream_rows([whole], KEYS)) == [
        {"q": 1},
        BadLine("is not an object", "5"),
        {"q": 2},
    ]
    whole.write_bytes(gzip.compress(b'[{"q": 1}, '))
    with pytest.raises(DataError, match=r"begins like a JSON list, but is not one"):
        read_rows(whole)


def test_a_column_that_no_row_has_is_refused_before_the_file_ends(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"r": 1}\n' * 5000)
    rows = stream_rows([path], KEYS)
    with pytest.raises(DataError, match=r"column 'q' is missing; found \['r'\]"):
        list(islice(rows, 1500))


def test_only_the_columns_that_are_asked_for_are_read_some_rows_at_a_time(tmp_path):
    path = tmp_path / "a.parquet"
    noise = np.random.default_rng(0).bytes(8000)
    columns = {"q": ["x"] * 5000, "n": [{"a": 1}] * 5000, "extra": [noise] * 5000}
    pq.write_table(pa.table(columns), path, use_dictionary=False, row_group_size=500)
    assert path.stat().st_size > 10**6
    tracemalloc.start()
    rows = sum(
        isinstance(row, dict) and set(row) == {"q", "n"}
        for row in stream_rows([path], KEYS, ["q", "n.a", "z"])
    )
    assert rows == 5000
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_several_files_are_one_table(tmp_path):
    for number in range(3):
        rows = [{"q": f"{number}{place}", "a": "1"} for place in range(2)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"train-{number}.jsonl").write_text(text)
    data = Data(columns={"prompt": "q", "ground_truth": "a"})
    found = list(stream_problems(str(tmp_path / "train-*.jsonl"), "train", data))
    problems = [one for one in found if isinstance(one, Problem)]
    assert [one.row["prompt_id"] for one in problems] == [f"train-{n:06d}" for n in range(6)]
    assert [one.text for one in problems] == ["00", "01", "10", "11", "20", "21"]


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("hi", [{"role": "user", "content": "hi"}]),
        ([{"from": "human", "value": "hi"}], [{"role": "user", "content": "hi"}]),
        (
            [{"role": "system", "content": "s"}, {"from": "gpt", "value": "a"}],
            [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}],
        ),
        (" ", None),
        ([], None),
        ([{"from": "human"}], None),
        (["hi"], None),
        (3, None),
    ],
)
def test_conversations_of_both_usual_forms_are_understood(value, messages):
    assert conversation(value) == messages


def test_abilities_have_one_name():
    named = [ability_of(value, "math") for value in ("Coding", "Math", "code", None, "")]
    assert named == ["code", "math", "code", "math", "math"]


def test_templates_are_put_around_a_problem_once_and_taken_off_again():
    code = "configs/prompts/code.txt"
    asked = apply_template(code, "Add one.")
    assert asked.startswith("Add one.\n\nWrite Python code")
    assert apply_template(code, asked) == asked
    assert without_template(code, asked) == "Add one."
    assert without_template(code, "Add one.") == "Add one."


def test_a_table_written_in_parts_is_the_table_written_at_once(tmp_path):
    rows = [
        {"prompt": [{"role": "user", "content": f"é{n}"}], "response": str(n)} for n in range(5)
    ]
    write_table(tmp_path / "once.parquet", rows, DEMONSTRATIONS)
    with table_writer(tmp_path / "parts.parquet", DEMONSTRATIONS) as write:
        for part in (rows[:2], [], rows[2:]):
            write(part)
    once, parts = (read_table(tmp_path / f"{n}.parquet", DEMONSTRATIONS) for n in ("once", "parts"))
    pd.testing.assert_frame_equal(once, parts)
    assert [
        row for some in stream_table(tmp_path / "parts.parquet", DEMONSTRATIONS) for row in some
    ] == rows


def test_a_table_whose_writing_fails_is_not_there(tmp_path):
    def stop_in_the_middle() -> None:
        with table_writer(tmp_path / "a.parquet", DEMONSTRATIONS) as write:
            write([{"prompt": [], "response": "x"}])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_in_the_middle()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TableError, match=r"a\.parquet: no such table"):
        list(stream_table(tmp_path / "a.parquet", DEMONSTRATIONS))


def test_lengths_of_many_prompts_are_those_of_each(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    with gzip.open(shared("data/gsm8k_test.jsonl.gz"), "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["question"] for line in islice(lines, 20)]
    prompts = [[{"role": "user", "content": text}] for text in (*texts, "", "é\n")]
    expected = [len(prompt_tokens(tokenizer, prompt)) for prompt in prompts]
    assert prompt_lengths(tokenizer, prompts) == expected
    assert prompt_lengths(tokenizer, []) == []
