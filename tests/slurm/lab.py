"""A throw-away Slurm on this machine: virtual nodes cpu1, gpu1 and gpu2, accounting, all real.

    with SlurmLab(folder) as lab:
        subprocess.run(["srun", "hostname"], env=lab.env)

In: an empty folder. Out: a Slurm that this process and what it starts can use, and nobody else: its
files lie over /etc/slurm in a mount namespace of their own, its ports are free ones of 127.0.0.1.
Several labs can run at once; a Slurm that the machine belongs to is not touched. Needs root and
Debian's packages (PACKAGES). By hand: `python -m tests.slurm.lab` (or `make slurm-shell`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import psutil

from prime_core.launch.slurm import commands as slurm
from tests.slurm import configuration, users
from tests.slurm.configuration import ETC, GPUS_PER_NODE, NODES
from tests.slurm.mounts import laid_over, opened
from tests.support.shared_data import ROOT

# Debian's package of each program that is needed.
PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "srun": "slurm-client",
    "munged": "munge",
}
ACCOUNTING_PACKAGES = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_ETC_FILES = ("hosts", "passwd", "group")
_START_SECONDS = 180.0
_STOP_SECONDS = 15.0


class LabError(RuntimeError):
    """The lab could not be started, or a daemon died."""


def missing(accounting: bool = True) -> str:
    """Why no lab can start here, as one sentence; "" where it can."""
    packages = PACKAGES | (ACCOUNTING_PACKAGES if accounting else {})
    absent = {name for program, name in packages.items() if not shutil.which(program, path=_PATH)}
    if absent:
        return f"a throw-away Slurm needs Debian's packages {', '.join(sorted(absent))}"
    if os.geteuid() != 0:
        return "a throw-away Slurm needs root (mounts and device files)"
    return ""


class SlurmLab:
    """A Slurm in a folder of its own; see the module.

    accounting: with slurmdbd and MariaDB (3 s more to start). settings: lines of slurm.conf to add
    or change, such as {"MinJobAge": 20}. memory: whether its nodes say how much they have.
    Enter and leave in the same thread.
    sacct knows of a job up to six seconds later than squeue; slurmctld saves its jobs every five
    seconds, so that one killed earlier forgets the youngest.
    """

    def __init__(
        self,
        folder: Path,
        accounting: bool = True,
        settings: Mapping[str, object] | None = None,
        memory: bool = True,
    ) -> None:
        self.folder = folder.resolve()
        self.logs = self.folder / "logs"
        self.daemons = [
            "munged",
            *(["mariadbd", "slurmdbd"] if accounting else []),
            "slurmctld",
            *(f"slurmd-{node}" for node in NODES),
        ]
        self._accounting = accounting
        self._settings, self._memory = dict(settings or {}), memory
        self._ports = configuration.free_ports()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._leave = contextlib.ExitStack()
        self._namespace = 0

    @property
    def env(self) -> dict[str, str]:
        """The environment for clients: this process's, without options of Slurm's commands."""
        return slurm.clean_environment() | {"PATH": _PATH}

    def __enter__(self) -> SlurmLab:
        reason = missing(self._accounting)
        if reason:
            raise LabError(reason)
        self._write_files()
        Path(ETC).mkdir(exist_ok=True)
        # The ordinary user runs this checkout and its interpreter, which root's home may hold.
        reached = (ROOT, Path(sys.prefix), Path(sys.base_prefix))
        files = {Path("/etc", name): self.folder / name for name in _ETC_FILES}
        over = opened(reached, self.folder / "open") | {Path(ETC): self.folder} | files
        self._namespace = self._leave.enter_context(laid_over(over))
        try:
            for daemon in self.daemons:
                self.start(daemon)
                if daemon == "slurmdbd":
                    self._add_accounts()
            self.wait_idle()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._end_jobs()
        finally:
            for daemon in reversed(self.daemons):
                self.stop(daemon)
            self._kill_strays()
            self._leave.close()

    def start(self, daemon: str) -> None:
        """Start a daemon and wait until it answers. Raises LabError with the end of its log."""
        assert daemon in self.daemons, daemon
        if self.is_alive(daemon):
            return
        output = self.logs / f"{daemon}.out"
        # A tests' process that is killed takes its daemons along; Ctrl-C in a shell does not.
        command = ["setpriv", "--pdeathsig", "KILL", *self._command(daemon)]
        with output.open("ab") as stream:
            self._running[daemon] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
            )

        def answers() -> bool:
            self._check_alive(daemon)
            return self._answers(daemon)

        self._wait(answers, f"{daemon} answering", _START_SECONDS, daemon)

    def stop(self, daemon: str) -> None:
        """End a daemon in good order (SIGTERM)."""
        self._end(daemon, signal.SIGTERM)

    def kill(self, daemon: str) -> None:
        """End a daemon at once (SIGKILL). Jobs of a slurmd go on; see kill_node."""
        self._end(daemon, signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """A node dies: its slurmd and every process of its jobs at once. start() revives it."""
        self.kill(f"slurmd-{node}")
        log = f"{ETC}/logs/slurmd-{node}.log"
        doomed = [
            member
            for process in self._strays()
            if process.name() == "slurmstepd" and log in _open_files(process.pid)
            for member in [process, *process.children(recursive=True)]
        ]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def is_alive(self, daemon: str) -> bool:
        """Whether a daemon runs."""
        process = self._running.get(daemon)
        return process is not None and process.poll() is None

    def _check_alive(self, daemon: str) -> None:
        if not self.is_alive(daemon):
            raise LabError(f"{daemon} ended at once:\n{self.log_tail(daemon)}")

    def restore(self) -> None:
        """As new, but for the accounting: daemons run, no job is queued, nodes are idle."""
        for daemon in self.daemons:
            self.start(daemon)
        self._cancel_all()
        self.wait_idle()

    def wait_until_saved(self, job_id: str) -> None:
        """Wait until a slurmctld that is killed now would still know a running job.

        It saves all jobs some seconds after a change of one.
        """
        saved = self.folder / "state" / "job_state"
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        self._try("scontrol", "update", f"jobid={job_id}", "admincomment=to be saved")

        def is_saved() -> bool:
            return saved.exists() and saved.stat().st_mtime_ns != before

        self._wait(is_saved, "jobs being saved", 60.0, "slurmctld")

    def wait_idle(self, timeout: float = _START_SECONDS) -> None:
        """Wait until no job is queued and every node is up and idle. Raises LabError."""

        def idle() -> bool:
            # Since 26.05 slurmctld listens before it has read everything that it may not like.
            for daemon in self.daemons:
                self._check_alive(daemon)
            states = dict(line.split() for line in self._ask("sinfo", "-hNo", "%N %T").splitlines())
            for node, state in states.items():
                if "down" in state or "drain" in state or "draining" in state:
                    self._try("scontrol", "update", f"nodename={node}", "state=resume")
            everywhere = len(states) == len(NODES) and set(states.values()) == {"idle"}
            return everywhere and self._ask("squeue", "-h") == ""

        self._wait(idle, "nodes being idle", timeout, "slurmctld")

    def log_tail(self, daemon: str, num_lines: int = 20) -> str:
        """The last lines that a daemon wrote."""
        path = self.logs / f"{daemon}.out"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-num_lines:])

    def _end_jobs(self) -> None:
        """While daemons are still there to see it."""
        if self.is_alive("slurmctld"):
            self._cancel_all()
            with contextlib.suppress(LabError):
                self._wait(lambda: self._ask("squeue", "-h") == "", "jobs ending", 5.0)

    def _cancel_all(self) -> None:
        for user in ("root", users.NAME):
            self._try("scancel", f"--user={user}")

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise LabError(f"{self.folder}: expected an empty folder")
        # munge wants a path that everyone may enter and only root may change.
        self.folder.chmod(0o755)
        for name in ("munge", "state", "logs", "dev", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, mode=0o755)
        for number in range(GPUS_PER_NODE):
            device = self.folder / "dev" / f"nvidia{number}"
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(195, number))
        hosts = Path("/etc/hosts").read_text()
        texts = {
            "slurm.conf": configuration.slurm_conf(
                self._ports, self._accounting, self._settings, self._memory
            ),
            "gres.conf": configuration.GRES_CONF,
            "cgroup.conf": configuration.CGROUP_CONF,
            "hosts": f"{hosts.rstrip()}\n127.0.0.1 {' '.join(NODES)}\n",
            **users.etc_files(),
        }
        if self._accounting:
            texts["slurmdbd.conf"] = configuration.slurmdbd_conf(self._ports)
            texts["database.sql"] = configuration.DATABASE_SQL
            (self.folder / "database" / "tmp").mkdir(parents=True)
        for name, text in texts.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o600 if name == "slurmdbd.conf" else 0o644)
        key = self.folder / "munge" / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)

    def _command(self, daemon: str) -> list[str]:
        if daemon.startswith("slurmd-"):
            return ["slurmd", "-D", "-N", daemon.removeprefix("slurmd-")]
        if daemon == "munged":
            files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid"}
            files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
            options = [f"--{option}={ETC}/munge/{name}" for option, name in files.items()]
            return ["munged", "--foreground", "--force", *options]
        if daemon == "mariadbd":
            return self._database_command()
        if daemon == "slurmctld":
            # -i: since 26.05 one that was killed before it had saved all of its state, fair shares
            # among it, does not start again without.
            return ["slurmctld", "-D", "-i"]
        return [daemon, "-D"]

    def _database_command(self) -> list[str]:
        # A temporary folder of its own: a server that starts removes the temporary tables in it.
        folders = (f"--datadir={ETC}/database", f"--tmpdir={ETC}/database/tmp")
        common = ["--no-defaults", "--user=root", *folders]
        small = ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M"]
        if not (self.folder / "database" / "mysql").exists():
            method = "--auth-root-authentication-method=normal"
            self._try("mariadb-install-db", *common, *small, method, "--skip-test-db")
        return [
            *("mariadbd", *common, *small),
            *("--bind-address=127.0.0.1", f"--port={self._ports['mariadbd']}"),
            *(f"--socket={ETC}/database.sock", f"--pid-file={ETC}/database.pid"),
            *("--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0"),
            *("--skip-log-bin", f"--init-file={ETC}/database.sql"),
        ]

    def _answers(self, daemon: str) -> bool:
        if daemon == "munged":
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(f"{ETC}/munge/munge.sock") == 0
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._ports[daemon])) == 0

    def _add_accounts(self) -> None:
        for what in (
            ("cluster", configuration.CLUSTER),
            ("account", configuration.ACCOUNT, f"cluster={configuration.CLUSTER}"),
            ("user", "root", f"account={configuration.ACCOUNT}"),
            ("user", users.NAME, f"account={configuration.ACCOUNT}"),
        ):
            self._try("sacctmgr", "--immediate", "--quiet", "add", *what)
        self._try(
            *("sacctmgr", "--immediate", "--quiet", "modify", "user", "root", "set"),
            f"defaultaccount={configuration.ACCOUNT}",
        )

    def _end(self, daemon: str, how: signal.Signals) -> None:
        process = self._running.pop(daemon, None)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _strays(self) -> list[psutil.Process]:
        """Processes inside the lab that this process did not start: the jobs'."""
        here = psutil.Process()
        own = {here.pid, *(child.pid for child in here.children(recursive=True))}
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):
                number = Path(f"/proc/{process.pid}/ns/mnt").stat().st_ino
                if number == self._namespace and process.pid not in own:
                    found.append(process)
        return found

    def _kill_strays(self) -> None:
        """Nothing survives the lab: what a job left behind keeps its namespace alive."""
        deadline = time.monotonic() + _STOP_SECONDS
        while (strays := self._strays()) and time.monotonic() < deadline:
            for process in strays:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)

    def _ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else "no answer"

    def _try(self, *command: str) -> None:
        with (self.logs / "commands.out").open("ab") as stream:
            stream.write(f"$ {' '.join(command)}\n".encode())
            stream.flush()
            subprocess.run(command, env=self.env, stdout=stream, stderr=stream, timeout=120)

    def _wait(
        self, condition: Callable[[], bool], what: str, seconds: float, daemon: str = ""
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                tail = f":\n{self.log_tail(daemon)}" if daemon else ""
                raise LabError(f"waited {seconds:.0f} s for {what}{tail}")
            time.sleep(0.05)


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(link.readlink()))
    return found


if __name__ == "__main__":
    from tests.slurm.command_line import main

    main()
