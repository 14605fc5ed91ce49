"""Public benchmarks: rows as published become problems; what is right of them is judged right."""

import base64
import json
import pickle
import zlib
from pathlib import Path

import pytest

from prime_core.data.benchmarks import benchmark_data, stream_benchmark
from prime_core.data.forms import FORMS
from prime_core.data.problems import DataError, Dropped, Problem
from prime_core.settings.data import Data
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.reading import load_settings
from prime_core.settings.verification import Verification
from prime_core.verifiers import VERIFIERS
from prime_core.verifiers.verdict import Verdict
from tests.support.shared_data import ROOT, read_jsonl, shared

PUBLIC = load_settings(ROOT / "configs" / "benchmarks.yaml").evaluation.benchmarks
# Rows of the configuration whose tables lie in the shared folder, and how many problems there are.
SHARED = {
    "math-500": ("math500.jsonl.gz", 500),
    "gsm8k": ("gsm8k_test.jsonl.gz", 1319),
    "olympiadbench": ("olympiadbench.jsonl.gz", 675),
    "humaneval": ("humaneval.jsonl.gz", 164),
    "mbpp": ("mbpp_full974.jsonl.gz", 974),
}
PRIVATE = [{"input": "2 3\n", "output": "5\n", "testtype": "stdin"}]
CONTEST = {
    "question_id": "abc1",
    "question_content": "Add two numbers.",
    "starter_code": "",
    "public_test_cases": json.dumps([{"input": "1 1\n", "output": "2\n", "testtype": "stdin"}]),
    "private_test_cases": base64.b64encode(
        zlib.compress(pickle.dumps(json.dumps(PRIVATE)))
    ).decode(),
    "metadata": "{}",
}
METHOD = {
    **CONTEST,
    "question_id": "2727",
    "starter_code": "class Solution:\n    def total(self, a: int, b: int) -> int:\n",
    "public_test_cases": json.dumps([{"input": "1\n1", "output": "2", "testtype": "functional"}]),
    "private_test_cases": json.dumps([{"input": "2\n3", "output": "5", "testtype": "functional"}]),
    "metadata": '{"func_name": "total"}',
}


def problems(name: str) -> list[Problem]:
    """Problems of a row of the configuration, read from the shared folder."""
    file, number = SHARED[name]
    found = list(
        stream_benchmark(
            PUBLIC[name].model_copy(update={"file": str(shared(f"data/{file}"))}), Data()
        )
    )
    rows = [one for one in found if isinstance(one, Problem)]
    assert (len(rows), len(found)) == (number, number)
    return rows


def stream(tmp_path: Path, rows: list[dict], **keys) -> list[Problem | Dropped]:
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(stream_benchmark(Benchmark(file=str(file), **keys), Data(prompt_suffix=" run's")))


def well_formed(tmp_path: Path, rows: list[dict], **keys) -> list[Problem]:
    return [one for one in stream(tmp_path, rows, **keys) if isinstance(one, Problem)]


def verdict(problem: Problem, response: str) -> Verdict:
    row = problem.row
    verifier = VERIFIERS[row["ability"]]
    return verifier.judge(response, row["ground_truth"], Verification()).verdict


def test_the_configuration_has_a_row_for_each_public_benchmark():
    assert set(PUBLIC) == {
        *("aime-2024", "aime-2024-avg16", "aime-2025", "amc", "amc-avg16", "math-500", "minerva"),
        *("olympiadbench", "gaokao-2023-en", "gsm8k", "humaneval", "mbpp", "leetcode"),
        "livecodebench",
    }
    tokens = {name: one.max_response_length for name, one in PUBLIC.items()}
    assert {name for name, number in tokens.items() if number == 8192} == {"math-500", "leetcode"}
    assert set(tokens.values()) == {4096, 8192}
    assert {one.form for one in PUBLIC.values()} <= {"plain", *FORMS}
    for name, one in PUBLIC.items():
        sampled = (one.n_samples_per_prompt, one.temperature, one.top_p)
        expected = {"livecodebench": (10, 0.2, 0.95)}.get(name, (1, 0.0, 1.0))
        assert sampled == ((16, 0.3, 1.0) if name.endswith("avg16") else expected)


@pytest.mark.parametrize("config", ["eurus2_7b_prime", "qwen25_7b_prm_3b"])
def test_the_papers_configurations_have_the_same_rows(config):
    paper = load_settings(ROOT / "configs" / "paper" / f"{config}.yaml").evaluation.benchmarks
    assert set(paper) - set(PUBLIC) <= {"validation"}
    # Written out there: the number, in how many jobs, the published evaluation's system message.
    own = {"num_problems": None, "num_shards": 1, "system_prompt": None}
    for name in set(paper) & set(PUBLIC):
        assert paper[name].model_copy(update=own) == PUBLIC[name], name


