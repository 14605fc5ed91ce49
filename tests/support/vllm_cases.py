"""Calls of the vLLM sampler in a process of their own: vLLM changes the process that it is in.

    python -m tests.support.vllm_cases CASES ANSWERS

CASES holds a dict of name -> `Case`, ANSWERS then name -> `Answer`, both pickled.
"""

import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.load import save_model
from prime_core.samplers import (
    Engine,
    FinishedResponses,
    Request,
    Sampled,
    SamplerError,
    SamplingParams,
    load_sampler,
)
from tests.support.shared_data import ROOT
from tests.support.vllm_installed import need_vllm
from tests.support.warm import warm, warm_environment

POSITIONS = 512


def save_model_for_vllm(folder: Path, **sizes: int) -> Path:
    """A Qwen2 with heads of width 32, the narrowest that the CPU build knows."""
    tokenizer = build_tokenizer()
    usual = {"num_layers": 2, "hidden_size": 64, "num_heads": 2, "intermediate_size": 64}
    model = build_model(
        tokenizer,
        **(usual | {"max_position": POSITIONS} | sizes),
        initializer_range=0.2,
        seed=0,
    )
    save_model(model, tokenizer, folder)
    return folder


@dataclass(frozen=True)
class Case:
    """One call of a sampler, in float32.

    partial: where finished responses are kept; rows: how many of those there a kill has left.
    """

    folder: Path
    requests: list[Request]
    params: SamplingParams
    engine: Engine = field(default_factory=lambda: Engine(64))
    partial: Path | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Answer:
    """Responses and the counts that the progress was told, or the error's text."""

    responses: list[Sampled]
    counted: list[int]
    error: str = ""


def answer(case: Case, sampler: str) -> Answer:
    """Call a sampler here."""
    counted: list[int] = []
    if case.partial is not None and case.rows is not None:
        lines = case.partial.read_text().splitlines(keepends=True)
        case.partial.write_text("".join(lines[: 1 + case.rows]))  # a fingerprint, then the rows
    try:
        with FinishedResponses(case.partial, "") as finished:
            responses = load_sampler(sampler)(
                *(case.folder, "float32", case.requests, case.params, case.engine),
                *(counted.append, finished),
            )
    except SamplerError as error:
        return Answer([], counted, str(error))
    return Answer(responses, counted)


def answers_of_vllm(cases: dict[str, Case], folder: Path) -> tuple[dict[str, Answer], str]:
    """Call vLLM in a process of its own: answers, and what it printed to standard output."""
    need_vllm()
    places = folder / "cases.pickle", folder / "answers.pickle"
    places[0].write_bytes(pickle.dumps(cases))
    done = subprocess.run(
        warm([sys.executable, "-m", "tests.support.vllm_cases", *map(str, places)]),
        cwd=ROOT,
        env=warm_environment(),
        capture_output=True,
        text=True,
        timeout=500,
    )
    if done.returncode != 0:
        pytest.fail(done.stdout[-3000:] + done.stderr[-6000:])
    return pickle.loads(places[1].read_bytes()), done.stdout


def main(cases: Path, answers: Path) -> None:
    """Answer all cases."""
    asked = pickle.loads(cases.read_bytes())
    answers.write_bytes(pickle.dumps({name: answer(asked[name], "vllm") for name in asked}))


if __name__ == "__main__":
    from tests.support import vllm_cases

    vllm_cases.main(*map(Path, sys.argv[1:]))
