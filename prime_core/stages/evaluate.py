"""Stage `evaluate`: the policy after an iteration on one benchmark.

In: the policy, data/validation.parquet or the benchmark's own table.
Out: evaluations/<i>/<benchmark>.parquet (judged responses) and .json (accuracy, 95 % interval).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.data.tables import DataError, read_problems
from prime_core.layout import RunFiles
from prime_core.rollouts import EVALUATION, PROMPTS, read_table, write_json, write_table
from prime_core.samplers import SamplingParams
from prime_core.samplers.ask import ask
from prime_core.samplers.choice import choose
from prime_core.settings import Settings
from prime_core.settings_evaluation import Benchmark
from prime_core.stages.context import Stopwatch, only_one, open_run, place_of, progress_bar, say
from prime_core.stages.verified_rows import judge_all
from prime_core.stages.verify import refuse_broken, rules_of
from prime_core.statistics import mean_interval
from prime_core.verifiers.pool import Row


def run(run_dir: Path, iteration: int, benchmark: str) -> None:
    """Evaluate the policy after an iteration (0: the start) on one benchmark."""
    settings, files = open_run(run_dir)
    if benchmark not in settings.evaluation.benchmarks:
        known = ", ".join(settings.evaluation.benchmarks)
        raise DataError(f"no benchmark '{benchmark}' under evaluation.benchmarks; known: {known}")
    watch = Stopwatch()
    place = files.evaluation(iteration, benchmark)
    with only_one(place, run_dir):
        chosen = settings.evaluation.benchmarks[benchmark]
        problems = _problems(chosen, settings, files)
        sampler = choose(settings.rollout.sampler, files.policy(iteration))
        with watch.part("generate"):
            responses = _sample(problems, chosen, iteration, sampler, settings, files)
        with watch.part("verify"):
            rows = _judge(responses, problems, settings, place)
        write_table(place.with_suffix(".parquet"), rows, EVALUATION)
        place_and_means = {"benchmark": benchmark, "iteration": iteration, "sampler": sampler}
        figures = place_and_means | _figures(rows, chosen)
        write_json(place, figures | watch.seconds)
        say(
            f"{place_of(iteration, settings)} evaluate {benchmark}: "
            f"accuracy {figures['accuracy']:.3f} "
            f"[{figures['accuracy_low']:.3f}, {figures['accuracy_high']:.3f}], "
            f"{len(problems)} problems x {chosen.n_samples_per_prompt} by {sampler}"
        )


def _problems(chosen: Benchmark, settings: Settings, files: RunFiles) -> pd.DataFrame:
    if chosen.file == "validation":
        problems = read_table(files.validation, PROMPTS)
    else:
        rows, _num_malformed = read_problems(Path(chosen.file), "benchmark", settings.data)
        if not rows:
            raise DataError(f"{chosen.file}: holds no usable problem")
        problems = pd.DataFrame(rows)
    return problems.head(chosen.num_problems or len(problems))


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
            # The same random numbers at each iteration: differences are the policy's.
            purpose="evaluate",
            iteration=0,
            n_samples_per_prompt=chosen.n_samples_per_prompt,
            params=SamplingParams(
                temperature=chosen.temperature,
                top_p=chosen.top_p,
                top_k=0,
                max_response_length=chosen.max_response_length,
            ),
            settings=settings,
            progress=bar.update,
        )


def _judge(
    responses: list[dict[str, Any]], problems: pd.DataFrame, settings: Settings, place: Path
) -> list[dict[str, Any]]:
    known = problems.set_index("prompt_id")
    rows = [
        Row(
            known.loc[row["prompt_id"], "ability"],
            row["text"],
            known.loc[row["prompt_id"], "ground_truth"],
        )
        for row in responses
    ]
    judgements = judge_all(rows, rules_of(settings), None, "verifying")
    refuse_broken(judgements, settings, place)
    return [
        {
            "prompt_id": row["prompt_id"],
            "sample": row["sample"],
            "text": row["text"],
            "finish_reason": row["finish_reason"],
            "response_length": len(row["response_tokens"]),
            "outcome": judgement.outcome,
            "verdict": str(judgement.verdict),
            "extracted": judgement.extracted,
        }
        for row, judgement in zip(responses, judgements, strict=True)
    ]


def _figures(rows: list[dict[str, Any]], chosen: Benchmark) -> dict[str, Any]:
    table = pd.DataFrame(rows)
    judged = table[table["outcome"].notna()]
    means = judged.astype({"outcome": "float64"}).groupby("prompt_id")["outcome"].mean()
    accuracy, low, high = mean_interval(means)
    return {
        "num_problems": len(means),
        "num_no_verdict": len(table) - len(judged),
        "n_samples_per_prompt": chosen.n_samples_per_prompt,
        "temperature": chosen.temperature,
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "response_length_mean": float(table["response_length"].mean()),
        "clip_ratio": float(table["finish_reason"].eq("length").mean()),
    }
