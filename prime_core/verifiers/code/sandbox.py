"""How the fork server is started: the command lines of the sandboxes, and the choice of one.

    bubblewrap   bwrap builds the walls
    namespaces   the same walls, built by inside/root.py, where there is no bwrap
    none         limits on time, memory and processes only: the program sees the user's files

`auto` takes the first of bubblewrap and namespaces that works here, and refuses where neither
does. Behind the walls there is the interpreter's standard library, the system's shared libraries
and the packages that programs may import (packages.py), all read-only; no network, no environment,
no other process.
"""

import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

from .packages import installed

PACKAGES_FOLDER = "/packages"
HARNESS_FOLDER = "/judge"
LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
# Where interpreters keep what is installed beside their standard library.
SITE_FOLDERS = ("*/site-packages", "*/dist-packages")
# Not /dev/zero: mapped as shared memory, it is memory that no process shows (seccomp.py).
DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")
LINKS = {
    "/dev/shm": "/tmp",  # shared memory counts against the scratch folder's size
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
}
# KILL and SYS_PTRACE: to end a program that is another user, and to read its smaps_rollup; SETPCAP:
# to empty the bounding set.
SERVER_CAPABILITIES = (  # of the server, to build each program's walls; programs have none
    "CAP_SYS_ADMIN",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_KILL",
    "CAP_SYS_PTRACE",
)
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # sets in the same order, and so the same verdict, each time
    "PYTHONINTMAXSTRDIGITS": "0",  # solutions print numbers of any length
    "PYTHONUTF8": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "1",  # each arena of a thread reserves 64 MB of the address space
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class SandboxUnavailable(ValueError):
    """The sandbox that was asked for does not work on this machine."""


def executable() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(sys.executable)


@functools.cache
def read_only_paths(packages: tuple[str, ...]) -> dict[str, str]:
    """What is seen inside: {path inside: path on this machine}.

    SandboxUnavailable for an interpreter that programs cannot see.
    """
    if executable().startswith("/tmp/"):
        raise SandboxUnavailable(
            f"the interpreter {executable()} lies below /tmp, where programs have a folder of "
            "their own: install it elsewhere"
        )
    prefix = Path(executable()).parent.parent
    paths = {
        folder: folder
        for folder in (*LIBRARY_FOLDERS, f"{prefix}/lib", f"{prefix}/lib64")
        if Path(folder).is_dir() and not Path(folder).is_symlink()
    }
    # The cache: without it the loader looks into its default folders only.
    for file in (executable(), *shared_libraries(), "/etc/ld.so.cache"):
        seen = any(os.path.realpath(file).startswith(f"{folder}/") for folder in paths)
        if Path(file).exists() and not seen:
            paths[file] = file
    for name, place in installed(packages).items():
        paths[f"{PACKAGES_FOLDER}/{name}"] = place
    paths[f"{HARNESS_FOLDER}/inside"] = str(Path(__file__).parent / "inside")
    # Without links: while root.py builds the walls, the root folder is no longer the one that an
    # absolute link speaks of.
    return {path: os.path.realpath(source) for path, source in paths.items()}


def hidden_folders(packages: tuple[str, ...]) -> list[str]:
    """Folders inside that must appear empty: what is installed beside the interpreter.

    In conda and in containers that is the user's own environment, with whatever lies in it.
    """
    paths = read_only_paths(packages)
    own = (PACKAGES_FOLDER, HARNESS_FOLDER)
    return sorted(
        f"{path}/{folder.relative_to(source)}"
        for path, source in paths.items()
        if not path.startswith(own)
        for pattern in SITE_FOLDERS
        for folder in Path(source).glob(pattern)
        if folder.is_dir() and not folder.is_symlink()
    )


def shared_libraries() -> list[str]:
    """Libraries of the interpreter: on clusters they may lie in a software module's folder."""
    if not shutil.which("ldd"):
        return []
    lines = subprocess.run(["ldd", executable()], capture_output=True, text=True).stdout.split()
    return [word for word in lines if word.startswith("/")]


def links() -> dict[str, str]:
    """Symbolic links inside: {path: target}."""
    system = {f: str(Path(f).readlink()) for f in LIBRARY_FOLDERS if Path(f).is_symlink()}
    return system | LINKS


