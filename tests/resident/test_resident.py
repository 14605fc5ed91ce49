"""The resident process: its children stand for processes of their own, whatever happens to whom."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from prime_core.resident import client
from prime_core.resident.protocol import SOCKET
from prime_core.resident.starting import Resident, serve_stages
from tests.support.processes import is_at_work
from tests.support.shared_data import ROOT

PROGRAM = "tests.support.resident_program"
pytestmark = pytest.mark.usefixtures("resident")
COMMAND = [sys.executable, "-m", PROGRAM, "client", "policy"]


@pytest.fixture
def resident(tmp_path, monkeypatch):
    """A server of the test program."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for library in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "1")
    monkeypatch.setenv(SOCKET, "")  # set, so that it is as before afterwards
    server = Resident(tmp_path / "resident.log", PROGRAM)
    yield server
    server.stop()


def ask(*words, **options):
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=60, check=False, **options
    )


def start(*words):
    """A client, and the process id of its child."""
    process = subprocess.Popen([*COMMAND, "wait", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def ends(process, seconds=20.0):
    """Whether a process ends within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(process) or not is_at_work(psutil.Process(process)):
            return True
        time.sleep(0.02)
    return False


def test_a_child_has_all_that_its_client_had(tmp_path):
    done = ask(
        *("say", "two words"),
        input="from stdin\n",
        cwd=tmp_path,
        env=os.environ | {"WORD": "ünï"},
        umask=0o27,
    )
    assert done.stdout == f"['say', 'two words'] ünï {tmp_path} 0o27\n"
    assert done.stderr == "from stdin\n"


@pytest.mark.parametrize("status", [0, 1, 2, 75, 143])
def test_a_client_ends_with_its_childs_status(status):
    done = ask("exit", str(status))
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_an_exit_with_words_and_a_fault_are_told_as_python_tells_them():
    done = ask("exit", "enough")
    assert (done.returncode, done.stderr) == (1, "enough\n")
    done = ask("fail")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: a fault"


def test_a_signal_reaches_the_stage_and_its_answer_is_the_status():
    process, _ = start("handled", "long")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 75


def test_a_stage_that_a_signal_ends_looks_so_to_the_shell():
    process, _ = start("long")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM


def test_signals_that_a_shell_ignores_are_ignored():
    command = f"trap '' TERM; {sys.executable} -m {PROGRAM} client policy ignored"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_killed_client_takes_its_child_along():
    process, child = start("long")
    process.kill()
    assert ends(child)
    assert ask("exit", "0").stdout == ""  # and the server goes on


def test_a_killed_child_takes_its_client_along():
    process, child = start("long")
    os.kill(child, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL


def test_children_outlive_the_server_and_later_stages_start_by_themselves(resident):
    first, _ = start()
    second, _ = start("handled", "long")
    resident.process.kill()
    resident.process.wait()
    assert first.wait(20) == 0
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 75
    done = ask("exit", "3")
    assert (done.returncode, done.stdout) == (3, "cold\n")
    assert done.stderr.startswith("no help from the resident process: ")


def test_other_variables_of_imports_mean_a_start_of_its_own():
    done = ask("exit", "0", env=os.environ | {"HF_HOME": "/elsewhere"})
    assert (done.returncode, done.stdout) == (0, "cold\n")
    assert "other settings of the environment" in done.stderr
    # What ranks are told, and which GPUs are theirs, is read later.
    done = ask("exit", "0", env=os.environ | {"RANK": "1", "CUDA_VISIBLE_DEVICES": "3"})
    assert (done.stdout, done.stderr) == ("", "")


def test_packages_installed_meanwhile_are_said_once_on_the_console(tmp_path):
    # An environment of its own, whose packages are this one's.
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(command, check=True, timeout=60)
    python = tmp_path / "venv" / "bin" / "python"
    packages = next((tmp_path / "venv" / "lib").glob("*/site-packages"))
    (packages / "these.pth").write_text("\n".join(one for one in sys.path if "-packages" in one))
    client_command = [str(python), *COMMAND[1:], "exit", "0"]
    code = (
        "import subprocess\n"
        "from pathlib import Path\n"
        "from prime_core.resident.starting import Resident\n"
        f"server = Resident(Path({str(tmp_path / 'log')!r}), {PROGRAM!r})\n"
        f"command = {client_command!r}\n"
        "assert subprocess.check_output(command) == b''\n"
        f"Path({str(packages)!r}, 'new').mkdir()\n"
        "for _ in range(2):\n"
        "    assert subprocess.check_output(command) == b'cold\\n'\n"
        "server.stop()\n"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stderr.replace("no help from the resident process: ", "")
    assert done.stderr.count("stages start by themselves from now on") == 1, said
    assert "the installed packages have changed since the run began" in said


def test_another_job_of_slurm_is_not_served():
    assert ask("exit", "0", env=os.environ | {"SLURM_JOB_ID": "7"}).stdout == "cold\n"


def test_no_socket_is_no_error(tmp_path):
    done = ask(
        "exit", "4", env=os.environ | {SOCKET: str(tmp_path / "none"), "PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stdout) == (4, "cold\n")
    done = ask("exit", "4", env=os.environ | {SOCKET: "none", "PYTHONPATH": str(ROOT)})
    assert (done.stdout, done.stderr) == ("cold\n", "")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_is_not_served(tmp_path):
    folder = Path(os.environ[SOCKET]).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o711)
    Path(os.environ[SOCKET]).chmod(0o777)
    request = client._request()
    pid = os.fork()
    if pid == 0:
        answers = [("pid", 0)]
        try:
            os.setuid(65534)
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(os.environ[SOCKET])
            answers.clear()
            client.protocol.send_request(connection, request, [0, 1, 2])
            answers += client.protocol.lines(connection)
        except OSError:  # the server may have hung up before it read anything
            pass
        finally:
            os._exit(0 if answers in ([], [("cold", 0)]) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert "another user" in (tmp_path / "resident.log").read_text()


def test_garbage_ends_nothing():
    for garbage in (b"", b"x", b"\0\0\0\5hello", b"\xff" * 4096):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.environ[SOCKET])
        connection.sendall(garbage)
        connection.close()
    assert ask("exit", "0").stdout == ""


def test_the_server_leaves_nothing(resident):
    folder = Path(os.environ[SOCKET]).parent
    resident.stop()
    assert not folder.exists()
    assert resident.process.returncode == 0
    assert SOCKET not in os.environ


def test_the_server_ends_with_the_process_that_started_it(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from prime_core.resident.starting import Resident\n"
        f"server = Resident(Path({str(tmp_path / 'log')!r}), {PROGRAM!r})\n"
        "print(server.process.pid, server.folder, flush=True)\n"
        "time.sleep(60)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert starter.stdout is not None
    pid, folder = starter.stdout.readline().split()
    starter.kill()
    assert ends(int(pid))
    assert not Path(folder).exists()


def test_a_workflow_started_by_another_uses_its_server(tmp_path):
    path = os.environ[SOCKET]
    serve_stages("fork", True, tmp_path / "second.log")
    assert os.environ[SOCKET] == path
    assert not (tmp_path / "second.log").exists()
