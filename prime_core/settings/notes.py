"""What settings are allowed to be together, and still is worth a word before a run begins."""

from __future__ import annotations

from prime_core.settings.run import Settings


def notes_on(settings: Settings) -> list[str]:
    """Settings that cancel each other, a line each.

    Not refused: with whitening they are the published code's, and the paper's rows may have them.
    docs/decisions.md#whitened-baselines
    """
    policy = settings.policy
    key = f"policy.adv_estimator {policy.adv_estimator}"
    if policy.adv_estimator == "reinforce_pp" and not policy.whiten:
        return [f"{key} is whitened although policy.whiten is false: unwhitened it is reinforce"]
    if not policy.whiten:
        return []
    if policy.adv_estimator == "reinforce":
        return [
            f"{key} with policy.whiten true is reinforce_pp (REINFORCE++): whitening subtracts "
            "the batch's mean; policy.whiten=false is REINFORCE without a baseline"
        ]
    if policy.adv_estimator == "dr_grpo":
        return [
            f"{key} with policy.whiten true divides by the batch's standard deviation, which "
            "dr_grpo leaves out, and equals rloo for outcome rewards; policy.whiten=false is "
            "dr_grpo as published"
        ]
    return []
