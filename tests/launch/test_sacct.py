"""What sacct and squeue of Slurm 22.05 printed, read."""

import os
import time
from itertools import starmap

import pytest

from prime_core.launch.accounting.sacct import (
    _SQUEUE,
    gres_gpus,
    parse_sacct,
    parse_squeue,
    remembered,
    tres_count,
)
from prime_core.launch.slurm import commands as slurm

# Two GPUs done; exit 1; exit 75; requeued, then running; cancelled; cancelled in the queue; two
# nodes done; waiting for another job.
SACCT = """\
1|COMPLETED|0:0|1795198396|1795198396|1795198397|1795198401|1440|billing=2,cpu=2,gres/gpu:h100=2,gres/gpu=2,mem=1000M,node=1|prime_demo_0a1b2c3d
2|FAILED|1:0|1795198396|1795198396|1795198397|1795198399|1|billing=1,cpu=1,gres/gpu:h100=1,gres/gpu=1,mem=500M,node=1|prime_demo_0a1b2c3d
3|FAILED|75:0|1795198396|1795198396|1795198397|1795198399|1440|billing=1,cpu=1,gres/gpu:h100=1,gres/gpu=1,mem=500M,node=1|prime_demo_0a1b2c3d
4|REQUEUED|0:0|1795198396|1795198396|1795198397|1795198399|Partition_Limit|billing=1,cpu=1,gres/gpu:h100=1,gres/gpu=1,mem=500M,node=1|prime_demo_0a1b2c3d
5|CANCELLED by 0|0:0|1795198396|1795198396|1795198397|1795198399|1440|billing=1,cpu=1,gres/gpu:h100=1,gres/gpu=1,mem=500M,node=1|prime_demo_0a1b2c3d
6|CANCELLED by 0|0:0|1795198396|1795201996|1795198399|1795198399|Partition_Limit||prime_demo_0a1b2c3d
7|COMPLETED|0:0|1795198396|1795198396|1795198399|1795198402|1440|billing=2,cpu=2,gres/gpu:h100=4,gres/gpu=4,mem=1000M,node=2|prime_demo_0a1b2c3d
8|PENDING|0:0|1795198396|Unknown|Unknown|Unknown|Partition_Limit||prime_demo_0a1b2c3d
4|RUNNING|0:0|1795198400|1795198409|1795198409|Unknown|1440|billing=1,cpu=1,gres/gpu:h100=1,gres/gpu=1,mem=500M,node=1|prime_demo_0a1b2c3d
"""  # noqa: E501
# The same jobs, 16 s later; columns are as wide as they were asked for.
SQUEUE = """\
8|PENDING|0|1795198396|N/A|N/A|N/A|1-00:00:00|1|N/A|cpu=1,mem=500M,node=1,billing=1
5|CANCELLED|36608|1795198396|1795198396|1795198397|1795198399|1-00:00:00|1|gres:gpu:1|cpu=1,mem=500M,node=1,billing=1,gres/gpu=1,gres/gpu:h100=1
6|CANCELLED|0|1795198396|1795201996|1795198399|1795198399|1-00:00:00|2|gres:gpu:4|cpu=16,mem=8000M,node=2,billing=16,gres/gpu=8
1|COMPLETED|0|1795198396|1795198396|1795198397|1795198401|1-00:00:00|1|gres:gpu:h100:2|cpu=2,mem=1000M,node=1,billing=2,gres/gpu=2,gres/gpu:h100=2
7|COMPLETED|0|1795198396|1795198396|1795198399|1795198402|1-00:00:00|2|gres:gpu:2|cpu=2,mem=1000M,node=2,billing=2
2|FAILED|256|1795198396|1795198396|1795198397|1795198399|1:00|1|gres:gpu:1|cpu=1,mem=500M,node=1,billing=1,gres/gpu=1,gres/gpu:h100=1
3|FAILED|19200|1795198396|1795198396|1795198397|1795198399|1-00:00:00|1|gres:gpu:1|cpu=1,mem=500M,node=1,billing=1,gres/gpu=1,gres/gpu:h100=1
4|RUNNING|0|1795198400|1795198409|1795198409|1795284809|1-00:00:00|1|gres:gpu:1|cpu=1,mem=500M,node=1,billing=1,gres/gpu=1,gres/gpu:h100=1
"""
NOW = 1795198412.0


