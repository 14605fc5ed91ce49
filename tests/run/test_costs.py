"""Hours of jobs told to stages: numbers small enough for paper, then sums that always hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prime_core.run.costs import (
    CONTROLLER,
    GONE,
    HOUR,
    IDLE,
    Accounts,
    Span,
    charges,
    divide,
    gpu_hours,
    read_accounts,
    write_accounts,
)
from prime_core.run.layout import RunFiles
from prime_core.run.stages import Stage
from prime_core.run.tables import TableError
from tests.support.fake_slurm import BEGIN, controller, job, job_start

NOW = BEGIN + 10 * HOUR


def test_a_job_costs_its_gpus_and_processors_for_as_long_as_it_held_them():
    [charge] = charges([job_start("7", gpus=2)], [job("7", "policy", 3)], [], [], NOW)
    assert (charge.iteration, charge.stage, charge.lost) == (3, "policy", False)
    assert (charge.gpu_hours, charge.cpu_hours, charge.waited) == (2.0, 4.0, 60.0)


def test_a_running_job_costs_what_it_held_so_far():
    running = job_start("7", state="RUNNING", ended=None)
    assert gpu_hours([running], BEGIN + 60 + HOUR / 2) == pytest.approx(0.5)
    assert gpu_hours([running], BEGIN) == 0  # another machine's clock is behind
    [charge] = charges([running], [job("7", "policy")], [], [], BEGIN + 60 + HOUR / 2)
    assert not charge.lost


@pytest.mark.parametrize(
    ("state", "exit_status", "lost"),
    [
        ("COMPLETED", 0, False),
        ("FAILED", 1, True),
        ("FAILED", 75, False),
        ("TIMEOUT", 0, True),
        ("NODE_FAIL", 0, True),
        ("CANCELLED", 0, True),
        ("REQUEUED", 0, True),
        ("PREEMPTED", 0, True),
        ("OUT_OF_MEMORY", 137, True),
        (GONE, 0, False),
    ],
)
def test_jobs_that_end_otherwise_than_well_are_lost(state, exit_status, lost):
    start = job_start("7", state=state, exit_status=exit_status)
    [charge] = charges([start], [job("7", "policy")], [], [], NOW)
    assert charge.lost is lost


def test_a_requeued_job_waits_twice_and_loses_its_first_start():
    first = job_start("7", state="REQUEUED", ended=BEGIN + 600)
    times = {"submitted": BEGIN + 600, "eligible": BEGIN + 720, "started": BEGIN + 900}
    again = job_start("7", **times, ended=BEGIN + 900 + HOUR)
    found = charges([first, again], [job("7", "policy")], [], [], NOW)
    assert [(charge.lost, charge.waited) for charge in found] == [(True, 60), (False, 180)]


def test_work_that_was_done_again_later_is_lost():
    jobs = [job("7", "sample", part="00"), job("8", "sample", part="01"), job("9", "sample")]
    jobs.append(job("10", "sample", part="00"))
    later = {"started": BEGIN + 2 * HOUR, "ended": BEGIN + 3 * HOUR}
    starts = [job_start("7"), job_start("8"), job_start("9"), job_start("10", **later)]
    lost = {charge.job_id: charge.lost for charge in charges(starts, jobs, [], [], NOW)}
    assert lost == {"7": True, "8": False, "9": False, "10": False}
    # A second try that fails makes nothing again.
    starts[-1] = job_start("10", **later, state="FAILED", exit_status=1)
    lost = {charge.job_id: charge.lost for charge in charges(starts, jobs, [], [], NOW)}
    assert lost == {"7": False, "8": False, "9": False, "10": True}


def test_work_that_an_allocation_did_again_is_lost():
    allocation = job_start("20", started=BEGIN + 2 * HOUR, ended=BEGIN + 3 * HOUR)
    again = Span(Stage(1, "policy", ""), BEGIN + 2.1 * HOUR, BEGIN + 2.5 * HOUR)
    found = charges(
        [job_start("7"), allocation],
        [job("7", "policy")],
        [controller("allocation", "20", gpus=1)],
        [again],
        NOW,
    )
    assert [charge.lost for charge in found if charge.job_id == "7"] == [True]


def test_a_jobs_own_benchmark_file_is_no_second_making():
    # Its time is that of the file server, whose clock may be ahead.
    own = Span(Stage(1, "policy", ""), BEGIN + 60, BEGIN + HOUR + 90)
    [charge] = charges([job_start("7")], [job("7", "policy")], [], [own], NOW)
    assert not charge.lost


def test_a_job_of_several_stages_is_told_to_them_in_equal_parts():
    found = charges([job_start("7")], [job("7", "score"), job("7", "prm")], [], [], NOW)
    assert [(charge.stage, charge.gpu_hours) for charge in found] == [("score", 0.5), ("prm", 0.5)]


def test_the_controllers_job_is_its_own_and_nothing_of_it_is_lost():
    starts = [job_start("1", gpus=0, state="REQUEUED"), job_start("1", gpus=0, state="CANCELLED")]
    found = charges(starts, [], [controller("slurm", "1"), controller("slurm", "1")], [], NOW)
    assert [(charge.stage, charge.lost, charge.cpu_hours) for charge in found] == [
        (CONTROLLER, False, 4.0),
        (CONTROLLER, False, 4.0),
    ]


def test_an_allocation_is_cut_up_among_the_stages_that_ran_in_it():
    begin = BEGIN + 60  # when it started, for an hour
    spans = [
        Span(Stage(1, "sample", "00"), begin + 600, begin + 1800),
        Span(Stage(1, "sample", "01"), begin + 600, begin + 1800),
        Span(Stage(1, "verify", "00"), begin + 1200, begin + 2400),
        Span(Stage(1, "policy", ""), begin - 900, begin - 300),  # before it began
    ]
    found = charges(
        [job_start("20", gpus=4)], [], [controller("allocation", "20", gpus=4)], spans, NOW
    )
    hours = {(charge.stage, charge.job_id): charge.gpu_hours for charge in found}
    # 600 s alone, then 600 s of three at once, then 600 s alone.
    assert hours == pytest.approx(
        {
            (IDLE, "20"): 4 * (600 + 1200) / HOUR,
            ("sample", ""): 4 * (600 + 400) / HOUR,
            ("verify", ""): 4 * (200 + 600) / HOUR,
        }
    )
    assert [charge.waited for charge in found] == [60, None, None]
    assert not any(charge.lost for charge in found)


def test_an_allocation_that_still_waits_costs_nothing():
    waiting = job_start("20", state="PENDING", started=None, ended=None)
    assert charges([waiting], [], [controller("allocation", "20")], [], NOW) == []


@given(st.lists(st.tuples(st.floats(-50, 150), st.floats(0, 80), st.sampled_from("abc"))))
def test_parts_of_an_allocation_add_up_to_the_whole(times):
    spans = [Span(Stage(1, stage, ""), began, began + length) for began, length, stage in times]
    parts = divide(0.0, 100.0, spans)
    assert sum(parts.values()) == pytest.approx(100.0)
    assert min(parts.values()) >= -1e-9


def test_accounts_are_read_as_they_were_written(tmp_path):
    files = RunFiles(tmp_path)
    assert read_accounts(files) == Accounts()
    accounts = Accounts((job_start("7"), job_start("8", ended=None)), 1.5, 2.5, "no answer", 2.5)
    write_accounts(files, accounts)
    assert read_accounts(files) == accounts
    files.accounting.write_text("{")
    with pytest.raises(TableError, match=r"slurm/accounting\.json: not readable as JSON"):
        read_accounts(files)
