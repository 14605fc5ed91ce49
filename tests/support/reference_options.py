"""Which option of the settings each comparison with published values is about.

In: the prefix of a reference file and what was compared (tests.support.reference_checks). Out: an
Option; of those that no file holds, comparisons with their equation written out, token by token.
"""

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from prime_core import implicit_reward, prm_loss
from prime_core.outcomes import overlong_shaped
from tests.support.comparison import Comparison, compare


@dataclass(frozen=True)
class Option:
    """name: of a method; key: the setting that chooses it; what: pattern of PREFIX WHAT."""

    name: str
    key: str
    what: str


ESTIMATOR, LOSS, PRM = "policy.adv_estimator", "policy.loss_mode", "prm.loss_type"
OPTIONS = (
    Option("RLOO, the published code's", f"{ESTIMATOR}: rloo", r"(orig|recipe)_rloo_ .*"),
    Option("RLOO of outcomes", f"{ESTIMATOR}: rloo", r"verl_adv_ rloo"),
    Option("GRPO", f"{ESTIMATOR}: grpo", r"verl_adv_ grpo"),
    Option("Dr. GRPO", f"{ESTIMATOR}: dr_grpo", r"verl_adv_ dr_grpo"),
    Option("OPO", f"{ESTIMATOR}: opo", r"verl_adv_ opo"),
    Option("ReMax", f"{ESTIMATOR}: remax", r"verl_adv_ remax"),
    Option("REINFORCE++", f"{ESTIMATOR}: reinforce_pp", r"verl_adv_ reinforce_pp (ret|adv).*"),
    Option(
        "REINFORCE++ with a baseline",
        f"{ESTIMATOR}: reinforce_pp_baseline",
        r"verl_adv_ reinforce_pp_baseline",
    ),
    Option("GAE", f"{ESTIMATOR}: gae", r"(orig_gae_ .*|verl_adv_ gae .*)"),
    Option("PPO's clip", f"{LOSS}: vanilla", r"orig_ppo_ .*"),
    Option(
        "clip-higher, dual clip",
        "policy.eps_clip_high, clip_ratio_c",
        r"verl_loss_ (seq|token)-\S+( gradient)?",
    ),
    Option("aggregations", "policy.loss_agg_mode", r"verl_loss_ \S+ alone"),
    Option("GSPO", f"{LOSS}: gspo", r"verl_loss_ gspo.*"),
    Option("CISPO", f"{LOSS}: cispo", r"verl_loss_ cispo.*"),
    Option("KL estimators", "policy.kl_estimator", r"(verl_loss_ k\d|orig_kl_ k\d)"),
    Option("KL in the reward", "policy.kl_in_reward", r"orig_kl(pen)?_ (rewards|kl)"),
    Option("adaptive KL", "policy.kl_controller: adaptive", r"orig_adaptive_kl .*"),
    Option("importance weights", "policy.tis_clip", r"verl_loss_ tis .*"),
    Option("rejection", "policy.rejection_level", r"verl_loss_ \w+ rejection"),
    Option("overlong shaping", "policy.overlong_buffer_len", r"equation overlong"),
    Option("PURE's softmin", "policy.credit: softmin", r"pure_ (weighted.*|credit 0.1)"),
    Option("PURE's min", "policy.credit: min", r"pure_ credit min"),
    Option("PURE's sum", "policy.credit: sum", r"pure_ credit sum"),
    Option("value loss", "value.cliprange_value", r"orig_value_ .*"),
    Option("cross-entropy", f"{PRM}: ce", r"(orig_ce_(logits_)? .*|recipe_prmloss_ ce.*)"),
    Option("detached DPO", f"{PRM}: dpo", r"recipe_prmloss_ none.*"),
    Option("best-of-n weights", "prm.bon_weight", r"recipe_prmloss_ bon.*"),
    Option("DPO over all pairs", f"{PRM}: dpo_pairs, offline dpo", r"istar_eto_ .*"),
    Option("iStar's steps", "policy.process_centre: first_turn", r"istar_adv_ .*"),
    Option("GiGPO", f"{ESTIMATOR}: gigpo", r"gigpo_ .*"),
    Option("Monte-Carlo values", "value.source: monte_carlo", r"vineppo_ values"),
    Option("advantages of steps", "policy.gae_level: step", r"vineppo_ advantages"),
    Option("TreeRL", f"{ESTIMATOR}: treerl", r"treerl_ .*"),
    Option("Tree-GRPO", f"{ESTIMATOR}: tree_grpo", r"tree_grpo_ .*"),
    Option("IPVRM's prefix loss", f"{PRM}: prefix", r"ipvrm_ (loss|gradient)"),
    Option("IPVRM's difficulty", "prm.difficulty, margin", r"ipvrm_ (weight|margin)"),
    Option("IPVRM's value scale", "prm.prime_norm: value_std", r"equation value_std"),
    Option("length-normalised z", "prm.response_score: mean", r"equation mean of rewards"),
    Option("wrong labels", "prm.label_noise", r"equation label_noise.*"),
    Option("smoothed labels", "prm.label_smoothing", r"equation label_smoothing.*"),
    Option(
        "rewards and their norm",
        "prm.prime_granularity, prime_norm",
        r"(orig_implicit|recipe_forward)_ .*",
    ),
    Option("a whole PRM update", "prm", r"(orig_prmstep|recipe_update)_ .*"),
    Option("PRM accuracies", "-", r"(orig_dpoacc_ .*|recipe_prmloss_ .*accuracy)"),
    Option("filter", "filter", r"(orig|recipe)_filter_ .*"),
    Option("search of thresholds", "evaluation.steps", r"processbench_f1_ .*"),
    Option("masked statistics", "policy.whiten", r"orig_masked_ .*"),
    Option("log-probabilities, entropy", "-", r"orig_(logprobs|entropy)_ .*"),
)
EQUATION = "equation"


