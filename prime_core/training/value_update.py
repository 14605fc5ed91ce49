"""The update of the value model on a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from prime_core.masked import masked_sum
from prime_core.models.load import load_tokenizer
from prime_core.models.start_models import previous_value_folder
from prime_core.policy_loss import token_mean_loss
from prime_core.run.layout import RunFiles
from prime_core.run.records import checked_weights
from prime_core.runtime.stopwatch import Metrics
from prime_core.settings.run import Settings
from prime_core.training.distributed import gather
from prime_core.training.engine import Trainer
from prime_core.training.kept_trainer import kept_or_new
from prime_core.training.learning_batch import LearningBatch
from prime_core.training.passes import passes_of
from prime_core.training.updates import seed_update, take_step
from prime_core.training.value_model import load_value_model, state_values
from prime_core.value_loss import clipped_value_loss


class ValueUpdate:
    """The optimizer steps of one update of the value model.

    figures: each step's loss and gradient norm; sums of this rank's tokens.
    """

    def __init__(
        self,
        settings: Settings,
        files: RunFiles,
        iteration: int,
        batch: LearningBatch,
        values: Tensor,
        returns: Tensor,
        state: Path | None,
    ) -> None:
        """From the value model of the iteration before, or the state of an earlier start.

        values, returns: [B, T], before the update.
        """
        start, value = previous_value_folder(settings, files, iteration), settings.value
        checked_weights(start, files.root)
        dtype, training = settings.model.dtype, settings.training

        def new() -> Trainer:
            model = load_value_model(start, dtype)
            trainer = Trainer(model, value.optimizer, lambda _step: 1.0, training)
            # The folder of value.path may hold a state too, but that of another run.
            if state is not None or start == files.value(iteration - 1):
                trainer.load_state(state or start)
            return trainer

        made_of = {"dtype": dtype, "optimizer": value.optimizer, "training": training}
        self.trainer = kept_or_new(start, state, made_of, new)
        seed_update(settings, "value", iteration, state)
        self.tokenizer = load_tokenizer(start)
        self.batch, self.settings = batch, settings
        self.values, self.returns = values, returns
        self.passes = passes_of(
            settings.training, value.micro_batch_size, self.tokenizer, self.trainer.packs
        )
        self.figures: dict[str, Any] = {"losses": [], "norms": [], "sums": {}}

    def step(self, rows: list[int]) -> None:
        """One optimizer step on these responses."""
        num_tokens, total = int(self.batch.mask[rows].sum()), 0.0

        def loss_of(indices: list[int], counted: bool) -> Tensor:
            nonlocal total
            loss = self._loss(indices, len(rows), num_tokens, counted)
            total += float(loss.detach()) * counted
            return loss

        norm = take_step(self.trainer, self.batch.sequences, rows, self.passes, loss_of)
        self.figures["norms"].append(norm)
        self.figures["losses"].append(sum(gather(total)))

    def metrics(self) -> Metrics:
        """Means over all tokens of all steps."""
        sums, norms = gather(self.figures["sums"]), self.figures["norms"]
        clipped, count = (sum(part[name] for part in sums) for name in ("clipped", "num_tokens"))
        return {
            "critic/vf_loss": sum(self.figures["losses"]) / len(norms),
            "critic/vf_clip_fraction": clipped / count,
            "critic/grad_norm": sum(norms) / len(norms),
            "critic/num_steps": self.trainer.num_steps,
            "critic/learning_rate": self.trainer.learning_rate,
        }

    def _loss(self, rows: list[int], num_sequences: int, num_tokens: int, counted: bool) -> Tensor:
        batch = self.passes.batch(self.batch.sequences.take(rows))
        values = state_values(self.trainer.engine, batch)
        old_values, returns, mask = (
            numbers[rows, : values.shape[1]].to(values.device)
            for numbers in (self.values, self.returns, self.batch.mask)
        )
        losses, clipped = clipped_value_loss(
            values, old_values, returns, mask, self.settings.value.cliprange_value
        )
        sums = self.figures["sums"]
        for name, number in {"clipped": clipped, "num_tokens": mask}.items():
            # Times counted, not under an if: so every rank has the keys that `metrics` adds up.
            sums[name] = sums.get(name, 0.0) + float(masked_sum(number, mask)) * counted
        return token_mean_loss(
            losses,
            mask,
            num_tokens=num_tokens,
            num_sequences=num_sequences,
            max_response_length=self.settings.rollout.max_response_length,
        )
