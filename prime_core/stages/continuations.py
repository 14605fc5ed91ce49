"""Stage `continuations`: continue the batch's responses from the states between their steps.

In: iterations/<i>/batch.parquet, the policy that the iteration samples from.
Out: iterations/<i>/continuations/<shard>.parquet, metrics/continuations-<shard>.json.

VinePPO's K continuations of each state (arXiv 2410.01679, Sec. 4), drawn as responses are, and no
longer than a whole response may be. Beginnings that several responses share are continued once.
Finished ones are saved beside the output, so that a killed job draws only the rest, with the same
bits. Runs only where values or process rewards are `monte_carlo`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prime_core.models.load import load_tokenizer
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made, checked_weights
from prime_core.run.schedule import sampling_policy, shard_rows
from prime_core.run.seeds import derive_seed
from prime_core.run.tables import CONTINUATIONS, PROMPTS, read_table, write_table
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.console import progress_bar
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import partial_path, remove_partial
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.samplers import Request, SamplingParams
from prime_core.samplers.choice import refuse_mixture, sampler_of_iteration
from prime_core.samplers.draw import draw, engine_of
from prime_core.samplers.episodes import begun_episode, play_on
from prime_core.settings.run import Settings
from prime_core.training.learning_batch import LearningBatch, read_batch
from prime_core.training.step_marks import state_ends
from prime_core.training.step_states import State, batch_states
from prime_core.training.turn_texts import turn_texts
from prime_core.verifiers.env import episode_text

Asked = Sequence[tuple[State, int]]  # a state, and the number of its continuation


def run(run_dir: Path, iteration: int, shard: int) -> None:
    """Continue one shard of the states of an iteration's batch."""
    settings, files = open_run(run_dir)
    watch, output = Stopwatch(), files.continuations(iteration, shard)
    # The policy of this iteration, also for groups that the one before left over: V is its own.
    policy = files.policy(sampling_policy(iteration, settings.rollout.lag))
    with only_one(output, run_dir):
        batch = read_batch(files, iteration)
        ends = state_ends(batch, files.policy(0), settings.rollout.step_boundary)
        states = batch_states(batch, ends, settings.value.max_steps).states
        num_shards = files.num_shards(iteration, settings.rollout.num_shards)
        own = [states[row] for row in shard_rows([*range(len(states))], shard, num_shards)]
        rows = _continue(settings, files, iteration, own, policy, output, watch)
        made = Made(files.root, [files.batch(iteration), policy])
        write_table(output, rows, CONTINUATIONS, made)
        remove_partial(output)
        metrics = _metrics(rows, len(own)) | watch.seconds
        finish(
            files.metrics(iteration, f"continuations-{shard:02d}"),
            metrics,
            f"{progress_label(iteration, settings)} continuations {shard}: "
            f"{len(rows)} of {len(own)} states, "
            f"{metrics['continuations/num_tokens']} tokens, "
            f"{watch.seconds.get('timing_s/generate', 0.0):.1f} s",
        )


def _continue(
    settings: Settings,
    files: RunFiles,
    iteration: int,
    states: list[State],
    policy: Path,
    output: Path,
    watch: Stopwatch,
) -> list[dict[str, Any]]:
    """Rows of CONTINUATIONS, state by state."""
    if not states:  # engines are heavy
        return []
    numbers = range(settings.value.n_continuations)
    asked = [(state, number) for state in states for number in numbers]
    with watch.part("choose"):
        sampler = sampler_of_iteration(settings.rollout.sampler, policy, files, iteration)
    with watch.part("generate"), progress_bar(len(asked), "response", "continuing") as bar:
        weights = checked_weights(policy, files.root)
        drawing = _Drawing(settings, iteration, sampler, weights, output, bar.update)
        found = (
            drawing.texts(asked)
            if settings.data.env is None
            else drawing.episodes(asked, read_batch(files, iteration), files)
        )
    refuse_mixture(sampler, files.sampler(iteration))
    return [
        {
            "prompt_id": state.prompt_id,
            "sample": state.sample,
            "step": state.step,
            "continuation": number,
            **columns,
        }
        for (state, number), columns in zip(asked, found, strict=True)
    ]


@dataclass(frozen=True)
class _Drawing:
    """How continuations are drawn. weights: of the policy; output: the shard's table."""

    settings: Settings
    iteration: int
    sampler: str
    weights: Path
    output: Path
    progress: Callable[[int], object]

    @property
    def params(self) -> SamplingParams:
        """As of responses."""
        rollout = self.settings.rollout
        return SamplingParams(
            rollout.temperature, rollout.top_p, rollout.top_k, rollout.max_response_length
        )

    def seed(self, state: State, number: int, *turn: int) -> int:
        """By the state's place in the batch, not by the shard's row: shards may change."""
        place = (self.iteration, state.prompt_id, state.sample, state.step, number)
        return derive_seed(self.settings.seed, "continuations", *place, *turn)

    def texts(self, asked: Asked) -> list[dict[str, Any]]:
        """num_tokens, text, finish_reason of responses without turns."""
        requests = [
            Request(
                state.prompt_tokens + state.prefix,
                self.seed(state, number),
                num_before=len(state.prefix),
            )
            for state, number in asked
        ]
        model = (self.weights, self.settings.model.dtype)
        how = (*model, requests, self.params, engine_of(self.settings))
        sampled = draw(self.sampler, how, self.progress, partial_path(self.output, "responses"))
        tokenizer = load_tokenizer(self.weights)
        return [
            {
                "num_tokens": len(one.tokens),
                "text": tokenizer.decode(state.prefix + one.tokens, skip_special_tokens=True),
                "finish_reason": one.finish_reason,
            }
            for (state, _), one in zip(asked, sampled, strict=True)
        ]

    def episodes(self, asked: Asked, batch: LearningBatch, files: RunFiles) -> list[dict[str, Any]]:
        """The same of episodes; text: actions and states, as verification plays them again."""
        prompts = read_table(files.train, PROMPTS, files.root)
        truths = dict(zip(prompts["prompt_id"], prompts["ground_truth"], strict=True))
        said, longest = turn_texts(batch, self.weights), self.params.max_response_length
        begun = []
        for index, (state, _) in enumerate(asked):
            mask = batch.mask[state.row, : len(state.prefix)].tolist()
            begun.append(
                begun_episode(
                    index,
                    (state.prompt_id, truths[state.prompt_id]),
                    state.prompt_tokens,
                    longest,
                    list(zip(state.prefix, mask, strict=True)),
                    said[state.row][: state.step],
                    list(batch.rows["states"].iloc[state.row])[: state.step + 1],
                )
            )
        play_on(
            begun,
            lambda one, turn: self.seed(*asked[one.number], turn),
            sampler=self.sampler,
            model_path=self.weights,
            params=self.params,
            settings=self.settings,
            progress=self.progress,
            output=self.output,
            kept_as="responses",
        )
        return [
            {
                "num_tokens": sum(one.mask[len(state.prefix) :]),
                "text": episode_text({"actions": one.actions, "states": one.states}),
                "finish_reason": one.finish_reason,
            }
            for (state, _), one in zip(asked, begun, strict=True)
        ]


def _metrics(rows: list[dict[str, Any]], num_states: int) -> Metrics:
    cut = sum(row["finish_reason"] == "length" for row in rows)
    return {
        "continuations/num_responses": len(rows),
        "continuations/num_states": num_states,
        "continuations/num_tokens": sum(row["num_tokens"] for row in rows),
        "continuations/clip_ratio": cut / max(len(rows), 1),
    }
