"""People's own files of problems: other column names, other formats, damaged rows and files."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prime_core.data.labelled import read_responses
from prime_core.data.problems import (
    DataError,
    Dropped,
    Problem,
    as_messages,
    read_demonstrations,
    read_problems,
    stream_problems,
)
from prime_core.data.prompts import problem_text
from prime_core.data.sources import training_problems
from prime_core.run.tables import DROPPED
from prime_core.settings.data import Data
from prime_core.settings.reading import parse_settings
from tests.support.shared_data import read_jsonl, shared

QUESTION = [{"role": "user", "content": "1+2=?"}]
ROWS: list[dict] = [
    {"prompt": "1+2=?", "ground_truth": "3"},
    {"prompt": QUESTION, "ground_truth": "3", "ability": "code", "data_source": "mine"},
]


def write(path: Path, rows: list[dict]) -> Path:
    """Rows in the format of the file's name."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(_columns(rows))), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def _columns(rows: list[dict]) -> list[pa.Field]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [pa.field(name, pa.array([row.get(name) for row in rows]).type) for name in names]


def read(path: Path, **settings: object) -> tuple[list[dict], int]:
    return read_problems(path, "train", Data.model_validate(settings))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.parquet"])
def test_every_format_gives_the_same_rows(name, tmp_path):
    rows, num_malformed = read(write(tmp_path / name, [ROWS[0], {"prompt": "é\n", **ROWS[0]}]))
    assert num_malformed == 0
    assert rows[0] == {
        "prompt_id": "train-000000",
        "prompt": QUESTION,
        "ability": "math",
        "ground_truth": "3",
        "data_source": "a.jsonl" if name == "a.jsonl.gz" else "a",
    }
    assert [row["prompt_id"] for row in rows] == ["train-000000", "train-000001"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_columns_of_other_names_are_mapped(name, tmp_path):
    foreign = [{"question": "1+2=?", "answer": "3", "kind": "math", "uid": 7, "prompt": "no"}]
    columns = {
        "prompt": "question",
        "ground_truth": "answer",
        "ability": "kind",
        "prompt_id": "uid",
    }
    (row,), _ = read(write(tmp_path / name, foreign), columns=columns)
    assert (row["prompt_id"], row["prompt"], row["ground_truth"]) == ("7", QUESTION, "3")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_messages_come_through_and_optional_columns_too(name, tmp_path):
    (row,), _ = read(write(tmp_path / name, [ROWS[1]]))
    assert row["prompt"] == QUESTION
    assert (row["ability"], row["data_source"]) == ("code", "mine")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_missing_values_of_optional_columns_get_the_defaults(name, tmp_path):
    rows, num_malformed = read(
        write(
            tmp_path / name,
            [
                {"prompt": "a", "ground_truth": "1", "ability": "code", "prompt_id": "x"},
                {"prompt": "b", "ground_truth": "2", "ability": None, "prompt_id": None},
                {"prompt": "c", "ground_truth": "3"},
            ],
        )
    )
    assert num_malformed == 0
    assert [row["ability"] for row in rows] == ["code", "math", "math"]
    assert [row["prompt_id"] for row in rows] == ["x", "train-000001", "train-000002"]


def test_a_generated_problem_can_be_left_out_like_any_other():
    one = next(training_problems(parse_settings({}, "test")))
    assert isinstance(one, Problem)
    row = vars(one.dropped("too_long", "9 tokens"))
    assert row["quote"] == one.row["prompt"][0]["content"]
    pa.Table.from_pylist([{"split": "train", **row}], DROPPED)


def test_the_number_0_is_an_identity(tmp_path):
    rows = [{"prompt": "a", "ground_truth": "1", "prompt_id": number} for number in (1, 0)]
    found, _ = read(write(tmp_path / "a.parquet", rows))
    assert [row["prompt_id"] for row in found] == ["1", "0"]


@pytest.mark.parametrize("key", ["prompt", "ground_truth"])
def test_a_missing_column_is_refused_with_file_key_and_what_was_found(key, tmp_path):
    rows = [{name: value for name, value in ROWS[0].items() if name != key} | {"other": 1}]
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: column '{key}' is missing; found [")
    assert "'other'" in message
    assert f"data.columns.{key}" in message


def test_a_mapped_column_that_is_missing_is_refused_by_its_own_name(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(DataError, match=r"column 'question' is missing.*data\.columns\.prompt"):
        read(path, columns={"prompt": "question"})


def test_malformed_rows_are_left_out_and_counted(tmp_path):
    rows: list[dict] = [
        {"prompt": "good", "ground_truth": "1"},
        {"prompt": "", "ground_truth": "1"},
        {"prompt": "  \n", "ground_truth": "1"},
        {"prompt": None, "ground_truth": "1"},
        {"prompt": 5, "ground_truth": "1"},
        {"prompt": [], "ground_truth": "1"},
        {"prompt": ["text"], "ground_truth": "1"},
        {"prompt": [{"role": "user"}], "ground_truth": "1"},
        {"prompt": [{"role": "user", "content": None}], "ground_truth": "1"},
        {"prompt": "no truth", "ground_truth": None},
        {"prompt": "blank truth", "ground_truth": " "},
        {"prompt": "no truth either"},
        {"prompt": "good", "ground_truth": "2"},
    ]
    found, num_malformed = read(write(tmp_path / "a.jsonl", rows))
    assert [row["ground_truth"] for row in found] == ["1", "2"]
    assert [row["prompt_id"] for row in found] == ["train-000000", "train-000012"]
    assert num_malformed == 11


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("others", [[], [{"prompt": "b", "ground_truth": None}]])
def test_numbers_as_ground_truth_keep_their_form(name, others, tmp_path):
    rows = [{"prompt": "a", "ground_truth": 5}, *others]
    found, _ = read(write(tmp_path / name, rows))
    assert [row["ground_truth"] for row in found] == ["5"]


def test_texts_that_look_like_numbers_stay_texts(tmp_path):
    rows = [{"prompt": "a", "ground_truth": text} for text in ("007", "1.10", "1e3", "2024-01-01")]
    found, _ = read(write(tmp_path / "a.jsonl", rows))
    assert [row["ground_truth"] for row in found] == ["007", "1.10", "1e3", "2024-01-01"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_structured_ground_truth_becomes_json(name, tmp_path):
    tests = {"inputs": ["1\n"], "outputs": [["2"]]}
    (row,), _ = read(write(tmp_path / name, [{"prompt": "a", "ground_truth": tests}]))
    assert json.loads(row["ground_truth"]) == tests


def test_the_truth_behind_a_mark_is_what_follows_the_last_one(tmp_path):
    rows: list[dict] = [
        {"prompt": "a", "ground_truth": "48/2 = 24, so\n#### 72"},
        {"prompt": "b", "ground_truth": "#### 1\n####  1,234 "},
        {"prompt": "without", "ground_truth": "72"},
        {"prompt": "nothing behind it", "ground_truth": "so\n#### "},
        {"prompt": "no text", "ground_truth": 72},
        {"prompt": "c", "ground_truth": "####\\frac{1}{2}"},
    ]
    found, num_malformed = read(write(tmp_path / "a.jsonl", rows), ground_truth_after="####")
    assert [row["ground_truth"] for row in found] == ["72", "1,234", "\\frac{1}{2}"]
    assert num_malformed == 3


def test_gsm8k_as_published_has_its_answers():
    rows = read_jsonl("gsm8k_test.jsonl.gz")
    found, num_malformed = read(
        shared("data/gsm8k_test.jsonl.gz"),
        columns={"prompt": "question", "ground_truth": "answer"},
        ground_truth_after="####",
    )
    assert num_malformed == 0
    assert [row["ground_truth"] for row in found] == [row["final"] for row in rows]
    assert len(found) == 1319


def test_repeated_identities_are_refused_with_their_number(tmp_path):
    rows = [row | {"prompt_id": "same"} for row in ROWS]
    with pytest.raises(DataError, match=r"a\.jsonl: 1 values of prompt_id occur more than once"):
        read(write(tmp_path / "a.jsonl", rows))


def test_system_prompt_and_suffix_are_added_once():
    data = Data(system_prompt="Add.", prompt_suffix=" Box it.")
    expected = [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": "1+2=? Box it."},
    ]
    assert as_messages("1+2=?", data) == expected
    assert as_messages(QUESTION, data) == expected
    own = [{"role": "system", "content": "Mine."}, *QUESTION]
    messages = as_messages(own, data)
    assert messages is not None
    assert messages[0] == own[0]
    assert QUESTION[0]["content"] == "1+2=?"


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ([*QUESTION, {"role": "assistant", "content": "It is 3."}], "a message of 'assistant'"),
        ([{"from": "human", "value": "1+2"}, {"from": "gpt", "value": "3"}], "of 'assistant'"),
        ([{"role": "system", "content": "Add."}], "a message of 'system'"),
        ([{"role": "user", "content": " "}], "an empty message"),
    ],
)
def test_a_problem_ends_with_a_message_of_the_user(prompt, reason, tmp_path):
    path = write(tmp_path / "a.jsonl", [ROWS[0], {"prompt": prompt, "ground_truth": "3"}])
    data = Data(prompt_suffix=" Box it.")
    good, bad = stream_problems(path, "train", data)
    assert isinstance(good, Problem)
    assert isinstance(bad, Dropped)
    assert (bad.reason, reason in bad.detail) == ("malformed", True)
    rows = [{"prompt": prompt, "response": "3"}, {"prompt": "1+2=?", "response": "3"}]
    assert read_demonstrations(write(tmp_path / "b.jsonl", rows), data)[1] == 1
    with pytest.raises(DataError, match=reason):
        read_responses(write(tmp_path / "c.jsonl", rows[:1]), {}, "{}", with_outcomes=False)


def test_a_merged_system_message_is_before_the_users_text_and_not_part_of_the_problem(tmp_path):
    own = [{"role": "system", "content": "Mine."}, *QUESTION]
    turns = [*QUESTION, {"role": "assistant", "content": "3"}, {"role": "user", "content": "+1?"}]
    prompts = ["1+2=?", own, turns]
    rows: list[dict] = [{"prompt": prompt, "ground_truth": "3"} for prompt in prompts]
    path = write(tmp_path / "a.jsonl", rows)
    data = Data(system_role="merge", system_prompt="Add.", prompt_suffix=" Box it.")
    found = [one for one in stream_problems(path, "train", data) if isinstance(one, Problem)]
    first, second, third = (one.row["prompt"] for one in found)
    assert first == [{"role": "user", "content": "Add.\n\n1+2=? Box it."}]
    assert second == [{"role": "user", "content": "Mine.\n\n1+2=? Box it."}]
    assert [message["content"] for message in third] == ["Add.\n\n1+2=?", "3", "+1? Box it."]
    assert [one.text for one in found] == ["1+2=?", "1+2=?", "+1?"]
    assert problem_text(first, data, "math") == "1+2=?"
    demonstrations = write(tmp_path / "b.jsonl", [{"prompt": "1+2=?", "response": "3"}])
    assert read_demonstrations(demonstrations, data)[0] == [{"prompt": first, "response": "3"}]


def test_demonstrations_need_a_prompt_and_a_response(tmp_path):
    rows: list[dict] = [
        {"q": "1+2=?", "a": "3"},
        {"q": "1+2=?", "a": ""},
        {"q": "1+2=?", "a": None},
        {"q": "", "a": "3"},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    data = Data(columns={"prompt": "q", "response": "a"})
    assert read_demonstrations(path, data) == ([{"prompt": QUESTION, "response": "3"}], 3)
    with pytest.raises(DataError, match=r"a\.jsonl: column 'response'.*data\.columns\.response"):
        read_demonstrations(path, Data(columns={"prompt": "q"}))


def test_an_absent_file_is_refused_by_name(tmp_path):
    for name in ("a.jsonl", "a.parquet"):
        with pytest.raises(DataError, match=rf"{name}: no such file"):
            read(tmp_path / name)


def test_a_file_of_another_format_is_refused_by_name(tmp_path):
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(DataError, match=r"a\.xlsx: expected a \.parquet, \.jsonl or"):
        read(tmp_path / "a.xlsx")


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz"])
def test_a_truncated_file_is_refused_by_name_in_one_line(name, tmp_path):
    path = write(tmp_path / name, ROWS[:1] * 50)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.7 * len(content)) - 5])
    with pytest.raises(
        DataError, match=rf"{name}: (not readable as a table: |line 35 is not JSON)"
    ) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_an_empty_file_is_refused_by_name(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{name}: "):
        read(tmp_path / name)
