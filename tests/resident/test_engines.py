"""Workers that keep engines: who runs a stage, and what happens when one of them is lost."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import psutil
import pytest

from prime_core.resident.protocol import ENGINES, SOCKET
from prime_core.resident.starting import Resident
from tests.resident.test_resident import PROGRAM, ends
from tests.support.shared_data import ROOT

pytestmark = pytest.mark.usefixtures("resident")


@pytest.fixture
def resident(tmp_path, monkeypatch):
    """A server of the test program, whose workers keep engines."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for library in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "1")
    monkeypatch.setenv(SOCKET, "")  # set, so that it is as before afterwards
    monkeypatch.setenv(ENGINES, "1")
    server = Resident(tmp_path / "resident.log", PROGRAM)
    yield server
    server.stop()


@dataclass
class Answer:
    """What a stage has printed: its process, and whether that one had an engine."""

    process: int
    engine: str
    cold: bool
    log: str
    status: int


def start(*how, stage="policy", **variables):
    """A client that keeps an engine."""
    command = [sys.executable, "-m", PROGRAM, "client", stage, "keep", *how]
    return subprocess.Popen(
        command,
        env=os.environ | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def answer(client):
    """What it says in the end. The last line counts: a failed worker has said something before."""
    output, log = client.communicate(timeout=60)
    lines = [line for line in output.splitlines() if line != "cold"]
    process, engine = lines[-1].split()
    return Answer(int(process), engine, "cold\n" in output, log, client.returncode)


def keep(*how, **options):
    return answer(start(*how, **options))


def rank(number, *how, launch="a", **options):
    """A client of one of two ranks."""
    variables = {"RANK": str(number), "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": launch}
    return start(*how, **variables, **options)


def both(*how, launch="a"):
    """What two ranks say."""
    clients = [rank(number, *how, launch=launch) for number in range(2)]
    return [answer(client) for client in clients]


def test_the_next_stage_finds_the_engine_of_the_one_before():
    first, second, third = keep(), keep(), keep()
    assert (first.engine, second.engine, third.engine) == ("new", "again", "again")
    assert first.process == second.process == third.process
    assert [first.cold, second.cold] == [False, False]
    assert first.log == "at rest\n"  # in the log of its own stage
    assert psutil.Process(first.process).is_running()


def test_a_worker_has_what_each_of_its_clients_has(tmp_path):
    command = [sys.executable, "-m", PROGRAM, "client", "policy", "say"]
    for word, folder in (("one", tmp_path), ("two", ROOT)):
        done = subprocess.run(
            [*command, word],
            input=f"from {word}\n",
            env=os.environ | {"PWD": str(folder)},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout == f"['say', '{word}'] None {folder} 0o22\n"
        assert done.stderr == f"from {word}\n"


def test_an_idle_worker_holds_nothing_of_its_client():
    first = keep("copy")  # as gloo copies standard error; without its end, this would not return
    assert keep().process == first.process


@pytest.mark.parametrize("stage", ["score", "evaluate"])
def test_other_stages_are_forks_that_end(stage):
    first, second = keep(stage=stage), keep(stage=stage)
    assert (first.engine, second.engine) == ("new", "new")
    assert first.process != second.process


def test_stages_of_another_kind_have_another_worker():
    assert keep(stage="prm").process != keep(stage="policy").process
    assert keep(stage="prm").engine == "again"


def test_stages_side_by_side_have_workers_of_their_own():
    first, second = start("long"), start("long")
    processes = {int(client.stdout.readline().split()[0]) for client in (first, second)}
    assert len(processes) == 2
    for client in (first, second):
        client.kill()


def test_a_worker_of_another_environment_gives_way():
    first = keep(VARIABLE="one")
    second = keep(VARIABLE="two")
    assert second.engine == "new"
    assert ends(first.process)


def test_workers_on_other_gpus_stay():
    one = keep(CUDA_VISIBLE_DEVICES="0")
    assert keep(CUDA_VISIBLE_DEVICES="1").engine == "new"
    assert keep(CUDA_VISIBLE_DEVICES="0").process == one.process


def test_an_engine_that_fails_is_not_asked_again_and_its_stage_starts_by_itself():
    first, failed = keep(), keep("fail")
    assert failed.cold
    assert failed.status == 0
    assert "RuntimeError: a fault" in failed.log
    assert "no help from the resident process: its kept engine failed" in failed.log
    assert ends(first.process)
    assert keep().engine == "new"


def test_a_failure_ends_idle_engines_so_that_the_stage_has_the_machine_to_itself():
    other = keep(stage="sample")
    assert keep("fail").cold
    assert ends(other.process)


def test_a_worker_killed_between_stages_is_replaced():
    first = keep()
    os.kill(first.process, signal.SIGKILL)
    second = keep()
    assert (second.engine, second.cold, second.status) == ("new", False, 0)
    assert keep().process == second.process


def test_a_worker_killed_inside_a_stage_leaves_it_to_its_client():
    client = start("long")
    os.kill(int(client.stdout.readline().split()[0]), signal.SIGKILL)
    done = answer(client)
    assert (done.cold, done.status) == (True, 0)
    assert "its kept engine failed or was killed" in done.log
    assert keep().engine == "new"


def test_an_engine_that_does_not_fit_gives_way_to_a_fresh_worker():
    first, second = keep(), keep("unfit")
    assert (second.engine, second.cold) == ("new", False)
    assert second.process != first.process
    assert "not by the kept engine: of another kind" in second.log
    assert keep().process == second.process


def test_a_stage_that_was_asked_to_stop_says_so_and_is_not_begun_again():
    stopped = keep("stop")
    assert (stopped.status, stopped.cold) == (75, False)
    assert keep().engine == "new"
    client = start("long")
    client.stdout.readline()
    client.send_signal(signal.SIGTERM)
    client.communicate(timeout=60)
    assert client.returncode == 128 + signal.SIGTERM


def test_a_killed_client_takes_its_worker_along():
    client = start("long")
    worker = int(client.stdout.readline().split()[0])
    client.kill()
    assert ends(worker)


def test_idle_workers_end_with_the_server(resident):
    first = keep()
    resident.process.kill()
    resident.process.wait()
    assert ends(first.process)
    assert keep().cold


def test_idle_workers_ignore_the_signals_of_a_job():
    first = keep()
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        os.kill(first.process, number)
    assert keep().process == first.process


def test_ranks_stay_together():
    first = both(launch="a")
    assert [one.engine for one in first] == ["new", "new"]
    second = both(launch="b")
    assert [one.engine for one in second] == ["again", "again"]
    assert [one.process for one in first] == [one.process for one in second]


def test_ranks_of_which_one_was_killed_are_all_replaced():
    first = both(launch="a")
    os.kill(first[1].process, signal.SIGKILL)
    second = both(launch="b")
    assert [one.engine for one in second] == ["new", "new"]
    assert ends(first[0].process)


def test_ranks_start_by_themselves_where_one_is_killed_inside_the_stage():
    both(launch="a")
    clients = [rank(number, "long", launch="b") for number in range(2)]
    processes = [int(client.stdout.readline().split()[0]) for client in clients]
    os.kill(processes[1], signal.SIGKILL)
    assert [answer(client).cold for client in clients] == [True, True]
    # A rank that asks late must not meet engines either.
    assert answer(rank(1, launch="b")).cold


def test_ranks_that_do_not_fit_are_all_replaced():
    first = both(launch="a")
    second = both("unfit", launch="b")
    assert [(one.engine, one.cold) for one in second] == [("new", False)] * 2
    assert not {one.process for one in first} & {one.process for one in second}
