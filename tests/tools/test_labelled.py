"""Labelled responses: read from people's files, and written from a run."""

import json

import pandas as pd
import pytest

from prime_core.data.labelled import read_responses
from prime_core.data.reading import DataError
from prime_core.models.load import load_tokenizer
from prime_core.run.tables import (
    LABELLED_TEXTS,
    OUTCOMES,
    PROMPTS,
    ROLLOUTS,
    TableError,
    read_table,
    write_table,
)
from prime_core.tools import labelled
from prime_core.training.labelled_tokens import tokenise
from tests.support.made_up_batch import made_up_batch
from tests.support.tiny_model import save_tiny_model

KEY = "prm.offline.columns.{}"
GOOD = {"prompt": "1+1=?", "response": "2", "outcome": 1}


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path, columns=None, with_outcomes=True):
    return read_responses(path, columns or {}, KEY, with_outcomes=with_outcomes)


def test_texts_and_messages_become_messages_and_one_prompt_is_one_group(tmp_path):
    messages = [{"role": "user", "content": "1+1=?"}]
    rows, malformed = read(
        lines(tmp_path / "a.jsonl", [GOOD, GOOD | {"prompt": messages, "outcome": False}])
    )
    assert malformed == []
    assert [row["prompt"] for row in rows] == [messages] * 2
    assert rows[0]["prompt_id"] == rows[1]["prompt_id"]
    assert [row["sample"] for row in rows] == [0, 1]
    assert [row["outcome"] for row in rows] == [1.0, 0.0]
    assert [row["finished"] for row in rows] == [True, True]


def test_columns_may_have_other_names_and_lie_inside_others(tmp_path):
    row = {"q": "1+1=?", "y": "2", "label": {"right": 0.5}, "id": 7, "ended": False}
    columns = {"prompt": "q", "response": "y", "outcome": "label.right", "prompt_id": "id"}
    rows, _ = read(lines(tmp_path / "a.jsonl", [row]), columns | {"finished": "ended"})
    assert rows[0]["prompt_id"] == "7"
    assert rows[0]["outcome"] == 0.5
    assert not rows[0]["finished"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prompt": ""}, "prompt is neither text nor messages: ''"),
        ({"prompt": [{"role": "user"}]}, "prompt is neither text nor messages: [{'role'"),
        ({"response": 3}, "response is not text: 3"),
        ({"outcome": 2}, "outcome is not a number from 0 to 1: 2"),
        ({"outcome": "yes"}, "outcome is not a number from 0 to 1: 'yes'"),
        ({"outcome": None}, "outcome is not a number from 0 to 1: None"),
        ({"outcome": float("nan")}, "outcome is not a number from 0 to 1: None"),
    ],
)
def test_a_malformed_row_is_left_out_and_quoted(change, why, tmp_path):
    rows, malformed = read(lines(tmp_path / "a.jsonl", [GOOD, GOOD | change]))
    assert len(rows) == 1
    (told,) = malformed
    assert told.startswith(f"row 2: {why}")


def test_without_usable_rows_the_file_and_the_first_reason_are_named(tmp_path):
    path = lines(tmp_path / "a.jsonl", [GOOD | {"response": None}])
    with pytest.raises(DataError, match=r"a.jsonl: none of its 1 rows is usable; row 1: respo"):
        read(path)


def test_a_missing_column_and_an_unknown_one_are_named_with_their_keys(tmp_path):
    path = lines(tmp_path / "a.jsonl", [{"prompt": "1+1=?", "response": "2"}])
    with pytest.raises(DataError, match=r"'outcome' is missing.*prm\.offline\.columns\.outcome"):
        read(path)
    with pytest.raises(DataError, match=r"columns\.label: no such column; expected some"):
        read(path, {"label": "x"})
    rows, _ = read(path, with_outcomes=False)
    assert rows[0]["outcome"] is None


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none.jsonl: no such file; expected responses"):
        read(tmp_path / "none.jsonl")


