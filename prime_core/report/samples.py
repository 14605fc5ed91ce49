"""Sampled responses as text: of some iterations the first correct and the first incorrect one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from prime_core.run.layout import RunFiles, in_order
from prime_core.run.tables import PROMPTS, read_table

_ITERATIONS = 10  # shown of a run: the first, the last, and others evenly between
_LONGEST = 4000  # characters of a response


@dataclass(frozen=True)
class Sample:
    """A response as it was judged. kind: correct or incorrect."""

    iteration: int
    kind: str
    prompt: str
    response: str
    outcome: float

    @property
    def markdown(self) -> str:
        """Prompt and response, set apart; as they are, not as formatting."""
        return f"{_quoted(self.prompt)}\n\noutcome {self.outcome:g}\n\n{_quoted(self.response)}"


def samples(run_dir: Path) -> list[Sample]:
    """Responses of the training batches of a run so far; nothing is chosen by hand."""
    files = RunFiles(run_dir)
    folders = in_order((run_dir / "iterations").glob("[0-9]*"))
    found = [int(folder.name) for folder in folders if files.batch(int(folder.name)).exists()]
    if not found:
        return []
    step = max(1, -(-len(found) // _ITERATIONS))
    chosen = sorted({*found[::step], found[-1]})
    prompts = _prompts(files)
    return [sample for iteration in chosen for sample in _of(files, iteration, prompts)]


def _prompts(files: RunFiles) -> dict[str, str]:
    """Texts of the training problems; none where their table is not there."""
    if not files.train.exists():
        return {}
    problems = read_table(files.train, PROMPTS)
    return {
        name: "\n".join(message["content"] for message in messages)
        for name, messages in zip(problems["prompt_id"], problems["prompt"], strict=True)
    }


def _of(files: RunFiles, iteration: int, prompts: dict[str, str]) -> Iterator[Sample]:
    columns = ["prompt_id", "text", "outcome"]
    rows = pq.read_table(files.batch(iteration), columns=columns).to_pylist()
    for kind, is_wanted in (("correct", lambda x: x == 1), ("incorrect", lambda x: x < 1)):
        row = next((row for row in rows if is_wanted(row["outcome"])), None)
        if row is not None:
            text, prompt = row["text"][:_LONGEST], prompts.get(row["prompt_id"], "")
            yield Sample(iteration, kind, prompt, text, row["outcome"])


def _quoted(text: str) -> str:
    """As a block of code in Markdown."""
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])
