"""Our policy losses, masked statistics and filters beside the published ones."""

import re

import torch
from torch import Tensor

from prime_core import filtering, logprobs, masked, mismatch, policy_loss, value_loss
from prime_core.settings.policy import Policy
from prime_core.training.reference_kl import ReferenceKl
from tests.support.comparison import Comparison, Settings, compare, groups_of, tensors

KL_NAMES = {"k1": "kl_kl", "k2": "kl_mse"}  # ours: theirs


def orig_filter(name: str) -> list[Comparison]:
    """Rows that pass the prompt filter."""
    x, settings = tensors(name)
    limit = settings["max_response_length"]
    kept = kept_rows(x, settings, settings["filter_truncated"], limit)
    return [compare("kept rows", kept.nonzero().flatten(), x["kept_rows"])]


def kept_rows(x: dict[str, Tensor], settings: Settings, truncated: bool, limit: int) -> Tensor:
    """Rows that our filters keep; a response of `limit` tokens counts as truncated."""
    group = groups_of(len(x["acc"]), settings["n_samples"])
    bounds = (settings.get("lower", 0.2), settings.get("upper", 0.8))
    accurate = settings.only("filter_accuracy", True, False)
    kept = filtering.accuracy_filter(x["acc"], group, *(bounds if accurate else (0.0, 1.0)))
    if truncated:
        lengths = x["attention_mask"][:, -x["responses"].shape[1] :].sum(1)
        kept &= filtering.truncation_filter(lengths >= limit, group)
    return kept


