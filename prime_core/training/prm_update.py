"""Optimizer steps of a PRM on its outcome loss: what the online update and offline training share.

In: responses with outcomes, log-probabilities under the reference. Each step's loss is a mean over
its whole minibatch, however that is cut into passes and ranks. What DPO needs of a response's group
comes from a pass without gradients before the step, so a group may lie in different passes and
ranks, and with detached DPO in different minibatches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from prime_core.implicit_reward import implicit_reward, response_score
from prime_core.prm_loss import (
    difficulty_terms,
    dpo_tangent,
    pair_terms,
    prm_dpo,
    prm_dpo_detached,
    prm_loss,
    prm_noisy_cross_entropy,
    prm_prefix,
)
from prime_core.run.layout import RunFiles
from prime_core.settings.prm import PrmLoss
from prime_core.settings.run import Settings
from prime_core.training.distributed import gather
from prime_core.training.engine import Trainer
from prime_core.training.learning_batch import LearningBatch, batch_of
from prime_core.training.passes import passes_of
from prime_core.training.scoring import ragged_logprobs, response_logprobs
from prime_core.training.updates import iteration_trainer, take_step

# Two numbers of each response of a batch: with detached DPO its opponents' reward and its weight,
# with DPO the loss and its slope, with prefix its margin and its weight. None for cross-entropy.
Pairs = tuple[Tensor, Tensor]


class PrmSteps:
    """A PRM under training; figures: each step's loss and gradient norm."""

    def __init__(
        self,
        trainer: Trainer,
        tokenizer: PreTrainedTokenizerBase,
        settings: Settings,
        loss: PrmLoss,
        micro_batch_size: int,
    ) -> None:
        """No step has been taken yet. loss: of the section prm, or of prm.offline."""
        self.trainer, self.tokenizer, self.loss = trainer, tokenizer, loss
        self.beta = settings.prm.beta
        self.passes = passes_of(settings.training, micro_batch_size, tokenizer, trainer.packs)
        self.figures: dict[str, Any] = {"losses": [], "norms": []}

    def pairs(self, batch: LearningBatch, reference_logprobs: Tensor) -> Pairs:
        """What DPO needs of the groups, from the current PRM. Takes complete groups.

        docs/decisions.md#detached-dpo
        """
        # Without dropout: these are constants of the loss, not samples.
        self.trainer.engine.eval()
        rows = ragged_logprobs(self.trainer.engine, batch.sequences, self.passes)
        self.trainer.engine.train()
        rewards = implicit_reward(batch.matrix(rows), reference_logprobs, batch.mask, self.beta)
        z = response_score(rewards, batch.mask, self.loss.response_score)
        if self.loss.objective == "dpo":
            return dpo_tangent(z, batch.outcome, batch.group)
        return pair_terms(z, batch.outcome, batch.group, self.loss.bon_weight)

    def learn(
        self,
        batch: LearningBatch,
        reference_logprobs: Tensor,
        rows: Sequence[int],
        pairs: Pairs | None,
    ) -> Tensor:
        """One optimizer step on these rows; returns their scores z from before it.

        pairs: of the whole batch, where the loss compares responses. The batch holds complete
        groups where the loss needs them (PrmLoss.needs_groups).
        """
        terms = self._terms(batch, pairs)
        total = 0.0
        found: dict[int, float] = {}

        def loss_of(indices: list[int], counted: bool) -> Tensor:
            nonlocal total
            rewards, mask = self._rewards(batch, reference_logprobs, indices)
            z = response_score(rewards, mask, self.loss.response_score)
            losses = self._losses(rewards, mask, z, batch.outcome[indices], terms, indices)
            loss = prm_loss(losses, len(rows))
            total += float(loss.detach()) * counted
            if counted:  # z comes free with the loss; accuracies are taken from it
                found.update(zip(indices, z.detach().tolist(), strict=True))
            return loss

        norm = take_step(self.trainer, batch.sequences, list(rows), self.passes, loss_of)
        totals, parts = zip(*gather((total, found)), strict=True)
        self.figures["norms"].append(norm)
        self.figures["losses"].append(sum(totals))
        everything = {row: z for part in parts for row, z in part.items()}
        return torch.tensor([everything[row] for row in rows])

    def _rewards(
        self, batch: LearningBatch, reference: Tensor, rows: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Implicit rewards of some rows, with a gradient, and their mask."""
        one = self.passes.batch(batch.sequences.take(rows))
        # No temperature: rewards are defined on unscaled log-probabilities.
        logprobs = response_logprobs(
            self.trainer.engine, one, chunk_tokens=self.passes.chunk_tokens
        )
        # A pass is as wide as its own longest response, not as the batch's. The model reads an
        # environment's tokens and is not judged by them, so the mask is the batch's.
        theirs, mask = (
            numbers[rows, : logprobs.shape[1]].to(logprobs.device)
            for numbers in (reference, batch.mask)
        )
        return implicit_reward(logprobs, theirs, mask, self.beta), mask

    def _terms(self, batch: LearningBatch, pairs: Pairs | None) -> Pairs | None:
        """What a response's loss takes from its group; None for cross-entropy."""
        if self.loss.loss_type != "prefix":
            return pairs
        weight, margin = difficulty_terms(
            batch.outcome, batch.group, self.loss.difficulty, self.loss.margin
        )
        return margin, weight

    def _losses(
        self,
        rewards: Tensor,
        mask: Tensor,
        z: Tensor,
        outcome: Tensor,
        terms: Pairs | None,
        rows: list[int],
    ) -> Tensor:
        outcome = outcome.to(z.device)
        if terms is None:
            noise = self.loss.label_noise
            rates = noise.false_positive, noise.false_negative, self.loss.label_smoothing
            return prm_noisy_cross_entropy(z, outcome, *rates)
        first, second = (part[rows].to(z.device) for part in terms)
        if self.loss.loss_type == "prefix":
            return second * prm_prefix(rewards, mask, outcome, first)
        if self.loss.objective == "dpo":
            return prm_dpo(z, value=first, slope=second)
        return second * prm_dpo_detached(z, first, outcome)


class PrmUpdate(PrmSteps):
    """The optimizer steps of one PRM update; figures also hold the opponents of detached dpo."""

    def __init__(
        self,
        settings: Settings,
        files: RunFiles,
        iteration: int,
        batch: LearningBatch,
        reference_logprobs: torch.Tensor,
        state: Path | None,
    ) -> None:
        """From the PRM of the iteration before, or the training state of an earlier start."""
        trainer, tokenizer = iteration_trainer(settings, files, "prm", iteration, state)
        prm = settings.prm
        super().__init__(trainer, tokenizer, settings, prm, prm.micro_batch_size)
        self.batch, self.reference_logprobs = batch, reference_logprobs

    def first_pairs(self) -> Pairs:
        """Opponents and weights of the whole batch, from the PRM before its first step."""
        return self.pairs(self.batch, self.reference_logprobs)

    def step(self, rows: list[int]) -> None:
        """One optimizer step on these responses; with dpo_pairs they are whole groups."""
        if self.loss.objective != "dpo":
            self.learn(self.batch, self.reference_logprobs, rows, self.figures.get("pairs"))
            return
        # Both sides of its pairs have a gradient, so they are taken at the PRM as it is now.
        # docs/decisions.md#dpo-of-both-sides
        batch = batch_of(self.batch.rows.iloc[rows])
        reference = self.reference_logprobs[rows, : batch.mask.shape[1]]
        self.learn(batch, reference, range(len(rows)), self.pairs(batch, reference))
