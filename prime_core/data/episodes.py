"""Problems and demonstrations of an environment (data.env): a seed is a problem.

In: settings (data.env). Out: rows of PROMPTS, whose prompt is the first observation and whose
ground truth is the environment's Task; rows of DEMONSTRATIONS, one for each turn that a scripted
policy plays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from prime_core.data.problems import DataError, Problem, as_messages, problem_text
from prime_core.data.prompts import Messages, merge_system
from prime_core.environments.process import EnvironmentFault, EnvironmentProcess, Task, digest
from prime_core.run.seeds import derive_seed, generator
from prime_core.runtime.console import progress_bar
from prime_core.settings.data import Data
from prime_core.settings.env import Env
from prime_core.settings.run import Settings

_ABILITY = "env"
_SEEDS = 2**30  # numpy's older generators take no seed of more than 32 bits


def problems(settings: Settings, split: str) -> Iterator[Problem]:
    """Problems of one split: seeds that the other split does not have.

    Raises DataError where the environment is unknown, or fails at a seed.
    """
    env, data = _env(settings), settings.data
    seeds = seeds_of(settings, split)
    with _process(settings) as process, progress_bar(len(seeds), "seed", "asking") as bar:
        for number, seed in enumerate(seeds):
            task = Task(env.id, env.kwargs, seed, env.success_threshold)
            try:
                first, source = process.first(task)
            except EnvironmentFault as error:
                raise DataError(f"data.env.id, seed {seed}: {error}") from None
            asked = _asked(first, data)
            row = {
                "prompt_id": f"env-{seed}",
                "prompt": asked,
                "ability": _ABILITY,
                "ground_truth": replace(task, state=digest(first), source=source).text(),
                "data_source": env.id,
            }
            yield Problem(row, problem_text(asked, data, _ABILITY), env.id, number)
            bar.update()


def environment_problem(settings: Settings) -> str:
    """Why the environment does not begin here: one sentence, "" where it does."""
    env = _env(settings)
    task = Task(env.id, env.kwargs, seeds_of(settings, "train")[0], env.success_threshold)
    try:
        with _process(settings) as process:
            process.first(task)
    except EnvironmentFault as error:
        return f"data.env.id: {error}"
    return ""


def demonstrations(settings: Settings) -> Iterator[dict[str, Any]]:
    """Rows of DEMONSTRATIONS: the conversation before each turn, and the turn's action.

    Raises DataError as `problems` does, or where the demonstrator fails.
    """
    env, data = _env(settings), settings.data
    if env.demonstrator is None:
        return
    seeds, draws = seeds_of(settings, "train"), generator(settings.seed, "demonstrations")
    # Of training seeds alone: an episode that was shown would no longer be held out.
    chosen = draws.integers(len(seeds), size=env.num_demonstrations).tolist()
    total = env.num_demonstrations
    with _process(settings) as process, progress_bar(total, "episode", "demonstrating") as bar:
        for number, place in enumerate(chosen):
            task = Task(env.id, env.kwargs, seeds[place], env.success_threshold)
            own = derive_seed(settings.seed, "demonstration", number)
            try:
                turns = process.demonstrate(task, env.demonstrator, own, env.max_turns)
            except EnvironmentFault as error:
                raise DataError(f"data.env.demonstrator, seed {task.seed}: {error}") from None
            yield from _turns(turns, data)
            bar.update()


def seeds_of(settings: Settings, split: str) -> range:
    """The environment's seeds of `train` or `validation`; they differ.

    Those of validation do not depend on how many are trained on.
    """
    env = _env(settings)
    first = derive_seed(settings.seed, "environments") % _SEEDS
    held_out = range(first, first + env.num_validation)
    return (
        held_out if split == "validation" else range(held_out.stop, held_out.stop + env.num_train)
    )


def _turns(turns: list[tuple[str, str]], data: Data) -> Iterator[dict[str, Any]]:
    messages = _asked(turns[0][0], data) if turns else []
    for number, (observation, action) in enumerate(turns):
        if number:
            messages = [*messages, {"role": "user", "content": observation}]
        yield {"prompt": messages, "response": action}
        messages = [*messages, {"role": "assistant", "content": action}]


def _asked(observation: str, data: Data) -> Messages:
    messages = as_messages(observation, data, _ABILITY)
    if messages is None:
        raise DataError("data.env.id: its first observation is empty, and nothing can be asked")
    return merge_system(messages, data)


def _process(settings: Settings) -> EnvironmentProcess:
    rules = settings.verification
    return EnvironmentProcess(rules.timeout_seconds, rules.memory_mb)


def _env(settings: Settings) -> Env:
    assert settings.data.env is not None
    return settings.data.env
