"""Stages on file systems that have no flock: NFS without a lock manager, Lustre, FUSE."""

import errno
import os
import subprocess
import sys

import pytest

from prime_core.runtime import locks
from prime_core.runtime.locks import only_one

HOLDER = """
import fcntl, sys, time
from pathlib import Path
def refuse(descriptor, how):
    raise OSError(int(sys.argv[2]), "no locks")
fcntl.flock = refuse
from prime_core.runtime.locks import only_one
with only_one(Path(sys.argv[1]) / "batch.parquet", Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_flock(request, monkeypatch):
    """The number of the error that this process's flock ends with."""
    monkeypatch.delenv("RANK", raising=False)

    def refuse(_descriptor, _how):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    return request.param


@pytest.mark.usefixtures("no_flock")
def test_a_stage_works_and_a_second_one_after_it(tmp_path):
    for _ in range(2):
        with only_one(tmp_path / "batch.parquet", tmp_path):
            (lock,) = (tmp_path / ".locks").iterdir()
            assert str(os.getpid()) in lock.read_text()
        assert lock.read_text() == ""


def test_a_stage_waits_for_a_living_one_of_its_machine_and_not_for_a_killed_one(
    tmp_path, no_flock, capsys, monkeypatch
):
    command = [sys.executable, "-c", HOLDER, str(tmp_path), str(no_flock)]
    environment = {key: value for key, value in os.environ.items() if key != "RANK"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"

        def killed(_seconds):  # what it does while it waits
            holder.kill()
            holder.wait()

        monkeypatch.setattr(locks.time, "sleep", killed)
        with only_one(tmp_path / "batch.parquet", tmp_path):
            assert holder.poll() is not None
    assert "another process is writing" in capsys.readouterr().err


@pytest.mark.usefixtures("no_flock")
def test_another_processs_number_used_again_is_not_waited_for(tmp_path):
    lock = tmp_path / ".locks" / "batch.parquet.lock"
    lock.parent.mkdir()
    lock.write_text(f"{locks.socket.gethostname()} {os.getppid()} 1")  # started at another time
    with only_one(tmp_path / "batch.parquet", tmp_path):
        pass


def test_other_errors_of_a_lock_are_errors(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)

    def refuse(_descriptor, _how):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), only_one(tmp_path / "x", tmp_path):
        pass
