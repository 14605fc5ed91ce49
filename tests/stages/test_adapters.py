"""Stages that train adapters: SFT, PRM and policy, over two iterations."""

from pathlib import Path

import pytest
import torch

from prime_core.models.load import load_model
from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from prime_core.runtime.interruption import Interrupted
from prime_core.stages import build, policy, prepare, prm, sample, score, select, sft, verify
from prime_core.training import step_checkpoint
from tests.support.interrupted_stages import open_run
from tests.support.workflow_runs import TINY, digests

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_rank")]

LORA = {"rank": 4, "alpha": 8}
SECTIONS = {
    "sft": TINY["sft"] | {"num_steps": 30, "lora": LORA},
    "prm": TINY["prm"] | {"lora": LORA | {"target_modules": ["q_proj", "v_proj"]}},
    "policy": TINY["policy"] | {"lora": LORA, "ppo_mini_batch_size": 9},
}


@pytest.fixture
def files(tmp_path) -> RunFiles:
    """A run after two iterations."""
    files = open_run(tmp_path / "run", **SECTIONS)
    for stage in (build, prepare, sft):
        stage.run(files.root)
    for iteration in (1, 2):
        sample.run(files.root, iteration, 0)
        verify.run(files.root, iteration, 0)
        for learning in (select, score, prm, policy):
            learning.run(files.root, iteration)
    return files


def changed(folder: Path, start: Path) -> set[str]:
    """Names of weights that are not those of the start."""
    weights, first = (load_model(place, "float32").state_dict() for place in (folder, start))
    assert weights.keys() == first.keys()
    return {name for name in first if not torch.equal(weights[name], first[name])}


def test_every_stage_finds_ordinary_models_and_an_interrupted_one_goes_on(files, monkeypatch):
    layers = {"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}
    for folder, start, adapted in (
        (files.policy(0), files.base_model, layers),
        (files.policy(2), files.policy(0), layers),
        (files.prm(2), files.prm(0), {"q_proj", "v_proj"}),
    ):
        names = changed(folder, start)
        assert {name.split(".")[-2] for name in names} == adapted
        assert all(name.endswith(".weight") for name in names)
    assert changed(files.reference, files.policy(0)) == set()
    assert read_json(files.metrics(1, "score"))["reward/implicit_mean"] == 0
    assert read_json(files.metrics(2, "score"))["reward/implicit_mean"] != 0
    assert read_json(files.metrics(2, "policy"))["actor/num_steps"] == 8

    expected = digests(files.root)
    files.policy(2).rename(files.root / "undisturbed")
    answers = iter([False, True])
    monkeypatch.setattr(step_checkpoint, "stop_requested", lambda: next(answers))
    with pytest.raises(Interrupted, match="stopped at step 2 of 4"):
        policy.run(files.root, 2)
    monkeypatch.setattr(step_checkpoint, "stop_requested", lambda: False)
    policy.run(files.root, 2)
    found = digests(files.root)
    assert found.items() >= expected.items()
