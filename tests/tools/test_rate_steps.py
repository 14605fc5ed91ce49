"""`prime rate-steps` and evaluation.steps: a PRM's scores of the steps of given solutions."""

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from prime_core.cli.main import main
from prime_core.models.load import load_tokenizer
from prime_core.run.tables import RATED_STEPS, read_json, read_table
from prime_core.training.step_scores import step_scores, tokenise_steps
from tests.support.tiny_model import save_tiny_model

ROWS: list[dict[str, Any]] = [
    {"problem": "1+1=?", "steps": ["a", "b c", "d"], "label": 1, "final_answer_correct": False},
    {"problem": "2+1=?", "steps": ["e", "f"], "label": -1, "final_answer_correct": True},
    {"problem": "3+1=?", "steps": ["g\n\nh", "i"], "label": 0, "final_answer_correct": True},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [save_tiny_model(folder / name, seed) for seed, name in enumerate(("ref", "prm"))]


def rate_steps(tmp_path, models, *options, rows=ROWS):
    """Rate the rows; returns the result of the command and the path of the table."""
    file, out = tmp_path / "rows.jsonl", tmp_path / "rated.parquet"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["rate-steps", "--reference", models[0], "--model", models[1], "--out", out]
    words += ["--file", f"one={file}", *options]
    return CliRunner().invoke(main, [*map(str, words)]), out


def test_every_step_has_four_scores_that_sum_the_rewards_of_prime_rate(tmp_path, models):
    result, out = rate_steps(tmp_path, models, "--micro-batch-size", "2")
    assert result.exit_code == 0, result.output
    rows = read_table(out, RATED_STEPS)
    assert [len(steps) for steps in rows["step_scores"]] == [3, 2, 2]
    # The same tokens without an end, as `prime rate` has a response that was cut.
    texts = [
        {"prompt": r["problem"], "response": "\n\n".join(r["steps"]), "finished": False}
        for r in ROWS
    ]
    file, rated = tmp_path / "texts.jsonl", tmp_path / "texts.parquet"
    file.write_text("".join(json.dumps(row) + "\n" for row in texts))
    words = ["rate", "--model", models[1], "--reference", models[0], "--responses", file]
    again = CliRunner().invoke(
        main, [*map(str, [*words, "--out", rated, "--granularity", "token"])]
    )
    assert again.exit_code == 0, again.output
    sums = [np.cumsum(one) for one in pd.read_parquet(rated)["token_rewards"]]
    for row, total in zip(rows.to_dict("records"), sums, strict=True):
        ends = np.array(row["step_ends"])
        assert ends[-1] == len(total)
        prefix = total[ends - 1]
        assert row["prefix_scores"] == pytest.approx(1 / (1 + np.exp(-prefix)), abs=1e-5)
        step = np.diff(prefix, prepend=0)
        assert row["step_scores"] == pytest.approx(1 / (1 + np.exp(-step)), abs=1e-5)
        mean = step / np.diff(ends, prepend=0)
        assert row["step_mean_scores"] == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-5)


def test_the_line_of_outcomes_always_stands_beside_the_scores(tmp_path, models):
    result, out = rate_steps(tmp_path, models, "--file", f"two={tmp_path / 'rows.jsonl'}")
    assert result.exit_code == 0, result.output
    assert result.output.count("an outcome alone reaches F1") == 2
    figures = read_json(out.with_suffix(".json"))
    assert figures["threshold_part"] == "one"
    assert set(figures["parts"]["two"]["scores"]) == {"step", "prefix", "step_mean", "prefix_mean"}
    assert figures["parts"]["two"]["num_right_by_luck"] == 1


@pytest.mark.parametrize(
    ("options", "rows", "words"),
    [
        (("--threshold", "three"), ROWS, "--threshold three: no such file; expected one of one"),
        ((), [{"problem": "1", "steps": ["a"]}], "column 'label' is missing"),
        ((), [ROWS[0] | {"label": 3}], "label 3 is neither -1 nor the index of one of 3 steps"),
        ((), [ROWS[0] | {"steps": ["a", ""]}], "steps is not a list of texts, none of them empty"),
        ((), [ROWS[0] | {"steps": ["x" * 80]} | {"label": 0}], "within its 64 positions"),
        (("--column", "step=parts"), ROWS, "--column step: no such column"),
    ],
)
def test_what_cannot_be_rated_is_refused_in_a_sentence(options, rows, words, tmp_path, models):
    result, out = rate_steps(tmp_path, models, *options, rows=rows)
    assert result.exit_code != 0
    assert words in result.output
    assert not out.exists()


def test_malformed_and_too_long_solutions_are_counted_and_left_out(tmp_path, models):
    others = [ROWS[0] | {"label": True}, ROWS[0] | {"steps": ["x" * 80], "label": 0}]
    result, out = rate_steps(tmp_path, models, rows=[*ROWS, *others])
    assert result.exit_code == 0, result.output
    part = read_json(out.with_suffix(".json"))["parts"]["one"]
    counts = [part[f"num_{name}"] for name in ("solutions", "malformed", "too_long")]
    assert counts == [3, 1, 1]


def test_a_token_over_a_boundary_ends_the_step_before_it(models):
    tokenizer = load_tokenizer(models[0])
    steps = ["ä", "b", "日本"]  # characters of several tokens each
    row = {"prompt": [{"role": "user", "content": "?"}], "steps": steps, "separator": "\n\n"}
    (found,) = tokenise_steps([row], models[0])
    ends = [0, *found["step_ends"]]
    pieces = [tokenizer.decode(found["response_tokens"][a:b]) for a, b in itertools.pairwise(ends)]
    assert pieces == ["ä\n\n", "b\n\n", "日本"]


def test_steps_within_one_token_share_its_reward():
    scores = step_scores([2.0, -1.0], [1, 1, 2])
    expected = torch.tensor([2.0, 2.0, -1.0]).sigmoid().tolist()
    assert scores["step"] == pytest.approx(expected)
    assert scores["prefix"] == pytest.approx(torch.tensor([2.0, 2.0, 1.0]).sigmoid().tolist())