def folders(packages: tuple[str, ...]) -> list[str]:
    """The folders inside that lead to the paths and devices, from the top down."""
    paths = (*read_only_paths(packages), *DEVICES)
    return sorted({str(folder) for path in paths for folder in Path(path).parents})[1:]


def environment() -> dict[str, str]:
    """All of the environment that programs see."""
    # Where a software module provides Python, its libraries may be found by this alone.
    path = os.environ.get("LD_LIBRARY_PATH")
    return ENVIRONMENT | ({"LD_LIBRARY_PATH": path} if path else {})


def python_command(harness: str, site: str | None, call: str) -> list[str]:
    """The interpreter, with the harness imported from its folder and `call` run."""
    lines = [
        "import sys, site",
        "site.setquit(); site.setcopyright(); site.sethelper()",  # exit, help, ...
        f"sys.path.insert(0, {harness!r})",
        "from inside import root, server",
        "del sys.path[0]",  # with `none`, `import compare` would find the judge's
        *([f"sys.path.append({site!r})"] if site else []),
        call,
    ]
    # -S: else folders of packages that are not the program's would be on its path.
    return [executable(), "-S", "-c", "\n".join(lines)]


def server_call(*, isolated: bool) -> str:
    """Start the server; where it is root, its programs run as a user that nobody else is."""
    # Random: the kernel counts processes by user, and several judges may share a node.
    user = 0x70000000 + secrets.randbelow(1 << 28)
    return f"server.main({user}, isolated={isolated})"


def bubblewrap_command(packages: tuple[str, ...]) -> list[str]:
    """bwrap with the walls and, behind them, the server as process 1."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnavailable("bubblewrap: no bwrap on PATH")
    command = [
        bwrap,
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--hostname", "judge"),
        # As process 1: all others in its namespace are then the program's (watch.py). In a new
        # session: there is no terminal into which a program could type.
        *("--as-pid-1", "--die-with-parent", "--new-session"),
        *("--cap-drop", "ALL"),
    ]
    for capability in SERVER_CAPABILITIES:
        command += ["--cap-add", capability]
    # Root needs no user namespace to build the walls, and inside one with a single user its
    # programs could not become another one (jail.enter).
    if os.geteuid() != 0:
        command += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    for folder in folders(packages):  # bwrap would make them for its own user only
        command += ["--dir", folder]
    for path, source in read_only_paths(packages).items():
        command += ["--ro-bind", source, path]
    for folder in hidden_folders(packages):
        command += ["--tmpfs", folder, "--remount-ro", folder]
    for device in DEVICES:
        command += ["--dev-bind", device, device]
    for path, target in links().items():
        command += ["--symlink", target, path]
    # bwrap's root folder is a tmpfs: writable, it would be memory that no limit counts.
    command += ["--proc", "/proc", "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"]
    site = PACKAGES_FOLDER if packages else None
    return [*command, "--", *python_command(HARNESS_FOLDER, site, server_call(isolated=True))]


def namespaces_command(packages: tuple[str, ...]) -> list[str]:
    """The interpreter, which builds the walls around itself and then serves."""
    walls = {
        "paths": read_only_paths(packages),
        "hidden": hidden_folders(packages),
        "devices": DEVICES,
        "links": links(),
    }
    call = f"root.enter({json.dumps(walls)})\n{server_call(isolated=True)}"
    site = PACKAGES_FOLDER if packages else None
    return python_command(str(Path(__file__).parent), site, call)


def bare_command(packages: tuple[str, ...]) -> list[str]:
    """The interpreter as it is, with links to the packages in a folder of their own."""
    site = bare_site(packages) if packages else None
    return python_command(str(Path(__file__).parent), site, server_call(isolated=False))


@functools.cache
def bare_site(packages: tuple[str, ...]) -> str:
    """A folder of links to the packages, for this process's time."""
    folder = tempfile.mkdtemp(prefix="prime-packages-")
    # Not a TemporaryDirectory: a forked worker of Python 3.12 and later would remove its parent's,
    # since it forgets what atexit held, and so the last reference to it.
    Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=0)
    for name, place in installed(packages).items():
        Path(folder, name).symlink_to(os.path.realpath(place))
    return folder


COMMANDS = {
    "bubblewrap": bubblewrap_command,
    "namespaces": namespaces_command,
    "none": bare_command,
}
