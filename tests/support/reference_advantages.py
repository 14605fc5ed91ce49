"""Our advantages beside the published ones: each function compares one reference file."""

from typing import Any

import torch
from torch import Tensor

from prime_core import advantage, step_credit
from prime_core.gae import gae, gae_advantages, step_gae
from prime_core.masked import discounted_returns, masked_whiten
from prime_core.step_values import filled
from prime_core.turns import turn_ends
from tests.support.comparison import Comparison, compare, groups_of, tensors
from tests.support.turn_rows import episodes_of


def advantages(
    outcome: Tensor, reward: Tensor | None, mask: Tensor, group: Tensor, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Our advantages with the published code's choices, but for the settings given."""
    choices: dict[str, Any] = {
        "adv_estimator": "rloo",
        "baseline": "code",
        "gamma_outcome": 1.0,
        "gamma_process": 1.0,
        "outcome_coef": 1.0,
        "process_coef": 1.0,
        "combine": "returns",
        "whiten": True,
    }
    return advantage.advantages(
        outcome=outcome, implicit_reward=reward, mask=mask, group=group, **(choices | settings)
    )


def orig_rloo(name: str) -> list[Comparison]:
    """RLOO returns of process and outcome rewards, and their whitened sum."""
    x, settings = tensors(name)
    mask = x["eos_mask"].bool()
    ours, returns = advantages(
        x["gt_scores"].sum(1),
        None if settings.only("sources", "both", "rm", "gt") == "gt" else x["rm_scores"],
        mask,
        groups_of(len(mask), settings["n_samples"]),
        gamma_process=settings["reward_model_gamma"],
        gamma_outcome=settings["verifier_gamma"],
        outcome_coef=float(settings["sources"] != "rm"),
    )
    # At tokens that do not count the published advantages are rubbish, and ours 0.
    return [
        compare("returns", returns, x["returns"]),
        compare("advantages", ours[mask], x["advantages"][mask]),
    ]


def recipe_rloo(name: str) -> list[Comparison]:
    """RLOO returns weighted by coefficients, and their whitened sum."""
    x, settings = tensors(name)
    mask = x["response_mask"].bool()
    ours, returns = advantages(
        x["acc"],
        x["rm_scores"],
        mask,
        groups_of(len(mask), settings["n_samples"]),
        outcome_coef=settings["reward_gt_coef"],
        process_coef=settings["reward_dpo_coef"],
    )
    return [
        compare("returns", returns, x["returns"]),
        compare("advantages", ours[mask], x["advantages"][mask]),
    ]


def token_gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Our whitened advantages and returns of rewards that are all token rewards."""
    return gae_advantages(
        outcome=torch.zeros(len(mask)),
        implicit_reward=rewards,
        values=values,
        mask=mask,
        gamma=gamma,
        gae_lambda=gae_lambda,
        outcome_coef=1.0,
        process_coef=1.0,
        combine="returns",
        whiten=True,
    )


def orig_gae(name: str) -> list[Comparison]:
    """GAE advantages and returns.

    In the files of unmasked values what stands behind a response's end leaks into the published
    advantages. It does not into ours, so there two things are compared: the published ones with
    ours where all tokens count, and ours where they do not with ours of the masked file.
    """
    x, settings = tensors(name)
    mask, (gamma, lam) = x["eos_mask"].bool(), (settings["gamma"], settings["lam"])
    ours, returns = token_gae(x["token_level_rewards"], x["values"], mask, gamma, lam)
    if name.endswith("_unmasked_values"):
        masked, _ = tensors(name.replace("unmasked_values", "masked"))
        leaking = gae(
            x["token_level_rewards"].double(), x["values"].double(), mask | True, gamma, lam
        )
        return [
            compare("leaking returns", leaking + x["values"], x["returns"]),
            compare("leaking", masked_whiten(leaking, mask)[mask], x["advantages"][mask]),
            compare("returns", returns[mask], masked["returns"][mask]),
            compare("advantages", ours[mask], masked["advantages"][mask]),
        ]
    return [
        compare("returns", returns[mask], x["returns"][mask]),
        compare("advantages", ours[mask], x["advantages"][mask]),
    ]


def verl_adv(name: str) -> list[Comparison]:
    """GRPO, Dr. GRPO, RLOO, OPO, REINFORCE++ with a baseline of outcomes; of token rewards
    REINFORCE++, GAE and ReMax.
    """
    x, settings = tensors(name)
    settings.only("grpo_eps", 1e-6)
    settings.only("grpo_std", "unbiased torch.std")
    mask = x["response_mask"].bool()
    outcome, group = x["outcome_rewards"].sum(1), x["index"]
    assert group.unique(return_counts=True)[1].tolist() == [settings["n_samples"]] * len(
        group.unique()
    )
    pairs = [
        ("grpo", "grpo"),
        ("dr_grpo", "drgrpo"),
        ("rloo", "rloo"),
        ("opo", "opo"),
        ("reinforce_pp_baseline", "rpp_baseline"),
    ]
    comparisons = [
        compare(
            estimator,
            advantages(outcome, None, mask, group, adv_estimator=estimator, whiten=False)[0],
            x[key],
        )
        for estimator, key in pairs
    ]
    remax, _ = advantages(
        torch.zeros_like(outcome),
        x["dense_rewards"],
        mask,
        group,
        adv_estimator="remax",
        whiten=False,
        greedy_outcome=x["remax_baselines"],
    )
    comparisons.append(compare("remax", remax, x["remax"]))
    for gamma in (1.0, 0.95):
        ours, returns = advantages(
            torch.zeros_like(outcome),
            x["dense_rewards"],
            mask,
            group,
            adv_estimator="reinforce_pp",
            gamma_process=gamma,
        )
        comparisons += [
            compare(f"reinforce_pp returns {gamma}", returns, x[f"rpp_ret_g{gamma}"]),
            compare(f"reinforce_pp advantages {gamma}", ours, x[f"rpp_g{gamma}"]),
        ]
    for gamma, lam in ((1.0, 1.0), (0.99, 0.95)):
        ours, returns = token_gae(x["dense_rewards"], x["values"], mask, gamma, lam)
        comparisons += [
            compare(f"gae returns {gamma} {lam}", returns[mask], x[f"gae_ret_{gamma}_{lam}"][mask]),
            compare(f"gae advantages {gamma} {lam}", ours[mask], x[f"gae_adv_{gamma}_{lam}"][mask]),
        ]
    return comparisons


def pure(name: str) -> list[Comparison]:
    """PURE's weighted step rewards, and its min-form and summed credit less a baseline.

    The published baseline is the others' summed credit over (K - 1) times the PADDED length; ours
    is over tokens that count, so theirs is taken here. Its minimum is also over the zeros of tokens
    that end no step; ours is over steps, as in the paper.
    """
    x, _ = tensors(name)
    mask, rewards, group = x["mask"].bool(), x["step_rewards"], x["group"]
    ends = x["step_ends"].bool() & mask
    comparisons = [
        compare(
            f"weighted, temperature {t}",
            step_credit.weighted_to_lowest(rewards, ends, t),
            x[f"weighted_{t}"],
        )
        for t in (0.1, 1.0)
    ]
    same = (group[:, None] == group).double()
    others = (same - torch.eye(len(group))) / (same.sum(1, keepdim=True) - 1)
    for key, credit in (
        ("min", step_credit.lowest_from(rewards, torch.ones_like(ends))),
        ("sum", discounted_returns(rewards, 1.0)),
        ("0.1", discounted_returns(x["weighted_0.1"], 1.0)),
    ):
        counted = (credit * mask).double()
        theirs = counted - (others @ counted.sum(1) / mask.shape[1])[:, None]
        comparisons.append(compare(f"credit {key}", (theirs * mask).float(), x[f"adv_{key}"]))
    return comparisons


def istar_adv(name: str) -> list[Comparison]:
    """iStar's advantages: outcomes, and step rewards less a baseline of first turns, as its code.

    `merged` adds step rewards to outcomes before they are centred, which we do not offer: it is the
    centring of the sum.
    """
    x, _ = tensors(name)
    laid = episodes_of(x["uid"], x["traj"], x["mask"])
    outcome = x["outcome_rewards"].sum(1)[laid.first]
    ends, rewards = turn_ends(laid.mask), laid.of(x["step_rewards"])
    kinds = {
        "rloo": "rloo",
        "grpo_mean_norm": "dr_grpo",
        "grpo_mean_std_norm": "grpo",
        "rpp_baseline": "reinforce_pp_baseline",
    }
    how = {"combine": "advantages", "process_centre": "first_turn", "whiten": False}
    how |= {"step_ends": torch.zeros_like(laid.mask)}

    def ours(**settings: Any) -> Tensor:
        found, _ = advantages(outcome, rewards, laid.mask, laid.group, **(how | settings))
        return laid.back(found, x["mask"])

    comparisons = [
        compare(
            f"{theirs}, weight {weight}",
            ours(adv_estimator=kind, process_coef=weight),
            x[f"{theirs}_w{weight}"],
        )
        for theirs, kind in kinds.items()
        for weight in (0.5, 1.0)
    ]
    alone = ours(adv_estimator="rloo", outcome_coef=0.0)
    comparisons.append(compare("process alone", alone, x["rloo_process_only"]))
    for weight in (0.5, 1.0):
        both = (outcome[:, None] + weight * rewards.double()) * ends
        merged = step_credit.centred_steps(both, laid.mask, ends, laid.group, "rloo", "first_turn")
        merged = laid.back(merged, x["mask"])
        comparisons.append(compare(f"merged, weight {weight}", merged, x[f"merged_rloo_w{weight}"]))
    return comparisons


def gigpo(name: str) -> list[Comparison]:
    """GiGPO's advantages; turns' rewards are what their discounted returns come from."""
    x, settings = tensors(name)
    laid = episodes_of(x["uid"], x["traj"], x["mask"])
    outcome = x["outcome_rewards"].sum(1)[laid.first]
    states = laid.by_turn(x["state"], -1)
    returns = laid.by_turn(x["step_returns"].double(), 0.0)
    gamma = settings["gamma"]
    rewards = returns - gamma * torch.nn.functional.pad(returns[:, 1:], (0, 1))
    comparisons = []
    for norm, kind in (("mean", "dr_grpo"), ("mean_std", "grpo")):
        steps = step_credit.gigpo_steps(rewards, states, laid.mask, laid.group, gamma, norm)
        for weight in (0.5, 1.0):
            found, _ = advantages(
                outcome,
                None,
                laid.mask,
                laid.group,
                adv_estimator=kind,
                whiten=False,
                step_advantage=weight * steps,
            )
            ours = laid.back(found, x["mask"])
            comparisons.append(compare(f"{norm} {weight}", ours, x[f"{norm}_norm_w{weight}"]))
    return comparisons


def vineppo(name: str) -> list[Comparison]:
    """VinePPO's values, filled from the end, and the advantages of its steps.

    In the file each step is one number, so each is one token here.
    """
    x, _ = tensors(name)
    rewards = x["step_rewards"][None]
    steps = torch.ones(rewards.shape, dtype=torch.bool)
    values = filled(x["values_given"][None], rewards)
    ours, _ = step_gae(rewards, values, steps, steps, gamma=1.0, gae_lambda=0.0)
    return [
        compare("values", values[0], x["values_filled"][:-1]),  # theirs ends with the terminal 0
        compare("advantages", ours[0], x["advantages"]),
    ]
