"""Killed at each point between an update and its state on disk, stages end with the same bits."""

import pytest

from prime_core.run.layout import TRAINING_STATE
from prime_core.run.training_states import save_state
from prime_core.storage import state_memory
from tests.support.interrupted_stages import (
    QUICK,
    TWO_FORKS,
    TWO_RANKS,
    change_settings,
    copy_without,
    finished_run,
    kill_at_points,
    outputs,
    run,
    same_result,
)

POINTS = (
    "policy prime_core.storage.state_memory:seal:1",  # complete in memory, under another name
    "policy prime_core.run.atomic:_replace_folder:1",  # in memory, without its weights
    "policy prime_core.run.atomic:_replace_folder:2",  # with its weights, without figures
    "save_state prime_core.storage.state_memory:copy:1",  # on disk, under another name
    "save_state prime_core.run.atomic:_replace_folder:1",  # on disk, the weights still marked
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("finished") / "tiny", **QUICK)


@pytest.mark.slow
def test_a_kill_anywhere_between_an_update_and_its_state_on_disk_changes_no_bit(finished, tmp_path):
    before = copy_without(finished, "policy", tmp_path / "before")
    for files in kill_at_points(before, POINTS, tmp_path / "killed"):
        same_result(files, finished, "policy")
        folder = outputs(files, "policy")[0]
        assert (folder / TRAINING_STATE).is_dir()
        assert not (folder / state_memory.MARK).exists()


@pytest.mark.slow
def test_each_of_two_ranks_writes_its_part_into_memory(finished, tmp_path):
    memory = {state_memory.PLACE: str(tmp_path / "memory")}
    runs = [copy_without(finished, "policy", tmp_path / name) for name in ("disk", "here")]
    for files, launcher, where in zip(runs, (TWO_RANKS, TWO_FORKS), ({}, memory), strict=True):
        change_settings(files, training={"zero_stage": 2})
        run(files, "policy", launcher, **where)
    on_disk, in_memory = runs
    assert not (in_memory.policy(1) / TRAINING_STATE).exists()
    (entry,) = (tmp_path / "memory").iterdir()
    assert len(list(entry.rglob("*zero_pp_rank_*"))) == 2
    with state_memory.kept_in(tmp_path / "memory"):
        assert save_state(in_memory.policy(1)) > 0
    same_result(in_memory, on_disk, "policy")
