"""Stage `prm_data`: labelled responses as tokens, with their log-probabilities under the reference.

In: the file of prm.offline, models/policy-0000 (its tokenizer), the reference. Out:
data/labelled.parquet, metrics/prm_data.json.

A separate job: what it computes with the reference is kept however often training is stopped.

docs/decisions.md#labelled-tokens
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prime_core.data.labelled import read_responses
from prime_core.data.prompts import merge_system
from prime_core.data.reading import DataError
from prime_core.run.prm_folders import frozen_reference_folder
from prime_core.run.records import Made, checked_weights
from prime_core.run.tables import LABELLED, write_table
from prime_core.run.work import finish, open_run
from prime_core.runtime.console import note
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import partial_path, remove_partial
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.settings.prm import Offline
from prime_core.training.distributed import join_ranks, rank
from prime_core.training.implicit_rewards import logprobs_of
from prime_core.training.labelled_tokens import NUM_QUOTED, sequences_of, tokenise


def run(run_dir: Path) -> None:
    """Write the labelled responses of the run's first PRM."""
    settings, files = open_run(run_dir)
    offline, watch = settings.prm.offline, Stopwatch()
    join_ranks()
    if offline is None:
        raise ValueError(f"{files.config}: prm.offline is null; name a file of labelled responses")
    with only_one(files.labelled, run_dir):
        key = "prm.offline.columns.{}"
        rows, malformed = read_responses(offline.file, offline.columns, key, with_outcomes=True)
        rows = [row | {"prompt": merge_system(row["prompt"], settings.data)} for row in rows]
        for text in malformed[:NUM_QUOTED]:
            note(f"{offline.file}: left out: {text}")
        fitting = _fitting(rows, files.policy(0), offline)
        num_pairs = _check_outcomes(fitting, offline)
        sequences = sequences_of(fitting)
        with watch.part("forward"):
            logprobs = logprobs_of(
                checked_weights(frozen_reference_folder(settings, files), files.root),
                sequences,
                settings,
                micro_batch_size=offline.micro_batch_size,
                partial=partial_path(files.labelled, "reference"),
            )
        for row, reference_logprobs in zip(fitting, logprobs, strict=True):
            row["reference_logprobs"] = reference_logprobs
        if rank() == 0:
            made = Made(files.root, [frozen_reference_folder(settings, files)])
            write_table(files.labelled, fitting, LABELLED, made)
            remove_partial(files.labelled)
        metrics: Metrics = {
            "prm_data/num_responses": len(fitting),
            "prm_data/num_prompts": len({row["prompt_id"] for row in fitting}),
            "prm_data/num_prompts_with_pairs": num_pairs,
            "prm_data/num_malformed": len(malformed),
            "prm_data/num_too_long": len(rows) - len(fitting),
            "prm_data/outcome_mean": sum(row["outcome"] for row in fitting) / len(fitting),
        }
        finish(
            files.setup_metrics("prm_data"),
            metrics | watch.seconds,
            f"prm_data: {len(fitting)} labelled responses to "
            f"{metrics['prm_data/num_prompts']} prompts, "
            f"{100 * metrics['prm_data/outcome_mean']:.1f} % correct; {len(malformed)} malformed "
            f"and {len(rows) - len(fitting)} too long left out",
        )


def _fitting(rows: list[dict[str, Any]], folder: Path, offline: Offline) -> list[dict[str, Any]]:
    fitting = [
        row
        for row in tokenise(rows, folder)
        # Empty where a response was cut before its first token. Too long ones are left out, not
        # cut: an outcome is the whole response's.
        if row["response_tokens"]
        and len(row["prompt_tokens"]) + len(row["response_tokens"]) <= offline.max_length
    ]
    if not fitting:
        raise DataError(
            f"{offline.file}: none of its {len(rows)} responses is within prm.offline.max_length "
            f"{offline.max_length} tokens"
        )
    return fitting


def _check_outcomes(rows: list[dict[str, Any]], offline: Offline) -> int:
    """Number of prompts whose responses' outcomes differ. Raises DataError where none differ."""
    outcomes: dict[str, set[float]] = {}
    for row in rows:
        outcomes.setdefault(row["prompt_id"], set()).add(row["outcome"])
    if len(set().union(*outcomes.values())) == 1:
        raise DataError(
            f"{offline.file}: all {len(rows)} responses have the outcome {rows[0]['outcome']:g}; "
            "expected right and wrong ones"
        )
    num_pairs = sum(len(found) > 1 for found in outcomes.values())
    if offline.compares and num_pairs == 0:
        raise DataError(
            f"{offline.file}: no prompt has responses of different outcomes, which "
            f"prm.offline.loss_type '{offline.loss_type}' compares; name the prompts in a column "
            "prompt_id"
        )
    return num_pairs
