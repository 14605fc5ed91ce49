"""What a stage keeps of its steps: used where it fits, discarded where not."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prime_core.run.input_digest import input_digest
from prime_core.run.layout import TRAINING_STATE, unfinished_folder
from prime_core.runtime.interruption import Interrupted
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.settings.reading import parse_settings
from prime_core.training import state_files, step_checkpoint
from prime_core.training.step_checkpoint import StepCheckpoint
from prime_core.training.universal import NoRoom
from tests.support.training_steps import difference, run_steps, trainer_of, weights_of

PLAN = [[0, 1, 2], [3, 4], [5, 6], [0, 6], [1, 5]]


class Update:
    """Steps on the tiny model; figures: each step's gradient norm, a tensor, sums."""

    zero_stage = 0

    def __init__(self, state: Path | None) -> None:
        self.trainer = trainer_of(self.zero_stage)
        if state is not None:
            self.trainer.load_state(state)
        self.figures: dict[str, Any] = {"norms": [], "drawn": torch.zeros(0), "sums": {}}

    def step(self, rows: list[int]) -> None:
        self.figures["norms"] += run_steps(self.trainer, [rows])
        self.figures["drawn"] = torch.cat([self.figures["drawn"], torch.rand(1)])
        self.figures["sums"]["rows"] = self.figures["sums"].get("rows", 0) + len(rows)


class Place:
    """An output, its inputs and settings."""

    def __init__(self, folder: Path) -> None:
        self.output, self.input = folder / "policy", folder / "batch.parquet"
        self.input.write_text("rows")
        self.settings: dict[str, Any] = {}
        self.watch = Stopwatch()

    @property
    def kept(self) -> Path:
        return unfinished_folder(self.output)

    def start(self) -> Update:
        """All steps that are left."""
        self.watch = Stopwatch()
        settings = parse_settings(self.settings, "test")
        steps = StepCheckpoint(self.output, [self.input], settings, self.watch)
        torch.manual_seed(0)
        update = steps.resume(Update)
        with steps.until_output(), self.watch.part("train"):
            steps.take_steps(update, PLAN, "policy")
        return update


@pytest.fixture
def place(tmp_path, one_rank):  # noqa: ARG001
    return Place(tmp_path)


@pytest.fixture
def stop_after(monkeypatch):
    """Asks for a stop after so many steps; None: never."""

    def ask(num_steps: int | None) -> None:
        answers = iter([False] * ((num_steps or 99) - 1) + [True])
        monkeypatch.setattr(step_checkpoint, "stop_requested", lambda: next(answers))

    return ask


@pytest.fixture
def interrupted(place, stop_after):
    """Stopped after two of five steps."""
    stop_after(2)
    with pytest.raises(Interrupted, match="stopped at step 2 of 5; the next start resumes"):
        place.start()
    stop_after(None)
    return place


@pytest.fixture
def undisturbed(tmp_path, one_rank) -> Update:  # noqa: ARG001
    (tmp_path / "undisturbed").mkdir()
    return Place(tmp_path / "undisturbed").start()


def assert_same(update: Update, other: Update) -> None:
    assert difference(weights_of(update.trainer), weights_of(other.trainer)) == 0
    assert update.figures["norms"] == other.figures["norms"]
    assert torch.equal(update.figures["drawn"], other.figures["drawn"])
    assert update.figures["sums"] == other.figures["sums"]


def assert_from_the_first_step(place: Place, undisturbed: Update, capsys, why: str) -> None:
    assert_same(place.start(), undisturbed)
    said = capsys.readouterr().err
    assert f"{place.kept} is discarded: {why}" in said
    assert "; starting from the first step\n" in said
    assert "going on" not in said


def test_steps_that_were_stopped_twice_are_those_of_an_undisturbed_start(
    interrupted, stop_after, undisturbed, capsys
):
    stop_after(1)
    with pytest.raises(Interrupted, match="stopped at step 3 of 5"):
        interrupted.start()
    stop_after(None)
    assert_same(interrupted.start(), undisturbed)
    assert f"{interrupted.kept}: resuming after step 3\n" in capsys.readouterr().err
    assert not interrupted.kept.exists()


def test_seconds_are_those_of_all_starts(interrupted):
    about = json.loads((interrupted.kept / "about.json").read_text())
    about["seconds"] = {"timing_s/train": 1000.0, "timing_s/old_logprobs": 5.0}
    (interrupted.kept / "about.json").write_text(json.dumps(about))
    interrupted.start()
    assert 1000 < interrupted.watch.seconds["timing_s/train"] < 1100
    assert interrupted.watch.seconds["timing_s/old_logprobs"] == 5.0


def test_a_request_after_the_last_step_changes_nothing(place, stop_after, undisturbed):
    stop_after(5)
    assert_same(place.start(), undisturbed)
    assert not place.kept.exists()


def test_nothing_is_said_where_nothing_was_kept(place, capsys):
    place.start()
    assert "going on" not in (said := capsys.readouterr().err)
    assert "discarded" not in said


def test_other_inputs_are_noticed(interrupted, undisturbed, capsys):
    interrupted.input.write_text("others")
    assert_from_the_first_step(
        interrupted, undisturbed, capsys, "it is of other settings or inputs"
    )


def test_other_settings_are_noticed_and_those_without_influence_are_not(
    interrupted, undisturbed, capsys
):
    interrupted.settings = {"policy.eps_clip": 0.1}
    assert_from_the_first_step(
        interrupted, undisturbed, capsys, "it is of other settings or inputs"
    )


