"""Stage `step_values`: judge the continuations, and average them into values of states.

In: iterations/<i>/batch.parquet, continuations/<shard>.parquet, data/train.parquet.
Out: iterations/<i>/step_values.parquet, metrics/step_values.json.

V of a state is the mean outcome of its continuations (VinePPO, arXiv 2410.01679, Eq. 5). One that
was cut at the length limit counts 0, unjudged; one without a verdict is left out of the mean, since
the verifier failed and not the policy. A state of which none is left has no value, and the updates
treat it as one that was not asked. docs/decisions.md#monte-carlo-values

Judged texts are saved beside the output as they come, so that a killed job redoes only the rest.
Needs no GPU. Runs only where values or process rewards are `monte_carlo`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.evaluation.run_rows import run_rows
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made
from prime_core.run.reward_function import refuse_edited_function
from prime_core.run.tables import (
    CONTINUATIONS,
    PROMPTS,
    STEP_VALUES,
    TableError,
    read_table,
    write_table,
)
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import partial_path, remove_partial
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.samplers.replying import replies_of
from prime_core.settings.run import Settings
from prime_core.training.learning_batch import LearningBatch, read_batch
from prime_core.training.step_marks import state_ends
from prime_core.training.step_states import BatchStates, State, batch_states, of_steps
from prime_core.verifiers.resumable import judge_all, refuse_broken


def run(run_dir: Path, iteration: int) -> None:
    """Judge and average the continuations of one iteration."""
    settings, files = open_run(run_dir)
    watch, output = Stopwatch(), files.step_values(iteration)
    with only_one(output, run_dir):
        refuse_edited_function(settings, files)
        batch = read_batch(files, iteration)
        ends = state_ends(batch, files.policy(0), settings.rollout.step_boundary)
        states = batch_states(batch, ends, settings.value.max_steps)
        shards = range(files.num_shards(iteration, settings.rollout.num_shards))
        sources = [files.continuations(iteration, shard) for shard in shards]
        tables = [read_table(one, CONTINUATIONS, files.root) for one in sources]
        drawn = pd.concat(tables, ignore_index=True)
        with watch.part("judge"):
            judged = drawn.assign(outcome=_outcomes(drawn, settings, files, output))
        values, counts = _of_states(states.states, judged, settings, sources[0])
        made = Made(files.root, [files.batch(iteration), *sources, files.train])
        write_table(output, _rows(batch, states, values, counts), STEP_VALUES, made)
        remove_partial(output)
        metrics = _metrics(batch, states, values, judged)
        finish(
            files.metrics(iteration, "step_values"),
            metrics | watch.seconds,
            f"{progress_label(iteration, settings)} step values: {len(states.states)} states, "
            f"mean {metrics['step_values/value_mean']:.3f}, "
            f"{metrics['step_values/token_ratio']:.1f} tokens continued for each of a response, "
            f"{watch.seconds['timing_s/judge']:.1f} s",
        )


def _outcomes(drawn: pd.DataFrame, settings: Settings, files: RunFiles, output: Path) -> pd.Series:
    """The outcome of each continuation; NaN: no verdict."""
    prompts = read_table(files.train, PROMPTS, files.root)
    # An episode may have been won in a turn that was cut: its environment says.
    is_cut = drawn["finish_reason"].eq("length") & (settings.data.env is None)
    whole = drawn[~is_cut]
    # Short answers come again and again: each text is judged once.
    texts = list(dict.fromkeys(zip(whole["prompt_id"], whole["text"], strict=True)))
    rows = run_rows(prompts, texts, settings, settings.verification)
    partial = partial_path(output, "verdicts")
    replies = replies_of(settings, output)
    judgements = judge_all(rows, settings.verification, partial, "judging continuations", replies)
    refuse_broken(judgements, settings, output)
    outcomes = {text: one.outcome for text, one in zip(texts, judgements, strict=True)}
    found = [
        0.0 if cut else outcomes[prompt_id, text]
        for prompt_id, text, cut in zip(drawn["prompt_id"], drawn["text"], is_cut, strict=True)
    ]
    return pd.Series(found, index=drawn.index, dtype="float64")


def _of_states(
    states: list[State], judged: pd.DataFrame, settings: Settings, source: Path
) -> tuple[list[float | None], list[int]]:
    """Mean outcome of each state, and of how many continuations; None: of none.

    Raises TableError where the continuations are not those of the batch's states.
    """
    num_each = settings.value.n_continuations
    keys = [(one.prompt_id, one.sample, one.step) for one in states for _ in range(num_each)]
    found = list(zip(judged["prompt_id"], judged["sample"], judged["step"], strict=True))
    if found != keys:
        raise TableError(
            f"{source.parent}: {len(found)} continuations are not the {num_each} of each of the "
            f"batch's {len(states)} states; delete the folder and run again"
        )
    outcomes = judged["outcome"].to_numpy().reshape(len(states), num_each)
    table = pd.DataFrame(outcomes)
    means, counts = table.mean(axis=1), table.count(axis=1)
    values = [None if pd.isna(one) else float(one) for one in means]
    return values, [int(one) for one in counts]


def _rows(
    batch: LearningBatch, states: BatchStates, values: list[float | None], counts: list[int]
) -> list[dict[str, Any]]:
    keys = zip(batch.rows["prompt_id"], batch.rows["sample"], strict=True)
    own = zip(keys, states.of_responses, states.step_ends, strict=True)
    return [
        {
            "prompt_id": prompt_id,
            "sample": sample,
            "step_ends": ends,
            "values": of_steps(values, indices, len(ends)),
            "num_continuations": [int(n or 0) for n in of_steps(counts, indices, len(ends))],
        }
        for (prompt_id, sample), indices, ends in own
    ]


def _metrics(
    batch: LearningBatch, states: BatchStates, values: list[float | None], judged: pd.DataFrame
) -> Metrics:
    known = [value for value in values if value is not None]
    num_steps = [len(ends) for ends in states.step_ends]
    return {
        "step_values/num_responses": len(batch.rows),
        "step_values/steps_mean": sum(num_steps) / len(num_steps),
        "step_values/num_states": len(states.states),
        "step_values/num_without_value": len(values) - len(known),
        "step_values/num_no_verdict": int(judged["outcome"].isna().sum()),
        "step_values/value_mean": sum(known) / max(len(known), 1),
        # What the values cost: sampled tokens beside those that are trained on.
        "step_values/token_ratio": int(judged["num_tokens"].sum()) / batch.num_tokens,
    }
