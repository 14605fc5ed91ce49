"""How public benchmarks state problem and ground truth, converted to one form.

In: a row as a benchmark publishes it. Out: prompt (the problem's text), ground_truth (what a
verifier takes) and prompt_id. To add a form:

1. a function here, with the argument and the keys of `humaneval`;
2. its line in FORMS;
3. its name in the Literal of `form` in prime_core/settings/evaluation.py;
4. `make schema`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prime_core.data.leetcode import solution_tests
from prime_core.data.reading import value_of
from prime_core.settings.verification import Ability

Row = dict[str, Any]


class MalformedRow(ValueError):
    """A row does not state a problem and its ground truth in the form that it should have."""


class Fields:
    """A row's values by the names that a form knows; `columns` gives the file's own names."""

    def __init__(self, row: Row, columns: dict[str, str]) -> None:
        self._row, self._columns = row, columns

    def __call__(self, name: str, default: Any = None) -> Any:
        """A value; the default where the row has none."""
        value = value_of(self._row, self._columns.get(name, name))
        return default if value is None else value

    def text(self, *names: str) -> str:
        """The text in the first of several columns that the row has. Raises MalformedRow."""
        for name in names:
            value = self(name)
            if isinstance(value, str) and value.strip():
                return value
        raise MalformedRow(f"no text in {' or '.join(names)}")

    def text_or(self, name: str, default: str) -> str:
        """A text, the default where the row has none. Raises MalformedRow for another kind."""
        value = self(name, default)
        if not isinstance(value, str):
            raise MalformedRow(f"{name} is not text")
        return value

    def texts(self, name: str, default: list[str] | None = None) -> list[str]:
        """A list of texts. Raises MalformedRow; without a default also for none."""
        value = self(name, default)
        if not isinstance(value, list) or not all(map(_is_text, value)):
            raise MalformedRow(f"no list of texts in {name}")
        if not value and default is None:
            raise MalformedRow(f"nothing in {name}")
        return value


def humaneval(row: Fields) -> Row:
    """A function's beginning to complete, judged by `check`."""
    prompt = row.text("prompt")
    return {
        "prompt_id": row.text("task_id"),
        "prompt": f"Complete this Python function.\n```python\n{prompt.strip()}\n```",
        "ground_truth": {
            # As published: a response may be a completion, which only runs behind exactly this
            # text.
            "prompt": prompt,
            "test": row.text("test"),
            "entry_point": row.text("entry_point"),
        },
    }


def mbpp(row: Fields) -> Row:
    """A task in words, judged by assertions; the first of them shows how the function is called."""
    tests = row.texts("test_list")
    return {
        "prompt_id": _numbered("mbpp", row("task_id")),
        # The sanitized MBPP has the task in `prompt`, the full one in `text`.
        "prompt": f"{row.text('prompt', 'text').strip()}\nIt should pass: {tests[0].strip()}",
        "ground_truth": {
            "test_list": tests,
            "test_imports": row.texts("test_imports", []),
            "test_setup_code": row.text_or("test_setup_code", ""),
        },
    }


def evalplus(row: Fields) -> Row:
    """A task in words, judged by comparison with a reference solution on many inputs."""
    inputs = [row(name) or [] for name in ("base_input", "plus_input")]
    if not all(isinstance(part, list) for part in inputs) or not any(inputs):
        raise MalformedRow("no lists of inputs in base_input and plus_input")
    return {
        "prompt_id": row.text("task_id"),
        # MBPP+ publishes a task as a docstring, quotes included.
        "prompt": row.text("prompt").strip().strip('"').strip(),
        "ground_truth": {
            "task_id": row.text("task_id"),  # names the data set, whose rules differ
            "prompt": row.text("prompt"),
            "entry_point": row.text("entry_point"),
            "canonical_solution": row.text("canonical_solution"),
            "base_input": inputs[0],
            "plus_input": inputs[1],
            "atol": row("atol", 0),
        },
    }


def leetcode(row: Fields) -> Row:
    """A problem of LeetCode with the solution's signature, judged by calls of its method."""
    try:
        tests = solution_tests(row.text("test"))
    # RecursionError is Python's answer to thousands of opening brackets.
    except (ValueError, SyntaxError, RecursionError) as error:
        raise MalformedRow(f"its tests cannot be read: {error}") from None
    return {
        "prompt_id": row.text("task_id"),
        "prompt": row.text("prompt_sft", "prompt"),
        "ground_truth": tests,
    }


def livecodebench(row: Fields) -> Row:
    """A problem of a contest, judged by its public and its private tests; these stay packed."""
    starter = row.text_or("starter_code", "")
    # Both wordings follow LiveCodeBench's own prompts.
    if starter.strip():
        how = (
            "You will use the following starter code to write the solution to the problem and "
            f"enclose your code within delimiters.\n```python\n{starter}\n```"
        )
    else:
        how = (
            "Read the inputs from stdin, solve the problem and write the answer to stdout (do not "
            "directly test on the sample inputs). Enclose your code within delimiters as follows.\n"
            "```python\n# YOUR CODE HERE\n```"
        )
    metadata = row("metadata", {})
    try:
        # Published as JSON text.
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise MalformedRow("metadata is no JSON object")
    return {
        "prompt_id": row.text("question_id"),
        "prompt": f"### Question:\n{row.text('question_content')}\n\n### Format: {how}",
        "ground_truth": {
            "public_test_cases": row.text("public_test_cases"),
            "private_test_cases": row.text("private_test_cases"),
            "fn_name": metadata.get("func_name"),
        },
    }


def olympiadbench(row: Fields) -> Row:
    """A problem with its context, if any; several right answers are one list in one text."""
    answers = row("final_answer")
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(answers, list) or not answers or not all(map(_is_text, answers)):
        raise MalformedRow("no answers in final_answer")
    context, question = row.text_or("context", ""), row.text("question")
    several, kind = bool(row("is_multiple_answer")), str(row("answer_type", "")).lower()
    # A list of texts would mean that each is right by itself; here all of them are asked for.
    truth: Row = {"answer": ", ".join(answers) if several else answers}
    if kind == "tuple" and not several:
        truth["answer_type"] = kind
    if row("error") is not None:
        truth["tolerance"] = _relative(row("error"), answers[0])
    return {
        "prompt_id": _numbered("olympiadbench", row("id")),
        "prompt": f"{context.strip()}\n\n{question}" if context.strip() else question,
        "ground_truth": truth,
    }


def _relative(error: Any, answer: str) -> float | None:
    """An absolute error as a share of the answer; None where they are not plain numbers."""
    try:
        return float(error) / abs(float(answer))
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _numbered(name: str, number: Any) -> str | None:
    return None if number is None else f"{name}-{number}"


@dataclass(frozen=True)
class Form:
    """read: a row as published -> prompt, ground_truth, prompt_id. ability: what judges it.

    required: columns without which no row of a table is of this form.
    """

    read: Callable[[Fields], Row]
    ability: Ability
    required: tuple[str, ...]


FORMS: dict[str, Form] = {
    "humaneval": Form(humaneval, "code", ("prompt", "test", "entry_point")),
    "mbpp": Form(mbpp, "code", ("test_list",)),
    "evalplus": Form(evalplus, "code", ("prompt", "entry_point", "canonical_solution")),
    "leetcode": Form(leetcode, "code", ("test",)),
    "livecodebench": Form(livecodebench, "code", ("question_content", "private_test_cases")),
    "olympiadbench": Form(olympiadbench, "math", ("question", "final_answer")),
}
