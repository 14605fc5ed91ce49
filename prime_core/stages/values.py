"""Stage `values`: PPO's critic evaluated on an iteration's batch, before any update.

The critic's forward pass; its gradient steps are the stage `value`, beside the policy's. Both
updates read this table, so advantages and returns are computed from the same numbers.
docs/decisions.md#value-stages

In: iterations/<i>/batch.parquet, the value model of the iteration before; in the first iteration
the model of value.path or models/policy-0000, with a head that predicts 0.
Out: iterations/<i>/values.parquet, V(s_t) of the state before each response token;
metrics/values.json.

Runs only with policy.adv_estimator `gae` and value.source `model`.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.masked import masked_var, token_mean
from prime_core.models.load import (
    ModelError,
    check_same_tokens,
    load_tokenizer,
)
from prime_core.models.start_models import previous_value_folder
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made, checked_weights
from prime_core.run.tables import VALUES, write_table
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.console import progress_bar
from prime_core.runtime.locks import only_one
from prime_core.runtime.partial_rows import partial_path, remove_partial
from prime_core.runtime.rank import is_first_rank
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.distributed import join_ranks
from prime_core.training.finished_rows import finished_rows
from prime_core.training.learning_batch import LearningBatch, read_batch
from prime_core.training.passes import passes_of
from prime_core.training.scoring import ragged_rows
from prime_core.training.value_model import give_values, load_value_model, state_values


def run(run_dir: Path, iteration: int) -> None:
    """Compute the values of one iteration's batch."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    join_ranks()
    with only_one(files.values(iteration), run_dir):
        batch = read_batch(files, iteration)
        folder = checked_weights(previous_value_folder(settings, files, iteration), files.root)
        _check_tokens(settings, files, folder)
        with watch.part("forward"):
            rows = _values_under(folder, batch, settings, files.values(iteration))
        keys = zip(batch.rows["prompt_id"], batch.rows["sample"], rows, strict=True)
        table = [dict(zip(VALUES.names, row, strict=True)) for row in keys]
        if is_first_rank():  # all ranks have all rows
            made = Made(files.root, [files.batch(iteration), folder])
            write_table(files.values(iteration), table, VALUES, made)
            remove_partial(files.values(iteration))
        values = batch.matrix(rows)
        metrics: Metrics = {
            "critic/values_mean": float(token_mean(values, batch.mask)),
            "critic/values_std": float(masked_var(values, batch.mask, bessel=False)) ** 0.5,
        }
        finish(
            files.metrics(iteration, "values"),
            metrics | watch.seconds,
            f"{progress_label(iteration, settings)} values: "
            f"mean {metrics['critic/values_mean']:.3f}, "
            f"standard deviation {metrics['critic/values_std']:.3f}",
        )


def _check_tokens(settings: Settings, files: RunFiles, folder: Path) -> None:
    """Raises ModelError naming the setting where the first value model has other tokens."""
    if settings.value.path is None or folder.is_relative_to(files.root):
        return  # its tokens were checked before, or are the policy's
    try:
        check_same_tokens(folder, files.policy(0))
    except ModelError as error:
        raise ModelError(f"value.path: {error}") from None


def _values_under(
    folder: Path, batch: LearningBatch, settings: Settings, output: Path
) -> list[list[float]]:
    model = load_value_model(folder, settings.model.dtype)
    passes = passes_of(
        settings.training,
        settings.value.micro_batch_size,
        load_tokenizer(folder),
        packs=give_values(model),
    )
    partial = partial_path(output, "values")
    with (
        finished_rows(partial, folder, batch.sequences, passes, settings) as finished,
        progress_bar(len(batch.sequences), "response", "values") as bar,
    ):
        return ragged_rows(
            lambda one_pass: state_values(model, one_pass),
            batch.sequences,
            passes,
            bar.update,
            finished,
        )
