"""Problems of an environment: seeds with their first observations, and what a policy shows."""

import json

import pytest

from prime_core.data.episodes import demonstrations, problems, seeds_of
from prime_core.data.problems import DataError
from prime_core.environments.process import Task, digest
from prime_core.settings.reading import SettingsError, parse_settings
from tests.support.lake import AGENT, LAKE


def settings_with(**env: object):
    return parse_settings(AGENT | {"data": AGENT["data"] | {"env": LAKE | env}}, "test")


def test_a_problem_is_a_seed_and_its_first_observation():
    settings = settings_with(kwargs={"is_slippery": False}, num_train=3)
    rows = [one.row for one in problems(settings, "train")]
    assert [row["ability"] for row in rows] == ["env"] * 3
    first = "FrozenLake-v1. Actions: left, down, right, up.\n0"
    assert rows[0]["prompt"] == [{"role": "user", "content": first}]
    task = Task.of(rows[0]["ground_truth"])
    assert (task.id, task.kwargs, task.state) == (
        "FrozenLake-v1",
        {"is_slippery": False},
        digest(first),
    )
    assert rows[0]["prompt_id"] == f"env-{task.seed}"
    assert [json.loads(row["ground_truth"])["seed"] for row in rows] == [
        *seeds_of(settings, "train")
    ]


def test_held_out_seeds_are_others_and_do_not_depend_on_how_many_are_trained_on():
    few, many = settings_with(num_train=2), settings_with(num_train=50)
    held_out = seeds_of(few, "validation")
    assert held_out == seeds_of(many, "validation")
    assert not {*held_out} & {*seeds_of(many, "train")}


def test_each_turn_of_a_demonstrated_episode_is_a_demonstration():
    rows = list(demonstrations(settings_with(num_demonstrations=2)))
    starts = [place for place, row in enumerate(rows) if len(row["prompt"]) == 1]
    assert len(starts) == 2
    for row in rows:
        roles = [message["role"] for message in row["prompt"]]
        assert roles == ["user", *["assistant", "user"] * (len(roles) // 2)]
        assert row["response"] in "ldru"
    second = rows[starts[0] + 1]["prompt"]
    assert second[1] == {"role": "assistant", "content": rows[starts[0]]["response"]}


def test_unknown_environments_are_refused_with_the_installed_ones():
    with pytest.raises(DataError, match=r"data\.env\.id, seed .* installed are .*FrozenLake-v1"):
        list(problems(settings_with(id="IcyPond-v0"), "train"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"source": "env"}}, "an environment needs both"),
        ({"data": {"env": LAKE}}, "an environment needs both"),
        ({"data": {"source": "env", "env": LAKE | {"max_turn_length": 99}}}, "whole episode"),
        ({"data": {"source": "env", "env": LAKE | {"num_demonstrations": 0}}}, "set both"),
        ({"verification": {"function": "a.py:f"}}, "the environment itself judges"),
        (
            {
                "data": AGENT["data"] | {"env": LAKE | {"invalid_action_penalty": 0.1}},
                "policy": {"adv_estimator": "gae"},
            },
            "values have no turns to take it from",
        ),
        (
            {
                "data": AGENT["data"]
                | {"env": LAKE | {"demonstrator": None, "num_demonstrations": 0}}
            },
            "sft.enabled needs data.env.demonstrator",
        ),
        (
            {
                "evaluation": {
                    "benchmarks": {
                        "validation": {
                            "scorer": "prm",
                            "n_samples_per_prompt": 2,
                            "temperature": 1.0,
                        }
                    }
                }
            },
            "a PRM would score",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        parse_settings(AGENT | changes, "test")
