"""Our implicit rewards and PRM losses beside the published ones: one file a function."""

import numpy as np
import torch
from torch import Tensor

from prime_core import logprobs, masked, prm_loss
from prime_core.implicit_reward import implicit_reward, log_odds, response_score, shaped_reward
from tests.support.comparison import Comparison, compare, groups_of, lists, tensors
from tests.support.toy_lm import WEIGHTS, cross_entropy_mean, prm_update
from tests.support.turn_rows import episodes_of

# Above this the published cross-entropy, computed from a float32 probability, loses its gradient.
SATURATED = 15.0


def orig_ce(name: str) -> list[Comparison]:
    """PRM cross-entropy and its gradient with respect to the log-ratios q.

    The loss is compared with `stable_loss`, the gradient where the reference has not lost its own.
    """
    x, settings = tensors(name)
    mask = x["eos_mask"].bool()
    q = x["q"].clone().requires_grad_()
    z = log_odds(implicit_reward(q, torch.zeros_like(q), mask, settings["beta"]), mask)
    loss = prm_loss.prm_loss(prm_loss.prm_cross_entropy(z, x["acc"]), len(z))
    loss.backward()
    assert q.grad is not None
    sure = x["z"].abs() > SATURATED
    comparisons = [compare("z", z, x["z"]), compare("loss", loss, x["stable_loss"])]
    if not bool(sure.any()):
        comparisons.append(compare("loss of their float32 sigmoid", loss, x["loss"]))
    if not bool(sure.all()):
        comparisons.append(compare("gradient", q.grad[~sure], x["grad_q"][~sure]))
    return comparisons


def orig_ce_logits(name: str) -> list[Comparison]:
    """PRM cross-entropy from logits, and its gradient with respect to them."""
    x, settings = tensors(name)
    mask = x["eos_mask"].bool()
    logits = x["logits"].clone().requires_grad_()
    prm, _ = logprobs.predictions(logits, x["responses"])
    ref, _ = logprobs.predictions(x["ref_logits"], x["responses"])
    z = log_odds(implicit_reward(prm, ref, mask, settings["beta"]), mask)
    loss = prm_loss.prm_loss(prm_loss.prm_cross_entropy(z, x["acc"]), len(z))
    loss.backward()
    assert logits.grad is not None
    return [
        compare("q", prm - ref, x["q"]),
        compare("loss", loss, x["loss"]),
        compare("gradient", logits.grad, x["grad_logits"]),
    ]


def orig_implicit(name: str) -> list[Comparison]:
    """Token and whole-response rewards (without beta), plain and normalised over the batch."""
    x, _ = tensors(name)
    mask = x["attention_mask"][:, -x["q"].shape[1] :].bool()
    reward = implicit_reward(x["log_prob"], x["ref_log_prob"], mask, beta=1.0)
    granularity = "whole" if "whole" in name else "token"
    return [
        compare(norm, shaped(reward, mask, granularity, norm, eos_reward=True), x[key])
        for norm, key in (("none", "token_level_score"), ("batch_norm", "batch_norm"))
    ]


def recipe_forward(name: str) -> list[Comparison]:
    """Token rewards of the recipe: without the last token's, plain and normalised.

    Its lambda sums them from each token on, its prime_use_gt makes the last one what is missing to
    the outcome: both are options that we do not have, written here from our functions.
    """
    x, settings = tensors(name)
    mask = x["attention_mask"][:, -x["q"].shape[1] :].bool()
    reward = implicit_reward(x["q"], torch.zeros_like(x["q"]), mask, settings["beta"])
    if settings["prime_use_gt"]:
        missing = x["acc"] - log_odds(shaped(reward, mask, "token", "none", eos_reward=False), mask)
        reward = torch.where(masked.last_token(mask), missing[:, None], reward)
    if settings["lambda"]:
        reward = masked.discounted_returns(reward, settings["lambda"])
    return [
        compare(norm, shaped(reward, mask, "token", norm, eos_reward=False), x[key])
        for norm, key in (("none", "rm_score"), ("batch_norm", "prime_norm"))
    ]