@pytest.mark.parametrize("name", ["math-500", "gsm8k", "olympiadbench"])
def test_the_right_answer_in_a_box_is_judged_right_and_another_wrong(name):
    found = problems(name)
    for problem in found[::7]:
        truth = problem.row["ground_truth"]
        answer = json.loads(truth)["answer"] if name == "olympiadbench" else truth
        answer = answer if isinstance(answer, str) else answer[0]
        assert verdict(problem, f"So it is \\boxed{{{answer}}}.") is Verdict.correct, problem.row
    wrong = [verdict(problem, "\\boxed{-98765.4321}") for problem in found[::7]]
    assert Verdict.correct not in wrong
    assert found[0].row["prompt"][-1]["content"].endswith("\\boxed{Your answer}")
    assert "\\boxed{Your answer}" not in found[0].text


@pytest.mark.parametrize(
    ("name", "solution"), [("humaneval", "canonical_solution"), ("mbpp", "code")]
)
def test_published_solutions_of_programs_are_judged_right_and_empty_ones_wrong(name, solution):
    rows = {str(row["task_id"]): row for row in read_jsonl(SHARED[name][0])}
    for problem in problems(name)[100:112]:
        row = rows[problem.row["prompt_id"].removeprefix("mbpp-")]
        program = row[solution] if name == "mbpp" else row["prompt"] + row[solution]
        assert verdict(problem, f"Here:\n```python\n{program}\n```") is Verdict.correct, row
        assert verdict(problem, "```python\npass\n```") is not Verdict.correct
        assert problem.row["prompt"][-1]["content"].endswith("at the end.")


def test_inputs_of_evalplus_are_compared_with_its_reference_solution():
    place = str(shared("data/mbppplus.jsonl.gz"))
    found = list(stream_benchmark(Benchmark(file=place, form="evalplus"), Data()))
    rows = {row["task_id"]: row for row in read_jsonl("mbppplus.jsonl.gz")}
    assert len(found) == 399
    for problem in found[:3]:
        assert isinstance(problem, Problem)
        right = rows[problem.row["prompt_id"]]["canonical_solution"]
        assert verdict(problem, f"```python\n{right}\n```") is Verdict.correct
        assert '"""' not in problem.text


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (CONTEST, "print(sum(map(int, input().split())))", "print(2)"),
        (
            METHOD,
            "class Solution:\n    def total(self, a, b):\n        return a + b",
            "class Solution:\n    def total(self, a, b):\n        return 2",
        ),
    ],
)
def test_public_and_private_tests_of_livecodebench_both_count(tmp_path, row, right, wrong):
    (problem,) = stream(tmp_path, [row], form="livecodebench", prompt_suffix=" X")
    assert isinstance(problem, Problem)
    assert problem.row["prompt_id"] == row["question_id"]
    assert (row["starter_code"] or "stdin") in problem.text
    assert verdict(problem, f"```python\n{right}\n```") is Verdict.correct
    assert verdict(problem, f"```python\n{wrong}\n```") is Verdict.wrong


def test_a_list_of_right_answers_asks_for_all_of_them_and_an_error_is_a_tolerance(tmp_path):
    base = {"question": "Which?", "answer_type": "Numerical", "context": "Let $x$ be a number."}
    several = {**base, "id": 1, "final_answer": ["$2$,$-3$"], "is_multiple_answer": True}
    near = {**base, "id": 2, "final_answer": ["4.2"], "is_multiple_answer": False, "error": "1e-1"}
    first, second = stream(tmp_path, [several, near], form="olympiadbench")
    assert isinstance(first, Problem)
    assert isinstance(second, Problem)
    assert first.text == "Let $x$ be a number.\n\nWhich?"
    assert verdict(first, "\\boxed{-3, 2}") is Verdict.correct
    assert verdict(first, "\\boxed{2}") is Verdict.wrong
    assert verdict(second, "\\boxed{4.25}") is Verdict.correct
    assert verdict(second, "\\boxed{4.35}") is Verdict.wrong


def test_a_row_of_another_form_is_left_out_with_its_beginning_and_the_reason(tmp_path):
    right = {"task_id": 1, "text": "Add.", "test_list": ["assert add(1, 2) == 3"]}
    found = stream(tmp_path, [right, {**right, "task_id": 2, "test_list": []}], form="mbpp")
    assert [type(one) for one in found] == [Problem, Dropped]
    assert isinstance(found[1], Dropped)
    assert (found[1].row, found[1].detail) == (1, "nothing in test_list")
    assert '"task_id": 2' in found[1].quote


