"""The KL of the policy to the start model: its weight, and what it takes from rewards.

In: the start model's log-probabilities of a batch, the figures of the iteration before. Out: the
weight of this iteration and of the next, which metrics/policy.json carries from one to the other.
docs/decisions.md#kl-in-reward
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from prime_core.masked import sequence_mean
from prime_core.policy_loss import kl_estimate, next_kl_coef
from prime_core.run.kl_coef import NEXT_COEF, read_kl_coef
from prime_core.run.layout import RunFiles
from prime_core.runtime.stopwatch import Metrics
from prime_core.settings.policy import Policy
from prime_core.settings.run import Settings


@dataclass(frozen=True)
class ReferenceKl:
    """logprobs: of the batch under the start model [B, T], None where the KL is not measured.

    coef: the weight of the KL in this iteration. policy: the settings.
    """

    policy: Policy
    coef: float
    logprobs: Float[Tensor, "B T"] | None

    @classmethod
    def of_iteration(
        cls, settings: Settings, files: RunFiles, iteration: int, logprobs: Tensor | None
    ) -> ReferenceKl:
        """With the weight that the iteration before left, or the first.

        Raises TableError for figures of another run or iteration.
        """
        return cls(settings.policy, read_kl_coef(settings, files, iteration), logprobs)

    def penalty(self, old_logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"] | None:
        """What each token's reward is less; None where the KL is part of the loss, or not measured.

        c (log pi_old - log pi_ref)
        """
        if self.logprobs is None or not self.policy.kl_in_reward:
            return None
        return self.coef * kl_estimate(old_logprobs, self.logprobs, "k1")

    def metrics(self, old_logprobs: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Metrics:
        """The batch's KL before the update, its weight, and that of the next iteration.

        Nothing where the weight is fixed and the KL is part of the loss: there the loss's own KL
        is measured.
        """
        policy = self.policy
        if self.logprobs is None or not (policy.kl_in_reward or policy.kl_controller == "adaptive"):
            return {}
        per_token = kl_estimate(old_logprobs, self.logprobs, "k1")
        kl = float(sequence_mean(per_token, mask).sum()) / len(mask)
        figures: Metrics = {"actor/kl_coef": self.coef, "actor/kl_batch": kl}
        if policy.kl_controller == "adaptive":
            figures[NEXT_COEF] = next_kl_coef(
                self.coef, kl, len(mask), policy.target_kl, policy.kl_horizon
            )
        return figures
