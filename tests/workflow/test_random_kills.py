"""Kills at random moments of all that a run consists of: the bits of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from prime_core.resident.protocol import SOCKET
from tests.support.workflow_runs import TINY, command, digests, run_well

KILLS = 10
RUN = Path("results/tiny")
# `all`: the machine's end. A run whose workflow lives goes on by itself, or ends and says why.
KINDS = ("server", "stage", "client", "controller", "all")
_SERVER = "prime_core.cli.serve"


def _of_each_kind(controller: psutil.Process) -> dict[str, list[psutil.Process]]:
    """The processes of a run; stages and kept engines are children of the server."""
    below = controller.children(recursive=True)
    servers = [one for one in below if _SERVER in one.cmdline() and one.ppid() == controller.pid]
    stages = [stage for server in servers for stage in server.children()]
    clients = [
        one
        for one in below
        if one not in servers + stages and any(word.endswith("/prime") for word in one.cmdline())
    ]
    found = {"server": servers, "stage": stages, "client": clients}
    return found | {"controller": [controller], "all": [controller]}


class _KilledRun:
    """A run that is started again whenever it has ended, with more iterations once it is whole."""

    def __init__(self, folder: Path, resident: str) -> None:
        self.iterations = 4
        self.killed: list[str] = []
        self._folder, self._resident = folder, resident
        self._start()

    def settings(self) -> dict:
        return TINY | {"resident": self._resident, "iterations": self.iterations}

    def kill(self, draw: random.Random) -> None:
        """Kill one process, or all, as drawn; nothing where there is none of the kind."""
        if self._process.poll() is not None:
            self.iterations += 2 * (self._process.returncode == 0)
            self._start()
            return
        kind = draw.choice(KINDS)
        try:
            found = _of_each_kind(psutil.Process(self._process.pid))[kind]
            if not found:
                return
            if kind == "all":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                draw.choice(found).kill()
        except psutil.NoSuchProcess:  # it has just ended
            return
        self.killed.append(kind)
        if kind in ("controller", "all"):
            self._process.wait()
            self._start()

    def finish(self) -> None:
        """Go on until it is whole; a kill may end a workflow, and each is started once more."""
        for _ in range(3):
            if self._process.wait(900) == 0:
                return
            self._start()
        assert self._process.wait(900) == 0, self._log.read_text()[-4000:]

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def _log(self) -> Path:
        return self._folder / "workflow.log"

    def _start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        # A server of its own, which ends with its workflow.
        env = {key: value for key, value in os.environ.items() if key != SOCKET}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command(self._folder, "--cores", "2", settings=self.settings()),
                env=env | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("resident", ["fork", "engines"])
def test_a_run_killed_ten_times_has_the_bits_of_an_undisturbed_one(resident, tmp_path):
    draw = random.Random(f"kills {resident}")
    run = _KilledRun(tmp_path / "killed", resident)
    try:
        while len(run.killed) < KILLS:
            time.sleep(draw.uniform(0.5, 25.0))
            run.kill(draw)
        run.finish()
    finally:
        run.stop()
    run_well(tmp_path / "alone", "--cores", "2", settings=run.settings() | {"resident": "fork"})
    killed, alone = (digests(tmp_path / name / RUN) for name in ("killed", "alone"))
    # The last iteration of each start that came to its end is evaluated, too.
    assert alone.items() <= killed.items(), Counter(run.killed)
    print(f"{resident}: {dict(Counter(run.killed))}, {len(alone)} files equal")
