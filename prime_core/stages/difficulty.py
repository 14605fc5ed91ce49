"""Stage `difficulty`: the start model's pass rate on the training problems of one shard.

In: data/candidates.parquet, models/policy-0000.
Out: data/difficulty/<shard>.parquet (right responses to each problem),
metrics/difficulty-<shard>.json. The stage `band` then filters by it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.data.sources import difficulty_settings
from prime_core.evaluation.run_rows import run_rows
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made
from prime_core.run.reward_function import refuse_edited_function
from prime_core.run.schedule import shard_rows
from prime_core.run.tables import DIFFICULTY, PROMPTS, read_table, write_table
from prime_core.run.work import finish, open_run
from prime_core.runtime.console import progress_bar
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import partial_path, remove_partial
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.samplers import SamplingParams
from prime_core.samplers.ask import ask
from prime_core.samplers.choice import choose_sampler
from prime_core.samplers.replying import replies_of
from prime_core.settings.data import Difficulty
from prime_core.settings.run import Settings
from prime_core.verifiers.env import episode_text
from prime_core.verifiers.resumable import judge_all, refuse_broken


def run(run_dir: Path, shard: int) -> None:
    """Try one shard of the candidates."""
    settings, files = open_run(run_dir)
    asked = difficulty_settings(settings)
    output, watch = files.difficulty(shard), Stopwatch()
    with only_one(output, run_dir):
        refuse_edited_function(settings, files)
        candidates = read_table(files.candidates, PROMPTS, files.root)
        rows = shard_rows(list(range(len(candidates))), shard, asked.num_shards)
        problems = candidates.iloc[rows]
        responses: list[dict[str, Any]] = []
        with watch.part("generate"):
            # There may be more shards than problems, and a sampler is slow to start.
            if len(problems):
                responses = _sample(problems, asked, settings, files, output)
        with watch.part("verify"):
            table = _judged(problems, responses, settings, output)
        made = Made(files.root, [files.candidates, files.policy(0)])
        write_table(output, table, DIFFICULTY, made)
        remove_partial(output)
        num_judged, num_correct = int(table["num_judged"].sum()), int(table["num_correct"].sum())
        metrics: Metrics = {
            "difficulty/num_prompts": len(problems),
            "difficulty/num_responses": len(responses),
            "difficulty/num_no_verdict": len(responses) - num_judged,
            "difficulty/accuracy": num_correct / max(num_judged, 1),
        }
        finish(
            files.setup_metrics(f"difficulty-{shard:02d}"),
            metrics | watch.seconds,
            f"difficulty {shard}: {len(problems)} problems x {asked.n_samples_per_prompt}, "
            f"accuracy {metrics['difficulty/accuracy']:.3f}, "
            f"{watch.seconds['timing_s/generate']:.1f} s",
        )


def _sample(
    problems: pd.DataFrame, asked: Difficulty, settings: Settings, files: RunFiles, output: Path
) -> list[dict[str, Any]]:
    num_responses = len(problems) * asked.n_samples_per_prompt
    with progress_bar(num_responses, "response", "sampling") as bar:
        return ask(
            sampler=choose_sampler(settings.rollout.sampler, files.policy(0)),
            model_path=files.policy(0),
            prompts=problems,
            # docs/decisions.md#difficulty-trial
            purpose="difficulty",
            iteration=0,
            n_samples_per_prompt=asked.n_samples_per_prompt,
            params=SamplingParams(
                temperature=asked.temperature,
                top_p=1.0,
                top_k=0,
                max_response_length=asked.max_response_length,
            ),
            settings=settings,
            progress=bar.update,
            output=output,
        )


def _judged(
    problems: pd.DataFrame, responses: list[dict[str, Any]], settings: Settings, output: Path
) -> pd.DataFrame:
    """A row of DIFFICULTY for each problem, in their order."""
    texts = [(one["prompt_id"], episode_text(one)) for one in responses]
    # A pass rate counts whole passes; and num_correct is a number of responses.
    rules = settings.verification.without_partial_credit()
    rows = run_rows(problems, texts, settings, rules)
    replies = replies_of(settings, output)
    judgements = judge_all(rows, rules, partial_path(output, "verdicts"), "verifying", replies)
    refuse_broken(judgements, settings, output)
    table = pd.DataFrame(
        {
            "prompt_id": [one["prompt_id"] for one in responses],
            "outcome": pd.Series([judged.outcome for judged in judgements], dtype="float64"),
            "response_length": [len(one["response_tokens"]) for one in responses],
        }
    ).groupby("prompt_id")
    # A problem without any verdict has a row as well, with counts of 0.
    return (
        pd.DataFrame(
            {
                "num_judged": table["outcome"].count(),
                "num_correct": table["outcome"].sum(),
                "response_length": table["response_length"].mean(),
            }
        )
        .reindex(problems["prompt_id"])
        .reset_index()
    )
