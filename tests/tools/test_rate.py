"""`prime rate`: any folder of an implicit PRM gives responses rewards."""

import json

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from prime_core.cli.main import main
from prime_core.implicit_reward import implicit_reward, per_step
from prime_core.models.load import (
    ModelError,
    check_same_tokens,
    load_model,
    load_tokenizer,
)
from prime_core.models.prompts import prompt_tokens
from prime_core.steps import step_ends
from prime_core.training.batches import Sequences, pad
from prime_core.training.scoring import response_logprobs
from tests.support.tiny_model import save_tiny_model

TEXTS = ["Step 1: a\nStep 2: b\n\nc", "maybe", "x\n\ny", "2"]
ROWS = [
    {"prompt": f"{n // 2}+1=?", "response": text, "outcome": n % 2} for n, text in enumerate(TEXTS)
]


@pytest.fixture
def models(tmp_path):
    return [save_tiny_model(tmp_path / name, seed) for seed, name in enumerate(("ref", "prm"))]


def rate(tmp_path, models, *options, rows=ROWS):
    """Rate the rows; returns the result of the command and the path of the table."""
    file, out = tmp_path / "rows.jsonl", tmp_path / "rated.parquet"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["rate", "--reference", models[0], "--model", models[1]]
    words += ["--responses", file, "--out", out, *options]
    return CliRunner().invoke(main, [*map(str, words)]), out


def expected_rewards(models, text):
    """Token rewards of one response, alone in its batch."""
    tokenizer = load_tokenizer(models[0])
    message = {"role": "user", "content": f"{TEXTS.index(text) // 2}+1=?"}
    prompt = prompt_tokens(tokenizer, [message])
    response = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    batch = pad(Sequences([prompt], [response]), 0, torch.device("cpu"))
    with torch.no_grad():
        ours, theirs = (
            response_logprobs(load_model(folder, "float32"), batch) for folder in models[::-1]
        )
    return implicit_reward(ours, theirs, batch.mask, 0.05), batch.mask, tokenizer, response


def test_rewards_of_tokens_steps_and_wholes_are_those_of_the_log_ratio(tmp_path, models):
    result, out = rate(tmp_path, models, "--granularity", "token", "--micro-batch-size", "3")
    assert result.exit_code == 0, result.output
    table = pd.read_parquet(out)
    for text, row in zip(TEXTS, table.to_dict("records"), strict=True):
        rewards, mask, tokenizer, response = expected_rewards(models, text)
        assert row["token_rewards"].tolist() == pytest.approx(rewards[0].tolist(), abs=1e-6)
        pieces = tokenizer.batch_decode([[token] for token in response])
        assert row["tokens"].tolist() == pieces
        ends = torch.tensor([step_ends(pieces)])
        assert row["step_rewards"].tolist() == pytest.approx(
            per_step(rewards, mask, ends)[ends].tolist(), abs=1e-6
        )
        assert "".join(row["steps"]).startswith(text)
        assert row["log_odds"] == pytest.approx(float(rewards.sum()), abs=1e-6)
    assert [len(steps) for steps in table["steps"]] == [3, 1, 2, 1]
    assert table["steps"][0].tolist()[:2] == ["Step 1: a\n", "Step 2: b\n\n"]


@pytest.mark.parametrize(
    ("granularity", "columns"),
    [
        ("whole", {"log_odds"}),
        ("step", {"log_odds", "steps", "step_rewards"}),
    ],
)
def test_no_finer_rewards_are_written_than_asked_for(granularity, columns, tmp_path, models):
    _, out = rate(tmp_path, models, "--granularity", granularity)
    common = {"prompt_id", "sample", "response", "outcome"}
    assert set(pd.read_parquet(out).columns) == common | columns


def test_where_outcomes_are_known_the_line_says_how_good_the_scorer_is(tmp_path, models):
    result, out = rate(tmp_path, models, "--granularity", "whole")
    z, outcome = (pd.read_parquet(out)[name] for name in ("log_odds", "outcome"))
    right = sum(float(z[a + 1] > z[a]) for a in (0, 2)) / 2
    best = sum(float(outcome[a + int(z[a + 1] > z[a])]) for a in (0, 2)) / 2
    accuracy = ((z > 0) == (outcome > 0.5)).mean()
    assert (
        f"4 responses, 0 malformed left out, accuracy {accuracy:.3f}, ranks {right:.3f} of 2 pairs "
        f"correctly, best of its prompt {best:.3f} (all 0.500)"
    ) in result.output
    unknown = [{key: row[key] for key in ("prompt", "response")} for row in ROWS]
    result, out = rate(tmp_path, models, rows=unknown)
    assert "0 malformed left out: " in result.output
    assert pd.read_parquet(out)["outcome"].isna().all()


def test_columns_have_the_files_own_names_and_malformed_rows_are_quoted(tmp_path, models):
    rows = [{"prompt": "1", "answer": "2"}, {"prompt": "1", "answer": None}]
    result, out = rate(tmp_path, models, "--column", "response=answer", rows=rows)
    assert "left out: row 2: response is not text: None" in result.output
    assert len(pd.read_parquet(out)) == 1
    result, _ = rate(tmp_path, models, "--column", "response", rows=rows)
    assert "error: --column response: expected OURS=THEIRS" in result.output
    result, _ = rate(tmp_path, models, rows=rows)
    assert "column 'response' is missing" in result.output
    assert "in --column response" in result.output


def test_models_whose_tokens_differ_are_refused_with_the_first_token(tmp_path, models):
    tokenizer = load_tokenizer(models[0])
    tokenizer.add_tokens(["<step>"])
    tokenizer.save_pretrained(models[0])
    result, out = rate(tmp_path, models)
    assert result.exit_code == 1
    assert "token '<step>' is 263 here and unknown there" in result.output
    assert not out.exists()
    with pytest.raises(ModelError, match=r"prm: its tokenizer is not that of .*unknown here"):
        check_same_tokens(models[1], models[0])
    check_same_tokens(models[1], models[1])
