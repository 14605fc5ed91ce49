"""Stage `evaluate`: the policy after an iteration on one benchmark, or its PRM on given steps.

In: the policy, data/validation.parquet or the benchmark's own table; with scorer 'prm' the PRM of
the iteration and its reference.
Out: evaluations/<i>/<benchmark>.parquet (judged responses; of `steps` the scores of steps) and
.json (figures with 95 % intervals).

Responses, verdicts and scores are saved beside the output as they come, so that a killed job does
only the rest, with the bits of an undisturbed one.

With num_shards the problems are split into jobs: each samples and judges its part, and the stage
without a shard joins them. Scores and figures are of the whole, so that they do not depend on the
number of shards. docs/decisions.md#evaluation-shards
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.data.arithmetic_solutions import NUM_ROWS, generated_solutions
from prime_core.data.prompts import as_messages, merge_system
from prime_core.evaluation.benchmark import (
    benchmark_named,
    benchmark_problems,
    judge_responses,
    kinds_of_figures,
)
from prime_core.evaluation.figures import evaluation_figures
from prime_core.evaluation.from_origin import take_evaluation
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import evaluation_scorer_folders
from prime_core.run.records import Made, checked_weights
from prime_core.run.reward_function import refuse_edited_function
from prime_core.run.sampled import response_length
from prime_core.run.schedule import shard_rows
from prime_core.run.seeds import derive_seed
from prime_core.run.tables import (
    EVALUATION,
    EVALUATION_SHARD,
    PROMPTS,
    SCORED_EVALUATION,
    TableError,
    read_json,
    read_table,
    stream_table,
    write_table,
)
from prime_core.run.work import open_run, progress_label
from prime_core.runtime.console import progress_bar, say
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import remove_partial
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.runtime.usage import process_usage
from prime_core.samplers.replying import replies_of
from prime_core.settings.evaluation import STEPS, Benchmark, StepEvaluation
from prime_core.settings.run import Settings

Rows = list[dict[str, Any]]
_TOKENS = ("prompt_tokens", "response_tokens")


def run(run_dir: Path, iteration: int, benchmark: str) -> None:
    """Evaluate the policy after an iteration (0: the start) on one benchmark."""
    settings, files = open_run(run_dir)
    if benchmark == STEPS and settings.evaluation.steps is not None:
        _evaluate_steps(settings, files, settings.evaluation.steps, iteration, run_dir)
        return
    chosen = benchmark_named(settings, benchmark)
    watch = Stopwatch()
    output = files.evaluation(iteration, benchmark)
    with only_one(output, run_dir):
        if take_evaluation(settings, files, iteration, benchmark):
            return  # a branch begins with the policy that its origin has evaluated
        refuse_edited_function(settings, files)
        problems, num_malformed = benchmark_problems(chosen, settings, files)
        if chosen.num_shards > 1:
            sampler, rows = _joined(files, iteration, benchmark, chosen.num_shards)
        else:
            sampler, rows = _answers(problems, chosen, iteration, settings, files, output, watch)
        if chosen.scorer:
            with watch.part("score"):
                _add_scores(rows, iteration, settings, files, output)
        schema = SCORED_EVALUATION if chosen.scorer else EVALUATION
        write_table(
            output.with_suffix(".parquet"), rows, schema, _made(chosen, iteration, settings, files)
        )
        figures: dict[str, Any] = {
            "benchmark": benchmark,
            "iteration": iteration,
            "sampler": sampler,
            "temperature": chosen.temperature,
        }
        if chosen.file != "validation":
            figures["num_malformed"] = num_malformed
        figures |= evaluation_figures(
            rows, chosen.n_samples_per_prompt, **kinds_of_figures(problems, chosen, settings)
        )
        table = pd.DataFrame(rows)
        figures["response_length_mean"] = float(table["response_length"].mean())
        figures["clip_ratio"] = float(table["finish_reason"].eq("length").mean())
        # last: figures imply that all responses exist
        write_json(output, figures | watch.seconds | process_usage())
        remove_partial(output)
        say(
            f"{progress_label(iteration, settings)} evaluate {benchmark}: "
            f"accuracy {figures['accuracy']:.3f} "
            f"[{figures['accuracy_low']:.3f}, {figures['accuracy_high']:.3f}], "
            f"{len(problems)} problems x {chosen.n_samples_per_prompt} by {sampler}"
        )


def run_shard(run_dir: Path, iteration: int, benchmark: str, shard: int, of: int) -> None:
    """Sample and judge one shard of a benchmark's problems."""
    settings, files = open_run(run_dir)
    chosen = benchmark_named(settings, benchmark)
    watch = Stopwatch()
    output = files.evaluation_shard(iteration, benchmark, shard, of)
    with only_one(output, run_dir):
        refuse_edited_function(settings, files)
        problems, _ = benchmark_problems(chosen, settings, files)
        asked = problems.iloc[shard_rows(list(range(len(problems))), shard, of)]
        # More shards than problems: an engine is not started for none.
        sampler, rows = (
            ("", [])
            if asked.empty
            else _answers(asked, chosen, iteration, settings, files, output, watch)
        )
        made = _sampled(chosen, iteration, files)
        write_table(output.with_suffix(".parquet"), rows, EVALUATION_SHARD, made)
        figures = {"sampler": sampler, "num_responses": len(rows)}
        write_json(output, figures | watch.seconds | process_usage())
        remove_partial(output)
        say(
            f"{progress_label(iteration, settings)} evaluate {benchmark} {shard} of {of}: "
            f"{len(rows)} responses{sampler and f' by {sampler}'}"
        )


