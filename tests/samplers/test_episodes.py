"""Episodes: rows with masks, actions and states, the same whatever was finished before."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from prime_core.data.episodes import problems
from prime_core.environments.process import EnvironmentFault, EnvironmentProcess
from prime_core.models.load import load_tokenizer
from prime_core.run.tables import ROLLOUTS, read_table, write_table
from prime_core.runtime.partial_rows import PartialRows
from prime_core.samplers import SamplerError, SamplingParams
from prime_core.samplers.ask import ask
from prime_core.settings.reading import parse_settings
from prime_core.turns import turn_index
from prime_core.verifiers.env import episode_text
from prime_core.verifiers.pool import Row, judge_rows
from tests.support.lake import AGENT, LAKE
from tests.support.tiny_model import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def settings():
    return parse_settings(AGENT | {"data": AGENT["data"] | {"env": LAKE | {"num_train": 3}}}, "t")


@pytest.fixture(scope="module")
def prompts(settings) -> pd.DataFrame:
    return pd.DataFrame([one.row for one in problems(settings, "train")])


def play(folder, settings, prompts, output=None, room=40, **kwargs: Any) -> list[dict]:
    return ask(
        sampler="transformers",
        model_path=folder,
        prompts=prompts,
        purpose="sample",
        iteration=1,
        n_samples_per_prompt=4,
        params=SamplingParams(1.0, 1.0, 0, room),
        settings=settings,
        progress=lambda _: None,
        output=output,
        **kwargs,
    )


@pytest.fixture(scope="module")
def rows(folder, settings, prompts) -> list[dict]:
    return play(folder, settings, prompts)


def test_policy_and_environment_take_turns(rows, folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    assert len(rows) == 12
    assert max(len(row["actions"]) for row in rows) > 1
    for row in rows:
        tokens, mask = row["response_tokens"], row["response_mask"]
        assert len(tokens) == len(mask) == len(row["sampler_logprobs"]) <= 40
        told = zip(row["sampler_logprobs"], mask, strict=True)
        assert all(logprob == 0 for logprob, drawn in told if not drawn)
        assert mask[0]
        assert mask[-1]
        turn = turn_index(torch.tensor([mask]))[0].tolist()
        assert len(row["actions"]) == len(row["states"]) == max(turn) + 1
        for number, action in enumerate(row["actions"]):
            drawn = [token for token, of in zip(tokens, turn, strict=True) if of == number]
            assert len(drawn) <= 3
            assert tokenizer.decode(drawn, skip_special_tokens=True) == action
    write_table(tmp_path / "t.parquet", [row | {"policy_iteration": 0} for row in rows], ROLLOUTS)
    table = read_table(tmp_path / "t.parquet", ROLLOUTS)
    assert {"response_mask", "actions", "states"} <= {*table}


def test_verification_plays_them_again(rows, prompts, settings):
    truth = dict(zip(prompts["prompt_id"], prompts["ground_truth"], strict=True))
    asked = [Row("env", episode_text(row), truth[row["prompt_id"]]) for row in rows]
    for index, judgement in judge_rows(asked, settings.verification, num_workers=1):
        assert judgement.turns is not None, judgement.detail
        assert list(judgement.turns.states) == rows[index]["states"]
        assert judgement.outcome == float(judgement.turns.rewards[-1] == 1)
    told = json.loads(asked[0].response)
    assert told["actions"] == rows[0]["actions"]


def test_a_killed_job_draws_only_the_rest(rows, folder, settings, prompts, tmp_path, monkeypatch):
    original, keeps = PartialRows.keep, []

    def keep(self: PartialRows, kept: dict, *, at_once: bool = False) -> None:
        original(self, kept, at_once=at_once)
        assert self.path is not None
        keeps.append(self.path.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(PartialRows, "keep", keep)
    output, again = tmp_path / "00.parquet", None
    while again is None:
        try:
            again = play(folder, settings, prompts, output)
        except KeyboardInterrupt:
            continue
    assert again == rows
    assert len({*keeps}) == len(keeps) == max(len(row["actions"]) for row in rows)


def test_the_room_of_an_episode_is_never_passed(folder, settings, prompts):
    for row in play(folder, settings, prompts, room=9):
        assert len(row["response_tokens"]) <= 9
        assert row["response_mask"][-1]


def test_an_environment_that_fails_ends_its_episode_and_too_many_the_job(
    folder, settings, prompts, monkeypatch
):
    step = EnvironmentProcess.step

    def failing(self, task, key, actions):
        if key.endswith("\n0"):
            raise EnvironmentFault("it broke")
        return step(self, task, key, actions)

    monkeypatch.setattr(EnvironmentProcess, "step", failing)
    for row in play(folder, settings, prompts):
        assert (len(row["actions"]) == 1) or row["sample"] != 0
        assert row["finish_reason"] in ("stop", "length")

    def broken(*_):
        raise EnvironmentFault("it broke")

    monkeypatch.setattr(EnvironmentProcess, "step", broken)
    with pytest.raises(SamplerError, match=r"failed in more than 8 episodes.*it broke"):
        play(folder, settings, prompts)
