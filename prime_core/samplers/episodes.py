"""Sampling of episodes: the policy acts in environments, a turn of all episodes at a time.

In: problems of the ability `env`. Out: rows of ROLLOUTS in which response_mask tells the policy's
tokens from the environments', with the actions and the digests of the observations that they
answered. For each turn the sampler is called once for all episodes that go on, with all tokens so
far as the prompt. A turn's random numbers are its own, and what is finished of a turn is kept
beside the output: a killed job plays the actions again and draws the rest, with the same bits.

An environment that crashes or hangs ends its episode; whether there is a reward is for verification
to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import pandas as pd

from prime_core.environments.process import (
    EnvironmentFault,
    EnvironmentProcess,
    Step,
    Task,
    UnknownEnvironment,
    digest,
)
from prime_core.models.conversation import ObservationTokens
from prime_core.models.load import load_config, load_tokenizer
from prime_core.models.prompts import prompt_tokens
from prime_core.runtime import kept
from prime_core.runtime.console import note
from prime_core.runtime.cores import num_cores
from prime_core.runtime.partial_rows import partial_path
from prime_core.samplers import Request, Sampled, SamplerError, SamplingParams, request_seed
from prime_core.samplers.draw import draw, engine_of
from prime_core.samplers.request import room_for_response
from prime_core.settings.run import Settings

ENV = "env"  # the ability of their problems
# Faults that a shard bears, whatever verification.max_no_verdict_share says: each may take a
# minute, and verification would stop the run for more.
_FAULTS_BORNE = 8


@dataclass
class Episode:
    """One response on its way. room: tokens that it may have, observations included.

    was_cut: its last turn did not end by itself. finish_reason: "" while it goes on.
    """

    number: int
    prompt_id: str
    sample: int
    task: Task
    prompt: list[int]
    room: int
    tokens: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    was_cut: bool = False
    finish_reason: str = ""

    def act(self, turn: Sampled, text: Callable[[list[int]], str]) -> None:
        """Take a turn; what does not fit is cut off."""
        left = self.room - len(self.tokens)
        tokens = turn.tokens[:left]
        self.tokens += tokens
        self.mask += [True] * len(tokens)
        self.logprobs += turn.logprobs[:left]
        self.actions.append(text(tokens))
        self.was_cut = turn.finish_reason == "length" or len(turn.tokens) > left

    def end(self) -> None:
        """It is over after this turn."""
        self.finish_reason = "length" if self.was_cut else "stop"

    def observe(self, observation: str, tokens: list[int]) -> None:
        """Take an observation, unless there is no room for it and a token behind it."""
        if len(self.tokens) + len(tokens) >= self.room:
            self.finish_reason = "length"
            return
        self.tokens += tokens
        self.mask += [False] * len(tokens)
        self.logprobs += [0.0] * len(tokens)
        self.states.append(digest(observation))


def begun_episode(
    number: int,
    problem: tuple[str, str],
    prompt: list[int],
    room: int,
    so_far: list[tuple[int, bool]],
    actions: list[str],
    states: list[str],
) -> Episode:
    """An episode that goes on from the middle of another.

    number: its own, instead of a sample's, since several may go on from one state. problem:
    prompt_id and ground_truth. so_far: tokens, and whether the policy sampled them; with the
    observation that the next turn answers, the last of states.
    """
    prompt_id, ground_truth = problem
    task = Task.of(ground_truth)
    return Episode(
        number,
        prompt_id,
        number,
        task,
        prompt,
        room,
        tokens=[token for token, _ in so_far],
        mask=[sampled for _, sampled in so_far],
        logprobs=[0.0] * len(so_far),
        actions=list(actions),
        states=list(states) or [task.state],
    )


def play(
    *,
    sampler: str,
    model_path: Path,
    prompts: pd.DataFrame,
    purpose: str,
    iteration: int,
    n_samples_per_prompt: int,
    params: SamplingParams,
    settings: Settings,
    progress: Callable[[int], object],
    output: Path | None,
    kept_as: str,
) -> list[dict[str, Any]]:
    """Episodes of each problem; arguments and rows as those of `ask`, which calls this.

    Raises SamplerError where environments fail in more episodes than the run allows, or are unknown
    here.
    """
    episodes = _begin(prompts, n_samples_per_prompt, params, model_path)
    seeds = (settings.seed, purpose, iteration)
    play_on(
        episodes,
        lambda one, turn: request_seed(*seeds, one.prompt_id, one.sample, turn),
        sampler=sampler,
        model_path=model_path,
        params=params,
        settings=settings,
        progress=progress,
        output=output,
        kept_as=kept_as,
    )
    tokenizer = load_tokenizer(model_path)
    return [_row(one, tokenizer) for one in episodes]


def play_on(
    episodes: Sequence[Episode],
    seed_of: Callable[[Episode, int], int],
    *,
    sampler: str,
    model_path: Path,
    params: SamplingParams,
    settings: Settings,
    progress: Callable[[int], object],
    output: Path | None,
    kept_as: str,
) -> None:
    """Play episodes to their ends, from wherever they are; no two have one prompt_id and sample.

    seed_of: an episode's turn (1, 2, ...) -> the seed of its random numbers. Raises SamplerError as
    `play` does.
    """
    env = settings.data.env
    assert env is not None
    tokenizer = load_tokenizer(model_path)
    observed = ObservationTokens(tokenizer, model_path)
    engine = replace(
        engine_of(settings),
        # Of any turn: an engine stays as it is for all of them.
        max_prompt_length=settings.data.max_prompt_length + params.max_response_length,
    )
    longest = min(env.max_turn_length, params.max_response_length)
    # A turn near the end of its episode has less room than others; it is cut by `act`.
    each = replace(params, max_response_length=longest, ends_with_positions=True)
    with kept.meanwhile(), _Environments(settings, len(episodes)) as environments:
        for turn in range(1, env.max_turns + 1):
            live = [one for one in episodes if not one.finish_reason]
            if not live:
                break
            requests = [
                Request([*one.prompt, *one.tokens], seed_of(one, len(one.actions) + 1))
                for one in live
            ]
            how = (model_path, settings.model.dtype, requests, each, engine)
            partial = partial_path(output, f"{kept_as}-turn-{turn:03d}") if output else None
            for one, sampled in zip(live, draw(sampler, how, _unseen, partial), strict=True):
                one.act(sampled, lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)))
            for one, step in zip(live, environments.step(live), strict=True):
                _take(one, step, observed, is_last=len(one.actions) >= env.max_turns)
            progress(sum(bool(one.finish_reason) for one in live))


def _begin(
    prompts: pd.DataFrame, n_samples_per_prompt: int, params: SamplingParams, model_path: Path
) -> list[Episode]:
    """The episodes, prompt by prompt; those of one prompt begin in the same state."""
    tokenizer = load_tokenizer(model_path)
    positions = getattr(load_config(model_path).get_text_config(), "max_position_embeddings", None)
    episodes: list[Episode] = []
    for problem in prompts.to_dict("records"):
        tokens = prompt_tokens(tokenizer, list(problem["prompt"]))
        room = room_for_response(positions, len(tokens), params, model_path)
        task = Task.of(problem["ground_truth"])
        for sample in range(n_samples_per_prompt):
            begun = (len(episodes), problem["prompt_id"], sample, task, tokens, room)
            episodes.append(Episode(*begun, states=[task.state]))
    return episodes


def _take(one: Episode, step: Step | None, observed: ObservationTokens, is_last: bool) -> None:
    """Go on after what an environment has said; None: it failed."""
    if step is None or step.ended or is_last:
        one.end()
        return
    # The turn's own tokens: its end must not be written a second time.
    one.observe(step.observation, observed.after(one.tokens, step.observation))


def _row(one: Episode, tokenizer: Any) -> dict[str, Any]:
    return {
        "prompt_id": one.prompt_id,
        "sample": one.sample,
        "prompt_tokens": one.prompt,
        "response_tokens": one.tokens,
        "response_mask": one.mask,
        "sampler_logprobs": one.logprobs,
        "text": tokenizer.decode(one.tokens, skip_special_tokens=True),
        "finish_reason": one.finish_reason,
        "actions": one.actions,
        "states": one.states,
    }


class _Environments:
    """Processes of environments, one for each core; an episode stays with its own."""

    def __init__(self, settings: Settings, num_episodes: int) -> None:
        rules = settings.verification
        number = max(1, min(num_cores(), num_episodes))
        # As long as the processes: each ends with the thread that has started it.
        self.threads = ThreadPoolExecutor(number)
        self.processes = [
            EnvironmentProcess(rules.timeout_seconds, rules.memory_mb) for _ in range(number)
        ]
        self.borne = max(_FAULTS_BORNE, rules.max_no_verdict_share * num_episodes)
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.close()
        self.threads.shutdown()

    def step(self, episodes: list[Episode]) -> list[Step | None]:
        """What the environments said to the last actions; None: one failed."""
        number = len(self.processes)
        shares = [[one for one in episodes if one.number % number == n] for n in range(number)]
        said = dict(chain(*self.threads.map(self._steps, self.processes, shares)))
        return [said[one.number] for one in episodes]

    def _steps(
        self, process: EnvironmentProcess, episodes: list[Episode]
    ) -> list[tuple[int, Step | None]]:
        return [(one.number, self._step(process, one)) for one in episodes]

    def _step(self, process: EnvironmentProcess, one: Episode) -> Step | None:
        if len(self.faults) > self.borne:
            raise SamplerError(
                f"data.env: the environment failed in more than {self.borne:g} episodes, the last "
                f"time: {self.faults[-1]}"
            )
        key = f"{one.prompt_id}\n{one.sample}"
        try:
            return process.step(one.task, key, one.actions)
        except UnknownEnvironment as error:
            raise SamplerError(f"data.env.id: {error}") from None
        except EnvironmentFault as error:
            self.faults.append(str(error))
            note(f"{one.prompt_id}, sample {one.sample}, turn {len(one.actions)}: {error}")
            return None


def _unseen(_: int) -> None:
    """Progress of a turn: the bar counts episodes."""
