"""Updates in an engine that is kept equal those that load what the update before has written."""

import pytest

from tests.support.kept_stages import KEPT, differences, made_up_run, run_updates
from tests.support.two_ranks import TORCHRUN

FLOAT32, BFLOAT16 = {"model.dtype": "float32"}, {"model.dtype": "bfloat16"}
LORA = {"lora": {"rank": 4, "alpha": 8}}


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("policy", {"prm.prm_update": "none"}),
        ("policy", BFLOAT16 | {"prm.prm_update": "none", "training.zero_stage": 2}),
        ("prm", BFLOAT16 | {"training.zero_stage": 1, "training.offload_optimizer": "cpu"}),
        ("prm", {"training.zero_stage": 3}),
        ("policy", {"prm.prm_update": "none", "policy.lora": {"rank": 4, "alpha": 8}}),
    ],
)
def test_three_updates_in_a_kept_engine_are_those_of_three_processes(stage, changes, tmp_path):
    kept, cold = (made_up_run(tmp_path / name, **changes) for name in ("kept", "cold"))
    logs = run_updates(kept, stage, engines=True)
    run_updates(cold, stage, engines=False)
    assert [KEPT in log for log in logs] == [False, True, True]
    assert differences(kept, cold, stage) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "zero_stage", [0, *(pytest.param(stage, marks=pytest.mark.long) for stage in (1, 2)), 3]
)
def test_so_are_those_of_two_ranks(zero_stage, tmp_path):
    changes = {"training.zero_stage": zero_stage}
    kept, cold = (made_up_run(tmp_path / name, **changes) for name in ("kept", "cold"))
    logs = run_updates(kept, "prm", engines=True, launcher=TORCHRUN)
    run_updates(cold, "prm", engines=False, launcher=TORCHRUN)
    assert [KEPT in log for log in logs] == [False, True, True]
    assert differences(kept, cold, "prm") == []
