"""`prime verify --text` and `--rows`: judging by hand."""

import json
from pathlib import Path

import pandas as pd
import pytest

from prime_core.run.tables import TableError
from prime_core.tools import judge
from prime_core.verifiers import VERIFIERS


def test_one_answer_is_judged_by_hand_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge.judge_text("\\boxed{0.5}", "\\frac12").outcome == 1.0
    assert judge.judge_text("0.5", '["1", "\\\\frac12"]').outcome == 0.0
    printed = capsys.readouterr().out
    assert "equal as expressions" in printed
    assert "in a \\boxed{} the whole text would be correct" in printed


def test_an_answer_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    judge.judge_text("\\boxed{\x1b]0;title\x07 5\u202e}", "\x1b[31m6")
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


def test_any_file_of_rows_is_judged_and_keeps_its_columns(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "response": "\\boxed{5}", "ground_truth": "5", "extra": {"a": [1]}},
        {"id": 2, "response": "\\boxed{3.1}", "ground_truth": "3.14", "tolerance": 0.1},
        {"id": 3, "response": None, "ground_truth": ["5", "6"], "extra": "text"},
        {"id": 4, "response": "\\boxed{\ud800}", "ground_truth": "5"},
    ]
    source, output = tmp_path / "rows.jsonl", tmp_path / "judged.parquet"
    source.write_text("\n".join(map(json.dumps, rows)) + "\n")
    judge.judge_rows(source, output)
    table = pd.read_parquet(output)
    assert list(table["outcome"]) == [1.0, 1.0, 0.0, 0.0]
    assert list(table["id"]) == [1, 2, 3, 4]
    assert json.loads(table["extra"][0]) == {"a": [1]}
    assert list(table.columns[-4:]) == ["outcome", "verdict", "extracted", "seconds"]


def test_a_file_of_other_rows_is_refused_by_line(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"response": "5", "ground_truth": "5"}\n{"response": "5"}\n')
    with pytest.raises(TableError, match=r"rows\.jsonl:2.*ground_truth"):
        judge.judge_rows(source, tmp_path / "out.parquet")


def test_programs_go_to_the_verifier_of_programs() -> None:
    values = {"program": "print(1)", "tests": {"inputs": [""], "outputs": ["1"]}}
    row = judge._row(values, "here")
    assert row.ability == "program"
    assert row.ability in VERIFIERS
    assert json.loads(row.ground_truth) == values["tests"]


def test_rows_of_programs_may_have_their_checker_and_tolerance_in_columns(tmp_path: Path) -> None:
    checker = "def check(given, got, want): return sorted(got.split()) == sorted(want.split())"
    tests = {"inputs": [""], "outputs": ["1 2\n"]}
    row = {"ability": "code", "response": "```python\nprint('2 1')\n```", "ground_truth": tests}
    near = {"program": "print(1.4)", "tests": json.dumps({"inputs": [""], "outputs": ["1.5\n"]})}
    cases = [{"input": "", "output": "1 2\n"}]
    rows = [
        row,
        row | {"checker": checker},
        row | {"checker": checker, "ground_truth": json.dumps(cases)},
        row | {"checker": "wrong", "ground_truth": tests | {"checker": checker}},
        near,
        near | {"tolerance": 0.2},
    ]
    source, output = tmp_path / "rows.jsonl", tmp_path / "judged.parquet"
    source.write_text("\n".join(map(json.dumps, rows)) + "\n")
    judge.judge_rows(source, output)
    assert list(pd.read_parquet(output)["outcome"]) == [0.0, 1.0, 1.0, 1.0, 0.0, 1.0]


def test_text_that_is_a_program_but_no_block_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tests = json.dumps({"inputs": [""], "outputs": ["1\n"]})
    assert judge.judge_text("print(1)", tests, "code").outcome == 0.0
    assert "as a program the whole text would be correct" in capsys.readouterr().out
