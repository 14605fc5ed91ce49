"""Environments of other packages, each behind the two methods of ours.

GEM's games (gem-llm), reasoning-gym's puzzles with their own scorer (one turn each), and the games
of TextWorldExpress (needs Java).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class GemGame:
    """A game of GEM; the line that it wants behind an observation stands there."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        import gem

        self.game = gem.make(name, **kwargs)

    def reset(self, seed: int) -> tuple[str, dict]:
        """The rules and the first state."""
        observation, info = self.game.reset(seed=seed)
        return _with_suffix(observation, info), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict]:
        r"""The state after the action in the last \boxed{}."""
        observation, reward, terminated, truncated, info = self.game.step(action)
        return _with_suffix(observation, info), reward, terminated, truncated, {}


def gem_game(name: str) -> Callable[..., GemGame]:
    """What makes a game of GEM by GEM's name for it. Raises KeyError for another name."""
    if name not in gem_names():
        raise KeyError(name)
    return lambda **kwargs: GemGame(name, **kwargs)


def gem_names() -> list[str]:
    """GEM's games: its other environments ask for data sets of the hub."""
    from gem.envs.registration import ENV_REGISTRY

    return sorted(name for name in ENV_REGISTRY if name.startswith("game:"))


class Puzzle:
    """A puzzle of reasoning-gym: one question, one answer, its own score from 0 to 1."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        self.name, self.kwargs = name, kwargs
        self.puzzles: Any = None

    def reset(self, seed: int) -> tuple[str, dict]:
        """The question."""
        import reasoning_gym

        self.puzzles = reasoning_gym.create_dataset(self.name, size=1, seed=seed, **self.kwargs)
        return self.puzzles[0]["question"], {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict]:
        r"""Score the answer: what is in <answer></answer> or the last \boxed{}, else all of it."""
        found = _TAGGED.findall(action) or _BOXED.findall(action)
        answer = found[-1].strip() if found else action.strip()
        score = float(self.puzzles.score_answer(answer=answer, entry=self.puzzles[0]))
        return "", score, True, False, {}


def puzzle(name: str) -> Callable[..., Puzzle]:
    """What makes puzzles of that kind. Raises KeyError for a kind that there is not."""
    if name not in puzzle_names():
        raise KeyError(name)
    return lambda **kwargs: Puzzle(name, **kwargs)


def puzzle_names() -> list[str]:
    """Kinds of reasoning-gym's puzzles."""
    from reasoning_gym.factory import DATASETS

    return sorted(DATASETS)


class TextWorld:
    """A game of TextWorldExpress. It runs in a JVM, which all episodes of a process share.

    An episode that finds another one's game in it is played again up to where it was.
    """

    jvm: ClassVar[Any] = None
    owner: ClassVar[TextWorld | None] = None

    def __init__(self, name: str, params: str = "", fold: str = "train", steps: int = 100) -> None:
        """params: gameParams as TextWorldExpress writes them; fold: train, dev or test."""
        self.name, self.params, self.fold, self.steps = name, params, fold, steps
        self.seed, self.actions = 0, list[str]()
        self.possible: list[str] = []

    def reset(self, seed: int) -> tuple[str, dict]:
        """The task, what is seen, and what can be done."""
        self.seed, self.actions = seed, []
        observation, info = self._begin()
        return f"{info['taskDescription']}\n{self._text(observation, info)}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict]:
        """What is seen after the action: a line that is one of those that can be done."""
        wanted = action.strip().lower()
        if wanted not in self.possible:
            text = f"Not possible. Possible are: {', '.join(self.possible)}"
            return text, 0.0, False, False, {"is_action_valid": False}
        if TextWorld.owner is not self:
            self._begin()
            for earlier in self.actions:
                TextWorld.jvm.step(earlier)
        self.actions.append(wanted)
        observation, _, done, info = TextWorld.jvm.step(wanted)
        reward = 1.0 if info["tasksuccess"] else 0.0
        return self._text(observation, info), reward, bool(done), False, {}

    def _begin(self) -> tuple[str, dict]:
        if TextWorld.jvm is None:
            from textworld_express import TextWorldExpressEnv

            TextWorld.jvm = TextWorldExpressEnv(envStepLimit=self.steps)
        TextWorld.owner = self
        TextWorld.jvm.load(gameName=self.name, gameParams=self.params)
        return TextWorld.jvm.reset(seed=self.seed, gameFold=self.fold, generateGoldPath=False)

    def _text(self, observation: str, info: dict) -> str:
        self.possible = sorted(one.lower() for one in info["validActions"])
        return f"{observation.strip()}\nPossible are: {', '.join(self.possible)}"


def text_world(name: str) -> Callable[..., TextWorld]:
    """What makes that game of TextWorldExpress. Raises KeyError for one that there is not."""
    if name not in text_world_names():
        raise KeyError(name)
    return lambda **kwargs: TextWorld(name, **kwargs)


def text_world_names() -> list[str]:
    """Games of TextWorldExpress."""
    return [
        *("arithmetic", "coin", "cookingworld", "mapreader", "peckingorder", "simonsays"),
        *("sorting", "twc"),
    ]


NAMES: dict[str, Callable[[], list[str]]] = {
    "gem": gem_names,
    "reasoning_gym": puzzle_names,
    "textworld_express": text_world_names,
}


def _with_suffix(observation: str, info: dict) -> str:
    suffix = info.get("suffix", "")
    return f"{observation}\n{suffix}" if suffix else observation
