"""Every option of learning through two iterations of a tiny run: finite figures, other weights.

The responses of both iterations are made up, so that all runs learn from the same ones; scoring,
the PRM's, the policy's and the value model's updates are the stages themselves, one after the other
in this process, on a model of two layers.
"""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, STEP_VALUES, read_json, read_table, write_table
from prime_core.run.work import open_run
from prime_core.settings.reading import parse_settings
from prime_core.settings.run import Settings
from prime_core.stages import policy, prm, score, value, values
from prime_core.training.learning_batch import read_batch
from prime_core.training.step_marks import state_ends
from tests.settings.test_tables import LITERALS
from tests.support.made_up_batch import NUM_RESPONSES, made_up_batch
from tests.support.made_up_turns import with_turns
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("one_rank")

# Two steps an iteration: before the first one every ratio is 1, and all losses have one gradient.
DEFAULT: dict[str, Any] = {
    "policy.ppo_epochs": 2,
    "policy.eps_clip": 0.02,
    "policy.eps_clip_high": 0.02,
    "prm.mini_batch_size": NUM_RESPONSES // 2,
    "prm.optimizer": {"learning_rate": 1e-2},
    "value.mini_batch_size": NUM_RESPONSES,
    "value.optimizer": {"learning_rate": 1e-2},
}
GAE = {"policy.adv_estimator": "gae"}
ENV: dict[str, Any] = {
    **{"data.source": "env", "data.env": {"id": "FrozenLake-v1", "max_turn_length": 8}},
    "sft.enabled": False,
}
GIGPO = ENV | {"policy.adv_estimator": "gigpo"}
TRAINED = {"prm.path": "PRM"}  # a model that differs from its reference
RESPONSES = {"policy.loss_agg_mode": "seq-mean-token-mean"}
KL = {"policy.kl_coef": 0.5}
TREE = {"rollout.tree": {"m": 2, "n": 1, "l": 1, "t": 1}}
PAIRS = {"rollout.step_boundary": "(?s).."}  # of characters: the responses are no text
LAKE = {
    "data.source": "env",
    "data.env": {"id": "FrozenLake-v1", "max_turn_length": 8},
    "sft.enabled": False,
}
BOUNDS = {"policy.rejection_low": 0.4, "policy.rejection_high": 2.5}
WIDE = {"policy.rejection_low": 0.01, "policy.rejection_high": 100.0}
# By key: what each of its values needs beside it, and differs from besides the default.
WITH: dict[str, dict[str, Any]] = {
    "policy.loss_mode=gspo": RESPONSES | {"policy.eps_clip": 3e-4, "policy.eps_clip_high": 4e-4},
    "policy.kl_estimator": KL,
    "policy.kl_controller": KL,
    **{
        f"policy.adv_estimator={name}": TREE
        for name in ("treerl", "treerl_code", "tree_grpo", "tree_grpo_code")
    },
    "policy.tree_weight": TREE | {"policy.adv_estimator": "treerl"},
    "policy.tis_level": {"policy.tis_clip": 1.5},
    "policy.rejection_level": BOUNDS,
    "policy.rejection_level=sequence": WIDE,  # of a product of tokens' ratios
    "policy.baseline": {"policy.whiten": False},
    "policy.combine": TRAINED,
    "policy.credit": {"prm.prime_granularity": "step"},
    "policy.discount_unit": {"policy.gamma_outcome": 0.8},
    "policy.process_centre": TRAINED
    | {"policy.combine": "advantages", "prm.prime_granularity": "turn"},
    "policy.adv_estimator=gigpo": ENV,
    "policy.gigpo_norm": GIGPO,
    "prm.loss_type=prefix": {"prm.response_score": "mean"},
    "prm.difficulty": {"prm.response_score": "mean", "prm.loss_type": "prefix"},
    "prm.prm_update=frozen": TRAINED,
    "prm.bon_weight": {"prm.loss_type": "dpo"},
    "value.source": GAE,
    "value.source=monte_carlo": GAE | PAIRS | {"prm.prm_update": "none"},
    "value.source=visits": GAE | LAKE | {"policy.gae_level": "step", "prm.prm_update": "none"},
    "policy.gae_level": GAE | PAIRS | {"policy.gae_lambda": 0.5},
    "prm.source=monte_carlo": PAIRS | {"prm.prm_update": "none", "policy.outcome_coef": 0.0},
    "value.prm_value": GAE | {"value.source": "prm"},
}
# Options that are no Literal: those that change what is learned, each switched on or moved.
NUMBERS: dict[str, dict[str, Any]] = {
    "whiten": {"policy.whiten": False},
    "eos_reward": {"prm.eos_reward": False},
    "beta": {"prm.beta": 0.5, "policy.whiten": False},
    "prm.epochs": {"prm.epochs": 2},
    "gamma_outcome": {"policy.gamma_outcome": 0.8},
    "gamma_process": {"policy.gamma_process": 0.8} | TRAINED,
    "outcome_coef": {"policy.outcome_coef": 3.0} | TRAINED,
    "process_coef": {"policy.process_coef": 3.0} | TRAINED,
    "clip_ratio_c": {"policy.clip_ratio_c": 1.0001},
    "eps_clip_high": {"policy.eps_clip_high": 0.3},
    "entropy_coef": {"policy.entropy_coef": 0.1},
    "kl_coef": KL,
    "kl_in_reward": KL | {"policy.kl_in_reward": True},
    "mask_truncated": {"policy.mask_truncated": True},
    "overlong": {"policy.overlong_buffer_len": 38},
    "tis_clip": {"policy.tis_clip": 1.5},
    "gae_lambda": GAE | {"policy.gae_lambda": 0.5},
    "gamma_turn": GIGPO | {"policy.gamma_turn": 0.5},
    "invalid_action_penalty": ENV
    | {"prm.prime_granularity": "turn"}
    | {"data.env": {"id": "FrozenLake-v1", "max_turn_length": 8, "invalid_action_penalty": 0.5}},
    "step_advantage_w": GIGPO | {"policy.step_advantage_w": 3.0},
    "policy.lora": {"policy.lora": {"rank": 2}},
    "prm.lora": {"prm.lora": {"rank": 2}},
}
# Combinations that people use together: each of its parts is above.
COMBINED: dict[str, dict[str, Any]] = {
    "paper": RESPONSES | {"prm.prime_norm": "batch_norm"},
    "gsm8k": RESPONSES
    | {"prm.prm_update": "before", "prm.prime_norm": "batch_norm", "prm.eos_reward": False}
    | {"policy.clip_ratio_c": 3.0, "policy.entropy_coef": 0.001},
    "outcome-only grpo": {"prm.prm_update": "none", "policy.adv_estimator": "grpo"},
    "outcome-only ppo": GAE | {"prm.prm_update": "none"},
    "grpo-gspo-kl": {"policy.adv_estimator": "grpo"} | KL | WITH["policy.loss_mode=gspo"],
    "cispo-tis-steps": {"policy.loss_mode": "cispo", "policy.tis_clip": 2.0}
    | {"prm.prime_granularity": "step"},
    "dpo-best-of-n-policy": {"prm.loss_type": "dpo", "prm.bon_weight": "bon_acc"}
    | {"prm.prm_reference": "policy"},
    "treerl-outcomes": TREE | {"policy.adv_estimator": "treerl", "prm.prm_update": "none"},
    "istar": WITH["policy.process_centre"]
    | {"policy.process_centre": "group", "prm.loss_type": "dpo_pairs"}
    | {"prm.prm_reference": "policy", "policy.whiten": False},
    "ipvrm": {"prm.loss_type": "prefix", "prm.response_score": "mean", "prm.beta": 10.0}
    | {"prm.margin": 5.0, "prm.difficulty": "both", "prm.prime_norm": "value_std"}
    | {"prm.prm_reference": "policy", "policy.adv_estimator": "grpo", "policy.process_coef": 0.05},
    "zero-2": {"training.zero_stage": 2, "prm.loss_type": "dpo"},
}
# Values that mean something where responses have several turns.
OF_TURNS = {"gigpo", "turn", "turn_mean", "visits"}
# What the formulas make equal to the default, though the settings differ.
EQUAL = {
    # The code's leave-one-out is K / (K - 1) times these two, which whitening divides by.
    "policy.adv_estimator=dr_grpo",
    "policy.adv_estimator=reinforce_pp_baseline",
    # Bounds of what is not done.
    "policy.rejection_level=none",
}
# What made_up_batch sets for all of them.
MADE_UP = {"policy": ("ppo_mini_batch_size", "optimizer")}
LEARNED = ("policy.", "prm.", "value.")
# No training option: how labelled responses train the first PRM has tests of its own.
ELSEWHERE = ("prm.offline.", "policy.lora.", "prm.lora.")


