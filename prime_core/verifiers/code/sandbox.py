"""How the fork server is started: the command lines of the sandboxes, and the choice of one.

    bubblewrap   bwrap builds the walls
    namespaces   the same walls, built by inside/root.py, where there is no bwrap
    none         limits on time, memory and processes only: the program sees the user's files

`auto` takes the first of bubblewrap and namespaces that works here, and refuses where neither
does. Behind the walls there is the interpreter's own installation, the system's shared libraries
and the packages below, all read-only; no network, no environment, no other process.
"""

import functools
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("numpy", "numpy.libs")  # beside the standard library, where installed
PACKAGES_FOLDER = "/packages"
HARNESS_FOLDER = "/judge"
LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
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
def packages() -> dict[str, str]:
    """Where the packages lie on this machine: {name: folder}."""
    found = importlib.util.find_spec(PACKAGES[0])
    if found is None or not found.origin:
        return {}
    site = Path(found.origin).parent.parent
    return {name: str(site / name) for name in PACKAGES if (site / name).is_dir()}


@functools.cache
def read_only_paths() -> dict[str, str]:
    """What is seen inside: {path inside: path on this machine}."""
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
    for name, folder in packages().items():
        paths[f"{PACKAGES_FOLDER}/{name}"] = folder
    paths[f"{HARNESS_FOLDER}/inside"] = str(Path(__file__).parent / "inside")
    # Without links: while root.py builds the walls, the root folder is no longer the one that an
    # absolute link speaks of.
    return {path: os.path.realpath(source) for path, source in paths.items()}


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


def folders() -> list[str]:
    """The folders inside that lead to the paths and devices, from the top down."""
    paths = (*read_only_paths(), *DEVICES)
    return sorted({str(folder) for path in paths for folder in Path(path).parents})[1:]


def environment() -> dict[str, str]:
    """All of the environment that programs see."""
    # Where a software module provides Python, its libraries may be found by this alone.
    path = os.environ.get("LD_LIBRARY_PATH")
    return ENVIRONMENT | ({"LD_LIBRARY_PATH": path} if path else {})


def python_command(harness: str, site: str | None, call: str) -> list[str]:
    """The interpreter, with the harness imported from its folder and `call` run."""
    lines = [
        "import sys",
        f"sys.path.insert(0, {harness!r})",
        "from inside import root, server",
        "del sys.path[0]",  # with `none`, `import compare` would find the judge's
        *([f"sys.path.append({site!r})"] if site else []),
        call,
    ]
    return [executable(), "-c", "\n".join(lines)]


def server_call(*, isolated: bool) -> str:
    """Start the server; where it is root, its programs run as a user that nobody else is."""
    # Random: the kernel counts processes by user, and several judges may share a node.
    user = 0x70000000 + secrets.randbelow(1 << 28)
    return f"server.main({user}, isolated={isolated})"


def bubblewrap_command() -> list[str]:
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
    for folder in folders():  # bwrap would make them for its own user only
        command += ["--dir", folder]
    for path, source in read_only_paths().items():
        command += ["--ro-bind", source, path]
    for device in DEVICES:
        command += ["--dev-bind", device, device]
    for path, target in links().items():
        command += ["--symlink", target, path]
    # bwrap's root folder is a tmpfs: writable, it would be memory that no limit counts.
    command += ["--proc", "/proc", "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"]
    site = PACKAGES_FOLDER if packages() else None
    return [*command, "--", *python_command(HARNESS_FOLDER, site, server_call(isolated=True))]


def namespaces_command() -> list[str]:
    """The interpreter, which builds the walls around itself and then serves."""
    walls = {"paths": read_only_paths(), "devices": DEVICES, "links": links()}
    call = f"root.enter({json.dumps(walls)})\n{server_call(isolated=True)}"
    site = PACKAGES_FOLDER if packages() else None
    return python_command(str(Path(__file__).parent), site, call)


def bare_command() -> list[str]:
    """The interpreter as it is."""
    site = str(Path(packages()[PACKAGES[0]]).parent) if packages() else None
    return python_command(str(Path(__file__).parent), site, server_call(isolated=False))


COMMANDS = {
    "bubblewrap": bubblewrap_command,
    "namespaces": namespaces_command,
    "none": bare_command,
}
