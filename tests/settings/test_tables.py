"""Each Literal of the settings names exactly what the code has under these names.

The settings import nothing of the code, so their Literals repeat the keys of its tables.
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from pydantic import BaseModel

from prime_core.advantage import ADV_ESTIMATORS, process_returns, rloo
from prime_core.data.benchmarks import ABILITIES
from prime_core.data.forms import FORMS
from prime_core.gae import gae_advantages, prefix_values
from prime_core.implicit_reward import response_score, shaped_reward
from prime_core.mismatch import at_level
from prime_core.outcomes import check_choices
from prime_core.planning.case import DTYPE_BYTES
from prime_core.policy_loss import LOSS_AGGREGATIONS, POLICY_LOSSES, kl_estimate
from prime_core.prm_loss import difficulty_terms, pair_terms
from prime_core.run.layout import RunFiles
from prime_core.run.prm_folders import scoring_prm_folder
from prime_core.run.tables import RATED_COLUMNS
from prime_core.samplers import SAMPLERS
from prime_core.samplers.forks import KINDS
from prime_core.settings.run import Settings
from prime_core.step_credit import centred_steps, same_state_advantage
from prime_core.training.step_scores import SCORES
from prime_core.trees import TREE_WEIGHTS
from prime_core.turns import discounted_over
from prime_core.verifiers.code import Credit
from prime_core.verifiers.code.sandbox import COMMANDS
from prime_core.verifiers.math.extract import NoBox

OUTCOME, GROUP = torch.tensor([1.0, 0.0]), torch.tensor([0, 0])
REWARD, MASK = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)

# Where a Literal names the keys of a table; the names that stand apart are dealt with before it.
TABLES: dict[str, set[Any]] = {
    "policy.adv_estimator": {
        *ADV_ESTIMATORS,
        "gae",  # from values, in prime_core.gae
        "gigpo",  # one of them beside prime_core.step_credit
    },
    "policy.tree_weight": {*TREE_WEIGHTS},
    "policy.loss_agg_mode": {*LOSS_AGGREGATIONS},
    "policy.loss_mode": {*POLICY_LOSSES},
    "rollout.sampler": {*SAMPLERS, "auto"},
    "rollout.tree.kind": {*KINDS},
    "evaluation.benchmarks.form": {*FORMS, "plain"},
    "data.sources.ability": {*ABILITIES},
    "verification.judge.abilities": {*ABILITIES},
    "evaluation.benchmarks.ability": {*ABILITIES},
    "evaluation.steps.score": {*SCORES},
    "model.dtype": {*DTYPE_BYTES},
    "verification.no_box": {*get_args(NoBox)},
    "verification.sandbox": {*COMMANDS, "auto", "none"},
    "prm.prime_granularity": {*RATED_COLUMNS, "turn"},  # `prime rate` has responses of one turn
}


def scored_by(which: str) -> Path:
    settings: Any = SimpleNamespace(start=0, prm=SimpleNamespace(prm_update=which))
    return scoring_prm_folder(settings, RunFiles(Path("run")), 1)


def shaped(granularity: str = "token", prime_norm: str = "none") -> torch.Tensor:
    how: dict[str, Any] = {"granularity": granularity, "prime_norm": prime_norm}
    return shaped_reward(REWARD, MASK, eos_reward=True, step_ends=MASK, **how)


def advantages_of(gae_level: str) -> Any:
    how: dict[str, Any] = {"gamma": 1.0, "gae_lambda": 1.0, "outcome_coef": 1.0}
    how |= {"process_coef": 1.0, "combine": "returns", "whiten": False}
    how |= {"step_ends": MASK, "gae_level": gae_level}
    return gae_advantages(outcome=OUTCOME, implicit_reward=None, values=REWARD, mask=MASK, **how)


# Where there is no table: the function that takes the names, but those that stand apart.
FUNCTIONS: dict[str, tuple[Any, set[str]]] = {
    "policy.baseline": (lambda name: rloo(REWARD, MASK, GROUP, name), set()),
    "policy.combine": (lambda name: check_choices(OUTCOME, name), set()),
    "policy.kl_estimator": (lambda name: kl_estimate(REWARD, REWARD, name), set()),
    "policy.tis_level": (lambda name: at_level(REWARD, MASK, name), set()),
    "policy.rejection_level": (lambda name: at_level(REWARD, MASK, name), {"none"}),
    "policy.credit": (
        lambda name: process_returns(REWARD, MASK, GROUP, "rloo", "code", 1.0, name, MASK),
        set(),
    ),
    "policy.gae_level": (advantages_of, set()),
    "policy.process_centre": (
        lambda name: centred_steps(REWARD, MASK, MASK, GROUP, "rloo", name),
        {"none"},
    ),
    "policy.discount_unit": (lambda name: discounted_over(REWARD, MASK, 0.5, name), set()),
    "policy.gigpo_norm": (
        lambda name: same_state_advantage(REWARD, MASK.long(), GROUP, name),
        set(),
    ),
    "prm.difficulty": (lambda name: difficulty_terms(OUTCOME, GROUP, name, 5.0), set()),
    "prm.response_score": (lambda name: response_score(REWARD, MASK, name), set()),
    "prm.bon_weight": (lambda name: pair_terms(OUTCOME, OUTCOME, GROUP, name), set()),
    "prm.prime_norm": (lambda name: shaped(prime_norm=name), set()),
    "prm.prime_granularity": (shaped, set()),
    "prm.prm_update": (scored_by, {"none"}),
    "verification.partial_credit": (Credit, set()),
    "value.prm_value": (lambda name: prefix_values(REWARD, MASK, name), set()),
}
# Names that the code compares with where it branches in two.
BRANCHES = {
    "resident",
    "data.source",
    "data.system_role",
    "evaluation.benchmarks.scorer",
    "policy.kl_controller",
    "prm.loss_type",
    "prm.prm_reference",
    "prm.source",
    "rollout.stale_rollouts",
    "training.grad_accum_dtype",
    "training.offload_optimizer",
    "training.state_storage",
    "value.source",
    "verification.judge.aggregate",
}
# Rows of published.yaml: tests/report/test_reproduction.py.
ELSEWHERE = {"reproduction.of"}


def literals(kind: Any, key: str = "") -> Iterator[tuple[str, set[Any]]]:
    """Each Literal below a section of the settings, by its dotted key."""
    if get_origin(kind) is Literal:
        yield key, set(get_args(kind))
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from literals(field.annotation, f"{key}.{name}".lstrip("."))
    else:
        for part in get_args(kind):
            yield from literals(part, key)


LITERALS = dict(literals(Settings))


@pytest.mark.parametrize("key", TABLES)
def test_a_literal_names_the_keys_of_its_table(key):
    assert LITERALS[key] == TABLES[key]


@pytest.mark.parametrize("key", FUNCTIONS)
def test_a_literal_names_what_its_function_takes(key):
    take, others = FUNCTIONS[key]
    assert others < LITERALS[key]
    for name in LITERALS[key] - others:
        take(name)
    with pytest.raises((ValueError, KeyError), match="magic"):
        take("magic")


def test_no_literal_is_forgotten_here():
    known = {*TABLES, *FUNCTIONS, *BRANCHES, *ELSEWHERE}
    found = {key for key in LITERALS if not key.endswith(".target_modules")}  # or any layer's name
    assert {key.replace("prm.offline.", "prm.") for key in found} == known
