"""What settings are allowed to be together, and still is worth a word before a run begins."""

from __future__ import annotations

from collections.abc import Callable

from prime_core.settings.policy import Policy
from prime_core.settings.run import Settings

_OF_TREES = ("treerl", "treerl_code", "tree_grpo", "tree_grpo_code")
# Keys that only count with another setting, and how to ask whether it is there.
_NEEDED: tuple[tuple[str, str, Callable[[Settings], object]], ...] = (
    ("policy.gae_lambda policy.gae_level", "policy.adv_estimator gae", lambda s: _is(s, "gae")),
    (
        "policy.gigpo_norm policy.step_advantage_w policy.gamma_turn",
        "policy.adv_estimator gigpo",
        lambda s: _is(s, "gigpo"),
    ),
    ("policy.tree_weight", "policy.adv_estimator treerl", lambda s: _is(s, *_OF_TREES)),
    (
        "policy.kl_estimator",
        "policy.kl_coef in the loss",
        lambda s: s.policy.kl_coef and not s.policy.kl_in_reward,
    ),
    (
        "policy.target_kl policy.kl_horizon",
        "policy.kl_controller adaptive",
        lambda s: s.policy.kl_controller == "adaptive",
    ),
    ("policy.tis_level", "policy.tis_clip", lambda s: s.policy.tis_clip),
    (
        "policy.rejection_low policy.rejection_high",
        "policy.rejection_level",
        lambda s: s.policy.rejection_level != "none",
    ),
    (
        "policy.overlong_penalty_factor",
        "policy.overlong_buffer_len",
        lambda s: s.policy.overlong_buffer_len,
    ),
)


def notes_on(settings: Settings) -> list[str]:
    """Settings that cancel each other or spoil outcomes on purpose, a line each.

    Not refused: with whitening they are the published code's, and the paper's rows may have them.
    docs/decisions.md#whitened-baselines
    """
    return [
        *_of_whitening(settings.policy),
        *_of_weights(settings),
        *_without_effect(settings),
        *flip_notes(settings),
    ]


def _of_whitening(policy: Policy) -> list[str]:
    """Estimators that whitening makes into another, and those that are whitened regardless."""
    key = f"policy.adv_estimator {policy.adv_estimator}"
    unwhitened = {"reinforce_pp": "reinforce", "reinforce_pp_baseline": "dr_grpo"}
    if policy.adv_estimator in unwhitened and not policy.whiten:
        other = unwhitened[policy.adv_estimator]
        return [f"{key} is whitened although policy.whiten is false: unwhitened it is {other}"]
    if policy.adv_estimator == "reinforce" and policy.whiten:
        return [
            f"{key} with policy.whiten true is reinforce_pp (REINFORCE++): whitening subtracts "
            "the batch's mean; policy.whiten=false is REINFORCE without a baseline"
        ]
    if policy.adv_estimator == "dr_grpo" and policy.whiten:
        return [
            f"{key} with policy.whiten true divides by the batch's standard deviation, which "
            "dr_grpo leaves out, and equals rloo for outcome rewards; policy.whiten=false is "
            "dr_grpo as published"
        ]
    if policy.adv_estimator in ("gigpo", *_OF_TREES) and policy.whiten:
        return [
            f"{key} with policy.whiten true subtracts the batch's mean and divides by its standard "
            "deviation, which the published method does not; policy.whiten=false is as published"
        ]
    return []


def _without_effect(settings: Settings) -> list[str]:
    """Settings that were changed and count for nothing, since another is not there."""
    found = []
    for keys, needed, has in _NEEDED:
        for key in () if has(settings) else keys.split():
            field = key.removeprefix("policy.")
            value = getattr(settings.policy, field)
            if value != Policy.model_fields[field].default:
                found.append(f"{key} {value} has no effect without {needed}")
    return found


def _is(settings: Settings, *estimators: str) -> bool:
    return settings.policy.adv_estimator in estimators


def _of_weights(settings: Settings) -> list[str]:
    """Weights of rewards that come to nothing."""
    policy, update = settings.policy, settings.prm.prm_update
    values_of_prm = policy.adv_estimator == "gae" and settings.value.source == "prm"
    if update != "none" and policy.process_coef == 0 and not values_of_prm:
        return [
            f"policy.process_coef 0 with prm.prm_update {update}: a PRM is scored and trained "
            "whose rewards weigh nothing; prm.prm_update=none is the same policy without it"
        ]
    # Whitening divides by the scale of all rewards, which is the outcomes' where there are no
    # others.
    compares = policy.adv_estimator != "gae"  # a value model learns returns as they are
    if update == "none" and compares and policy.whiten and policy.outcome_coef != 1:
        return [
            f"policy.outcome_coef {policy.outcome_coef:g} with policy.whiten true and "
            "prm.prm_update none has no effect: whitening divides by the scale of the only "
            "rewards there are"
        ]
    return []


def flip_notes(settings: Settings) -> list[str]:
    """That training outcomes are turned over on purpose."""
    rules = settings.verification
    if not rules.flips:
        return []
    return [
        f"verification.flip_correct {rules.flip_correct:g} and flip_wrong {rules.flip_wrong:g} "
        "turn over these shares of right and of wrong outcomes before training: an experiment on "
        "noisy judges; accuracies and prm/true_* are of the true outcomes"
    ]