def test_every_start_of_a_job_has_its_own_seconds_and_gpus():
    starts = parse_sacct(SACCT)
    assert [(s.job_id, s.gpus, s.seconds(NOW)) for s in starts if s.started] == [
        ("1", 2, 4),
        ("2", 1, 2),
        ("3", 1, 2),
        ("4", 1, 2),
        ("5", 1, 2),
        ("7", 4, 3),
        ("4", 1, 3),
    ]
    assert {s.name for s in starts} == {"prime_demo_0a1b2c3d"}
    assert [s.limit for s in starts[:4]] == [86400, 60, 86400, None]


def test_lost_is_what_failed_timed_out_was_cancelled_or_requeued():
    lost = [s.state for s in parse_sacct(SACCT) if s.is_lost() and s.seconds(NOW)]
    # Exit status 75 is a stage that stopped cleanly.
    assert lost == ["FAILED", "REQUEUED", "CANCELLED"]


def test_jobs_that_did_not_start_waited_for_nothing_and_held_nothing():
    starts = {s.job_id: s for s in parse_sacct(SACCT)}
    for job_id in ("6", "8"):
        assert starts[job_id].started is None
        assert starts[job_id].waited() is None
        assert starts[job_id].seconds(NOW) == 0
    assert starts["7"].waited() == 3
    # A requeued job may start only some time after it was put back.
    assert starts["4"].waited() == 0


def test_squeue_tells_the_same_of_jobs_that_it_remembers():
    widths = _SQUEUE.values()
    lines = [[*line.split("|"), "prime_demo_0a1b2c3d"] for line in SQUEUE.splitlines()]
    text = "\n".join("".join(starmap(str.ljust, zip(line, widths, strict=True))) for line in lines)
    queued = {s.job_id: s for s in parse_squeue(text)}
    for told in parse_sacct(SACCT):
        if told.state == "REQUEUED":  # squeue has the latest start only
            continue
        seen = queued[told.job_id]
        assert seen.name == told.name
        assert seen.state == told.state
        assert (seen.submitted, seen.started) == (told.submitted, told.started)
        assert seen.seconds(NOW) == told.seconds(NOW)
        if told.started is not None:
            assert (seen.gpus, seen.cpus, seen.limit) == (told.gpus, told.cpus, told.limit)
            assert seen.is_lost() == told.is_lost()


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("billing=2,cpu=2,gres/gpu:h100=2,gres/gpu=2,mem=4G,node=1", 2),
        ("cpu=2,gres/gpu:a100=1,gres/gpu:h100=2", 3),
        ("cpu=2,gres/gpu=8,mem=4G", 8),
        ("cpu=2,mem=4G,gres/gpumem=40G", 0),
        ("", 0),
    ],
)
def test_typed_gpus_are_not_counted_beside_their_sum(text, gpus):
    assert tres_count(text, "gres/gpu") == gpus


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("gres:gpu:h100:2", 2),
        ("gres/gpu:1", 1),
        ("gres/gpu=2", 2),
        ("gres:gpu", 1),
        ("gpu:4(S:0-1)", 4),
        ("gres:shard:3", 0),
        ("N/A", 0),
    ],
)
def test_gpus_of_a_request(text, gpus):
    assert gres_gpus(text) == gpus


def test_times_may_also_be_local_ones(monkeypatch):
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        text = SACCT.splitlines()[0].replace("1795198397", "2026-11-20T10:13:17")
        assert parse_sacct(text)[0].started == 1795198397
    finally:
        monkeypatch.delenv("TZ")
        os.environ.pop("TZ", None)
        time.tzset()


def test_lines_cut_short_are_passed_over():
    assert parse_sacct("1|COMPLETED|0:0\n\n") == []
    assert parse_squeue("") == []


def test_squeue_is_asked_for_this_users_jobs_alone(monkeypatch):
    asked: list[str] = []

    def call(*command: str, **_options: object) -> str:
        asked.extend(command)
        return ""

    monkeypatch.setattr(slurm, "call", call)
    assert remembered(["prime_a", "prime_a_controller"]) == []
    assert {f"--user={os.getuid()}", "--name=prime_a,prime_a_controller"} <= set(asked)