def options() -> dict[str, dict[str, Any]]:
    """Each value of each Literal of the sections of learning, each number, each combination."""
    found: dict[str, dict[str, Any]] = {}
    for key, names in LITERALS.items():
        if key.startswith(LEARNED) and not key.startswith(ELSEWHERE):
            for name in sorted(names):
                option = f"{key}={name}"
                beside = WITH.get(option, WITH.get(key, {}))
                found[option] = beside | {key: name}
    return found | NUMBERS | COMBINED


def run_of(folder: Path, changes: dict[str, Any]) -> RunFiles:
    """A run with two iterations' responses, of which some were cut, some are right."""
    changes = DEFAULT | changes
    if changes.get("prm.path"):
        changes |= {"prm.path": str(save_tiny_model(folder / "prm", seed=1))}
    cut = ["stop"] * (NUM_RESPONSES - 1) + ["length"]
    files = made_up_batch(folder, finish_reasons=cut, **changes)
    if changes.get("prm.path"):
        files.prm(0).unlink()
        files.prm(0).symlink_to(folder / "prm")
    rows = read_table(files.batch(1), BATCH)
    again = rows.assign(outcome=rows["outcome"].to_numpy()[::-1])
    with_greedy = changes.get("policy.adv_estimator") == "remax"
    for iteration, one in enumerate([rows, again], start=1):
        # The greedy response to a prompt is right if the first sampled one is.
        greedy = one.groupby("prompt_id")["outcome"].transform("first")
        table = one.assign(greedy_outcome=greedy) if with_greedy else one
        if "rollout.tree" in changes:  # of each prompt's four samples two fork from the first
            table = table.assign(parent=[-1, 0, 0, -1] * 2, fork=[0, 3, 1, 0] * 2)
        write_table(files.batch(iteration), table, BATCH)
        if OF_TURNS & {value for value in changes.values() if isinstance(value, str)}:
            with_turns(files, iteration)
        make_up_step_values(files, iteration)
    return files


