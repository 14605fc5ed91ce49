"""The few Linux calls that Python does not offer, through libc.

Every function raises OSError with the name of the call when the kernel refuses.
"""

import ctypes
import errno
import os
from typing import Any

NEW_NAMESPACE = {  # clone(2)
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> int:
    """libc's function of this name; OSError when it returns less than 0."""
    result = getattr(libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")
    return result


def unshare(*kinds: str) -> None:
    """Leave the namespaces of these kinds for new ones (a new pid namespace: for children)."""
    call("unshare", sum(NEW_NAMESPACE[kind] for kind in kinds))


def enter_pid_namespace(namespace_fd: int) -> None:
    """Let children be born in the pid namespace behind an open /proc/<pid>/ns/pid."""
    call("setns", namespace_fd, NEW_NAMESPACE["pid"])


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2); the kind is ignored for binds and remounts."""
    # The flags are an unsigned long; ctypes would pass an int.
    libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    names = [os.fsencode(text) for text in (source, target, kind)]
    call("mount", *names, flags, options.encode() or None)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2): the folder new_root becomes /, what was / appears at put_old."""
    number = {"x86_64": 155, "aarch64": 41}[os.uname().machine]  # libc has no function for it
    call("syscall", number, os.fsencode(new_root), os.fsencode(put_old))


def unmount(target: str) -> None:
    """Take a mount out of the tree at once, with everything below it."""
    call("umount2", os.fsencode(target), MNT_DETACH)


def prctl(option: int, *arguments: int) -> None:
    """prctl(2) with its missing arguments zero."""
    # For some options the kernel refuses anything but zeros where it expects no argument.
    padded = [ctypes.c_ulong(n) for n in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def die_with_parent() -> None:
    """Be killed when the parent (strictly: the thread that made us) ends."""
    prctl(PR_SET_PDEATHSIG, 9)


def set_host_name(name: str) -> None:
    """The machine's name, as seen in this uts namespace."""
    call("sethostname", name.encode(), len(name))


def drop_bounding_capabilities() -> None:
    """See to it that no program executed from here can gain any capability."""
    for capability in range(LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:  # beyond the last one that this kernel knows
                raise
            break


def drop_capabilities() -> None:
    """Give up every capability that this process holds."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()  # version 3: three sets in two halves
    call("capset", ctypes.byref(header), ctypes.byref(nothing))