def shaped(
    reward: Tensor, mask: Tensor, granularity: str, prime_norm: str, eos_reward: bool
) -> Tensor:
    """Our shaped rewards, without steps."""
    return shaped_reward(
        reward,
        mask,
        granularity=granularity,
        prime_norm=prime_norm,
        eos_reward=eos_reward,
        step_ends=None,
    )


def mean_ranking_accuracy(z: Tensor, outcome: Tensor, group: Tensor) -> float:
    """Theirs: the mean over groups, a half for a group without a pair. Ours counts pairs."""
    accuracies = []
    for one in group.unique():
        rows = group == one
        right, pairs = prm_loss.prm_ranking_accuracy(z[rows], outcome[rows], group[rows])
        accuracies.append(right / pairs if pairs else 0.5)
    return float(np.mean(accuracies))


def orig_dpoacc(name: str) -> list[Comparison]:
    """Ranking accuracy of summed scores."""
    x, settings = tensors(name)
    z = log_odds(x["scores"], x["eos_mask"].bool())
    group = groups_of(len(z), settings["n_samples"])
    return [compare("accuracy", mean_ranking_accuracy(z, x["acc"], group), x["dpo_acc"])]


def orig_prmstep(name: str) -> list[Comparison]:
    """A whole PRM update of the toy model: weights, gradient norms, and the rewards it gave.

    The published rewards carry no beta. A metric `prm_loss` of theirs is that of the last micro
    batch alone.
    """
    x, settings = tensors(name)
    update = prm_update(x, settings, settings["micro_batch_size"])
    mask = x["attention_mask"][:, -x["responses"].shape[1] :].bool()
    rewards = update.rewards / settings["beta"]
    metrics = settings["metrics"]
    group = groups_of(len(x["acc"]), settings["n_samples"])
    ranked = mean_ranking_accuracy(log_odds(rewards, mask), x["acc"], group)
    granularity = settings.only("granularity", "token", "whole")
    (theirs,) = metrics["reward_model/dpo_acc_before"]
    return [
        *compare_weights(update.weights, x),
        compare("ranking accuracy", ranked, torch.tensor(theirs)),
        compare(
            "rewards",
            shaped(rewards, mask, granularity, settings["norm"], eos_reward=True),
            x["scores"],
        ),
        compare("gradient norms", *lists(update.grad_norms, metrics["reward_model/grad_norm"])),
        compare("losses", *lists(update.last_losses, metrics["reward_model/prm_loss"])),
    ]


def recipe_prmloss(name: str) -> list[Comparison]:
    """Cross-entropy and detached DPO, plain and with best-of-N weights, and their gradients.

    Their accuracy takes an outcome of 1/2 for neither right nor wrong, and no z as right about it.
    """
    x, settings = tensors(name)
    mask, acc = x["response_mask"].bool(), x["acc"]
    group = groups_of(len(acc), settings["n_samples"])
    q = x["q"].clone().requires_grad_()
    z = log_odds(implicit_reward(q, torch.zeros_like(q), mask, settings["beta"]), mask)
    losses = {"ce": prm_loss.prm_loss(prm_loss.prm_cross_entropy(z, acc), len(z))}
    for bon_weight in ("none", "bon_acc", "bon_rm"):
        opponents, weights = prm_loss.pair_terms(z, acc, group, bon_weight)
        weighed = weights * prm_loss.prm_dpo_detached(z, opponents, acc)
        losses[bon_weight] = prm_loss.prm_loss(weighed, len(z) if bon_weight == "none" else 1)
    decided = acc != 0.5
    share_right = prm_loss.prm_accuracy(z[decided], acc[decided]) * (decided.sum() / len(z))
    comparisons = [
        compare("ranking accuracy", mean_ranking_accuracy(z, acc, group), x["dpo_acc"]),
        compare("accuracy", share_right, x["dpo_abs_acc"]),
    ]
    for key, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, q, retain_graph=True)
        comparisons += [
            compare(key, loss, x[f"loss_{key}"]),
            compare(f"{key} gradient", gradient, x[f"grad_{key}"]),
        ]
    return comparisons


