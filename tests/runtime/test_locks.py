"""One process at a time makes an output; a lock goes away with its process."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from prime_core.runtime.locks import only_one, try_lock

HOLDER = """
import sys, time
from pathlib import Path
from prime_core.runtime.locks import only_one
with only_one(Path(sys.argv[1]) / "models" / "prm-0000", Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that makes models/prm-0000."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    environment = {key: value for key, value in os.environ.items() if key != "RANK"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def opened(tmp_path):
    (path,) = (tmp_path / ".locks").iterdir()
    return path.open("r+")


def test_a_lock_is_refused_while_another_process_has_it_and_free_when_that_is_killed(
    tmp_path, holder
):
    with opened(tmp_path) as file:
        assert not try_lock(file.fileno())
        assert not try_lock(file.fileno(), shared=True)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert try_lock(file.fileno())


def test_those_who_only_ask_do_not_see_each_other(tmp_path):
    (tmp_path / ".locks").mkdir()
    (tmp_path / ".locks" / "x").touch()
    with opened(tmp_path) as one, opened(tmp_path) as other:
        assert try_lock(one.fileno(), shared=True)
        assert try_lock(other.fileno(), shared=True)
        assert not try_lock(other.fileno())


def test_a_stage_waits_for_the_process_that_makes_its_output(tmp_path, holder, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    threading.Timer(0.3, holder.kill).start()
    output = tmp_path / "models" / "prm-0000"
    with only_one(output, tmp_path):
        assert holder.wait() == -signal.SIGKILL
    assert f"another process is writing {output}; waiting" in capsys.readouterr().err


@pytest.mark.usefixtures("holder")
def test_another_output_and_another_rank_do_not_wait(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with only_one(tmp_path / "models" / "policy-0000", tmp_path):
        assert len(list((tmp_path / ".locks").iterdir())) == 2
    monkeypatch.setenv("RANK", "1")
    with only_one(tmp_path / "models" / "prm-0000", tmp_path):
        assert len(list((tmp_path / ".locks").iterdir())) == 2
