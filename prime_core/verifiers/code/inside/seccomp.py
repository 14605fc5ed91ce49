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
BYTES_OF_ARGUMENT = 8  # the half that counts comes first: both architectures are little-endian
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
    "setsockopt": (54, 208),  # larger buffers of socket pairs
    "vmsplice": (278, 75),  # memory kept alive by a pipe
    "inotify_init": (253, None),  # queues in the kernel's memory
    "inotify_init1": (294, 26),
    "io_setup": (206, 0),  # from a number that the whole machine shares (fs.aio-max-nr)
    "flock": (73, 32),  # of the machine's own files, which may be open for reading
}
UNKNOWN = {  # answered with ENOSYS
    "clone3": (435, 435),  # its flags lie in memory, out of the filter's sight: libc uses clone
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "process_madvise": (440, 440),
    "statmount": (457, 457),  # where the machine keeps what is seen inside
    "listmount": (458, 458),
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
MMAP = (9, 222)
MAP_SHARED, MAP_ANONYMOUS, MAP_HUGETLB = 0x01, 0x20, 0x40000
AF_UNIX = 1
# Calls of which one argument decides: {call: (numbers, which argument, its refused values)}
REFUSED_VALUES: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    # F_SETLK, F_SETLKW and the two of open files (any number of locks, in the kernel's memory, and
    # on the machine's own files); F_SETLEASE, F_NOTIFY; F_SETPIPE_SZ: more memory in a pipe.
    "fcntl": ((72, 25), 1, (6, 7, 37, 38, 1024, 1026, 1031)),
    # Merging by the kernel's own thread; MADV_COLD and _PAGEOUT: into swap, which is not resident.
    "madvise": ((28, 233), 2, (12, 20, 21)),
    # PR_SET_DUMPABLE: its memory would no longer be readable; PR_SET_MEMORY_MERGE.
    "prctl": ((157, 167), 0, (4, 67)),
    # RLIMIT_CORE may not become 0: jail.set_limits.
    "setrlimit": ((160, 164), 0, (4,)),
    "prlimit64": ((302, 261), 1, (4,)),
}
SOCKETPAIR = (53, 199)


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
    for numbers, argument, values in REFUSED_VALUES.values():
        lines += refuse_values(numbers[column], argument, values)
    lines += [
        *refuse_hidden_memory(MMAP[column]),
        # The other kinds of sockets would not be counted (watch.socket_memory).
        instruction(JUMP_EQUAL, SOCKETPAIR[column], if_false=3),
        instruction(LOAD, FIRST_ARGUMENT_OFFSET),
        instruction(JUMP_EQUAL, AF_UNIX, if_true=1),
        instruction(RETURN, ERRNO | errno.EPERM),
        instruction(LOAD, NUMBER_OFFSET),
        # Threads and forks are clones as well: only its flags show a new namespace.
        instruction(JUMP_EQUAL, CLONE[column], if_false=3),
        instruction(LOAD, FIRST_ARGUMENT_OFFSET),
        instruction(JUMP_ANY_BIT, NAMESPACE_FLAGS, if_false=1),
        instruction(RETURN, KILL_PROCESS),
        instruction(RETURN, ALLOW),
    ]
    return b"".join(lines)


def refuse_values(number: int, argument: int, values: tuple[int, ...]) -> list[bytes]:
    """EPERM for one call when its argument has one of these values, compared as 32 bits."""
    checks = [
        line
        for value in values
        for line in (
            instruction(JUMP_EQUAL, value, if_false=1),
            instruction(RETURN, ERRNO | errno.EPERM),
        )
    ]
    return [
        instruction(JUMP_EQUAL, number, if_false=len(checks) + 2),
        instruction(LOAD, FIRST_ARGUMENT_OFFSET + BYTES_OF_ARGUMENT * argument),
        *checks,
        instruction(RETURN, ALLOW),
    ]


def refuse_hidden_memory(mmap: int) -> list[bytes]:
    """EPERM for memory that a process may hold without showing it.

    Shared anonymous memory stays when its pages are dropped from the page table (MADV_DONTNEED) or
    unmapped in part, and huge pages of the machine's reserve are in no resident size.
    """
    return [
        instruction(JUMP_EQUAL, mmap, if_false=6),
        instruction(LOAD, FIRST_ARGUMENT_OFFSET + 3 * BYTES_OF_ARGUMENT),
        instruction(JUMP_ANY_BIT, MAP_HUGETLB, if_true=2),
        instruction(JUMP_ANY_BIT, MAP_ANONYMOUS, if_false=2),
        instruction(JUMP_ANY_BIT, MAP_SHARED, if_false=1),
        instruction(RETURN, ERRNO | errno.EPERM),
        instruction(RETURN, ALLOW),
    ]


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