def recipe_update(name: str) -> list[Comparison]:
    """A PRM update of the recipe with cross-entropy, detached DPO or bon_rm weights.

    Theirs adds weighted losses up within a micro batch and averages over micro batches.
    """
    x, settings = tensors(name)
    micro, num_samples = settings["micro_batch_size_per_gpu"], x["Q_bc"].shape[1]
    group = groups_of(len(x["acc"]), num_samples)
    stale = settings["beta"] * x["Q_bc"][::num_samples].flatten()
    opponents = prm_loss.opponent_reward(stale, x["acc"], group)
    loss_type = settings.only("loss_type", "ce", "dpo", "bon_acc", "bon_rm")
    value = x["acc"] if loss_type == "bon_acc" else stale
    weights = prm_loss.best_of_n_weight(value, group)

    def dpo_mean(z: Tensor, rows: Tensor, outcome: Tensor, num_responses: int) -> Tensor:
        losses = prm_loss.prm_dpo_detached(z, opponents[rows], outcome[rows])
        return prm_loss.prm_loss(losses, num_responses)

    def bon_sum(z: Tensor, rows: Tensor, outcome: Tensor, num_responses: int) -> Tensor:
        losses = weights[rows] * prm_loss.prm_dpo_detached(z, opponents[rows], outcome[rows])
        return prm_loss.prm_loss(losses, num_responses // micro)

    part = {"ce": cross_entropy_mean, "dpo": dpo_mean}.get(loss_type, bon_sum)
    update = prm_update(x, settings, micro, part)
    norms = settings["metrics"]["reward_model/grad_norm"]
    return [
        *compare_weights(update.weights, x),
        compare("gradient norms", *lists(update.grad_norms, norms)),
    ]


def istar_eto(name: str) -> list[Comparison]:
    """DPO over all pairs of a group, with its gradient; an episode's z is the mean over its turns.

    Their gradient is of every token at once, ours of both sides of each pair in turn.
    """
    x, settings = tensors(name)
    laid = episodes_of(x["uid"], x["traj"], x["mask"].bool())
    q = x["q"].clone().requires_grad_()
    reward = implicit_reward(laid.of(q), torch.zeros(laid.mask.shape), laid.mask, settings["beta"])
    z = response_score(reward, laid.mask, "turn_mean")
    value, slope = prm_loss.dpo_tangent(z, x["outcome"][laid.first], laid.group)
    loss = prm_loss.prm_loss(prm_loss.prm_dpo(z, value, slope), len(z))
    loss.backward()
    assert q.grad is not None
    return [compare("loss", loss, x["loss"]), compare("gradient", q.grad, x["grad_q"])]


def compare_weights(weights: dict[str, Tensor], x: dict[str, Tensor]) -> list[Comparison]:
    """The trained weights."""
    return [compare(key, weights[key], x[f"final_{key}"]) for key in WEIGHTS]


def ipvrm(name: str) -> list[Comparison]:
    """Prefix loss with weights and margins by difficulty, and its gradient in the log-ratios q."""
    x, settings = tensors(name)
    kinds = {(False, False): "none", (True, False): "weight", (False, True): "boundary"}
    difficulty = kinds.get((settings["dlw"], settings["adb"]), "both")
    weight, margin = prm_loss.difficulty_terms(
        x["outcome"], x["group"], difficulty, settings["base_margin"]
    )
    q, mask = x["q"].clone().requires_grad_(), x["mask"].bool()
    reward = implicit_reward(q, torch.zeros_like(q), mask, settings["beta"])
    losses = weight * prm_loss.prm_prefix(reward, mask, x["outcome"], margin)
    loss = prm_loss.prm_loss(losses, len(losses))
    loss.backward()
    assert q.grad is not None
    return [
        compare("weight", weight, x["weight"]),
        compare("margin", margin, x["margin"]),
        compare("loss", loss, x["loss"]),
        compare("gradient", q.grad, x["grad_q"]),
    ]
