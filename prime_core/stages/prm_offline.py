"""Stage `prm_offline`: the first PRM, trained on labelled responses before RL begins.

In: data/labelled.parquet, models/policy-0000 or the folder of prm.path, from which training starts.
Out: models/prm-0000, metrics/prm_offline.json.

An implicit PRM is an outcome reward model: cross-entropy or DPO on the summed implicit reward (Free
Process Rewards without Process Labels, arXiv 2412.01981), or detached DPO. Each step of a DPO has
whole groups, and takes their rewards from the PRM as it is before that step. Interrupted, it
resumes after its last step (prime_core.training.step_checkpoint).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.models.load import load_tokenizer
from prime_core.models.start_models import start_prm_source
from prime_core.prm_loss import prm_accuracy, prm_ranking_accuracy
from prime_core.run.records import Made, checked_weights, write_weights_record
from prime_core.run.seeds import generator
from prime_core.run.tables import LABELLED, read_table
from prime_core.run.work import finish, open_run
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.settings.prm import Offline
from prime_core.settings.run import Settings
from prime_core.training.batches import group_minibatches, minibatches
from prime_core.training.distributed import rank, shared_folder
from prime_core.training.learning_batch import batch_of
from prime_core.training.prm_update import PrmSteps
from prime_core.training.updates import first_trainer, trained_update


def run(run_dir: Path) -> None:
    """Train the run's first PRM."""
    settings, files = open_run(run_dir)
    offline, watch = settings.prm.offline, Stopwatch()
    if offline is None:
        raise ValueError(f"{files.config}: prm.offline is null; name a file of labelled responses")
    with only_one(files.prm(0), run_dir):
        start = checked_weights(start_prm_source(files.prm(0), settings, files), files.root)
        table = read_table(files.labelled, LABELLED, files.root)
        plan = _plan(table, offline, settings.seed)
        with trained_update(
            lambda state: OfflineUpdate(settings, offline, start, table, len(plan), state),
            lambda _update: plan,
            files.prm(0),
            [files.labelled, start],
            settings,
            watch,
            name="prm_offline",
        ) as update:
            # Weights alone: the online updates begin with fresh moments.
            with shared_folder(files.prm(0)) as folder:
                update.trainer.save_weights(folder, update.tokenizer)
                if rank() == 0:
                    made = Made(files.root, [files.labelled, start])
                    write_weights_record(folder, files.prm(0), made)
            metrics = update.metrics()
            losses = update.figures["losses"]
            finish(
                files.setup_metrics("prm_offline"),
                metrics | watch.seconds,
                f"prm_offline: {len(losses)} steps on {len(table)} labelled responses, loss "
                f"{losses[0]:.4f} -> {metrics['prm_offline/loss']:.4f}, accuracy "
                f"{metrics['prm_offline/accuracy']:.3f}, {watch.seconds['timing_s/train']:.0f} s",
            )


def _plan(table: pd.DataFrame, offline: Offline, seed: int) -> list[list[int]]:
    """All epochs' minibatches: with whole groups where the loss needs them, with pairs for dpo."""
    rows = list(range(len(table)))
    if offline.objective == "dpo":
        # A group whose responses are all right, or all wrong, has no part in this loss.
        num_outcomes = table.groupby("prompt_id")["outcome"].transform("nunique")
        rows = [row for row, number in enumerate(num_outcomes) if number > 1]
    group = pd.factorize(table["prompt_id"].iloc[rows])[0].tolist()
    steps: list[list[int]] = []
    for epoch in range(offline.epochs):
        # From the epoch's own seed: training that resumes draws the same plan, and finds its place
        # in it by the number of steps.
        order = generator(seed, "prm_offline", epoch)
        if not offline.needs_groups:
            parts = minibatches(len(rows), offline.mini_batch_size, order)
        else:
            parts = group_minibatches(group, offline.mini_batch_size, order)
        steps += [[rows[index] for index in part] for part in parts]
    return steps


class OfflineUpdate(PrmSteps):
    """The optimizer steps of the training; figures also hold how the PRM did before each step.

    right, ranked_right, pairs: responses whose sign of z was right, pairs ranked correctly, pairs.
    """

    def __init__(
        self,
        settings: Settings,
        offline: Offline,
        start: Path,
        table: pd.DataFrame,
        num_steps: int,
        state: Path | None,
    ) -> None:
        """From the start weights, or the training state of an earlier start."""
        trainer = first_trainer(settings, offline, "prm.offline", start, num_steps, state)
        super().__init__(
            trainer, load_tokenizer(start), settings, offline, offline.micro_batch_size
        )
        self.table = table
        self.figures |= {"right": [], "ranked_right": [], "num_pairs": []}

    def step(self, rows: list[int]) -> None:
        """One optimizer step on these responses."""
        batch = batch_of(self.table.iloc[rows])
        reference = batch.matrix(batch.rows["reference_logprobs"])
        # Of the PRM as it is now: an untrained one has no rewards, and dpo against them is ce.
        # docs/decisions.md#detached-dpo
        pairs = self.pairs(batch, reference) if self.loss.compares else None
        z = self.learn(batch, reference, range(len(rows)), pairs)
        ranked_right, num_pairs = prm_ranking_accuracy(z, batch.outcome, batch.group)
        self.figures["right"].append(float(prm_accuracy(z, batch.outcome)))
        self.figures["ranked_right"].append(ranked_right)
        self.figures["num_pairs"].append(num_pairs)

    def metrics(self) -> Metrics:
        """Loss and accuracies of the last tenth of the steps, each before its own step."""
        last: dict[str, Any] = {
            name: values[-max(len(values) // 10, 1) :] for name, values in self.figures.items()
        }
        metrics: Metrics = {
            "prm_offline/loss": _mean(last["losses"]),
            "prm_offline/accuracy": _mean(last["right"]),
            "prm_offline/grad_norm": _mean(self.figures["norms"]),
            "prm_offline/num_steps": len(self.figures["losses"]),
        }
        if sum(last["num_pairs"]):
            ranked = sum(last["ranked_right"]) / sum(last["num_pairs"])
            metrics["prm_offline/ranking_accuracy"] = ranked
        return metrics


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
