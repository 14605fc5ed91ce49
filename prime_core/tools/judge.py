"""Judge one answer, or any file of answers, with the verdicts that a run would give.

In: a response and a gold answer; or a JSON lines file with columns response, ground_truth and
ability (math unless stated), or program and tests. Columns answer_type and tolerance (mathematics),
tolerance and checker (programs) count as parts of the ground truth where it does not state them.
Out: an explanation in text; or a parquet file with the columns of the input and outcome, verdict,
extracted, seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prime_core.run.atomic import atomic_path
from prime_core.run.tables import TableError
from prime_core.runtime.text import printable
from prime_core.settings.reading import parse_settings
from prime_core.settings.verification import Verification
from prime_core.verifiers.function import problem_text
from prime_core.verifiers.pool import Row, judge_row
from prime_core.verifiers.resumable import columns, judge_all
from prime_core.verifiers.verdict import Judgement, Verdict

_JUDGED = ("outcome", "verdict", "extracted", "seconds")


def judge_text(
    text: str,
    gold: str,
    ability: str = "math",
    rules: Verification | None = None,
    function: str | None = None,
) -> Judgement:
    """Judge one response and print how it was decided. function: a user's own, which judges."""
    rules = rules or Verification()
    if function is not None:
        rules = parse_settings({"verification.function": function}, "--function").verification
        ability = "function"
    truth = gold if ability != "function" else problem_text(_asked_by_hand(gold))
    judgement = judge_row(Row(ability, text, truth), rules)
    outcome = "none" if judgement.outcome is None else f"{judgement.outcome:g}"
    print(f"verdict    {judgement.verdict.value} (outcome {outcome})")
    extracted = "None" if judgement.extracted is None else printable(judgement.extracted)
    print(f"extracted  {extracted}")
    print(f"gold       {printable(gold)}")
    print(f"decided by {printable(judgement.detail)}")
    print(f"seconds    {judgement.seconds:.4f}")
    if ability == "math" and judgement.verdict is Verdict.no_answer:
        boxed = judge_row(Row(ability, f"\\boxed{{{text.strip()}}}", gold), rules)
        decided = printable(boxed.detail)
        print(f"in a \\boxed{{}} the whole text would be {boxed.verdict.value}: {decided}")
    if ability == "code" and judgement.verdict is Verdict.no_answer:
        program = judge_row(Row("program", text, gold), rules)
        decided = printable(program.detail)
        print(f"as a program the whole text would be {program.verdict.value}: {decided}")
    return judgement


def _asked_by_hand(gold: str) -> dict[str, Any]:
    """The row that a function is given where there is no problem but its answer."""
    return {
        "prompt_id": "",
        "prompt": [],
        "ability": "function",
        "ground_truth": gold,
        "data_source": "",
    }


def judge_rows(source: Path, output: Path, rules: Verification | None = None) -> None:
    """Judge a JSON lines file into a parquet file."""
    table = _read(source)
    rows = [_row(values, f"{source}:{number}") for number, values in enumerate(table, start=1)]
    judgements = judge_all(rows, rules or Verification(), None, f"judging {source.name}")
    names = list(dict.fromkeys(name for values in table for name in values))
    data = {
        name: _column([values.get(name) for values in table])
        for name in names
        # A file that was judged before has these columns already.
        if name not in _JUDGED
    }
    data |= {
        name: pa.array(series, from_pandas=True) for name, series in columns(judgements).items()
    }
    with atomic_path(output) as temporary:
        pq.write_table(pa.table(data), temporary, compression="zstd", write_page_checksum=True)
    num_correct = sum(judgement.verdict is Verdict.correct for judgement in judgements)
    print(f"verify: {len(rows)} rows, {num_correct} correct: {output}")


def _read(source: Path) -> list[dict[str, Any]]:
    with source.open(encoding="utf-8") as lines:
        table = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise TableError(f"{source}:{number}: not JSON: {error}") from None
            if not isinstance(values, dict):
                raise TableError(f"{source}:{number}: expected an object, found {values!r:.60}")
            table.append(values)
    return table


def _row(values: dict[str, Any], line: str) -> Row:
    """The row to judge in a line of the file."""
    if "program" in values and "tests" in values:
        tests = values["tests"]
        if isinstance(tests, dict) and "test" in tests and "problem" in values:
            tests = {"prompt": values["problem"]} | tests  # the code that a completion continues
        return Row("program", _text(values["program"]), _text(_with_hints(tests, values)))
    if "response" not in values or "ground_truth" not in values:
        raise TableError(
            f"{line}: columns response and ground_truth, or program and tests, are needed; "
            f"found {sorted(values)}"
        )
    truth, ability = values["ground_truth"], values.get("ability") or "math"
    hints = _hints(values, ("answer_type", "tolerance"))
    if hints and ability == "math":
        truth = {"answer": truth} | hints
    elif ability == "code":
        truth = _with_hints(truth, values)
    return Row(ability, _text(values["response"]), _text(truth))


def _hints(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def _with_hints(tests: Any, values: dict[str, Any]) -> Any:
    """A program's tests with the row's columns as their parts; what they state themselves holds."""
    hints = _hints(values, ("tolerance", "checker"))
    if not hints:
        return tests
    try:
        known = json.loads(tests) if isinstance(tests, str) else tests
    except ValueError:  # packed
        known = tests
    return hints | (known if isinstance(known, dict) else {"input_output": known})


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _column(values: list[Any]) -> pa.Array:
    """One column; values that are not of one plain type are kept as JSON text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and kinds <= {str, int, float, bool}:
        try:
            return pa.array(values)
        # Integers beyond 64 bits, or lone surrogates: as JSON text in ASCII both can be stored.
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):
            pass
    return pa.array([None if v is None else json.dumps(v, ensure_ascii=True) for v in values])
