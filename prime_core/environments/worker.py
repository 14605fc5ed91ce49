"""The process of environments: makes them, plays actions, answers one JSON line a request.

Argument: the limit of its memory in MB. Standard output belongs to the answers: what environments
print goes to standard error, a stage's log.

Episodes stay here between their turns. One that is not here any more is played again from its seed,
so that it does not matter which process a turn finds.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import sys
import traceback
from collections.abc import Callable
from numbers import Real
from typing import Any

from prime_core.environments.loading import UnknownEnvironment, maker_of, source_digest
from prime_core.runtime.helper_process import die_with_parent, limit_memory, own_pipes
from prime_core.runtime.user_code import load, sentence

NUM_LIVE = 1024  # episodes that wait here for their next turn
LONGEST = 1_000_000  # characters of an observation: more is a fault, not a text for a model


class _Fault(Exception):
    """An environment broke the convention."""


class _Episode:
    """An environment, and how many actions it has had."""

    def __init__(self, make: Callable[..., Any], kwargs: dict, seed: int) -> None:
        self.environment = make(**kwargs)
        self.num_actions = 0
        answer = self.environment.reset(seed=seed)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise _Fault(f"reset returned {_shown(answer)}; expected (observation, info)")
        self.first = _observation(answer[0])

    def step(self, action: str) -> list[Any]:
        """Observation, reward, whether the episode has ended, whether the action was valid."""
        answer = self.environment.step(action)
        if not isinstance(answer, tuple) or len(answer) != 5:
            raise _Fault(
                f"step returned {_shown(answer)}; expected (observation, reward, terminated, "
                "truncated, info)"
            )
        observation, reward, terminated, truncated, info = answer
        if not isinstance(reward, Real) and getattr(reward, "ndim", None) != 0:
            raise _Fault(f"step returned the reward {_shown(reward)}; expected a number")
        if not math.isfinite(float(reward)):
            raise _Fault(f"step returned the reward {reward}; expected a finite number")
        self.num_actions += 1
        valid = info.get("is_action_valid", True) if isinstance(info, dict) else True
        return [
            _observation(observation),
            float(reward),
            bool(terminated or truncated),
            bool(valid),
        ]

    def close(self) -> None:
        """End it; what that raises is nobody's concern any more."""
        with contextlib.suppress(Exception):
            getattr(self.environment, "close", lambda: None)()


class _Episodes:
    """The episodes that wait here, by key."""

    def __init__(self) -> None:
        self.live: dict[str, _Episode] = {}
        self.makers: dict[str, tuple[Callable[..., Any], str]] = {}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Play the actions of a request: results of those from `since` on."""
        make, source = self._maker(asked["id"])
        if "demonstrator" in asked:
            return {"turns": _demonstrate(make, asked)}
        episode, actions = self._episode(asked, make), asked["actions"]
        steps, ended = [], False
        for number in range(episode.num_actions, len(actions)):
            if ended:
                break
            step = episode.step(actions[number])
            ended = step[2]
            steps += [step] if number >= asked["since"] else []
        if asked["key"] and not ended:
            self._keep(asked["key"], episode)
        else:
            episode.close()
        return {"first": episode.first, "source": source, "steps": steps}

    def _episode(self, asked: dict[str, Any], make: Callable[..., Any]) -> _Episode:
        found = self.live.pop(asked["key"], None)
        if found is not None and found.num_actions == asked["since"]:
            return found
        return _Episode(make, asked["kwargs"], asked["seed"])

    def _keep(self, key: str, episode: _Episode) -> None:
        self.live[key] = episode
        if len(self.live) > NUM_LIVE:
            self.live.pop(next(iter(self.live))).close()

    def _maker(self, name: str) -> tuple[Callable[..., Any], str]:
        if name not in self.makers:
            make = maker_of(name)
            self.makers[name] = make, source_digest(name, make)
        return self.makers[name]


def main() -> None:
    """Serve until standard input ends."""
    memory_mb = int(sys.argv[1])
    questions, answers = own_pipes()
    die_with_parent()
    limit_memory(memory_mb)
    episodes, owner = _Episodes(), os.getpid()
    for line in questions:
        asked = json.loads(line)
        answer = _answer(episodes, asked)
        if os.getpid() != owner:  # a fork that an environment made came back here
            os._exit(1)
        answers.write(json.dumps({"number": asked["number"]} | answer) + "\n")
        answers.flush()
        if answer.get("kind") == "memory":
            return  # what is left of it in this process is not known


def _answer(episodes: _Episodes, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request, or {"fault": why, "kind": ...}."""
    try:
        return episodes.answer(asked)
    except UnknownEnvironment as error:
        return {"fault": str(error), "kind": "unknown"}
    except _Fault as error:
        return {"fault": str(error), "kind": "broken"}
    except MemoryError:
        return {"fault": "needs more memory than it may have", "kind": "memory"}
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        traceback.print_exception(error)
        return {"fault": f"raised {sentence(error)}", "kind": "broken"}


def _demonstrate(make: Callable[..., Any], asked: dict[str, Any]) -> list[list[str]]:
    """Observation and action of each turn of an episode that a scripted policy plays.

    The policy: (observation, random.Random) -> action.
    """
    policy, rng = load_policy(asked["demonstrator"]), random.Random(asked["draws"])
    episode = _Episode(make, asked["kwargs"], asked["seed"])
    turns: list[list[str]] = []
    observation, ended = episode.first, False
    while not ended and len(turns) < asked["max_turns"]:
        action = policy(observation, rng)
        if not isinstance(action, str):
            raise _Fault(f"{asked['demonstrator']} returned {_shown(action)}; expected a text")
        turns.append([observation, action])
        observation, _, ended, _ = episode.step(action)
    episode.close()
    return turns


def load_policy(name: str) -> Callable[[str, random.Random], str]:
    """A scripted policy by FILE.py:NAME or package.module:NAME."""
    return load(name) if name.rpartition(":")[0].endswith(".py") else maker_of(name)


def _observation(value: Any) -> str:
    if not isinstance(value, str):
        raise _Fault(f"its observation is {_shown(value)}; expected a text")
    if len(value) > LONGEST:
        raise _Fault(f"its observation has {len(value)} characters, more than {LONGEST}")
    return value


def _shown(value: Any) -> str:
    return repr(value)[:100]


if __name__ == "__main__":
    main()