def test_settings_without_influence_may_change(interrupted, undisturbed, capsys):
    interrupted.settings = {
        "iterations": 99,
        "policy.micro_batch_size": 3,
        "training.gradient_checkpointing": True,
        "run": "moved",
    }
    assert_same(interrupted.start(), undisturbed)
    assert "resuming after step 2" in capsys.readouterr().err


def test_figures_of_two_ranks_go_on_in_one(interrupted, undisturbed, capsys):
    figures = torch.load(interrupted.kept / "figures-0.pt")
    torch.save(figures | {"sums": {"rows": 3}}, interrupted.kept / "figures-0.pt")
    torch.save(figures | {"sums": {"rows": 2}}, interrupted.kept / "figures-1.pt")
    about = json.loads((interrupted.kept / "about.json").read_text())
    about |= {"num_ranks": 2, "files": step_checkpoint._files(interrupted.kept)}
    (interrupted.kept / "about.json").write_text(json.dumps(about))
    assert_same(interrupted.start(), undisturbed)
    assert "resuming after step 2" in capsys.readouterr().err


def test_sums_of_other_ranks_are_added_once():
    parts = [{"sums": {"rows": 3.0}}, {"sums": {"rows": 2.0, "clipped": 0.5}}]
    assert step_checkpoint.redistributed_sums(parts, 0) == {"clipped": 0.5, "rows": 5.0}
    assert step_checkpoint.redistributed_sums(parts, 1) == {"clipped": 0.0, "rows": 0.0}


def test_a_conversion_without_room_stops_the_stage_and_keeps_everything(
    interrupted, undisturbed, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Update, "zero_stage", 1)
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
        with pytest.raises(NoRoom, match=r"no room to convert .* are free; make room, or"):
            interrupted.start()
    assert_same(interrupted.start(), undisturbed)


@pytest.mark.parametrize("name", ["about.json", "figures-0.pt", TRAINING_STATE])
def test_a_part_that_is_missing_is_noticed(interrupted, undisturbed, capsys, name):
    part = interrupted.kept / name
    for file in list(part.rglob("*.pt")) or [part]:
        file.unlink()
    assert_from_the_first_step(interrupted, undisturbed, capsys, "it is damaged")


def test_a_truncated_file_is_noticed(interrupted, undisturbed, capsys):
    state = max(interrupted.kept.rglob("*.pt"), key=lambda path: path.stat().st_size)
    state.write_bytes(state.read_bytes()[:-100])
    assert_from_the_first_step(interrupted, undisturbed, capsys, "it is damaged")


def test_a_file_of_the_right_size_with_other_bytes_is_noticed(interrupted, undisturbed, capsys):
    for state in interrupted.kept.rglob("*.pt"):
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
    assert_from_the_first_step(interrupted, undisturbed, capsys, "it is damaged")


def test_a_file_that_does_not_load_is_noticed(interrupted, undisturbed, capsys):
    for state in interrupted.kept.rglob("*.pt"):
        state.write_bytes(b"\0" * state.stat().st_size)
    about = json.loads((interrupted.kept / "about.json").read_text())
    state_files.write_record(interrupted.kept / TRAINING_STATE, interrupted.kept)
    about |= {"files": step_checkpoint._files(interrupted.kept)}
    (interrupted.kept / "about.json").write_text(json.dumps(about))
    assert_from_the_first_step(interrupted, undisturbed, capsys, "it does not load (")


def test_what_was_kept_stays_when_a_fresh_start_fails_as_well(interrupted, monkeypatch):
    monkeypatch.setattr(Update, "__init__", lambda self, _: self.no_such_memory)
    with pytest.raises(AttributeError, match="no_such_memory"):
        interrupted.start()
    monkeypatch.undo()
    assert interrupted.start().figures["sums"]["rows"] == sum(map(len, PLAN))


def test_checkpoints_come_by_the_clock_and_0_means_none(place, monkeypatch):
    saved = []
    monkeypatch.setattr(StepCheckpoint, "_save", lambda self, _: saved.append(self.num_done))
    place.settings = {"training.checkpoint_minutes": 0}
    place.start()
    assert saved == []
    place.settings = {"training.checkpoint_minutes": 1e-9}
    place.start()
    assert saved == [1, 2, 3, 4]  # the fifth is the output itself


def test_a_checkpoint_replaces_the_one_before_and_leaves_nothing_else(interrupted, stop_after):
    stop_after(1)
    with pytest.raises(Interrupted):
        interrupted.start()
    names = {path.name for path in interrupted.output.parent.iterdir()}
    assert names == {".policy.unfinished", "batch.parquet"}
    assert json.loads((interrupted.kept / "about.json").read_text())["num_done"] == 3


def test_a_digest_tells_contents_apart_not_places(tmp_path):
    settings = parse_settings({}, "test")

    def digest(name: str, contents: bytes) -> str:
        folder = tmp_path / name
        (folder / "training_state").mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_bytes(contents)
        (folder / "training_state" / "ignored").write_text(name)
        return input_digest(settings, [folder, folder / "weights"])

    large = bytearray(200 << 20)
    first = digest("one", bytes(large))
    assert digest("two", bytes(large)) == first
    large[-1] = 1
    assert digest("two", bytes(large)) != first
    assert digest("two", b"") != digest("two", b"0")
