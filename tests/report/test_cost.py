"""The report's section on cost: what Slurm counted, and what is said where it did not count."""

import html
import os
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from prime_core.report.drawing.drawings import time_unit
from prime_core.report.page import hours
from prime_core.report.tables.cost import COST_COLUMNS, read_cost, stage_rows, total_row
from prime_core.run.costs import Accounts, write_accounts
from prime_core.run.job_records import StageStop, record_controller, record_job, record_stop
from prime_core.run.layout import RunFiles
from prime_core.stages import report
from tests.support.fake_run import make_run, write_benchmark
from tests.support.fake_slurm import BEGIN, add_slurm_jobs, controller, job, job_start


@pytest.fixture
def run_dir(tmp_path):
    """A run of two iterations."""
    return make_run(tmp_path / "run", iterations=2, planned=2, evaluated=(0, 2))


def section_of(run_dir: Path) -> str:
    page = RunFiles(run_dir).report.read_text(encoding="utf-8")
    section = page.partition('<section id="cost">')[2].partition("</section>")[0]
    text = re.sub(r"<svg.*?</svg>|<[^>]*>", " ", section, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


def test_a_run_without_slurm_says_so_in_one_line(run_dir):
    report.run(run_dir)
    assert section_of(run_dir) == (
        "Cost No Slurm job was submitted for this run, so there are no hours to count."
    )
    assert list(pd.read_csv(run_dir / "report" / "cost.csv").columns) == list(COST_COLUMNS)
    assert "GPU-hours in Slurm" not in RunFiles(run_dir).report.read_text()


def test_the_csv_adds_up_to_what_slurm_counted(run_dir):
    accounts = add_slurm_jobs(run_dir, iterations=2)
    report.run(run_dir)
    table = pd.read_csv(run_dir / "report" / "cost.csv")
    for kind in ("gpu", "cpu"):
        held = sum(getattr(s, f"{kind}s") * s.seconds(0) for s in accounts.starts) / 3600
        assert table[f"{kind}_hours"].sum() == pytest.approx(held)
    lost = [s for s in accounts.starts if s.is_lost()]
    assert {s.state for s in lost} == {"OUT_OF_MEMORY", "NODE_FAIL"}
    assert table["lost_gpu_hours"].sum() == pytest.approx(
        sum(s.gpus * s.seconds(0) for s in lost) / 3600
    )
    policy = table[(table["stage"] == "policy") & (table["iteration"] == 2)].iloc[0]
    assert (policy["num_jobs"], policy["num_waits"]) == (2, 2)
    assert policy["waiting_seconds"] == 2 * policy["longest_wait_seconds"]


def test_the_page_shows_every_stage_the_sum_and_the_budget(run_dir):
    settings = yaml.safe_load(RunFiles(run_dir).config.read_text())
    RunFiles(run_dir).config.write_text(yaml.safe_dump(settings | {"max_gpu_hours": 20.0}))
    add_slurm_jobs(run_dir, iterations=2)
    report.run(run_dir)
    table = read_cost(RunFiles(run_dir)).table
    section, total = section_of(run_dir), total_row(table)
    assert f"{hours(total['gpu_hours'])} GPU-hours of 20 (max_gpu_hours)" in section
    assert f"all {total['num_jobs']} {hours(total['gpu_hours'])}" in section
    labels = [row["label"] for row in stage_rows(table)]
    assert labels == ["policy", "sample", "prm", "score", "verify", "select", "controller's job"]
    for label in labels:
        assert f" {label} " in section
    page = RunFiles(run_dir).report.read_text()
    assert f"{hours(total['gpu_hours'])} of 20 GPU-hours in Slurm" in page


def test_an_old_table_is_shown_with_its_date(run_dir):
    accounts = add_slurm_jobs(run_dir, iterations=2, problem="sacct: Connection refused")
    notes = " ".join(read_cost(RunFiles(run_dir)).notes)
    assert "did not answer (sacct: Connection refused)" in notes
    assert "hours are those of 2026-09-2" in notes
    files = RunFiles(run_dir)
    write_accounts(files, replace(accounts, answered=None))
    [note] = read_cost(files).notes
    assert "Slurm keeps no accounting here" in note
    assert "that squeue had shown by 2026-09-2" in note


def test_without_any_hours_the_page_says_why(run_dir):
    files = RunFiles(run_dir)
    record_job(files, job("7", "policy", 2))
    write_accounts(files, Accounts(tried=BEGIN, problem="sacct: accounting storage is disabled"))
    report.run(run_dir)
    section = section_of(run_dir)
    assert "Slurm's accounting has no hours of the run's jobs" in section
    assert "(sacct: accounting storage is disabled)" in section


def test_jobs_of_which_nothing_is_known_are_counted(run_dir):
    accounts = add_slurm_jobs(run_dir, iterations=1)
    record_job(RunFiles(run_dir), job("999", "policy", 2))
    [note] = read_cost(RunFiles(run_dir)).notes
    num_jobs = len({start.job_id for start in accounts.starts})
    assert note == f"Nothing is known of 1 of {num_jobs + 1} jobs."


def test_hours_of_a_cluster_without_gpus_are_those_of_processors(run_dir):
    accounts = add_slurm_jobs(run_dir, iterations=2)
    without = tuple(replace(start, gpus=0) for start in accounts.starts)
    write_accounts(RunFiles(run_dir), replace(accounts, starts=without))
    report.run(run_dir)
    plot = (run_dir / "report" / "plots" / "cost.svg").read_text()
    assert ">CPU-hours<" in plot
    assert ">lost<" in plot
    assert ">GPU-hours<" not in plot


def test_stages_inside_an_allocation_are_found_by_their_benchmark_files(tmp_path):
    run_dir = make_run(tmp_path / "run", iterations=0, evaluated=(), benchmarks=False)
    files = RunFiles(run_dir)
    record_controller(files, controller("allocation", "20", gpus=4))
    record_stop(files, StageStop("policy", 1, "", 300.0, BEGIN + 60 + 3600))
    path = run_dir / "benchmarks" / "iterations" / "0001" / "sample-00.tsv"
    write_benchmark(path, 900.0)

    os.utime(path, (BEGIN + 60 + 1200, BEGIN + 60 + 1200))
    write_accounts(files, Accounts((job_start("20", gpus=4),), BEGIN, BEGIN, "", BEGIN + 9000))
    table = read_cost(files).table.set_index("stage")
    assert table["gpu_hours"].to_dict() == pytest.approx(
        {"idle": 4 * 2400 / 3600, "policy": 4 * 300 / 3600, "sample": 4 * 900 / 3600}, abs=1e-6
    )
    assert table["lost_gpu_hours"].to_dict() == pytest.approx(
        {"idle": 0, "policy": 4 * 300 / 3600, "sample": 0}, abs=1e-6
    )
    assert table["num_jobs"].to_dict() == {"idle": 1, "policy": 0, "sample": 0}
    report.run(run_dir)
    assert "allocation, no finished stage" in section_of(run_dir)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0004, "0"), (0.01254, "0.0125"), (27.0, "27"), (1240.4, "1240")],
)
def test_hours_have_three_digits(value, text):
    assert hours(value) == text


def test_waiting_is_shown_in_a_unit_that_fits():
    assert [time_unit(seconds)[0] for seconds in (0, 179, 7200, 11000)] == ["s", "s", "min", "h"]