def judged_run(folder):
    """Two iterations of two prompts with three responses each; one response has no verdict."""
    files = made_up_batch(folder)
    save_tiny_model(files.base_model)
    messages = [{"role": "user", "content": "1+1=?"}]
    problem = {"prompt": messages, "ability": "math", "ground_truth": "2", "data_source": "x"}
    write_table(files.train, [problem | {"prompt_id": f"p{i}"} for i in range(2)], PROMPTS)
    rollout = {
        "prompt_tokens": [1],
        "response_tokens": [2, 1],
        "sampler_logprobs": [-1.0, -1.0],
        "policy_iteration": 0,
    }
    for iteration in (1, 2):
        keys = [{"prompt_id": f"p{i}", "sample": j} for i in range(2) for j in range(3)]
        rows = [
            key | rollout | {"text": f"{iteration}{n}", "finish_reason": "length" if n else "stop"}
            for n, key in enumerate(keys)
        ]
        verdict = {"verdict": "", "extracted": "", "seconds": 0.0}
        outcomes = [
            key | verdict | {"outcome": None if n == 4 else float(n % 2)}
            for n, key in enumerate(keys)
        ]
        for shard, part in enumerate((slice(0, 3), slice(3, 6))):
            write_table(files.rollouts(iteration, shard), rows[part], ROLLOUTS)
            write_table(files.outcomes(iteration, shard), outcomes[part][::-1], OUTCOMES)
    return files


def test_judged_responses_of_a_run_are_a_file_that_can_be_read_again(tmp_path, capsys):
    files, out = judged_run(tmp_path), tmp_path / "labelled.parquet"
    labelled.run(files.root, range(1, 3), out)
    table = read_table(out, LABELLED_TEXTS)
    assert table["response"].tolist() == [f"{i}{n}" for i in (1, 2) for n in (0, 1, 2, 3, 5)]
    assert table["outcome"].tolist() == [0, 1, 0, 1, 1] * 2
    assert table["finished"].tolist() == [True, False, False, False, False] * 2
    assert table["end_token"].dropna().tolist() == ["<|end|>"] * 2
    assert table["end_token"].notna().tolist() == table["finished"].tolist()
    assert not table.duplicated(["prompt_id", "sample"]).any()
    assert "labelled: 10 responses to 2 prompts, 60.0 % correct" in capsys.readouterr().out
    rows, malformed = read(out)
    assert malformed == []
    assert pd.DataFrame(rows)["outcome"].tolist() == table["outcome"].tolist()
    assert {row["prompt_id"] for row in rows} == {"p0", "p1"}


def test_an_iteration_without_rollouts_and_foreign_problems_are_named(tmp_path):
    files = judged_run(tmp_path)
    with pytest.raises(TableError, match="0003: holds no rollouts; run that iteration"):
        labelled.run(files.root, range(1, 4), tmp_path / "out.parquet")
    problems = read_table(files.train, PROMPTS)
    write_table(files.train, problems[:1], PROMPTS)
    with pytest.raises(TableError, match=r"not the problems of these rollouts: 'p1' is missing"):
        labelled.run(files.root, range(1, 3), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_labelled_response_keeps_its_end_and_one_that_is_not_known_is_said(tiny_model, capsys):
    question = [{"role": "user", "content": "1+1=?"}]
    rows: list[dict] = [
        {"prompt": question, "response": "2", "finished": True, "end_token": end}
        for end in (None, "<|end|>", "<|unknown|>", "<end_of_turn>")
    ]
    rows.append(rows[2] | {"finished": False})
    tokenizer = load_tokenizer(tiny_model)
    found = [row["response_tokens"] for row in tokenise(rows, tiny_model)]
    ends = [tokenizer.convert_ids_to_tokens(tokens[1:]) for tokens in found]
    assert ends == [["<|end|>"], ["<|end|>"], ["<|unknown|>"], ["<|end|>"], []]
    said = capsys.readouterr().err
    assert "1 responses end with '<end_of_turn>'" in said
    assert "'<|end|>' instead" in said
