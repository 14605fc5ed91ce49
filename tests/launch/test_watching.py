"""A run as it goes: what the console says of it, and when its report is renewed."""

import re
from pathlib import Path

import pytest

from prime_core.launch.watching import watch
from prime_core.launch.watching.lines import iteration_line, result_line, stage_line
from prime_core.launch.watching.watch import RunWatch, renew_report
from prime_core.launch.workflow_output import stage_shell
from prime_core.run.layout import RunFiles
from prime_core.runtime.console import FEW_LINES, IN_WORKFLOW, say
from prime_core.settings.reading import load_settings, parse_settings
from tests.support.fake_run import make_run


class Renewal:
    """`prime report`, which takes as long as one says."""

    def __init__(self):
        self.status = None

    def poll(self):
        return self.status


@pytest.fixture
def clock(monkeypatch):
    """The time, which the test moves on."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(watch.time, "time", lambda: now[0])
    return now


@pytest.fixture
def renewals(monkeypatch, clock):  # noqa: ARG001
    begun: list[Renewal] = []

    def renew(_):
        begun.append(Renewal())
        return begun[-1]

    monkeypatch.setattr(watch, "renew_report", renew)
    return begun


def watched(run: Path) -> tuple[RunWatch, list[str]]:
    lines: list[str] = []
    files = RunFiles(run)
    return RunWatch(load_settings(files.config), files, lines.append), lines


def test_each_iteration_that_ends_has_a_line_and_those_before_the_start_have_none(
    tmp_path, renewals
):
    run = make_run(tmp_path / "run", iterations=1, planned=4, evaluated=())
    one, lines = watched(run)
    one.begin()
    one.look()
    assert lines == []
    make_run(run, iterations=3, planned=4, evaluated=())
    one.look()
    one.look()
    assert re.findall(r"iteration (\d)/4, \d+ % done", "\n".join(lines)) == ["2", "3"]
    assert re.search(r"75 % done, \S+ .*left: ", lines[1])
    assert re.search(r"[\d.]+ % right, \d+ % kept", lines[1])
    assert "PRM ranks" in lines[1]
    assert renewals == []  # the first minute has none


def test_an_iteration_has_ended_with_all_of_its_updates(tmp_path):
    run = make_run(tmp_path / "run", iterations=1, planned=4, evaluated=())
    RunFiles(run).metrics(1, "prm").unlink()
    one, lines = watched(run)
    one.begin()
    one.look()
    assert lines == []


def test_the_report_is_renewed_after_news_one_at_a_time_and_in_a_twentieth_of_the_time(
    tmp_path, clock, renewals
):
    run = make_run(tmp_path / "run", iterations=1, planned=9, evaluated=())
    one, _ = watched(run)
    one.begin()
    clock[0] += 100
    one.look()
    assert renewals == []  # no news
    make_run(run, iterations=1, planned=9, evaluated=(1,))
    one.look()
    assert len(renewals) == 1  # an evaluation
    make_run(run, iterations=2, planned=9, evaluated=(1,))
    clock[0] += 1000
    one.look()
    assert len(renewals) == 1  # it still runs
    clock[0] += 2
    renewals[0].status = 0
    one.look()
    clock[0] += 20 * 1002 - 10
    one.look()
    assert len(renewals) == 1
    clock[0] += 20
    one.look()
    assert len(renewals) == 2


def test_after_the_last_iteration_the_workflows_own_report_comes(tmp_path, clock, renewals):
    run = make_run(tmp_path / "run", iterations=3, planned=4, evaluated=(0,))
    one, lines = watched(run)
    one.begin()
    make_run(run, iterations=4, planned=4, evaluated=(0, 4))
    clock[0] += 1000
    one.look()
    one.end()
    assert "finished" not in "".join(lines), "a part of the workflow"
    RunFiles(run).crate.touch()
    one.end()
    assert renewals == []
    assert "finished in 17 min: accuracy on validation 51.0 % -> 89.0 % [" in lines[-1]
    assert lines[-1].endswith("report.html")


def test_a_long_stage_has_a_line_by_its_bar(tmp_path, clock):
    logs = tmp_path / "logs"
    log = logs / "iterations" / "0003" / "policy.log"
    log.parent.mkdir(parents=True)
    bar = "policy:  45%|####      | 63/140 [00:20<00:25, 3.1step/s]"
    log.write_text(f"loading\n\rpolicy:   0%|      | 0/140 [00:00<?, ?step/s]\r{bar}")
    line = stage_line(log, logs, clock[0]) or ""
    assert line.endswith("  policy 3: 63 of 140, 00:25 left")
    log.write_text("policy: 100%|####| 140/140 [00:20<00:00, 3.1step/s]\nanother line\n")
    assert stage_line(log, logs, clock[0]) is None


def test_a_renewal_writes_page_and_events_and_leaves_the_record_to_the_end(tmp_path):
    run = make_run(tmp_path / "run", iterations=2, planned=4)
    files = RunFiles(run)
    assert renew_report(files).wait() == 0, (run / "logs" / "renewals.log").read_text()
    assert "The run is not finished" in files.report.read_text(encoding="utf-8")
    assert list((run / "report" / "tensorboard").iterdir())
    assert not files.crate.exists()


def test_figures_without_an_estimate_or_an_evaluation_are_said_all_the_same(tmp_path, clock):
    run = make_run(tmp_path / "run", iterations=1, planned=4, evaluated=())
    files = RunFiles(run)
    settings = load_settings(files.config)
    assert " left" not in iteration_line(settings, files, 1, clock[0])
    assert result_line(settings, files, 65.0) == f"finished in 65 s\n{files.report}"


def test_many_jobs_an_iteration_leave_the_console_to_the_iterations_line(monkeypatch, capsys):
    class Workflow:
        class output_settings:
            verbose = False

    few, many = (
        parse_settings({"rollout.num_shards": number}, "test").rollout for number in (2, 8)
    )
    assert FEW_LINES not in stage_shell(Workflow, few)
    assert FEW_LINES in stage_shell(Workflow, many)
    Workflow.output_settings.verbose = True
    assert FEW_LINES not in stage_shell(Workflow, many)
    monkeypatch.setenv(IN_WORKFLOW, "1")
    monkeypatch.setenv(FEW_LINES, "1")
    say("sample 3", of_many=True)
    say("evaluate")
    shown = capsys.readouterr()
    assert shown.out == "evaluate\n"
    assert shown.err == "sample 3\nevaluate\n"
