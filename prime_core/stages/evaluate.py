"""Stage `evaluate`: the policy after an iteration on one benchmark.

In: the policy, data/validation.parquet or the benchmark's own table; with scorer 'prm' the PRM of
the iteration and its reference.
Out: evaluations/<i>/<benchmark>.parquet (judged responses) and .json (figures with 95 % intervals).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

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
from prime_core.run.reward_function import refuse_edited_function
from prime_core.run.tables import EVALUATION, SCORED_EVALUATION, write_table
from prime_core.run.work import open_run, progress_label
from prime_core.runtime.console import progress_bar, say
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.runtime.usage import process_usage
from prime_core.samplers import SamplingParams
from prime_core.samplers.ask import ask
from prime_core.samplers.choice import choose_sampler
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.run import Settings


def run(run_dir: Path, iteration: int, benchmark: str) -> None:
    """Evaluate the policy after an iteration (0: the start) on one benchmark."""
    settings, files = open_run(run_dir)
    chosen = benchmark_named(settings, benchmark)
    watch = Stopwatch()
    output = files.evaluation(iteration, benchmark)
    with only_one(output, run_dir):
        if take_evaluation(settings, files, iteration, benchmark):
            return  # a branch begins with the policy that its origin has evaluated
        refuse_edited_function(settings, files)
        problems, num_malformed = benchmark_problems(chosen, settings, files)
        sampler = choose_sampler(settings.rollout.sampler, files.policy(iteration))
        with watch.part("generate"):
            responses = _sample(problems, chosen, iteration, sampler, settings, files)
        with watch.part("verify"):
            rows = judge_responses(_measured(responses), problems, chosen, settings, output)
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
        figures |= evaluation_figures(
            rows, chosen.n_samples_per_prompt, **kinds_of_figures(problems, chosen, settings)
        )
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
