"""Figures of a run in a tracker: each once, of finished work alone, also after a kill."""

import json
from pathlib import Path
from typing import ClassVar

import click
import pytest

from prime_core.report.points import Point
from prime_core.run.layout import RunFiles
from prime_core.tracking import TRACKERS, track
from tests.support.fake_run import make_run


class Notebook:
    """A tracker that writes down what it is given."""

    settles_after = 0.0
    pages: ClassVar[list[tuple[str, Point]]] = []
    breaks_after = 10_000

    def __init__(self, project, name, id, settings, folder):  # noqa: ARG002
        self.id, self.settings = id, settings

    def log(self, point):
        if len(self.pages) >= self.breaks_after:
            raise KeyboardInterrupt
        self.pages.append((self.id, point))

    def finish(self):
        """Nothing is kept back."""


@pytest.fixture
def notebook(monkeypatch):
    kind = type("Notebook", (Notebook,), {"pages": []})
    monkeypatch.setitem(TRACKERS, "wandb", kind)
    return kind


def send(run: Path) -> None:
    track.run(run, "wandb", "prime", once=True, interval=1)


def test_each_figure_is_sent_once_whatever_is_started_again(tmp_path, notebook):
    run = make_run(tmp_path / "run", iterations=2, evaluated=(0,))
    send(run)
    names = [point.name for _, point in notebook.pages]
    assert names == ["iteration/1", "iteration/2", "evaluation/validation/0"]
    send(run)
    assert len(notebook.pages) == 3
    make_run(run, iterations=3, evaluated=(0, 2))
    send(run)
    assert [point.name for _, point in notebook.pages[3:]] == [
        "iteration/3",
        "evaluation/validation/2",
    ]
    assert len({identity for identity, _ in notebook.pages}) == 1


def test_points_have_the_iterations_figures_and_the_time_of_its_end(tmp_path, notebook):
    run = make_run(tmp_path / "run", iterations=1, evaluated=())
    metrics = RunFiles(run).metrics(1, "policy")
    values = json.loads(metrics.read_text()) | {"process/ended_at": 1.7e9, "process/cpu_seconds": 2}
    metrics.write_text(json.dumps(values))
    send(run)
    ((_, point),) = notebook.pages
    assert (point.iteration, point.time) == (1, 1.7e9)
    assert point.values["process/policy_cpu_seconds"] == 2
    assert point.values["actor/entropy"] == values["actor/entropy"]
    assert "process/ended_at" not in point.values


def test_an_iteration_without_the_prms_update_is_not_sent(tmp_path, notebook):
    run = make_run(tmp_path / "run", iterations=2, evaluated=())
    RunFiles(run).metrics(2, "prm").unlink()
    send(run)
    assert [point.name for _, point in notebook.pages] == ["iteration/1"]


def test_what_may_be_lost_by_a_kill_is_sent_again(tmp_path, notebook):
    run = make_run(tmp_path / "run", iterations=2, evaluated=())
    notebook.settles_after = 1000.0
    sent = track.Sent(run / "tracking" / "wandb.jsonl")
    sent.read()
    sent.add(Point("iteration/1", 1, 0.0, {}))
    sent.settle(1000.0)  # too early: here the process is killed
    with sent.path.open("a") as file:
        file.write('\n{"sent": "itera')
    send(run)
    assert [point.name for _, point in notebook.pages] == ["iteration/1", "iteration/2"]
    assert notebook.pages[0][0] == sent.id
    send(run)
    assert len(notebook.pages) == 2


def test_an_interruption_records_what_was_sent(tmp_path, notebook):
    run = make_run(tmp_path / "run", iterations=3, evaluated=())
    notebook.breaks_after = 2
    with pytest.raises(KeyboardInterrupt):
        send(run)
    notebook.breaks_after = 10
    send(run)
    assert [point.iteration for _, point in notebook.pages] == [1, 2, 3]


def test_a_tracker_that_is_not_installed_or_does_not_open_is_one_sentence(
    tmp_path, notebook, monkeypatch
):
    run = make_run(tmp_path / "run", iterations=1)
    for error, said in (
        (ImportError("no module"), "wandb is not installed: pip install wandb"),
        (RuntimeError("no login\nmore"), "wandb: no login"),
    ):

        def refuse(*_, error=error):
            raise error

        monkeypatch.setitem(TRACKERS, "wandb", refuse)
        with pytest.raises(click.ClickException) as caught:
            send(run)
        assert caught.value.message == said
    assert notebook.pages == []


def test_the_command_offers_each_tracker():
    from prime_core.cli.evaluation import track as command

    (to,) = [one for one in command.params if one.name == "to"]
    assert isinstance(to.type, click.Choice)
    assert list(to.type.choices) == list(TRACKERS)