def _joined(files: RunFiles, iteration: int, benchmark: str, of: int) -> tuple[str, Rows]:
    """Sampler and rows of all shards, in their order.

    Raises TableError where one is missing, or another sampler's.
    """
    shards = [files.evaluation_shard(iteration, benchmark, shard, of) for shard in range(of)]
    samplers = {read_json(shard)["sampler"] for shard in shards} - {""}
    if len(samplers) > 1:
        raise TableError(
            f"{shards[0].parent}: its shards were sampled by {' and '.join(sorted(samplers))}, "
            "which draw different responses; delete them, or name one in rollout.sampler"
        )
    tables = (shard.with_suffix(".parquet") for shard in shards)
    rows = [
        row
        for table in tables
        for part in stream_table(table, EVALUATION_SHARD, files.root)
        for row in part
    ]
    return next(iter(samplers), ""), rows


def _answers(
    problems: pd.DataFrame,
    chosen: Benchmark,
    iteration: int,
    settings: Settings,
    files: RunFiles,
    output: Path,
    watch: Stopwatch,
) -> tuple[str, Rows]:
    """The sampler's name and rows of EVALUATION_SHARD: responses to these problems, judged."""
    # Here: a stage that joins shards, or takes its origin's figures, samples nothing.
    from prime_core.samplers.choice import choose_sampler

    sampler = choose_sampler(settings.rollout.sampler, files.policy(iteration))
    with watch.part("generate"):
        responses = _sample(problems, chosen, iteration, sampler, settings, files, output)
    tokens = [{name: row[name] for name in _TOKENS} for row in responses]
    measured = [row | {"response_length": response_length(row)} for row in responses]
    with watch.part("verify"):
        replies = replies_of(settings, output)
        rows = judge_responses(measured, problems, chosen, settings, output, replies)
    return sampler, [row | own for row, own in zip(rows, tokens, strict=True)]


