"""The stage `evaluate`: which problems of a table are asked, and what is left of them."""

import json
from pathlib import Path

import pytest

from prime_core.config import parse_settings
from prime_core.layout import RunFiles
from prime_core.rollouts import EVALUATION, PROMPTS, read_json, read_table, write_table
from prime_core.run_state import RunState
from prime_core.stages import evaluate


def make_run(root: Path, model: Path, num_problems: int | None) -> RunFiles:
    """A run with five held-out problems, and another table of as many."""
    own = root / "own.jsonl"
    rows = [{"question": f"{n}+1=?", "answer": f"sum\n#### {n + 1}"} for n in range(5)]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = {"num_problems": num_problems, "max_response_length": 2}
    settings = {
        "results": str(root),
        "model.path": str(model),
        "rollout.sampler": "transformers",
        "data": {
            "columns": {"prompt": "question", "ground_truth": "answer"},
            "ground_truth_after": "####",
        },
        "evaluation.benchmarks": {"held-out": chosen, "own": {**chosen, "file": str(own)}},
    }
    run = RunState(parse_settings(settings, "test"))
    run.begin()
    problems = [
        {
            "prompt_id": f"p{n}",
            "prompt": [{"role": "user", "content": f"{n}+1=?"}],
            "ability": "math",
            "ground_truth": str(n + 1),
            "data_source": "test",
        }
        for n in range(5)
    ]
    write_table(run.files.validation, problems, PROMPTS)
    run.files.policy(0).parent.mkdir(parents=True, exist_ok=True)
    run.files.policy(0).symlink_to(model)
    return run.files


@pytest.mark.parametrize(("num_problems", "asked"), [(2, 2), (9, 5), (None, 5)])
def test_the_first_problems_of_a_table_are_asked(num_problems, asked, tiny_model, tmp_path):
    files = make_run(tmp_path, tiny_model, num_problems)
    for benchmark, name in (("held-out", "p{}"), ("own", "benchmark-{:06d}")):
        evaluate.run(files.root, 0, benchmark)
        place = files.evaluation(0, benchmark)
        rows = read_table(place.with_suffix(".parquet"), EVALUATION)
        assert list(rows["prompt_id"]) == [name.format(n) for n in range(asked)]
        assert read_json(place)["num_problems"] == asked
