"""Environments by their ids, and one of a user's own: texts in, texts out, the same from a seed."""

import re
from pathlib import Path

import pytest

from prime_core.environments.process import (
    EnvironmentFault,
    EnvironmentProcess,
    Task,
    UnknownEnvironment,
    digest,
)
from tests.support.shared_data import ROOT

LAKE = {"is_slippery": False, "rules": False}


@pytest.fixture(scope="module")
def process():
    with EnvironmentProcess(60, 1024) as one:
        yield one


def task(name: str, seed: int = 3, **kwargs: object) -> Task:
    return Task(name, dict(kwargs), seed, 0.5)


def test_an_action_is_the_last_word_and_an_unknown_one_changes_nothing(process):
    lake = task("FrozenLake-v1", **LAKE)
    steps = process.replay(lake, ["I go down", "jump", r"\boxed{Down}", "r", "r", "d", "right."])
    assert [step.observation for step in steps] == ["4", "4", "8", "9", "10", "14", "15"]
    assert [step.valid for step in steps] == [True, False, *[True] * 5]
    assert (steps[-1].reward, steps[-1].ended) == (1.0, True)


def test_all_toys_have_rules_numbers_and_repeat_themselves(process):
    for name in ("Blackjack-v1", "CliffWalking-v1", "FrozenLake8x8-v1", "Taxi-v4"):
        first, source = process.first(task(name))
        assert re.fullmatch(rf"{name}\. Actions: [a-z, ]+\.\n[\d ]+", first)
        assert source == ""
        action = first.partition("Actions: ")[2].partition(",")[0]
        assert process.replay(task(name), [action]) == process.replay(task(name), [action])
    cliff = task("CliffWalking-v1")
    steps = process.replay(cliff, ["up", *["right"] * 11, "down"])
    assert [step.reward for step in steps] == [*[-1.0] * 12, 1.0]


def test_turns_find_their_episode_or_play_it_again(process):
    lake = task("FrozenLake-v1", **LAKE)
    for key in ("one", "two"):
        assert process.step(lake, key, ["d"]).observation == "4"
    assert process.step(lake, "one", ["d", "d"]).observation == "8"
    process.close()
    assert process.step(lake, "one", ["d", "d", "r"]).observation == "9"
    with pytest.raises(EnvironmentFault, match="ended before the last action"):
        process.step(lake, "three", [*"ddrdrr", "d"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FrozenLake-v0", "'FrozenLake-v0' is not an environment; installed are .*FrozenLake-v1"),
        ("textworld_express:chess", "textworld.express"),
        ("no.such.module:make", "there is no module no.such.module; installed are .*Taxi-v4"),
        ("json:nothing", "json has no nothing that can be called"),
        ("missing.py:Make", "there is no such file in .*, the folder that the workflow is started"),
    ],
)
def test_unknown_ids_are_refused_with_what_there_is(process, name, message):
    with pytest.raises(UnknownEnvironment, match=message):
        process.first(task(name))


def test_the_documented_environment_works_and_a_changed_file_is_noticed(tmp_path):
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# lights\.py\n.+?)```", page, re.DOTALL)
    file = tmp_path / "lights.py"
    file.write_text(code)
    lights = task(f"{file}:Lights", seed=5, number=4)
    with EnvironmentProcess(60, 512) as process:
        first, source = process.first(lights)
        assert first.startswith("Lamps: [")
        steps = process.replay(lights, ["none", "lamp 3", "3"])
        assert [step.valid for step in steps] == [False, True, True]
        assert steps[2].observation == first.partition(" Which")[0]
    known = Task(lights.id, lights.kwargs, 5, 0.5, digest(first), source)
    file.write_text(code + "\n")
    with (
        EnvironmentProcess(60, 512) as process,
        pytest.raises(EnvironmentFault, match="its file has changed since"),
    ):
        process.step(known, "key", ["1"])


def test_a_demonstrator_plays_episodes(process):
    lake = task("FrozenLake-v1", **LAKE)
    policy = "prime_core.environments.demonstrators:frozen_lake_4x4"
    turns = process.demonstrate(lake, policy, 5, 10)
    assert turns == process.demonstrate(lake, policy, 5, 10)
    assert turns[0][0] == "0"
    assert all(action in "ldru" for _, action in turns)


def test_a_task_is_read_back_from_its_text():
    one = Task("a.py:B", {"x": [1, None]}, 7, 0.5, "s", "d")
    assert Task.of(one.text()) == one
    assert Path(one.id.partition(":")[0]).suffix == ".py"