def option_of(prefix: str, what: str) -> Option:
    """The option of a comparison; one of the prefix's own where none is named above."""
    text = f"{prefix} {what}"
    found = [one for one in OPTIONS if re.fullmatch(one.what, text)]
    assert len(found) < 2, f"{text}: {' and '.join(one.name for one in found)}"
    return found[0] if found else Option(prefix.strip("_"), "-", re.escape(text))


def equations() -> list[Comparison]:
    """Options of which no reference file has values, against their equations in plain Python."""
    generator = torch.Generator().manual_seed(0)
    rewards = 0.3 * torch.randn(6, 9, generator=generator)
    mask = torch.arange(9) < torch.tensor([9, 4, 7, 1, 9, 5])[:, None]
    outcome = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    return [
        _overlong(outcome, mask),
        _value_std(rewards, mask),
        _mean_score(rewards, mask),
        *_labels("label_noise", 3 * rewards[:, 0], outcome, (0.1, 0.2, 0.0)),
        *_labels("label_smoothing", 3 * rewards[:, 0], outcome, (0.0, 0.0, 0.1)),
    ]


def _overlong(outcome: Tensor, mask: Tensor) -> Comparison:
    """DAPO, arXiv 2503.14476, Eq. 13: L = 9, l = 4, f = 0.5."""
    ours = overlong_shaped(outcome, mask, 9, 4, 0.5)
    lengths = mask.sum(1).tolist()
    theirs = [
        r + min(-(n - (9 - 4)) / 4 * 0.5, 0.0)
        for r, n in zip(outcome.tolist(), lengths, strict=True)
    ]
    return compare("overlong", ours, torch.tensor(theirs, dtype=torch.double))


def _value_std(rewards: Tensor, mask: Tensor) -> Comparison:
    """IPVRM: the standard deviation of all prefix values of the batch, less one degree."""
    prefixes = []
    for row, kept in zip(rewards.tolist(), mask.sum(1).tolist(), strict=True):
        prefixes += [math.fsum(row[: t + 1]) for t in range(kept)]
    mean = math.fsum(prefixes) / len(prefixes)
    variance = math.fsum((value - mean) ** 2 for value in prefixes) / (len(prefixes) - 1)
    ours = implicit_reward.value_std(rewards, mask)
    return compare("value_std", ours, rewards * mask / (math.sqrt(variance) + 1e-6))


def _mean_score(rewards: Tensor, mask: Tensor) -> Comparison:
    ours = implicit_reward.response_score(rewards, mask, "mean")
    lengths = mask.sum(1).tolist()
    theirs = [math.fsum(row[:n]) / n for row, n in zip(rewards.tolist(), lengths, strict=True)]
    return compare("mean of rewards", ours, torch.tensor(theirs, dtype=torch.double))


def _labels(
    name: str, z: Tensor, outcome: Tensor, rates: tuple[float, float, float]
) -> list[Comparison]:
    """Forward correction (arXiv 1609.03683) and smoothing, and the gradient by differences."""
    false_positive, false_negative, smoothing = rates

    def loss(value: float, r: float) -> float:
        p = 1 / (1 + math.exp(-value))
        q = (1 - false_negative) * p + false_positive * (1 - p)
        y = r * (1 - smoothing) + smoothing / 2
        return -y * math.log(q) - (1 - y) * math.log(1 - q)

    given = z.clone().requires_grad_()
    losses = prm_loss.prm_noisy_cross_entropy(given, outcome, *rates)
    losses.sum().backward()
    assert given.grad is not None
    pairs = list(zip(z.double().tolist(), outcome.tolist(), strict=True))
    step = 1e-5
    slopes = [(loss(v + step, r) - loss(v - step, r)) / (2 * step) for v, r in pairs]
    return [
        compare(name, losses, torch.tensor([loss(v, r) for v, r in pairs], dtype=torch.double)),
        compare(f"{name} gradient", given.grad, torch.tensor(slopes, dtype=torch.double)),
    ]
