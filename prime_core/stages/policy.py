"""Stage `policy`: advantages, and one update of the policy on an iteration's batch.

In: iterations/<i>/batch.parquet, rewards.parquet (unless prm_update is `none`), the policy of the
iteration before with its training state. Out: iterations/<i>/policy, metrics/policy.json.

Advantages are computed over the whole batch; the clipped surrogate is averaged over whole
minibatches (PRIME, arXiv 2502.01456, Eq. 2 and 5).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from prime_core.advantage import advantages
from prime_core.layout import RunFiles
from prime_core.masked import masked_sum, masked_var, token_mean
from prime_core.policy_loss import LOSS_AGGREGATIONS, clipped_surrogate, kl_estimate
from prime_core.seeds import derive_seed
from prime_core.settings import Settings
from prime_core.stages.context import (
    Metrics,
    Stopwatch,
    finish,
    only_one,
    open_run,
    place_of,
    progress_bar,
)
from prime_core.stages.score import logprobs_under
from prime_core.training.batches import pad
from prime_core.training.distributed import gather
from prime_core.training.engine import Trainer, continue_training
from prime_core.training.learning_batch import LearningBatch, read_batch, read_rewards
from prime_core.training.models import device
from prime_core.training.scoring import logprobs_and_entropy, score
from prime_core.training.updates import minibatch_plan, step_on


def run(run_dir: Path, iteration: int) -> None:
    """Update the policy of one iteration."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    with only_one(files.policy(iteration), run_dir):
        batch = read_batch(files, iteration)
        rewards, reference = _rewards(settings, files, iteration, batch)
        trainer, tokenizer = continue_training(
            files.policy(iteration - 1),
            settings.model.dtype,
            settings.policy.optimizer,
            settings.training.zero_stage,
        )
        torch.manual_seed(derive_seed(settings.seed, "policy", iteration))
        update = Update(trainer, batch, int(tokenizer.pad_token_id), settings, rewards, reference)
        with watch.part("old_logprobs"):
            update.compute_old_logprobs()
        with watch.part("train"):
            update.run(iteration)
        with watch.part("save"):
            trainer.save(files.policy(iteration), tokenizer)
        metrics = update.metrics() | watch.seconds
        finish(
            files.metrics(iteration, "policy"),
            metrics,
            f"{place_of(iteration, settings)} policy: {len(batch.sequences)} responses, "
            f"{len(update.norms)} steps, entropy {metrics['actor/entropy']:.3f}, clipped "
            f"{metrics['actor/clip_fraction']:.4f}, {watch.seconds['timing_s/train']:.1f} s",
        )


class Update:
    """The optimizer steps of one policy update, and the sums that its metrics come from."""

    def __init__(
        self,
        trainer: Trainer,
        batch: LearningBatch,
        pad_token_id: int,
        settings: Settings,
        rewards: Tensor | None,
        reference_logprobs: Tensor | None,
    ) -> None:
        """Advantages of the whole batch; no step yet."""
        policy = settings.policy
        self.trainer, self.batch, self.settings = trainer, batch, settings
        self.pad_token_id, self.reference_logprobs = pad_token_id, reference_logprobs
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
        self.old_logprobs = torch.zeros_like(self.advantages)
        self.sums: dict[str, float] = {}
        self.norms: list[float] = []

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
        self.old_logprobs = self.batch.matrix(rows)

    def run(self, iteration: int) -> None:
        """All epochs and minibatches."""
        policy = self.settings.policy
        plan = minibatch_plan(
            len(self.batch.sequences),
            policy.ppo_mini_batch_size,
            policy.ppo_epochs,
            self.settings.seed,
            "policy",
            iteration,
        )
        with progress_bar(len(plan), "step", "policy") as bar:
            for rows in plan:
                self._step(rows)
                bar.update()

    def metrics(self) -> Metrics:
        """Means over all tokens of all steps."""
        parts = gather(self.sums)
        totals = {name: sum(part.get(name, 0.0) for part in parts) for name in self.sums}
        count = totals.pop("num_tokens")
        mask = self.batch.mask
        sampler = self.batch.matrix([row.tolist() for row in self.batch.rows["sampler_logprobs"]])
        mismatch = kl_estimate(self.old_logprobs, sampler, "k1")
        return {
            **{f"actor/{name}": total / count for name, total in totals.items()},
            # KL(sampler || trainer), estimated on the sampler's own tokens
            "actor/mismatch_kl": -float(token_mean(mismatch, mask)),
            "actor/grad_norm": sum(self.norms) / len(self.norms),
            "actor/num_steps": self.trainer.num_steps,
            "actor/learning_rate": self.trainer.learning_rate,
            "advantage/mean": float(token_mean(self.advantages, mask)),
            "advantage/std": float(masked_var(self.advantages, mask)) ** 0.5,
            "return/mean": float(token_mean(self.returns, mask)),
        }

    def _step(self, rows: list[int]) -> None:
        num_tokens = int(self.batch.mask[rows].sum())

        def loss_of(indices: list[int], counted: bool) -> Tensor:
            return self._loss(indices, len(rows), num_tokens, counted)

        micro_batch_size = self.settings.policy.micro_batch_size
        self.norms.append(
            step_on(self.trainer, self.batch.sequences, rows, micro_batch_size, loss_of)
        )

    def _loss(self, rows: list[int], num_sequences: int, num_tokens: int, counted: bool) -> Tensor:
        policy = self.settings.policy
        padded = pad(self.batch.sequences.take(rows), self.pad_token_id, device())
        logprobs, entropy = logprobs_and_entropy(
            self.trainer.engine, padded, self.settings.rollout.temperature
        )
        losses, clipped = clipped_surrogate(
            logprobs,
            self._part(self.old_logprobs, rows, padded.mask),
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
            "ppo_kl": kl_estimate(self._part(self.old_logprobs, rows, padded.mask), logprobs, "k1"),
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
        for name, values in figures.items():
            total = float(masked_sum(values.detach(), mask))
            self.sums[name] = self.sums.get(name, 0.0) + total
        self.sums["num_tokens"] = self.sums.get("num_tokens", 0.0) + int(mask.sum())


def _rewards(
    settings: Settings, files: RunFiles, iteration: int, batch: LearningBatch
) -> tuple[Tensor | None, Tensor | None]:
    """Implicit rewards and reference log-probabilities, where the settings ask for them."""
    if settings.prm.prm_update != "none":
        table = read_rewards(files, iteration, batch)
        rewards = batch.matrix([row.tolist() for row in table["implicit_reward"]])
        if settings.prm.prm_reference == "sft":
            return rewards, batch.matrix([row.tolist() for row in table["reference_logprobs"]])
    else:
        rewards = None
    if settings.policy.kl_coef == 0:
        return rewards, None
    return rewards, batch.matrix(logprobs_under(files.reference, batch, settings))
