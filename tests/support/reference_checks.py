"""Our functions beside the published ones, file by file: what both computed from the same inputs.

Each function takes the name of a reference file and returns comparisons. The tests assert that they
agree; benchmarks/reference_agreement.py tabulates by how much.
"""

from collections.abc import Callable

from tests.support import (
    reference_advantages,
    reference_policy,
    reference_prm,
    reference_steps,
    reference_trees,
)
from tests.support.comparison import Comparison, NotExpressible, refuse_unread

CHECKS: dict[str, Callable[[str], list[Comparison]]] = {
    "orig_rloo_": reference_advantages.orig_rloo,
    "orig_gae_": reference_advantages.orig_gae,
    "orig_ce_logits_": reference_prm.orig_ce_logits,
    "orig_ce_": reference_prm.orig_ce,
    "orig_implicit_": reference_prm.orig_implicit,
    "orig_prmstep_": reference_prm.orig_prmstep,
    "orig_dpoacc_": reference_prm.orig_dpoacc,
    "orig_filter_": reference_policy.orig_filter,
    "orig_ppo_": reference_policy.orig_ppo,
    "orig_value_": reference_policy.orig_value,
    "orig_masked_": reference_policy.orig_masked,
    "orig_logprobs_": reference_policy.orig_logprobs,
    "orig_entropy_": reference_policy.orig_entropy,
    "orig_kl_": reference_policy.orig_kl,
    "orig_klpen_": reference_policy.orig_klpen,
    "orig_adaptive_kl": reference_policy.orig_adaptive_kl,
    "recipe_rloo_": reference_advantages.recipe_rloo,
    "recipe_forward_": reference_prm.recipe_forward,
    "recipe_filter_": reference_policy.recipe_filter,
    "recipe_prmloss_": reference_prm.recipe_prmloss,
    "recipe_update_": reference_prm.recipe_update,
    "istar_adv_": reference_advantages.istar_adv,
    "istar_eto_": reference_prm.istar_eto,
    "gigpo_": reference_advantages.gigpo,
    "ipvrm_": reference_prm.ipvrm,
    "pure_": reference_advantages.pure,
    "treerl_": reference_trees.treerl,
    "tree_grpo_": reference_trees.tree_grpo,
    "vineppo_": reference_advantages.vineppo,
    "processbench_f1_": reference_steps.processbench_f1,
    "verl_adv_": reference_advantages.verl_adv,
    "verl_loss_": reference_policy.verl_loss,
}


def check(name: str) -> list[Comparison]:
    """All comparisons of one reference file, by the longest prefix of its name in CHECKS.

    Raises NotExpressible where a setting of the file is not honoured.
    """
    try:
        comparisons = CHECKS[prefix_of(name)](name)
    except AssertionError:
        refuse_unread(name)  # then this is why the shapes differ
        raise
    refuse_unread(name)
    return comparisons


def prefix_of(name: str) -> str:
    """The longest prefix of a file's name in CHECKS. Raises NotExpressible where there is none."""
    found = [prefix for prefix in CHECKS if name.startswith(prefix)]
    if not found:
        raise NotExpressible("no function of ours computes what it holds")
    return max(found, key=len)
