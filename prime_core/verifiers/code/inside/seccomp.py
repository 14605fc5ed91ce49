"""A system-call filter (seccomp, classic BPF): what a judged program may not ask of the kernel.

Programs may do what sums, strings, files in the scratch folder, threads and child processes need.
Three answers for the rest: an error that well-behaved libraries expect (no network, no memory
outside the accounts), "no such call" where libc then falls back to an older one, and the end of
the process for calls that have no place in any solution: the verdict is then `forbidden`.
"""

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Mapping

from . import kernel

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_OFFSET, ARCHITECTURE_OFFSET, FIRST_ARGUMENT_OFFSET = 0, 4, 16
X32_CALLS = 0x40000000
NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEW*: clone(2)

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# name: (number on x86_64, number on aarch64); None where the architecture has no such call
REFUSED = {  # answered with EPERM
    "socket": (41, 198),  # not socketpair: event loops wake up by one
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "shmget": (29, 194),  # System V memory, queues and semaphores outlive their maker
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),  # memory that no limit of the process counts
    "memfd_secret": (447, 447),
    "name_to_handle_at": (303, 264),
}
UNKNOWN = {  # answered with ENOSYS
    "clone3": (435, 435),  # its flags lie in memory, out of the filter's sight: libc uses clone
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
DEADLY = {  # the process is killed with SIGSYS
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "personality": (135, 92),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
}
CLONE = (56, 220)


def instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One BPF instruction; the jumps count instructions from the next one."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)


@functools.cache
def program(machine: str) -> bytes:
    """The filter for this architecture, as BPF instructions. ValueError for an unknown one."""
    if machine not in ARCHITECTURES:
        raise ValueError(f"no system-call filter is known for {machine}")
    audit_architecture, column = ARCHITECTURES[machine]
    answers: list[tuple[Mapping[str, tuple[int, int | None]], int]] = [
        (REFUSED, ERRNO | errno.EPERM),
        (UNKNOWN, ERRNO | errno.ENOSYS),
        (DEADLY, KILL_PROCESS),
    ]
    lines = [
        instruction(LOAD, ARCHITECTURE_OFFSET),
        instruction(JUMP_EQUAL, audit_architecture, if_true=1),
        instruction(RETURN, KILL_PROCESS),  # 32-bit calls have other numbers
        instruction(LOAD, NUMBER_OFFSET),
        # x86_64's second set: the same calls under numbers that the list does not name.
        instruction(JUMP_AT_LEAST, X32_CALLS, if_false=1),
        instruction(RETURN, KILL_PROCESS),
    ]
    for calls, answer in answers:
        for numbers in calls.values():
            number = numbers[column]
            if number is not None:
                lines.append(instruction(JUMP_EQUAL, number, if_false=1))
                lines.append(instruction(RETURN, answer))
    lines += [
        # Threads and forks are clones as well: only its flags show a new namespace.
        instruction(JUMP_EQUAL, CLONE[column], if_false=3),
        instruction(LOAD, FIRST_ARGUMENT_OFFSET),
        instruction(JUMP_ANY_BIT, NAMESPACE_FLAGS, if_false=1),
        instruction(RETURN, KILL_PROCESS),
        instruction(RETURN, ALLOW),
    ]
    return b"".join(lines)


class FilterProgram(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_void_p)]


def install() -> None:
    """Put this process and all that it starts under the filter, for good."""
    lines = program(os.uname().machine)
    buffer = ctypes.create_string_buffer(lines, len(lines))
    filter_program = FilterProgram(len(lines) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    # Who has no rights may install a filter only after this.
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(filter_program))
