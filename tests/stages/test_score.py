"""Stages that need a reference: at which temperature, and figures of what is there."""

import pytest

from prime_core.run.tables import read_json
from prime_core.stages import policy, score
from tests.support.made_up_batch import NUM_RESPONSES, made_up_batch

pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.mark.parametrize("prm_update", ["none", "after"])
def test_an_untrained_policy_has_no_kl_to_its_reference_at_any_temperature(tmp_path, prm_update):
    settings = {"rollout.temperature": 0.5, "policy.kl_coef": 0.1, "prm.prm_update": prm_update}
    files = made_up_batch(tmp_path, **settings)
    if prm_update == "after":
        score.run(files.root, 1)
    policy.run(files.root, 1)
    figures = read_json(files.metrics(1, "policy"))
    assert figures["actor/kl_reference"] == pytest.approx(0, abs=1e-6)


def test_a_batch_of_wrong_responses_has_no_figures_of_right_ones_and_of_pairs(tmp_path, capsys):
    files = made_up_batch(tmp_path, outcomes=[0.0] * NUM_RESPONSES)
    score.run(files.root, 1)
    figures = read_json(files.metrics(1, "score"))
    assert figures["prm/num_pairs"] == 0
    assert "prm/ranking_accuracy" not in figures
    assert "reward/log_odds_correct" not in figures
    assert figures["reward/log_odds_incorrect"] == 0
    line = "PRM has no pairs to rank, log-odds of incorrect responses +0.000\n"
    assert capsys.readouterr().out.endswith(line)
