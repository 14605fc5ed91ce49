"""Generated sums in a run: true steps beside rewards, generated solutions, flipped outcomes."""

from typing import Any

import pandas as pd
import pytest

from prime_core.data.arithmetic import chain, problems
from prime_core.models.load import load_tokenizer
from prime_core.report.tokens import example_pairs
from prime_core.run.layout import RunFiles
from prime_core.run.tables import (
    BATCH,
    PROMPTS,
    RATED_STEPS,
    TableError,
    read_json,
    read_table,
    write_table,
)
from prime_core.settings.reading import SettingsError, parse_settings
from prime_core.stages import evaluate, report, score
from tests.support.fake_run import make_run
from tests.support.made_up_batch import made_up_batch
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("one_rank")
# Of two prompts: a clean chain, two wrong ones, and one that is right by luck.
SUMS = ((3, 4, 5), (2, 2, 6))
ERRORS: tuple[dict[int, int], ...] = ({}, {1: 2}, {2: 1}, {1: 1, 2: -1})
SLIPS = {"data.arithmetic.slip_share": 0.5}


def chains_of(files: RunFiles) -> None:
    """Put chains into the made-up batch in place of its responses."""
    tokenizer = load_tokenizer(files.policy(0))
    rows = read_table(files.batch(1), BATCH)
    texts = [chain(terms, errors) for terms in SUMS for errors in ERRORS]
    tokens: Any = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts]
    logprobs: Any = [[-5.0] * len(one) for one in tokens]
    rows = rows.assign(
        prompt_id=[f"arithmetic-{'+'.join(map(str, terms))}" for terms in SUMS for _ in ERRORS],
        text=texts,
        response_tokens=tokens,
        sampler_logprobs=logprobs,
        outcome=[float(sum(errors.values()) == 0) for _ in SUMS for errors in ERRORS],
    )
    write_table(files.batch(1), rows, BATCH)


def scored(folder, **changes) -> RunFiles:
    files = made_up_batch(folder, **{"rollout.max_response_length": 40} | changes)
    files.prm(0).unlink()
    save_tiny_model(files.prm(0), seed=1)
    chains_of(files)
    return files


def test_scoring_holds_rewards_of_chains_against_their_steps(tmp_path):
    files = scored(tmp_path)
    score.run(files.root, 1)
    figures = read_json(files.metrics(1, "score"))
    counts = [figures[f"steps/num_{name}"] for name in ("chains", "wrong", "lucky")]
    assert counts == [8, 6, 2]
    for name in ("auc", "f1", "outcome_f1", "clean_above_lucky", "fall_on_wrong_share"):
        assert 0 <= figures[f"steps/{name}"] <= 1
    assert "prm/true_accuracy" not in figures


def test_where_outcomes_are_flipped_the_ranking_is_also_by_the_true_ones(tmp_path):
    files = scored(tmp_path, **{"verification.flip_correct": 0.2})
    with pytest.raises(TableError, match="true_outcome"):
        score.run(files.root, 1)
    rows = read_table(files.batch(1), BATCH)
    flipped = rows.assign(true_outcome=rows["outcome"], outcome=1 - rows["outcome"])
    write_table(files.batch(1), flipped, BATCH)
    score.run(files.root, 1)
    figures = read_json(files.metrics(1, "score"))
    opposite = figures["prm/true_ranking_accuracy"] + figures["prm/ranking_accuracy"]
    assert opposite == pytest.approx(1)


def test_generated_solutions_are_rated_like_those_of_a_file(tmp_path):
    parts = {"threshold": "generated", "chains": "generated"}
    steps: dict[str, Any] = {"evaluation.steps": {"files": parts, "num_rows": 20}}
    files = made_up_batch(tmp_path, **SLIPS | steps)
    rows = problems(num_train=9, num_validation=0, max_number=9, min_terms=2, max_terms=3, seed=0)
    write_table(files.validation, rows["train"], PROMPTS)
    evaluate.run(files.root, 0, "steps")
    place = files.evaluation(0, "steps")
    figures = read_json(place)["parts"]["chains"]
    assert figures["num_solutions"] == 20
    assert figures["outcome_only"]["f1"] < 1
    table = read_table(place.with_suffix(".parquet"), RATED_STEPS)
    labels = {part: list(rows["label"]) for part, rows in table.groupby("part")}
    assert labels["threshold"] != labels["chains"]


@pytest.mark.parametrize(
    "changes", [{}, {"data": {"source": "files", "train": "x", "num_validation": 1}}]
)
def test_generated_solutions_need_chains_that_slip(changes):
    steps = {"evaluation.steps.files": {"a": "generated"}, "sft.enabled": False}
    with pytest.raises(SettingsError, match="slip_share above 0"):
        parse_settings(steps | changes, "test")


def test_the_page_marks_the_wrong_step_and_says_where_the_prm_falls(tmp_path):
    run_dir = make_run(tmp_path / "run", iterations=1, evaluated=(0,))
    files = RunFiles(run_dir)
    tokenizer = load_tokenizer(files.policy(0))
    texts = [chain(SUMS[0]), chain(SUMS[0], {2: 1})]
    tokens: Any = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts]
    fall = texts[1].index("13") + 1
    rewards: Any = [[0.1] * len(tokens[0]), [0.1] * len(tokens[1])]
    rewards[1][fall] = -2.0
    same: dict[str, Any] = {"prompt_id": "arithmetic-3+4+5", "response_tokens": tokens}
    batch = pd.read_parquet(files.batch(1)).head(2)
    batch = batch.assign(text=texts, sampler_logprobs=rewards, outcome=[1.0, 0.0], **same)
    batch.to_parquet(files.batch(1))
    scores = pd.read_parquet(files.rewards(1)).head(2)
    scores = scores.assign(
        prompt_id=same["prompt_id"], implicit_reward=rewards, reference_logprobs=rewards
    )
    scores.to_parquet(files.rewards(1))
    (pair,) = example_pairs(run_dir)
    right, wrong = pair.responses
    assert right.steps == "All 3 steps are right; the PRM lowers none."
    assert wrong.steps == "Step 2 of 3 is wrong (underlined); the PRM's largest fall lies on it."
    marked = "".join(piece.text for piece in wrong.pieces if piece and piece.wrong)
    assert marked == "7+5=13: "
    assert not any(piece and piece.wrong for piece in right.pieces)
    report.run(run_dir, record=False)
    page = files.report.read_text()
    assert "largest fall lies on it" in page
    assert 'class="n wrong"' in page