def recipe_filter(name: str) -> list[Comparison]:
    """Rows that pass the recipe's filter, which fills its batch with rows that do not.

    So either all of ours are among theirs, or theirs are all among ours.
    """
    x, settings = tensors(name)
    # Theirs calls a response truncated that lacks one token of the limit.
    limit = settings.get("max_response_length", x["responses"].shape[1]) - 1
    ours = kept_rows(x, settings, settings["filter_truncate"], limit)
    kept, theirs = set(ours.nonzero().flatten().tolist()), set(x["kept_rows"].tolist())
    assert len(theirs) == int(len(x["acc"]) // settings["oversample_factor"])
    num_common = min(len(kept), len(theirs))
    return [compare("common rows", len(kept & theirs), torch.tensor(num_common))]


def orig_ppo(name: str) -> list[Comparison]:
    """Clipped surrogate: loss, gradient, share of clipped tokens, and the k1 divergence."""
    x, settings = tensors(name)
    mask, clip = x["eos_mask"].bool(), settings["cliprange"]
    log_prob = x["log_prob"].clone().requires_grad_()
    losses, clipped = policy_loss.clipped_surrogate(
        log_prob, x["old_log_prob"], x["advantages"], mask, eps_clip=clip, eps_clip_high=clip
    )
    loss = aggregate("token-mean", losses, mask)
    loss.backward()
    assert log_prob.grad is not None
    kl = policy_loss.kl_estimate(x["old_log_prob"], log_prob, "k1")
    return [
        compare("loss", loss, x["loss"]),
        compare("gradient", log_prob.grad, x["grad_log_prob"]),
        compare("clipped share", masked.token_mean(clipped, mask), x["clipfrac"]),
        compare("kl", masked.token_mean(kl, mask), x["ppo_kl"]),
    ]


def orig_value(name: str) -> list[Comparison]:
    """Clipped value loss, its gradient, and the share of tokens that the clip set."""
    x, settings = tensors(name)
    mask, clip = x["eos_mask"].bool(), settings["cliprange_value"]
    values = x["vpreds"].clone().requires_grad_()
    losses, clipped = value_loss.clipped_value_loss(values, x["values"], x["returns"], mask, clip)
    loss = aggregate("token-mean", losses, mask)
    loss.backward()
    assert values.grad is not None
    return [
        compare("loss", loss, x["loss"]),
        compare("gradient", values.grad, x["grad_vpreds"]),
        compare("clipped share", masked.token_mean(clipped, mask), x["clipfrac"]),
    ]


def aggregate(mode: str, losses: Tensor, mask: Tensor) -> Tensor:
    """One of our aggregations where the batch is the whole minibatch."""
    return policy_loss.LOSS_AGGREGATIONS[mode](
        losses,
        mask,
        num_tokens=int(mask.sum()),
        num_sequences=len(mask),
        max_response_length=mask.shape[1],
    )


def verl_loss(name: str) -> list[Comparison]:
    """Aggregations; clip-higher with dual clip under each; GSPO, CISPO; k1, k2, k3."""
    x, _ = tensors(name)
    mask = x["response_mask"].bool()
    comparisons = []
    for mode in policy_loss.LOSS_AGGREGATIONS:
        log_prob = x["log_prob"].clone().requires_grad_()
        losses, _ = policy_loss.clipped_surrogate(
            log_prob,
            x["old_log_prob"],
            x["advantages"],
            mask,
            eps_clip=0.2,
            eps_clip_high=0.28,
            clip_ratio_c=3.0,
        )
        loss = aggregate(mode, losses, mask)
        loss.backward()
        assert log_prob.grad is not None
        comparisons += [
            compare(f"{mode} alone", aggregate(mode, x["loss_mat"], mask), x[f"agg_{mode}"]),
            compare(mode, loss, x[f"vanilla_{mode}"]),
            compare(f"{mode} gradient", log_prob.grad, x[f"vanilla_grad_{mode}"]),
        ]
    for kind in ("k1", "k2", "k3"):
        ours = policy_loss.kl_estimate(x["log_prob"], x["old_log_prob"], kind)
        comparisons.append(compare(kind, ours, x[f"kl_{kind}"]))
    return comparisons + other_losses(x, mask) + corrections(x, mask)


def other_losses(x: dict[str, Tensor], mask: Tensor) -> list[Comparison]:
    """GSPO with its own bounds and with PPO's, CISPO: losses and gradients.

    The bounds are not recorded; with others the values differ in their second digit.
    """
    comparisons = []
    for key, loss_mode, aggregation, low, high in (
        ("gspo", "gspo", "seq-mean-token-mean", 3e-4, 4e-4),
        ("gspo_wide", "gspo", "seq-mean-token-mean", 0.2, 0.2),
        ("cispo", "cispo", "token-mean", 0.2, 0.28),
    ):
        log_prob = x["log_prob"].clone().requires_grad_()
        losses, _ = policy_loss.POLICY_LOSSES[loss_mode](
            log_prob, x["old_log_prob"], x["advantages"], mask, eps_clip=low, eps_clip_high=high
        )
        loss = aggregate(aggregation, losses, mask)
        loss.backward()
        assert log_prob.grad is not None
        comparisons += [
            compare(key, loss, x[key]),
            compare(f"{key} gradient", log_prob.grad, x[f"{key}_grad"]),
        ]
    return comparisons


def corrections(x: dict[str, Tensor], mask: Tensor) -> list[Comparison]:
    """Truncated importance sampling, and the rejection masks that compare a ratio.

    The masks' bounds are not recorded; these lie between what was kept and what was rejected.
    """
    ratios = policy_loss.log_ratio(x["old_log_prob"], x["rollout_log_prob"])
    comparisons = []
    for level in ("token", "sequence"):
        for clip in (1.2, 2.0):
            weights, _ = mismatch.truncated_weights(ratios, mask, clip, level)
            comparisons.append(compare(f"tis {level} {clip}", weights, x[f"tis_{level}_{clip}"]))
    for level, key, low, high in (
        ("token", "rs_token_k1", 0.625, 1.67),
        ("sequence", "rs_seq_sum_k1", 0.5, 2.0),
        ("geometric", "rs_seq_mean_k1", 0.85, 1.2),
    ):
        accepted = mismatch.accepted_tokens(ratios, mask, level, low, high)
        comparisons.append(compare(f"{level} rejection", accepted.float(), x[key]))
    return comparisons


def orig_masked(name: str) -> list[Comparison]:
    """Masked sums, means, variances and whitening."""
    x, _ = tensors(name)
    values, mask = x["values"], x["mask"].bool()
    whitened = masked.masked_whiten(values, mask)
    unshifted = masked.masked_whiten(values, mask, shift_mean=False)
    return [
        compare("sum", masked.masked_sum(values, mask), x["masked_sum"]),
        compare("mean", masked.token_mean(values, mask), x["masked_mean"]),
        compare("row means", masked.sequence_mean(values, mask), x["masked_mean_axis1"]),
        compare("variance", masked.masked_var(values, mask), x["masked_var"]),
        compare("biased", masked.masked_var(values, mask, bessel=False), x["masked_var_biased"]),
        compare("whitened", whitened[mask], x["whiten"][mask]),
        compare("whitened, not shifted", unshifted[mask], x["whiten_noshift"][mask]),
    ]


def orig_logprobs(name: str) -> list[Comparison]:
    """Log-probabilities of tokens."""
    x, _ = tensors(name)
    ours = logprobs.predictions(x["logits"], x["labels"])[0]
    return [compare("logprobs", ours, x["logprobs"])]


def orig_entropy(name: str) -> list[Comparison]:
    """Mean entropy over tokens and its gradient."""
    x, _ = tensors(name)
    logits = x["logits"].clone().requires_grad_()
    _, entropy = logprobs.predictions(logits, torch.zeros_like(x["eos_mask"], dtype=torch.long))
    loss = masked.token_mean(entropy, x["eos_mask"].bool())
    loss.backward()
    assert logits.grad is not None
    return [compare("loss", loss, x["loss"]), compare("gradient", logits.grad, x["grad_logits"])]


def orig_kl(name: str) -> list[Comparison]:
    """k1 and k2 (kl and mse in the published code)."""
    x, _ = tensors(name)
    kl = {kind: policy_loss.kl_estimate(x["logprob"], x["ref_logprob"], kind) for kind in KL_NAMES}
    rewards = x["scores"] - 0.1 * kl["k1"]  # the weight is part of the array's name
    return [
        *(compare(kind, kl[kind], x[key]) for kind, key in KL_NAMES.items()),
        compare("rewards", rewards, x["rewards_kl0p1"]),
    ]


def orig_klpen(name: str) -> list[Comparison]:
    """Token rewards less the KL, and the KL of the batch."""
    x, settings = tensors(name)
    mask = x["attention_mask"][:, x["prompts"].shape[1] :].bool()
    # The weight of the run is not that of the settings, where 0 is refused.
    policy = Policy(kl_in_reward=True, kl_coef=1.0)
    reference = ReferenceKl(policy, settings["kl_coef"], x["ref_log_prob"])
    penalty = reference.penalty(x["old_log_probs"])
    assert penalty is not None
    rewards = x["token_level_scores"] - masked.only(penalty, mask)
    figures, theirs = reference.metrics(x["old_log_probs"], mask), settings["metrics"]
    kl = torch.tensor(theirs["critic/kl"])
    return [
        compare("rewards", rewards, x["token_level_rewards"]),
        compare("kl", figures["actor/kl_batch"], kl),
    ]


def orig_adaptive_kl(name: str) -> list[Comparison]:
    """The weight of the KL over the controller's steps."""
    x, settings = tensors(name)
    # The controller's first weight, target and horizon: AdaptiveKLController(0.2,6,10000).
    first, target, horizon = map(float, re.findall(r"[\d.]+", settings["fn"]))
    coefs, steps = [first], settings["n_steps"]
    for kl in x["current_kl"].tolist():
        coefs.append(policy_loss.next_kl_coef(coefs[-1], kl, steps, target, int(horizon)))
    return [compare("weights", torch.tensor(coefs[1:], dtype=torch.double), x["values"])]
