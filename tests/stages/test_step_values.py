"""Continuing a batch's responses between their steps, and averaging what comes of it."""

import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import prompt_tokens
from prime_core.run.atomic import write_json, write_text
from prime_core.run.layout import RunFiles
from prime_core.run.tables import (
    BATCH,
    CONTINUATIONS,
    PROMPTS,
    STEP_VALUES,
    TableError,
    read_json,
    read_table,
    write_table,
)
from prime_core.settings.reading import dump_settings, load_settings, parse_settings
from prime_core.stages import continuations, policy, step_values
from prime_core.training.batch_advantages import batch_rewards, batch_values
from prime_core.training.learning_batch import read_batch, read_step_values
from prime_core.verifiers.verdict import Judgement, Verdict
from tests.support.tiny_model import save_tiny_model

SETTINGS: dict[str, Any] = {
    "run": "made-up",
    "rollout": {
        **{"sampler": "transformers", "num_shards": 2, "max_response_length": 28},
        **{"step_boundary": ", |: ", "sampler_batch_size": 4},
    },
    "data": {"max_prompt_length": 24},
    "prm.prm_update": "none",
    "policy": {"adv_estimator": "gae", "gae_level": "step", "gae_lambda": 0.0}
    | {"ppo_mini_batch_size": 4, "optimizer": {"learning_rate": 1e-2}, "max_mismatch_kl": None},
    "value": {"source": "monte_carlo", "n_continuations": 3},
}
# Two share the prompt and their first step; the last response has one step.
RESPONSES = [
    ("p0", 0, "1+2=3, 3+4=7: \\boxed{7}", 1.0),
    ("p0", 1, "1+2=3, 3+4=8: \\boxed{8}", 0.0),
    ("p1", 0, "2+2=4, 4+1=5: \\boxed{5}", 1.0),
    ("p1", 1, "maybe \\boxed{3}", 0.0),
]
STATES = [("p0", 0, 0), ("p0", 0, 1), ("p0", 0, 2), ("p0", 1, 2), *(("p1", 0, k) for k in range(3))]


def made_up(folder: Path, **changes: Any) -> RunFiles:
    """A run with a batch, before its first iteration's states are continued."""
    settings = parse_settings(SETTINGS | {"results": str(folder)} | changes, "test")
    files = RunFiles(settings.run_dir)
    write_text(files.config, dump_settings(settings))
    save_tiny_model(files.policy(0))
    files.reference.symlink_to(files.policy(0).name)
    write_json(files.shard_count(1), settings.rollout.num_shards)
    problems: list[dict[str, Any]] = [
        {
            **{"prompt_id": name, "prompt": [{"role": "user", "content": "?"}]},
            **{"ability": "math", "ground_truth": truth, "data_source": "test"},
        }
        for name, truth in (("p0", "7"), ("p1", "5"))
    ]
    write_table(files.train, problems, PROMPTS)
    tokenizer = load_tokenizer(files.policy(0))
    prompt = prompt_tokens(tokenizer, problems[0]["prompt"])
    rows = []
    for prompt_id, sample, text, outcome in RESPONSES:
        tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append(
            {"prompt_id": prompt_id, "sample": sample, "prompt_tokens": prompt, "text": text}
            | {"response_tokens": tokens, "sampler_logprobs": [-1.0] * len(tokens)}
            | {"finish_reason": "stop", "policy_iteration": 0, "outcome": outcome}
        )
    write_table(files.batch(1), rows, BATCH)
    return files


def drawn(files: RunFiles, num_shards: int = 2) -> pd.DataFrame:
    """The continuations of all shards."""
    tables = [read_table(files.continuations(1, n), CONTINUATIONS) for n in range(num_shards)]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def continued(tmp_path_factory) -> RunFiles:
    """A run whose states have been continued."""
    files = made_up(tmp_path_factory.mktemp("continued"))
    for shard in (0, 1):
        continuations.run(files.root, 1, shard)
    return files


def copy_of(files: RunFiles, folder: Path) -> RunFiles:
    shutil.copytree(files.root, folder / "run", symlinks=True)
    return RunFiles(folder / "run")


def test_each_state_is_continued_once_and_no_longer_than_a_response(continued):
    rows = drawn(continued)
    keys = list(zip(rows["prompt_id"], rows["sample"], rows["step"], strict=True))
    assert keys == [state for state in STATES for _ in range(3)]
    texts = {(prompt, sample): text for prompt, sample, text, _ in RESPONSES}
    begins = {0: 0, 1: len("1+2=3, "), 2: len("1+2=3, 3+4=7: ")}
    row: Any  # a namedtuple, of types that pandas does not know
    for row in rows.itertuples():
        assert row.text.startswith(texts[row.prompt_id, row.sample][: begins[row.step]])
        # \boxed{ is one token, all others are bytes.
        longest = 28 - begins[row.step]
        assert 0 < row.num_tokens <= longest
        assert (row.finish_reason == "length") <= (row.num_tokens == longest)
    assert rows["text"].nunique() > len(STATES)
    figures = [read_json(continued.metrics(1, f"continuations-0{n}")) for n in (0, 1)]
    assert sum(one["continuations/num_tokens"] for one in figures) == rows["num_tokens"].sum()


def test_neither_shards_nor_the_limit_on_states_change_what_is_drawn(continued, tmp_path):
    other = made_up(tmp_path, **{"rollout.num_shards": 1, "value.max_steps": 2})
    continuations.run(other.root, 1, 0)
    rows, all_rows = drawn(other, 1), drawn(continued)
    expected = all_rows[all_rows["step"] < 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, expected)


