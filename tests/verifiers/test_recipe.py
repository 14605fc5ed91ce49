"""Another verifier is added as prime_core/verifiers/__init__.py says, and as nothing else does.

In a copy of the package, since what a setting allows is fixed when its class is made. The test
edits the copy; then this file is run as a program in it, whose `prime_core` is the edited one.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import yaml

from prime_core import verifiers
from prime_core.data.problems import Problem
from prime_core.data.sources import training_problems
from prime_core.evaluation.benchmark import benchmark_named, benchmark_problems, judge_responses
from prime_core.run.layout import RunFiles
from prime_core.run.tables import OUTCOMES, PROMPTS, ROLLOUTS, read_table, write_table
from prime_core.settings.reading import parse_settings
from prime_core.settings.verification import ABILITIES, Ability
from prime_core.stages import verify
from prime_core.tools.configure import schema_text
from tests.support.recipes import PackageCopy
from tests.support.shared_data import ROOT

# Judged by hand alone: no problem may ask for it.
BY_HAND = {"program", "env"}  # no ability that a table may name

FUNCTION = '''
def judge_choice(response: str, ground_truth: str, rules: Verification) -> Judgement:
    """Multiple choice: the last single letter from A to D is the answer."""
    import re

    letters = re.findall(r"\\b[A-D]\\b", response)
    if not letters:
        return Judgement(Verdict.no_answer, None, "no letter from A to D")
    verdict = Verdict.correct if letters[-1] == ground_truth else Verdict.wrong
    return Judgement(verdict, letters[-1], "letters compared")


'''
RECORD = """    "choice": Verifier(
        judge=judge_choice,
        prepare=lambda rules: None,
        close=lambda: None,
        grace_seconds=0.0,
        rows_in_chunk=16,
        rows_worth_a_worker=1,
    ),
"""
QUESTIONS = [
    {"prompt": "Which is even? A: 1, B: 2", "ground_truth": "B", "ability": "choice"},
    {"prompt": "Which is odd? A: 1, B: 2", "ground_truth": "A"},
    {"prompt": "What is 1 + 1?", "ground_truth": "2", "ability": "math"},
]
RESPONSES = ["It is B.", "A, no: B", "\\boxed{2}"]


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with another verifier, and with nothing done but the recipe."""
    package = PackageCopy(tmp_path_factory.mktemp("copy"))
    table = "prime_core/verifiers/__init__.py"
    package.insert(table, r"^(?=VERIFIERS: )", FUNCTION)
    package.insert(table, r"^VERIFIERS: .*\{\n", RECORD)
    package.insert("prime_core/settings/verification.py", r"^Ability = Literal\[", '"choice", ')
    return package.folder


def in_copy(folder: Path, *arguments: str) -> Any:
    """What a program prints whose prime_core is the copy, as JSON."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_verifier_added_by_the_recipe_judges_a_runs_responses_and_a_benchmarks(edited):
    said = in_copy(edited, "-m", "tests.verifiers.test_recipe")
    assert said["package"] == str(edited / "prime_core")
    assert said["abilities"] == ["choice", "choice", "math"]
    # Two responses to each: the question's own, and one that chooses nothing.
    assert said["outcomes"] == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert said["verdicts"][:4] == ["correct", "no_answer", "wrong", "no_answer"]
    assert said["extracted"][:4] == ["B", None, "B", None]
    assert said["benchmark"] == ["correct", "wrong", "wrong"]


def test_the_schema_of_the_recipes_third_step_lists_the_new_ability(edited):
    schema = in_copy(edited, "-c", "from prime_core.cli.main import main; main(['schema'])")
    assert [set(one) for one in abilities_in(schema)] == [{*ABILITIES, "choice"}] * 2


def abilities_in(schema: Any) -> list[list[str]]:
    """What each setting named `ability` may be."""
    if isinstance(schema, list):
        return [one for part in schema for one in abilities_in(part)]
    if not isinstance(schema, dict):
        return []
    found = [one for part in schema.values() for one in abilities_in(part)]
    ability = schema.get("properties", {}).get("ability")
    if ability is not None:
        kinds = ability.get("anyOf", [ability])
        found.append([value for kind in kinds for value in kind.get("enum", [])])
    return found


def test_settings_and_verifiers_know_the_same_abilities():
    assert set(ABILITIES) == set(get_args(Ability)) == verifiers.VERIFIERS.keys() - BY_HAND
    assert all(name == name.lower() for name in ABILITIES)
    assert abilities_in(json.loads(schema_text())) == [list(ABILITIES)] * 2


def test_the_recipe_names_files_that_are_there_and_the_docs_name_every_ability():
    recipe = verifiers.__doc__ or ""
    named = re.findall(r"\b(?:prime_core|docs)/[\w/]+\.\w+", recipe)
    assert named == ["prime_core/settings/verification.py", "docs/verification.md"]
    assert all((ROOT / name).is_file() for name in named)
    assert "`make schema`" in recipe
    page = (ROOT / "docs/verification.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in ABILITIES)


def main() -> None:
    """Begin a run with the questions, judge responses to them as the stages do, say the results."""
    folder = Path.cwd()
    table = folder / "questions.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    settings = parse_settings(
        {
            "run": "quiz",
            "results": str(folder),
            "data.source": "files",
            "data.sources": {"quiz": {"file": str(table), "ability": "choice"}},
            "data.num_validation": 1,
            "sft.enabled": False,
            "evaluation.benchmarks": {"quiz": {"file": str(table), "ability": "choice"}},
        },
        "test",
    )
    files = RunFiles(settings.run_dir)
    files.config.parent.mkdir()
    files.config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    found = training_problems(settings)
    problems = [one.row for one in found if isinstance(one, Problem)]
    write_table(files.train, problems, PROMPTS)
    rollouts = [
        {
            "prompt_id": problem["prompt_id"],
            "sample": sample,
            "prompt_tokens": [1],
            "response_tokens": [1, 2],
            "sampler_logprobs": [0.0, 0.0],
            "text": text,
            "finish_reason": "stop",
            "policy_iteration": 0,
        }
        for problem, response in zip(problems, RESPONSES, strict=True)
        for sample, text in enumerate((response, "I cannot choose"))
    ]
    write_table(files.rollouts(1, 0), rollouts, ROLLOUTS)
    with contextlib.redirect_stdout(sys.stderr):
        verify.run(files.root, 1, 0)
    outcomes = read_table(files.outcomes(1, 0), OUTCOMES)
    extracted = [None if pd.isna(text) else text for text in outcomes["extracted"]]
    said = {
        "package": str(Path(verifiers.__file__).parent.parent),
        "abilities": [problem["ability"] for problem in problems],
        "outcomes": list(outcomes["outcome"]),
        "verdicts": list(outcomes["verdict"]),
        "extracted": extracted,
        "benchmark": of_benchmark(settings),
    }
    print(json.dumps(said))


def of_benchmark(settings: Any) -> list[str]:
    """Verdicts on the answer B to each question, in an evaluation that says `choice` of all."""
    chosen = benchmark_named(settings, "quiz")
    problems, _ = benchmark_problems(chosen, settings, None)
    answers = [
        {
            "prompt_id": name,
            "sample": 0,
            "text": "B",
            "finish_reason": "stop",
            "response_length": 1,
        }
        for name in problems["prompt_id"]
    ]
    return [
        row["verdict"] for row in judge_responses(answers, problems, chosen, settings, Path("quiz"))
    ]


if __name__ == "__main__":
    main()
