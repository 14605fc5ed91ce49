"""Gymnasium's toy_text environments as texts: an observation is its number, an action a word.

FrozenLake, CliffWalking, Taxi and Blackjack as gymnasium has them. One thing is added: in
CliffWalking every step costs 1, the last one as well, so no reward tells of success; here the step
that reaches the goal earns 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

# By the name without version: words of the actions, in gymnasium's order. The first letter will do.
ACTIONS: dict[str, tuple[str, ...]] = {
    "Blackjack": ("stick", "hit"),
    "CliffWalking": ("up", "right", "down", "left"),
    "CliffWalkingSlippery": ("up", "right", "down", "left"),
    "FrozenLake": ("left", "down", "right", "up"),
    "FrozenLake8x8": ("left", "down", "right", "up"),
    "Taxi": ("south", "north", "east", "west", "pick", "drop"),
}
_WORD = re.compile(r"[a-z]+")


class ToyText:
    """One of gymnasium's environments with numbers for observations and actions."""

    def __init__(self, name: str, words: tuple[str, ...], rules: bool, **kwargs: Any) -> None:
        """rules: the first observation begins with the words of the actions.

        kwargs: of gymnasium's own environment, such as map_name and is_slippery.
        """
        import gymnasium

        self.environment = gymnasium.make(name, disable_env_checker=True, **kwargs)
        self.words, self.rules = words, f"{name}. Actions: {', '.join(words)}.\n" if rules else ""
        self.reaches_goal = name.startswith("CliffWalking")
        self.observation = ""

    def reset(self, seed: int) -> tuple[str, dict]:
        """The first state."""
        observation, _ = self.environment.reset(seed=seed)
        self.observation = _text(observation)
        return self.rules + self.observation, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict]:
        """The state after an action: the last word of the text; without one nothing happens."""
        number = self.number(action)
        if number is None:
            return self.observation, 0.0, False, False, {"is_action_valid": False}
        observation, reward, terminated, truncated, _ = self.environment.step(number)
        self.observation = _text(observation)
        if self.reaches_goal and terminated:
            reward = 1.0
        return self.observation, float(reward), terminated, truncated, {"is_action_valid": True}

    def close(self) -> None:
        """End it."""
        self.environment.close()

    def number(self, action: str) -> int | None:
        """The action that the last word of a text names, by itself or its first letter."""
        found = _WORD.findall(action.lower())
        word = found[-1] if found else ""
        return next((i for i, one in enumerate(self.words) if word in (one, one[0])), None)


def toy_text(name: str) -> Callable[..., ToyText]:
    """What makes the toy_text environment of that id. Raises KeyError for any other."""
    if name not in names():
        raise KeyError(name)
    words = ACTIONS[name.rpartition("-v")[0]]

    def make(rules: bool = True, **kwargs: Any) -> ToyText:
        return ToyText(name, words, rules, **kwargs)

    return make


def names() -> list[str]:
    """Ids of those that are installed, in their newest versions."""
    from gymnasium.envs.registration import registry

    newest: dict[str, int] = {}
    for spec in registry.values():
        if spec.name in ACTIONS and spec.namespace is None and spec.version is not None:
            newest[spec.name] = max(spec.version, newest.get(spec.name, 0))
    return [f"{name}-v{version}" for name, version in sorted(newest.items())]


def _text(observation: Any) -> str:
    parts = observation if isinstance(observation, tuple) else (observation,)
    return " ".join(str(int(part)) for part in parts)