def make_up_step_values(files: RunFiles, iteration: int) -> None:
    """Values of states, as if their responses had been continued; one is not known."""
    settings, batch = open_run(files.root)[0], read_batch(files, iteration)
    if not settings.draws_continuations:
        return
    ends = state_ends(batch, files.policy(0), settings.rollout.step_boundary)
    rows = []
    for row, marks in enumerate(ends):
        places = [place + 1 for place in marks.nonzero().flatten().tolist()]
        values: list[float | None] = [((row + place) % 4) / 4 for place in places]
        values[-1] = None if row == 1 else values[-1]
        rows.append({"step_ends": places, "values": values, "num_continuations": [4] * len(places)})
    table = pd.concat([batch.rows[["prompt_id", "sample"]], pd.DataFrame(rows)], axis=1)
    write_table(files.step_values(iteration), table, STEP_VALUES)


def learn(files: RunFiles) -> RunFiles:
    """Two iterations, stage by stage as the workflow orders them."""
    settings, _ = open_run(files.root)
    update = settings.prm.prm_update
    for iteration in (1, 2):
        updates = [prm.run] if update in ("before", "after") else []
        scores = [] if update == "none" else [score.run]
        order = [*updates, *scores] if update == "before" else [*scores, *updates]
        order = [*([values.run] if settings.has_value_model else []), *order, policy.run]
        for stage in [*order, *([value.run] if settings.has_value_model else [])]:
            stage(files.root, iteration)
    return files


def weights(files: RunFiles) -> torch.Tensor:
    """The policy's after two iterations, and the PRM's where it was updated."""
    folders = [files.weights(model, 2) for model in ("policy", "prm")]
    found = [load_file(one / "model.safetensors") for one in folders if one.is_dir()]
    return torch.cat([values.flatten() for model in found for values in model.values()])


@pytest.fixture(scope="module")
def default(tmp_path_factory) -> torch.Tensor:
    """Weights after two iterations with the settings that options change."""
    from tests.support.one_rank import as_one_rank

    with as_one_rank():
        return weights(learn(run_of(tmp_path_factory.mktemp("default"), {})))


@pytest.mark.parametrize("option", options())
def test_an_option_is_trained_with_and_is_not_the_default(option, tmp_path, default):
    changes = options()[option]
    files = learn(run_of(tmp_path, changes))
    found = [read_json(path) for path in files.root.rglob("metrics/*.json")]
    assert all(torch.tensor(float(one)).isfinite() for figures in found for one in figures.values())
    trained = weights(files)
    assert bool(trained.isfinite().all())
    settings, _ = open_run(files.root)
    same = option in EQUAL or is_default(settings)
    moved = trained.shape != default.shape or float((trained - default).abs().max()) > 1e-6
    assert moved != same, f"{option} trains {'another' if moved else 'the same'} model"
    shutil.rmtree(tmp_path)  # a hundred of them


def is_default(settings: Settings) -> bool:
    """Whether an option is the default by another spelling."""
    usual = parse_settings(DEFAULT | {"policy.max_mismatch_kl": None}, "default")
    sections = ("policy", "prm", "value", "training")
    return all(
        getattr(settings, name)
        == getattr(usual, name).model_copy(
            update={key: getattr(getattr(settings, name), key) for key in MADE_UP.get(name, ())}
        )
        for name in sections
    )
