"""Stage `evaluate`: the policy after an iteration on one benchmark, or its PRM on given steps.

In: the policy, data/validation.parquet or the benchmark's own table; with scorer 'prm' the PRM of
the iteration and its reference.
Out: evaluations/<i>/<benchmark>.parquet (judged responses; of `steps` the scores of steps) and
.json (figures with 95 % intervals).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.data.prompts import as_messages, merge_system
from prime_core.evaluation.benchmark import (
    benchmark_named,
    benchmark_problems,
    has_answers,
    judge_responses,
)
from prime_core.evaluation.figures import evaluation_figures
from prime_core.evaluation.from_origin import take_evaluation
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import evaluation_scorer_folders
from prime_core.run.tables import EVALUATION, SCORED_EVALUATION, write_table
from prime_core.run.work import open_run, progress_label
from prime_core.runtime.console import progress_bar, say
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.runtime.usage import process_usage
from prime_core.samplers import SamplingParams
from prime_core.samplers.ask import ask
from prime_core.samplers.choice import choose_sampler
from prime_core.settings.evaluation import STEPS, Benchmark, StepEvaluation
from prime_core.settings.run import Settings


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
        problems, num_malformed = benchmark_problems(chosen, settings, files)
        sampler = choose_sampler(settings.rollout.sampler, files.policy(iteration))
        with watch.part("generate"):
            responses = _sample(problems, chosen, iteration, sampler, settings, files)
        with watch.part("verify"):
            rows = judge_responses(_measured(responses), problems, settings, output)
        if chosen.scorer:
            with watch.part("score"):
                _add_scores(rows, responses, iteration, settings, files)
        schema = SCORED_EVALUATION if chosen.scorer else EVALUATION
        write_table(output.with_suffix(".parquet"), rows, schema)
        figures: dict[str, Any] = {
            "benchmark": benchmark,
            "iteration": iteration,
            "sampler": sampler,
            "temperature": chosen.temperature,
        }
        if chosen.file != "validation":
            figures["num_malformed"] = num_malformed
        figures |= evaluation_figures(rows, chosen.n_samples_per_prompt, has_answers(problems))
        table = pd.DataFrame(rows)
        figures["response_length_mean"] = float(table["response_length"].mean())
        figures["clip_ratio"] = float(table["finish_reason"].eq("length").mean())
        # last: figures imply that all responses exist
        write_json(output, figures | watch.seconds | process_usage())
        say(
            f"{progress_label(iteration, settings)} evaluate {benchmark}: "
            f"accuracy {figures['accuracy']:.3f} "
            f"[{figures['accuracy_low']:.3f}, {figures['accuracy_high']:.3f}], "
            f"{len(problems)} problems x {chosen.n_samples_per_prompt} by {sampler}"
        )


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
    )
    with only_one(output, run_dir):
        prm, reference = evaluation_scorer_folders(settings, files, iteration)
        with watch.part("score"):
            parts = rate_steps(given, prm, reference, settings, output.with_suffix(".parquet"))
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
) -> list[dict[str, Any]]:
    num_responses = len(problems) * chosen.n_samples_per_prompt
    with progress_bar(num_responses, "response", "sampling") as bar:
        return ask(
            sampler=sampler,
            model_path=files.policy(iteration),
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
        )


def _measured(responses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"response_length": len(row["response_tokens"])} for row in responses]


def _add_scores(
    rows: list[dict[str, Any]],
    responses: list[dict[str, Any]],
    iteration: int,
    settings: Settings,
    files: RunFiles,
) -> None:
    """Put the PRM's log-odds of each whole response into its row."""
    from prime_core.training.implicit_rewards import whole_rewards
    from prime_core.training.labelled_tokens import sequences_of

    prm, reference = evaluation_scorer_folders(settings, files, iteration)
    scores = whole_rewards(prm, reference, sequences_of(responses), settings)
    for row, score in zip(rows, scores, strict=True):
        row["score"] = score