def _evaluate_steps(
    settings: Settings, files: RunFiles, steps: StepEvaluation, iteration: int, run_dir: Path
) -> None:
    """How well the PRM after an iteration finds the first wrong steps of given solutions."""
    from prime_core.evaluation.step_rating import Solutions, rate_steps

    output, watch = files.evaluation(iteration, STEPS), Stopwatch()
    given = Solutions(
        files=steps.files,
        columns=steps.columns,
        key="evaluation.steps.columns.{}",
        chosen_on=steps.chosen_on,
        num_rows=steps.num_rows,
        asked=lambda problem: merge_system(
            as_messages(problem, settings.data) or problem, settings.data
        ),
        generated=lambda part, num_rows: generated_solutions(
            list(read_table(files.validation, PROMPTS, files.root)["prompt_id"]),
            settings.data.arithmetic,
            num_rows or NUM_ROWS,
            derive_seed(settings.seed, "solutions", part),
        ),
    )
    with only_one(output, run_dir):
        prm, reference = _scorers(settings, files, iteration)
        with watch.part("score"):
            made = Made(files.root, [prm, reference])
            table = output.with_suffix(".parquet")
            parts = rate_steps(given, prm, reference, settings, table, made)
        figures = {"benchmark": STEPS, "iteration": iteration, "threshold_part": steps.chosen_on}
        write_json(output, figures | {"parts": parts} | watch.seconds | process_usage())
        words = [
            f"{name} F1 {100 * part['scores'][steps.score].get('f1', math.nan):.1f}"
            for name, part in parts.items()
            if name != steps.chosen_on
        ]
        say(
            f"{progress_label(iteration, settings)} evaluate {STEPS}: by {steps.score} "
            f"{', '.join(words) or 'in sample only'}"
        )


def _sample(
    problems: pd.DataFrame,
    chosen: Benchmark,
    iteration: int,
    sampler: str,
    settings: Settings,
    files: RunFiles,
    output: Path,
) -> Rows:
    from prime_core.samplers import SamplingParams
    from prime_core.samplers.ask import ask

    num_responses = len(problems) * chosen.n_samples_per_prompt
    with progress_bar(num_responses, "response", "sampling") as bar:
        return ask(
            sampler=sampler,
            model_path=checked_weights(files.policy(iteration), files.root),
            prompts=problems,
            # The same random numbers at each iteration, so that differences are the policy's.
            purpose="evaluate",
            iteration=0,
            n_samples_per_prompt=chosen.n_samples_per_prompt,
            params=SamplingParams(
                temperature=chosen.temperature,
                top_p=chosen.top_p,
                top_k=0,
                max_response_length=chosen.max_response_length,
                # docs/decisions.md#evaluation-positions
                ends_with_positions=True,
            ),
            settings=settings,
            progress=bar.update,
            output=output,
        )


def _sampled(chosen: Benchmark, iteration: int, files: RunFiles) -> Made:
    """What responses were made from: the policy, and the run's own problems."""
    problems = [files.validation] if chosen.file == "validation" else []
    return Made(files.root, [files.policy(iteration), *problems])


def _made(chosen: Benchmark, iteration: int, settings: Settings, files: RunFiles) -> Made:
    """What the whole table was made from: its responses' origin, and a PRM that scores."""
    folders = evaluation_scorer_folders(settings, files, iteration) if chosen.scorer else ()
    return Made(files.root, [*_sampled(chosen, iteration, files).inputs, *folders])


def _add_scores(
    rows: Rows, iteration: int, settings: Settings, files: RunFiles, output: Path
) -> None:
    """Put the PRM's log-odds of each whole response into its row."""
    from prime_core.training.implicit_rewards import whole_rewards
    from prime_core.training.labelled_tokens import sequences_of

    prm, reference = _scorers(settings, files, iteration)
    scores = whole_rewards(prm, reference, sequences_of(rows), settings, output)
    for row, score in zip(rows, scores, strict=True):
        row["score"] = score


def _scorers(settings: Settings, files: RunFiles, iteration: int) -> tuple[Path, Path]:
    """The PRM and its reference, checked."""
    prm, reference = evaluation_scorer_folders(settings, files, iteration)
    return checked_weights(prm, files.root), checked_weights(reference, files.root)