@pytest.mark.parametrize(
    ("form", "row", "reason"),
    [
        ("mbpp", {"test_list": [1], "text": "t"}, "no list of texts in test_list"),
        ("mbpp", {"test_list": [], "text": "t"}, "nothing in test_list"),
        ("mbpp", {"test_list": ["a"], "text": "t", "test_imports": 3}, "no list of texts in test_"),
        ("livecodebench", CONTEST | {"starter_code": 7}, "starter_code is not text"),
        ("livecodebench", CONTEST | {"metadata": "{"}, "metadata is no JSON object"),
        ("livecodebench", CONTEST | {"metadata": "[1]"}, "metadata is no JSON object"),
        ("leetcode", {"test": "(" * 9000, "task_id": "a", "prompt": "p"}, "its tests cannot be re"),
        (
            "olympiadbench",
            {"question": "q", "final_answer": ["1"], "context": ["c"]},
            "context is not text",
        ),
    ],
)
def test_a_value_of_another_kind_makes_a_row_malformed(tmp_path, form, row, reason):
    [found] = stream(tmp_path, [row], form=form)
    assert isinstance(found, Dropped)
    assert found.reason == "malformed"
    assert found.detail.startswith(reason)


def test_an_error_that_is_no_number_is_no_tolerance(tmp_path):
    row = {"question": "q", "final_answer": ["1"], "error": ["1e-2"], "id": 0}
    [found] = well_formed(tmp_path, [row], form="olympiadbench")
    assert found.row["prompt_id"] == "olympiadbench-0"


def test_a_table_of_another_form_is_refused_with_the_column_and_what_there_is(tmp_path):
    with pytest.raises(DataError, match=r"column 'test' is missing; found .*columns\.test"):
        stream(tmp_path, [{"task_id": "a", "prompt": "b"}], form="humaneval")


def test_a_problem_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="'abc1' occurs twice"):
        stream(tmp_path, [CONTEST, CONTEST], form="livecodebench")


def test_what_a_benchmark_leaves_open_the_runs_own_settings_say(tmp_path):
    row = {"prompt": "1+1?", "ground_truth": "2", "problem": "2+2?", "answer": "so #### 4"}
    (ours,) = stream(tmp_path, [row])
    assert isinstance(ours, Problem)
    assert ours.row["prompt"] == [{"role": "user", "content": "1+1? run's"}]
    assert ours.row["prompt_id"] == "benchmark-000000"
    (own,) = stream(
        tmp_path,
        [row],
        columns={"prompt": "problem", "ground_truth": "answer"},
        ground_truth_after="####",
        system_prompt="Be brief.",
        prompt_suffix="",
    )
    assert isinstance(own, Problem)
    assert own.row["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+2?"},
    ]
    assert own.row["ground_truth"] == "4"


def test_a_benchmarks_own_words_take_the_place_of_the_runs_files():
    run = Data(templates={"math": "configs/prompts/none.txt"}, system_prompts={"math": "none.txt"})
    own = benchmark_data(Benchmark(file="x.jsonl", system_prompt="", prompt_suffix="!"), run)
    assert (own.templates, own.system_prompts, own.prompt_suffix) == ({}, {}, "!")
    assert benchmark_data(Benchmark(file="x.jsonl"), run) == run


def test_a_benchmark_with_columns_of_its_own_is_read_without_the_runs_mark():
    run = Data(columns={"prompt": "question"}, ground_truth_after="####")
    assert benchmark_data(Benchmark(file="x.jsonl"), run).ground_truth_after == "####"
    assert benchmark_data(Benchmark(file="x.jsonl", columns={}), run).ground_truth_after == ""
    own = Benchmark(file="x.jsonl", columns={}, ground_truth_after="=")
    assert benchmark_data(own, run).ground_truth_after == "="


def test_the_ability_that_is_stated_wins_over_the_tables_column(tmp_path):
    row = {"prompt": "?", "ground_truth": "2", "ability": "code"}
    assert [one.row["ability"] for one in well_formed(tmp_path, [row])] == ["code"]
    assert [one.row["ability"] for one in well_formed(tmp_path, [row], ability="math")] == ["math"]


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"columns": {}}, "columns says how a table"),
        ({"form": "mbpp"}, "form says how a table"),
        ({"file": "x.jsonl", "scorer": "prm"}, "n_samples_per_prompt is 1"),
    ],
)
def test_keys_that_cannot_have_an_effect_are_refused(keys, reason):
    with pytest.raises(ValueError, match=reason):
        Benchmark(**keys)
