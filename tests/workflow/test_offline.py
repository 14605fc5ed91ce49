"""The whole workflow where the first PRM is trained on labelled responses, and then frozen."""

import json
import re
import shutil

import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.tables import REWARDS, read_json, read_table
from tests.support.workflow_runs import TINY, modified, run, run_well

pytestmark = pytest.mark.slow

RESPONSES = [
    {"prompt": f"{a}+{b}=?", "response": rf"\boxed{{{a + b + off}}}", "outcome": int(off == 0)}
    for a in range(4)
    for b in range(3)
    for off in (0, 1, 2)
]


def test_a_prm_trained_on_a_file_gives_the_rewards_of_a_run_and_is_made_once(tmp_path):
    file = tmp_path / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in RESPONSES))
    offline = {
        "file": str(file),
        "loss_type": "dpo_detached",
        "bon_weight": "bon_acc",
        "mini_batch_size": 9,
        "epochs": 3,
        "optimizer": {"learning_rate": 3e-3},
    }
    settings = TINY | {
        "iterations": 1,
        "sft": {"enabled": False},
        "rollout": TINY["rollout"] | {"num_shards": 1},
        "prm": TINY["prm"] | {"prm_update": "frozen", "offline": offline},
    }
    folder, until = tmp_path / "work", ("--until", "score")
    run_well(folder, *until, settings=settings)
    files = RunFiles(folder / "results" / "tiny")
    figures = read_json(files.setup_metrics("prm_offline"))
    assert figures["prm_offline/num_steps"] == 12
    assert figures["prm_offline/ranking_accuracy"] > 0.8
    rewards = read_table(files.rewards(1), REWARDS)["implicit_reward"]
    assert any(reward.any() for reward in rewards)
    assert not files.prm(1).exists()

    before = modified(files.root)
    run_well(folder, *until, settings=settings)
    assert modified(files.root) == before
    changed = settings | {"prm": settings["prm"] | {"offline": offline | {"epochs": 4}}}
    refused = run(folder, *until, settings=changed)
    assert refused.returncode != 0
    assert "prm.offline.epochs: 3 -> 4" in refused.stdout + refused.stderr
    shutil.rmtree(files.prm(0))
    planned = run_well(folder, *until, "-n", settings=settings)
    _, _, table = planned.partition("\nstage ")
    assert set(re.findall(r"^\w+", table, flags=re.MULTILINE)) >= {"prm_offline", "score"}
    assert not re.search("^(prepare|sft|prm_data|sample)", table, flags=re.MULTILINE)
