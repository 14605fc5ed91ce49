"""Each option of the policy's loss and rewards through the stage, on a real trainer."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prime_core.mismatch import AllRejected
from prime_core.run.layout import RunFiles
from prime_core.run.records import TableError
from prime_core.run.tables import BATCH, read_json, read_table, write_table
from prime_core.stages import policy
from prime_core.training.learning_batch import read_batch
from tests.support.made_up_batch import NUM_RESPONSES, made_up_batch

pytestmark = pytest.mark.usefixtures("one_rank")

# Two steps: before the first, all losses have the ratio 1 and so the same gradient.
TWO_STEPS: dict[str, Any] = {
    "ppo_epochs": 2,
    "optimizer": {"learning_rate": 1e-3, "grad_clip": 1e9},
}
GSPO: dict[str, Any] = {"loss_mode": "gspo", "eps_clip": 3e-4, "eps_clip_high": 4e-4}
CISPO: dict[str, Any] = {"loss_mode": "cispo", "eps_clip": 0.01}
RESPONSE_MEAN: dict[str, Any] = {"loss_agg_mode": "seq-mean-token-mean"}
WITH_KL: dict[str, Any] = {"kl_coef": 0.5}


def update(folder, batch: dict[str, Any] | None = None, **changes):
    """One policy update with changed settings of its section; returns the run's files."""
    policy_changes = {f"policy.{key}": value for key, value in changes.items()}
    files = made_up_batch(folder, **{"prm.prm_update": "none"} | policy_changes | (batch or {}))
    policy.run(files.root, 1)
    return files


def figures(files, iteration=1):
    found = read_json(files.metrics(iteration, "policy"))
    assert all(torch.tensor(float(value)).isfinite() for value in found.values())
    return found


def weights(files):
    return torch.cat(
        [values.flatten() for values in load_file(files.policy(1) / "model.safetensors").values()]
    )


def test_another_loss_trains_another_policy_whatever_the_micro_batch(tmp_path):
    plain = update(tmp_path / "vanilla", **TWO_STEPS, **RESPONSE_MEAN)
    for loss in (GSPO, CISPO):
        changes = TWO_STEPS | RESPONSE_MEAN | loss
        runs = [
            update(tmp_path / f"{loss['loss_mode']}-{size}", **changes, micro_batch_size=size)
            for size in (3, NUM_RESPONSES)
        ]
        norms = [figures(run)["actor/grad_norm"] for run in runs]
        assert norms[0] == pytest.approx(norms[1], rel=1e-4)
        assert norms[0] != pytest.approx(figures(plain)["actor/grad_norm"], rel=1e-4)
        torch.testing.assert_close(weights(runs[0]), weights(runs[1]), rtol=0, atol=5e-5)
        assert figures(runs[0])["actor/clip_fraction"] > figures(plain)["actor/clip_fraction"]


@pytest.mark.parametrize("adv_estimator", ["opo", "reinforce_pp_baseline"])
def test_another_estimator_trains_another_policy(adv_estimator, tmp_path):
    # Not dr_grpo whitened: opo weighs responses by length, the other whitens in spite of `whiten`.
    runs = [
        update(tmp_path / name, adv_estimator=name, whiten=False)
        for name in ("dr_grpo", adv_estimator)
    ]
    means = [figures(run)["advantage/mean"] for run in runs]
    assert means[0] != pytest.approx(means[1], abs=1e-4)


def test_a_response_near_the_limit_is_worth_less_to_the_policy_alone(tmp_path):
    changes = {"adv_estimator": "reinforce", "whiten": False}
    limit = {"rollout.max_response_length": 9}
    runs = [
        update(tmp_path / str(length), limit, **changes, overlong_buffer_len=length)
        for length in (0, 4)
    ]
    before, after = (figures(run)["return/mean"] for run in runs)
    batch = read_batch(runs[1], 1)
    lengths = batch.mask.sum(1).tolist()
    lost = sum(length * max(length - 5, 0) / 4 for length in lengths) / sum(lengths)
    assert after == pytest.approx(before - lost, rel=1e-5)
    assert set(batch.outcome.tolist()) == {0, 1}  # the table keeps the outcomes


def test_truncated_responses_stay_in_the_statistics_and_leave_the_loss(tmp_path):
    reasons = {"finish_reasons": ["length", *["stop"] * 6, "length"]}
    kept, masked = (
        update(tmp_path / str(mask), reasons, mask_truncated=mask) for mask in (False, True)
    )
    assert figures(masked)["actor/truncated_share"] == 0.25
    for name in ("advantage/mean", "advantage/std", "return/mean"):
        assert figures(masked)[name] == figures(kept)[name]
    assert figures(masked)["actor/grad_norm"] != pytest.approx(figures(kept)["actor/grad_norm"])


def test_a_batch_of_truncated_responses_alone_ends_the_stage_and_leaves_no_policy(tmp_path):
    reasons = {"finish_reasons": ["length"] * NUM_RESPONSES}
    with pytest.raises(AllRejected, match=r"policy.mask_truncated leaves none of 8 responses"):
        update(tmp_path, reasons, mask_truncated=True)
    assert not RunFiles(tmp_path / "made-up").policy(1).exists()


def moved_reference(folder, **changes):
    """An update whose policy is not its reference: that of a second iteration."""
    files = update(folder, **changes)
    write_table(files.batch(2), read_table(files.batch(1), BATCH), BATCH)
    policy.run(files.root, 2)
    return files


def test_the_kl_moves_from_the_loss_to_the_reward(tmp_path):
    in_loss, in_reward = (
        moved_reference(tmp_path / str(where), **WITH_KL, kl_in_reward=where, whiten=False)
        for where in (False, True)
    )
    # Both policies are their reference at first, so there is no penalty yet.
    first, second = figures(in_reward, 1), figures(in_reward, 2)
    assert first["actor/kl_batch"] == pytest.approx(0, abs=1e-5)
    assert second["actor/kl_coef"] == 0.5
    assert abs(second["actor/kl_batch"]) > 1e-3
    assert "actor/kl_batch" not in figures(in_loss, 2)
    assert second["advantage/std"] != pytest.approx(figures(in_loss, 2)["advantage/std"], rel=1e-3)


def test_the_adaptive_weight_is_carried_from_one_iteration_to_the_next(tmp_path):
    files = moved_reference(
        tmp_path, **WITH_KL, kl_controller="adaptive", target_kl=0.01, kl_horizon=80
    )
    first, second = figures(files, 1), figures(files, 2)
    assert first["actor/kl_coef"] == 0.5
    # No KL yet: the relative error -1 is held at -0.2, for 8 responses of 80.
    assert first["actor/kl_coef_next"] == pytest.approx(0.5 * (1 - 0.2 * 8 / 80))
    assert second["actor/kl_coef"] == first["actor/kl_coef_next"]


def test_figures_of_another_update_are_refused_where_they_hold_the_adaptive_weight(tmp_path):
    files = moved_reference(
        tmp_path, **WITH_KL, kl_controller="adaptive", target_kl=0.01, kl_horizon=80
    )
    write_table(files.batch(3), read_table(files.batch(1), BATCH), BATCH)
    files.metrics(2, "policy").write_bytes(files.metrics(1, "policy").read_bytes())
    with pytest.raises(TableError, match=r"0002/metrics/policy.json: actor/kl_coef_next is 0\.49"):
        policy.run(files.root, 3)
