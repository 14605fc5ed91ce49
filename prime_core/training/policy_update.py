"""The policy's optimizer steps on the minibatches of a batch whose advantages are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from prime_core.masked import masked_sum, masked_var, token_mean
from prime_core.mismatch import AllRejected, Correction, correction
from prime_core.policy_loss import LOSS_AGGREGATIONS, POLICY_LOSSES, kl_estimate
from prime_core.run.layout import RunFiles
from prime_core.run.probe import NUM_RESPONSES, NUM_TOKENS, Probe
from prime_core.runtime.stopwatch import Metrics
from prime_core.settings.run import Settings
from prime_core.training.batch_advantages import BatchAdvantages
from prime_core.training.batches import Sequences
from prime_core.training.distributed import gather
from prime_core.training.learning_batch import LearningBatch
from prime_core.training.passes import passes_of
from prime_core.training.reference_kl import ReferenceKl
from prime_core.training.scoring import logprobs_and_entropy, ragged_logprobs
from prime_core.training.updates import iteration_trainer, take_step
from prime_core.value_loss import explained_variance


class SamplerMismatch(ValueError):
    """Sampler and trainer give the sampled tokens probabilities of different distributions."""


class PolicyUpdate:
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
        advantages: Callable[[Tensor | None], BatchAdvantages],
        reference: ReferenceKl,
        state: Path | None,
    ) -> None:
        """From the policy of the iteration before, or the training state of an earlier start.

        advantages: of the whole batch, from the penalties of its tokens [B, T] (None: none).
        """
        self.trainer, self.tokenizer = iteration_trainer(
            settings, files, "policy", iteration, state
        )
        self.passes = passes_of(
            settings.training,
            settings.policy.micro_batch_size,
            self.tokenizer,
            self.trainer.packs,
        )
        self.batch, self.settings = batch, settings
        self._advantages_with, self.reference = advantages, reference
        self.sampler_logprobs = batch.matrix(batch.rows["sampler_logprobs"])
        self.figures: dict[str, Any] = {"norms": [], "sums": {}}

    def old_logprobs(self) -> Tensor:
        """[B, T] under the policy before its first step, as the trainer computes them."""
        # Not the sampler's: they are rounded differently, and the first step's ratio must be 1.
        # docs/decisions.md#sampler-logprobs
        # Without dropout, as in sampling.
        self.trainer.engine.eval()
        rows = ragged_logprobs(
            self.trainer.engine,
            self.batch.sequences,
            self.passes,
            temperature=self.settings.rollout.temperature,
        )
        self.trainer.engine.train()
        return self.batch.matrix(rows)

    def probe_logprobs(self) -> list[list[float]]:
        """Of the first tokens of some responses, at temperature 1, under the policy as it is."""
        self.trainer.engine.eval()
        rows = ragged_logprobs(self.trainer.engine, self._probed, self.passes)
        self.trainer.engine.train()
        return rows

    def probe(self) -> Probe:
        """What a sampler of the updated policy has to find; figures["probe"]: before the update."""
        now, probed = self.probe_logprobs(), self._probed
        return Probe(probed.prompts, probed.responses, now, self.figures["probe"])

    @cached_property
    def _probed(self) -> Sequences:
        chosen = self.batch.sequences.take(range(min(NUM_RESPONSES, len(self.batch.sequences))))
        return Sequences(chosen.prompts, [tokens[:NUM_TOKENS] for tokens in chosen.responses])

    def check_sampler(self) -> None:
        """Raise SamplerMismatch where the mean mismatch lies beyond policy.max_mismatch_kl."""
        largest, rollout = self.settings.policy.max_mismatch_kl, self.settings.rollout
        kl = self._mismatch_kl("k1")
        # Of either sign: tokens that the sampler drew and calls less probable than the trainer does
        # were not drawn from what it reports. NaN compares as false, and is beyond any bound.
        if largest is None or abs(kl) <= largest:
            return
        lags = rollout.max_staleness > 0
        older = "responses of an older policy (rollout.max_staleness), " if lags else ""
        raise SamplerMismatch(
            f"actor/mismatch_kl is {kl:.3g} nats a token before the first step, beyond "
            f"policy.max_mismatch_kl {largest:g}: the responses were not sampled from the policy "
            f"that is trained here. Likely causes: {older}an engine that kept old weights, or a "
            "sampler that draws at another temperature, top_p or top_k than its log-probabilities "
            f"say, or not from the whole vocabulary (rollout.temperature {rollout.temperature:g}, "
            f"top_p {rollout.top_p:g}, top_k {rollout.top_k}). Delete this iteration's rollouts to "
            "sample them again, or raise policy.max_mismatch_kl (null: any)"
        )

    @cached_property
    def advantages(self) -> BatchAdvantages:
        """Advantages of the whole batch; with policy.kl_in_reward less its KL to the reference."""
        # Of the policy before its first step, so a resumed update finds the same penalties.
        return self._advantages_with(self.reference.penalty(self.figures["old_logprobs"]))

    @cached_property
    def trainable(self) -> Tensor:
        """[B, T]: tokens that may be trained on; with mask_truncated those of whole responses."""
        if not self.settings.policy.mask_truncated:
            return self.batch.mask
        truncated = self.batch.truncated
        if bool(truncated.all()):
            raise AllRejected(
                f"policy.mask_truncated leaves none of {len(truncated)} responses: all were cut at "
                f"rollout.max_response_length {self.settings.rollout.max_response_length}"
            )
        return self.batch.mask & ~truncated[:, None]

    @cached_property
    def correction(self) -> Correction:
        """Weights and accepted tokens that correct for the mismatch of sampler and trainer."""
        policy = self.settings.policy
        return correction(
            self.figures["old_logprobs"],
            self.sampler_logprobs,
            self.trainable,
            tis_clip=policy.tis_clip,
            tis_level=policy.tis_level,
            rejection_level=policy.rejection_level,
            rejection_low=policy.rejection_low,
            rejection_high=policy.rejection_high,
        )

    def metrics(self) -> Metrics:
        """Means over all accepted tokens of all steps; of the mismatch over the whole batch."""
        sums, norms = self.figures["sums"], self.figures["norms"]
        # Sums are each rank's own; norms and tensors are the same on all of them.
        parts = gather(sums)
        totals = {name: sum(part.get(name, 0.0) for part in parts) for name in sums}
        count = totals.pop("num_tokens")
        mask = self.batch.mask
        return {
            **{f"actor/{name}": total / count for name, total in totals.items()},
            **self._mismatch(),
            **self.reference.metrics(self.figures["old_logprobs"], mask),
            "actor/grad_norm": sum(norms) / len(norms),
            "actor/num_steps": self.trainer.num_steps,
            "actor/learning_rate": self.trainer.learning_rate,
            "advantage/mean": float(token_mean(self.advantages.advantages, mask)),
            "advantage/std": float(masked_var(self.advantages.advantages, mask)) ** 0.5,
            "return/mean": float(token_mean(self.advantages.returns, mask)),
            **self._explained_variance(),
        }

    def _explained_variance(self) -> Metrics:
        """Explained variance of the value model; nothing without values."""
        if self.advantages.values is None:
            return {}
        share = explained_variance(self.advantages.values, self.advantages.returns, self.batch.mask)
        return {} if share is None else {"critic/explained_variance": share}

    def _mismatch(self) -> Metrics:
        """KL(sampler || trainer), estimated on the sampler's own tokens, and its correction."""
        policy, correction = self.settings.policy, self.correction
        figures: Metrics = {}
        for name, kind in (("actor/mismatch_kl", "k1"), ("actor/mismatch_kl_k3", "k3")):
            figures[name] = self._mismatch_kl(kind)
        if policy.tis_clip:
            accepted = correction.accepted
            figures["actor/tis_weight_mean"] = float(token_mean(correction.weights, accepted))
            figures["actor/tis_truncated_share"] = float(token_mean(correction.truncated, accepted))
        if policy.rejection_level != "none":
            trainable = self.trainable
            figures["actor/rejected_share"] = float(token_mean(~correction.accepted, trainable))
            num_left = int(trainable.any(1).sum()) - len(correction.rows)
            figures["actor/rejected_responses_share"] = num_left / len(self.batch.sequences)
        if policy.mask_truncated:
            truncated = self.batch.truncated
            figures["actor/truncated_share"] = int(truncated.sum()) / len(truncated)
        return figures

    def _mismatch_kl(self, kind: str) -> float:
        """Mean over all tokens of an estimate of KL(sampler || trainer)."""
        kl = kl_estimate(self.sampler_logprobs, self.figures["old_logprobs"], kind)
        return float(token_mean(kl, self.batch.mask))

    def step(self, rows: list[int]) -> None:
        """One optimizer step on these responses, each with an accepted token."""
        # Counts of the whole minibatch, on every rank: passes and ranks then add up to its mean.
        num_tokens = int(self.correction.accepted[rows].sum())

        def loss_of(indices: list[int], counted: bool) -> Tensor:
            return self._loss(indices, len(rows), num_tokens, counted)

        norm = take_step(self.trainer, self.batch.sequences, rows, self.passes, loss_of)
        self.figures["norms"].append(norm)

    def _loss(self, rows: list[int], num_sequences: int, num_tokens: int, counted: bool) -> Tensor:
        policy = self.settings.policy
        batch = self.passes.batch(self.batch.sequences.take(rows))
        logprobs, entropy = logprobs_and_entropy(
            self.trainer.engine,
            batch,
            # At the temperature of sampling: that distribution is the policy that took the actions.
            self.settings.rollout.temperature,
            self.passes.chunk_tokens,
        )
        old_logprobs = self._in_pass(self.figures["old_logprobs"], rows, batch.mask)
        accepted = self._in_pass(self.correction.accepted, rows, batch.mask)
        losses, clipped = POLICY_LOSSES[policy.loss_mode](
            logprobs,
            old_logprobs,
            self._in_pass(self.advantages.advantages, rows, batch.mask),
            accepted,
            policy.eps_clip,
            policy.eps_clip_high,
            policy.clip_ratio_c,
        )
        # Outside the clip, which keeps the policy close to its old self, not to the sampler.
        losses = losses * self._in_pass(self.correction.weights, rows, batch.mask)
        figures = {
            "pg_loss": losses,
            "entropy": entropy,
            "clip_fraction": clipped.float(),
            # In this order, since the tokens are samples of the old policy: KL(old || new).
            "ppo_kl": kl_estimate(old_logprobs, logprobs, "k1"),
        }
        if self.reference.logprobs is not None:
            reference = self._in_pass(self.reference.logprobs, rows, batch.mask)
            figures["kl_reference"] = kl_estimate(logprobs, reference, policy.kl_estimator)
            if not policy.kl_in_reward:  # there it would count twice
                losses = losses + self.reference.coef * figures["kl_reference"]
        if counted:  # not the dummy row of a rank without rows
            self._add_to_sums(figures, accepted)
        if policy.entropy_coef:  # a weight of 0 would still cost entropy's gradient
            losses = losses - policy.entropy_coef * entropy
        return LOSS_AGGREGATIONS[policy.loss_agg_mode](
            losses,
            accepted,
            num_tokens=num_tokens,
            num_sequences=num_sequences,
            max_response_length=self.settings.rollout.max_response_length,
        )

    def _in_pass(self, values: Tensor, rows: list[int], mask: Tensor) -> Tensor:
        # A pass is as wide as its own longest response, not as the batch's.
        return values[rows, : mask.shape[1]].to(mask.device)

    def _add_to_sums(self, figures: dict[str, Tensor], mask: Tensor) -> None:
        sums = self.figures["sums"]
        for name, values in figures.items():
            # Sums, not means: ranks and passes hold different numbers of tokens.
            sums[name] = sums.get(name, 0.0) + float(masked_sum(values.detach(), mask))
        sums["num_tokens"] = sums.get("num_tokens", 0.0) + int(mask.sum())
