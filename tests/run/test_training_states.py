"""States that were in memory: written down, or lost, and then their weights go as well."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prime_core.run.layout import TRAINING_STATE, RunFiles
from prime_core.run.state import RunState
from prime_core.run.targets import Targets
from prime_core.run.training_states import StateLost, save_all, save_state
from prime_core.settings.reading import parse_settings
from prime_core.storage import state_memory


def run_of(tmp_path: Path, **changes: Any) -> RunState:
    raw = {"run": "tiny", "results": str(tmp_path / "results"), "iterations": 4}
    return RunState(parse_settings(raw | changes, "test"))


def update(folder: Path, place: Path | None = None, mark: bool = True) -> Path:
    """Weights of an update; place: the memory that has their state."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")
    if place is not None:
        with state_memory.kept_in(place):
            entry = state_memory.entry_of(folder)
            assert entry is not None
            assert state_memory.takes(entry, 0)
            (entry / TRAINING_STATE).mkdir(parents=True)
            (entry / TRAINING_STATE / "moments.pt").write_text("moments")
            state_memory.seal(entry, folder, folder)
    elif mark:
        (folder / state_memory.MARK).write_text("node1\n")
    return folder


def test_a_state_goes_to_disk_once_and_the_mark_goes_away(tmp_path):
    folder = update(RunFiles(tmp_path).policy(1), tmp_path / "memory")
    with state_memory.kept_in(tmp_path / "memory"):
        assert save_state(folder) == len("moments")
        assert save_state(folder) == 0
    assert (folder / TRAINING_STATE / "moments.pt").read_text() == "moments"
    assert not (folder / state_memory.MARK).exists()
    assert [path.name for path in folder.parent.iterdir()] == ["policy"]


def test_a_state_that_is_gone_is_an_error_that_says_where_it_was(tmp_path):
    folder = update(tmp_path / "policy")
    with pytest.raises(StateLost, match="policy: its training state was in the memory of node1"):
        save_state(folder)


def test_weights_whose_state_was_lost_are_removed_and_no_others(tmp_path):
    state = run_of(tmp_path)
    files, memory = state.files, tmp_path / "memory"
    lost, kept = update(files.policy(2)), update(files.prm(2), memory)
    unmarked = update(files.policy(1), mark=False)  # whose state the user has removed
    saved = update(files.prm(1))
    (saved / TRAINING_STATE).mkdir()
    with state_memory.kept_in(memory):
        assert state.remove_lost()
        assert not state.remove_lost()
    assert [path.exists() for path in (lost, kept, unmarked, saved)] == [False, True, True, True]
    # Elsewhere, and where states go to disk, memory is out of reach.
    assert state.remove_lost()
    assert not kept.exists()


def test_the_end_of_an_allocation_writes_down_what_is_in_memory_alone(tmp_path):
    state = run_of(tmp_path)
    lost = update(state.files.prm(1))
    folder = update(state.files.policy(1), tmp_path / "memory")
    with state_memory.kept_in(tmp_path / "memory"):
        save_all(state.settings, state.files)
        assert (folder / TRAINING_STATE).is_dir()
        assert not (lost / TRAINING_STATE).exists()
        state.end()  # what is on disk leaves memory
        assert list(state_memory.entries_below(state.files.root)) == []


def test_an_update_waits_for_the_state_before_it_where_states_are_in_memory(tmp_path):
    state = run_of(tmp_path)
    files = state.files
    second = SimpleNamespace(iteration="0002", model="policy")
    on_disk, in_memory = (Targets(state.settings, files, state, there) for there in (False, True))
    assert on_disk.policy_state(second) == []
    assert in_memory.policy_state(second) == [str(files.metrics(1, "save_state-policy"))]
    assert in_memory.prm_state(second) == [str(files.metrics(1, "save_state-prm"))]
    # What a run begins with was trained by no update.
    assert in_memory.policy_state(SimpleNamespace(iteration="0001")) == []
    last = [str(files.metrics(4, f"save_state-{model}")) for model in ("policy", "prm")]
    assert set(last) <= set(in_memory.iteration(4))
    assert not [path for path in on_disk.all if "save_state" in path]


def test_older_weights_stay_until_the_newer_state_is_on_disk(tmp_path):
    state = run_of(tmp_path, **{"policy.adv_estimator": "gae"})
    targets = Targets(state.settings, state.files, state, states_in_memory=True)

    def before(model: str, iteration: int) -> list[str]:
        return targets.kept_until_saved(SimpleNamespace(model=model, iteration=f"{iteration:04d}"))

    assert before("policy", 2) == [str(state.files.policy(1))]
    assert before("policy", 1) == [str(state.files.policy(0))]
    assert before("value", 1) == []
    # Of a run whose states went to disk before: its older weights are gone.
    (state.files.policy(2) / TRAINING_STATE).mkdir(parents=True)
    assert before("policy", 2) == []
