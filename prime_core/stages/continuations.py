"""Stage `continuations`: continue the batch's responses from the states between their steps.

In: iterations/<i>/batch.parquet, the policy that the iteration samples from.
Out: iterations/<i>/continuations/<shard>.parquet, metrics/continuations-<shard>.json.

VinePPO's K continuations of each state (arXiv 2410.01679, Sec. 4), drawn as responses are, and no
longer than a whole response may be. Beginnings that several responses share are continued once.
Finished ones are saved beside the output, so that a killed job draws only the rest, with the same
bits. Runs only where values or process rewards are `monte_carlo`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prime_core.models.load import load_tokenizer
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made, checked_weights
from prime_core.run.schedule import sampling_policy, shard_rows
from prime_core.run.seeds import derive_seed
from prime_core.run.tables import CONTINUATIONS, write_table
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.console import progress_bar
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import partial_path, remove_partial
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.samplers import Request, SamplingParams
from prime_core.samplers.choice import refuse_mixture, sampler_of_iteration
from prime_core.samplers.draw import draw, engine_of
from prime_core.settings.run import Settings
from prime_core.training.learning_batch import read_batch
from prime_core.training.step_marks import state_ends
from prime_core.training.step_states import State, batch_states


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
    rollout, numbers = settings.rollout, range(settings.value.n_continuations)
    asked = [(state, number) for state in states for number in numbers]
    requests = [_request(settings, iteration, state, number) for state, number in asked]
    with watch.part("choose"):
        sampler = sampler_of_iteration(rollout.sampler, policy, files, iteration)
    with watch.part("generate"), progress_bar(len(asked), "response", "continuing") as bar:
        params = SamplingParams(
            rollout.temperature, rollout.top_p, rollout.top_k, rollout.max_response_length
        )
        weights = checked_weights(policy, files.root)
        how = (weights, settings.model.dtype, requests, params, engine_of(settings))
        sampled = draw(sampler, how, bar.update, partial_path(output, "responses"))
    refuse_mixture(sampler, files.sampler(iteration))
    tokenizer = load_tokenizer(policy)
    return [
        {
            "prompt_id": state.prompt_id,
            "sample": state.sample,
            "step": state.step,
            "continuation": number,
            "num_tokens": len(one.tokens),
            "text": tokenizer.decode(state.prefix + one.tokens, skip_special_tokens=True),
            "finish_reason": one.finish_reason,
        }
        for (state, number), one in zip(asked, sampled, strict=True)
    ]


def _request(settings: Settings, iteration: int, state: State, number: int) -> Request:
    # By the state's place in the batch, not by the shard's row: the number of shards may change.
    place = (iteration, state.prompt_id, state.sample, state.step, number)
    return Request(
        state.prompt_tokens + state.prefix,
        derive_seed(settings.seed, "continuations", *place),
        limit=settings.rollout.max_response_length - len(state.prefix),
    )


def _metrics(rows: list[dict[str, Any]], num_states: int) -> Metrics:
    cut = sum(row["finish_reason"] == "length" for row in rows)
    return {
        "continuations/num_responses": len(rows),
        "continuations/num_states": num_states,
        "continuations/num_tokens": sum(row["num_tokens"] for row in rows),
        "continuations/clip_ratio": cut / max(len(rows), 1),
    }
