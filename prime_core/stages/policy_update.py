"""Advantages of a batch, and the policy's optimizer steps on its minibatches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prime_core.advantage import advantages
from prime_core.layout import RunFiles
from prime_core.masked import masked_sum, masked_var, token_mean
from prime_core.policy_loss import LOSS_AGGREGATIONS, clipped_surrogate, kl_estimate
from prime_core.seeds import derive_seed
from prime_core.settings import Settings
from prime_core.stages.context import Metrics
from prime_core.training.batches import pad
from prime_core.training.distributed import gather
from prime_core.training.engine import continue_training
from prime_core.training.learning_batch import LearningBatch
from prime_core.training.models import device
from prime_core.training.scoring import logprobs_and_entropy, score
from prime_core.training.updates import step_on


class Update:
    """The optimizer steps of one policy update.

    figures: each step's gradient norm, the sums that the metrics come from (of this rank's tokens),
    old_logprobs [B, T] once they are computed.
    """

    def __init__(
        self,
        settings: Settings,
        files: RunFiles,
        iteration: int,
        batch: LearningBatch,
        rewards: Tensor | None,
        reference_logprobs: Tensor | None,
        state: Path | None,
    ) -> None:
        """From the policy of the iteration before, or the training state of an earlier start.

        rewards, reference_logprobs: [B, T], where they are asked for.
        """
        policy = settings.policy
        self.trainer, self.tokenizer = continue_training(
            files.policy(iteration - 1),
            settings.model.dtype,
            policy.optimizer,
            settings.training.zero_stage,
            state,
        )
        if state is None:
            torch.manual_seed(derive_seed(settings.seed, "policy", iteration))
        self.batch, self.settings = batch, settings
        self.reference_logprobs = reference_logprobs
        self.pad_token_id = int(self.tokenizer.pad_token_id)
        self.advantages, self.returns = advantages(
            adv_estimator=policy.adv_estimator,
            outcome=batch.outcome,
            implicit_reward=rewards,
            mask=batch.mask,
            group=batch.group,
            baseline=policy.baseline,
            gamma_outcome=policy.gamma_outcome,
            gamma_process=policy.gamma_process,
            outcome_coef=policy.outcome_coef,
            process_coef=policy.process_coef,
            combine=policy.combine,
            whiten=policy.whiten,
        )
        self.figures: dict[str, Any] = {"norms": [], "sums": {}}

    def compute_old_logprobs(self) -> None:
        """Log-probabilities under the policy that sampled, as the trainer computes them."""
        self.trainer.engine.eval()
        rows = score(
            self.trainer.engine,
            self.batch.sequences,
            pad_token_id=self.pad_token_id,
            device=device(),
            micro_batch_size=self.settings.policy.micro_batch_size,
            temperature=self.settings.rollout.temperature,
        )
        self.trainer.engine.train()
        self.figures["old_logprobs"] = self.batch.matrix(rows)

    def metrics(self) -> Metrics:
        """Means over all tokens of all steps."""
        sums, norms = self.figures["sums"], self.figures["norms"]
        parts = gather(sums)
        totals = {name: sum(part.get(name, 0.0) for part in parts) for name in sums}
        count = totals.pop("num_tokens")
        mask = self.batch.mask
        sampler = self.batch.matrix([row.tolist() for row in self.batch.rows["sampler_logprobs"]])
        mismatch = kl_estimate(self.figures["old_logprobs"], sampler, "k1")
        return {
            **{f"actor/{name}": total / count for name, total in totals.items()},
            # KL(sampler || trainer), estimated on the sampler's own tokens
            "actor/mismatch_kl": -float(token_mean(mismatch, mask)),
            "actor/grad_norm": sum(norms) / len(norms),
            "actor/num_steps": self.trainer.num_steps,
            "actor/learning_rate": self.trainer.learning_rate,
            "advantage/mean": float(token_mean(self.advantages, mask)),
            "advantage/std": float(masked_var(self.advantages, mask)) ** 0.5,
            "return/mean": float(token_mean(self.returns, mask)),
        }

    def step(self, rows: list[int]) -> None:
        """One optimizer step on these responses."""
        num_tokens = int(self.batch.mask[rows].sum())

        def loss_of(indices: list[int], counted: bool) -> Tensor:
            return self._loss(indices, len(rows), num_tokens, counted)

        micro_batch_size = self.settings.policy.micro_batch_size
        norm = step_on(self.trainer, self.batch.sequences, rows, micro_batch_size, loss_of)
        self.figures["norms"].append(norm)

    def _loss(self, rows: list[int], num_sequences: int, num_tokens: int, counted: bool) -> Tensor:
        policy = self.settings.policy
        padded = pad(self.batch.sequences.take(rows), self.pad_token_id, device())
        logprobs, entropy = logprobs_and_entropy(
            self.trainer.engine, padded, self.settings.rollout.temperature
        )
        old_logprobs = self._part(self.figures["old_logprobs"], rows, padded.mask)
        losses, clipped = clipped_surrogate(
            logprobs,
            old_logprobs,
            self._part(self.advantages, rows, padded.mask),
            padded.mask,
            policy.eps_clip,
            policy.eps_clip_high,
            policy.clip_ratio_c,
        )
        figures = {
            "pg_loss": losses,
            "entropy": entropy,
            "clip_fraction": clipped.float(),
            "ppo_kl": kl_estimate(old_logprobs, logprobs, "k1"),
        }
        if self.reference_logprobs is not None:
            reference = self._part(self.reference_logprobs, rows, padded.mask)
            figures["kl_reference"] = kl_estimate(logprobs, reference, policy.kl_estimator)
            losses = losses + policy.kl_coef * figures["kl_reference"]
        if counted:
            self._count(figures, padded.mask)
        return LOSS_AGGREGATIONS[policy.loss_agg_mode](
            losses - policy.entropy_coef * entropy,
            padded.mask,
            num_tokens=num_tokens,
            num_sequences=num_sequences,
            max_response_length=self.settings.rollout.max_response_length,
        )

    def _part(self, values: Tensor, rows: list[int], mask: Tensor) -> Tensor:
        return values[rows, : mask.shape[1]].to(mask.device)

    def _count(self, figures: dict[str, Tensor], mask: Tensor) -> None:
        sums = self.figures["sums"]
        for name, values in figures.items():
            sums[name] = sums.get(name, 0.0) + float(masked_sum(values.detach(), mask))
        sums["num_tokens"] = sums.get("num_tokens", 0.0) + int(mask.sum())