def judged_by(monkeypatch, verdict_of) -> None:
    """Judge by a function of a response's text."""

    def judge_all(rows, _rules, _partial, _description, _replies):
        return [Judgement(verdict_of(row.response), None, "made up") for row in rows]

    monkeypatch.setattr(step_values, "judge_all", judge_all)


def with_endings(files: RunFiles, endings: dict[tuple[str, int, int], list[str]]) -> None:
    """Exchange continuations: of each state the texts' ends, "cut" for one that was cut."""
    for shard in (0, 1):
        rows = read_table(files.continuations(1, shard), CONTINUATIONS)
        for index, row in rows.iterrows():
            key = (row["prompt_id"], row["sample"], row["step"])
            end = endings.get(key, ["wrong"] * 3)[row["continuation"]]
            rows.loc[index, "text"] = end
            rows.loc[index, "finish_reason"] = "length" if end == "cut" else "stop"
        write_table(files.continuations(1, shard), rows, CONTINUATIONS)


VERDICTS = {"right": Verdict.correct, "wrong": Verdict.wrong, "lost": Verdict.no_verdict}
ENDINGS = {
    ("p0", 0, 0): ["right", "wrong", "wrong"],
    ("p0", 0, 1): ["right", "right", "lost"],
    ("p0", 0, 2): ["lost", "lost", "lost"],
    ("p0", 1, 2): ["right", "wrong", "cut"],
}


@pytest.fixture
def valued(continued, tmp_path, monkeypatch) -> RunFiles:
    """A run with values of made-up continuations, a verifier failing on some."""
    files = copy_of(continued, tmp_path)
    with_endings(files, ENDINGS)
    settings = load_settings(files.config)
    changed = settings.model_copy(
        update={
            "verification": settings.verification.model_copy(update={"max_no_verdict_share": 1.0})
        }
    )
    write_text(files.config, dump_settings(changed))
    judged_by(monkeypatch, VERDICTS.__getitem__)
    step_values.run(files.root, 1)
    return files


def test_a_value_is_the_mean_of_what_has_a_verdict_and_a_cut_continuation_is_wrong(valued):
    rows = read_table(valued.step_values(1), STEP_VALUES)
    assert [list(one) for one in rows["num_continuations"]] == [[3, 2, 0], [3, 2, 3], [3] * 3, [3]]
    third = 1 / 3
    assert list(rows["values"][1]) == pytest.approx([third, 1.0, third])
    first = list(rows["values"][0])
    assert first[:2] == pytest.approx([third, 1.0])
    assert math.isnan(first[2])
    assert [list(one) for one in rows["step_ends"]][3] == [len("maybe 3}") + 2]
    figures = read_json(valued.metrics(1, "step_values"))
    assert figures["step_values/num_no_verdict"] == 4
    assert figures["step_values/num_without_value"] == 1
    assert figures["step_values/steps_mean"] == 10 / 4
    tokens = drawn(valued)["num_tokens"].sum() / read_batch(valued, 1).num_tokens
    assert figures["step_values/token_ratio"] == pytest.approx(tokens)


def test_the_policy_learns_from_the_differences_of_the_values(valued):
    settings, batch = load_settings(valued.config), read_batch(valued, 1)
    values = batch_values(settings, valued, 1, batch, None)
    assert values is not None
    _, ends = read_step_values(valued, 1, batch)
    # Without a value the last state is worth what the response came to.
    assert values[0][ends[0]].tolist() == pytest.approx([1 / 3, 1.0, 1.0])
    by_steps = settings.model_copy(
        update={"prm": settings.prm.model_copy(update={"source": "monte_carlo"})}
    )
    rewards = batch_rewards(by_steps, valued, 1, batch)
    assert rewards is not None
    assert rewards[0][ends[0]].tolist() == pytest.approx([2 / 3, 0.0, 0.0])
    assert rewards[1][ends[1]].tolist() == pytest.approx([2 / 3, -2 / 3, -1 / 3])
    assert not rewards[~ends].any()


@pytest.mark.usefixtures("one_rank")
def test_the_policy_stage_runs_on_them(valued):
    policy.run(valued.root, 1)
    figures = read_json(valued.metrics(1, "policy"))
    assert figures["advantage/mean"] == pytest.approx(0, abs=1e-6)
    assert "critic/explained_variance" in figures


def test_a_verifier_that_fails_too_often_ends_the_stage_before_it_writes(
    continued, tmp_path, monkeypatch
):
    files = copy_of(continued, tmp_path)
    with_endings(files, {state: ["lost"] * 3 for state in STATES})
    judged_by(monkeypatch, VERDICTS.__getitem__)
    with pytest.raises(ValueError, match="the verifier failed on 2 of 2 responses"):
        step_values.run(files.root, 1)
    assert not files.step_values(1).exists()


def test_continuations_of_another_batch_are_refused(continued, tmp_path):
    files = copy_of(continued, tmp_path)
    rows = read_table(files.continuations(1, 1), CONTINUATIONS)
    write_table(files.continuations(1, 1), rows.iloc[:-1], CONTINUATIONS)
    with pytest.raises(TableError, match=r"20 continuations are not the 3 of each .* 7 states"):
        step_values.run(files.root, 1)


@pytest.mark.usefixtures("one_rank")
def test_real_verdicts_give_values_between_0_and_1(continued, tmp_path):
    files = copy_of(continued, tmp_path)
    step_values.run(files.root, 1)
    batch = read_batch(files, 1)
    values, ends = read_step_values(files, 1, batch)
    assert bool(((values >= 0) & (values <= 1)).all())
    assert ends.sum(1).tolist() == [3, 3, 3, 1]
    assert torch.equal(ends & ~batch.mask, torch.zeros_like(ends))
