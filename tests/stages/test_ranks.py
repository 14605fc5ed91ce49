"""Stages that compute without training share a batch among their ranks."""

from typing import Any

import pandas as pd
import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from tests.support.made_up_batch import made_up_batch
from tests.support.tiny_model import save_tiny_model
from tests.support.two_ranks import run_two_ranks

PPO: dict[str, Any] = {"policy.adv_estimator": "gae"}


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> RunFiles:
    files = made_up_batch(tmp_path_factory.mktemp("batch"), **PPO)
    files.prm(0).unlink()
    save_tiny_model(files.prm(0), seed=7)
    return files


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["score", "values"])
def test_two_ranks_write_what_one_writes(batch, stage):
    from prime_core.stages import score, values

    table = {"score": batch.rewards, "values": batch.values}[stage](1)
    {"score": score, "values": values}[stage].run(batch.root, 1)
    alone, figures = pd.read_parquet(table), read_json(batch.metrics(1, stage))
    table.unlink()
    run_two_ranks("prime_core.cli.main", stage, "--run", str(batch.root), "--iteration", "1")
    # Not to the bit: a pass of fewer sequences adds in another order.
    pd.testing.assert_frame_equal(pd.read_parquet(table), alone, rtol=1e-5, atol=1e-6)
    again = read_json(batch.metrics(1, stage))
    assert figures.keys() == again.keys()
    for key in figures:
        if not key.startswith(("timing_s/", "process/")):
            assert again[key] == pytest.approx(figures[key], rel=1e-4, abs=1e-6), key
