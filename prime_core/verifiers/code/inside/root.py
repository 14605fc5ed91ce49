"""The outer walls without bubblewrap: new namespaces, and a root folder with almost nothing in it.

Runs before the server, in the same interpreter: an ordinary user keeps the rights over the new
namespaces only until the next program is executed.
"""

import os
from pathlib import Path
from typing import Any

from . import kernel

STAGE = "/tmp"
KEPT_FLAGS = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
ATIME_FLAGS = {os.ST_NOATIME: 1 << 10, os.ST_NODIRATIME: 1 << 11, os.ST_RELATIME: 1 << 21}
SYSTEM_CALLS = ("x86_64", "aarch64")


def enter(walls: dict[str, Any]) -> None:
    """Return as process 1 behind new walls; the process that called waits for it and ends."""
    if os.uname().machine not in SYSTEM_CALLS:
        raise OSError(f"no system-call numbers for {os.uname().machine}")
    kernel.die_with_parent()
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        # No user namespace: in one, programs could not become another user (jail.enter).
        kernel.unshare("mount", "pid", "net", "ipc", "uts")
    else:
        kernel.unshare("user", "mount", "pid", "net", "ipc", "uts")
        # Without it the kernel refuses an ordinary user's gid_map.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"1000 {user} 1")
        Path("/proc/self/gid_map").write_text(f"1000 {group} 1")
    # The new pid namespace holds children only.
    child = os.fork()
    if child:
        os.close(0)  # the server's line to the host must end with the server
        os.waitpid(child, 0)
        os._exit(1)
    # Again: a fork does not inherit it.
    kernel.die_with_parent()
    kernel.set_host_name("judge")
    # No terminal, as with bwrap's --new-session.
    os.setsid()
    build_root(walls)


def build_root(walls: dict[str, Any]) -> None:
    """Move into a folder in memory that shows the listed paths, read-only."""
    # pivot_root refuses shared mounts, and the machine must not see ours.
    kernel.mount("none", "/", "none", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("root", STAGE, "tmpfs", kernel.MS_NOSUID, "mode=755")
    os.chdir(STAGE)
    Path("old").mkdir()
    Path("new").mkdir()
    kernel.mount("new", "new", "", kernel.MS_BIND)  # a folder must be a mount to become the root
    # In two steps: the machine's files must be in reach while they are bound, and then go.
    kernel.pivot_root(".", "old")
    os.chdir("/")
    for path, source in walls["paths"].items():
        bind(f"/old{source}", f"/new{path}", kernel.MS_RDONLY | kernel.MS_NODEV)
    for device in walls["devices"]:
        bind(f"/old{device}", f"/new{device}", 0)
    for folder in walls["hidden"]:
        flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("none", f"/new{folder}", "tmpfs", flags, "size=4k,nr_inodes=2")
    for path, target in walls["links"].items():
        link = Path(f"/new{path}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    Path("/new/tmp").mkdir(parents=True)
    Path("/new/proc").mkdir(parents=True)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", "/new/proc", "proc", flags)  # needs the old one in sight: before it goes
    kernel.unmount("/old")
    os.chdir("/new")
    kernel.pivot_root(".", ".")
    kernel.unmount(".")  # what was / lies under the new / now
    os.chdir("/")
    kernel.mount("none", "/", "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY)


def bind(source: str, target: str, flags: int) -> None:
    """Show a file or folder at another place, with these flags on top of those it has."""
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    kernel.mount(source, target, "", kernel.MS_BIND)
    # A bind ignores flags; only a remount of it sets them.
    present = os.statvfs(target).f_flag
    flags |= present & KEPT_FLAGS  # an ordinary user may not take any of these away
    for seen, flag in ATIME_FLAGS.items():
        flags |= flag if present & seen else 0
    kernel.mount("none", target, "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_NOSUID | flags)
