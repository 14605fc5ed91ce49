"""Programs that try to end, blind or fool what watches them: run in every sandbox as any user.

Each is followed by a right answer unless `answers` is False. None may end the server, and each gets
a verdict of its own.
"""

from typing import NamedTuple

LIBC = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
SUM = "n=int(input())\nprint(sum(map(int,input().split())))\n"
WAIT = "import time\ntime.sleep(.06)\n"  # three looks


class Odd(NamedTuple):
    """source: what it does. right: whether the label is 1 (None: either)."""

    source: str
    right: bool | None


def named(name: bytes) -> Odd:
    """A program whose process has this name while it is being looked at."""
    return Odd(f"open('/proc/self/comm','wb').write({name!r})\n{WAIT}{SUM}", True)


PROGRAMS: dict[str, Odd] = {
    "a name that is no UTF-8": named(b"\xff\xfe\xfd"),
    "a name with a line end and a bracket": named(b"a) R 1\n2) Z"),
    "a name cut inside a letter": named("программа".encode()[:15]),
    "a name of nothing": Odd(f"{LIBC}libc.prctl(15, b'', 0, 0, 0)\n{WAIT}{SUM}", True),
    "a thread's name that is no UTF-8": Odd(
        f"{LIBC}import threading\n"
        f"def run():\n    libc.prctl(15, b'\\x80)(', 0, 0, 0)\n    import time; time.sleep(.06)\n"
        f"t = threading.Thread(target=run); t.start(); t.join()\n{SUM}",
        True,
    ),
    "every signal to its own group": Odd(
        "import os, signal\n"
        "for s in range(1, 65):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "for s in range(1, 65):\n"
        "    if s not in (9, 19, 18):\n"
        "        try: os.kill(0, s)\n"
        f"        except OSError: pass\n{WAIT}{SUM}",
        None,  # SIGSEGV and the like may end it
    ),
    "the deadly signal to its own group": Odd("import os\nos.kill(0, 9)\n" + SUM, None),
    "stops its own group": Odd("import os\nos.kill(0, 19)\n" + SUM, None),
    "lowers everybody's priority": Odd(
        "import os\n"
        "for kind in (os.PRIO_PGRP, os.PRIO_USER):\n"
        "    try: os.setpriority(kind, 0, 19)\n"
        f"    except OSError: pass\n{SUM}",
        True,
    ),
    "closes everything": Odd("import os\nos.closerange(0, 999)\n", False),
    "fills its table of files": Odd(
        f"import os\ntry:\n    while True: os.dup(0)\nexcept OSError: pass\n{WAIT}{SUM}", True
    ),
    "fills the folder with names": Odd(
        "import os\ntry:\n    for i in range(10**5): os.mkdir(f'/tmp/{i}')\n"
        f"except OSError: pass\n{SUM}",
        None,
    ),
    "leaves orphans that ignore signals": Odd(
        "import os, signal, time\n"
        "for k in range(8):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        for s in range(1, 32):\n"
        "            try: signal.signal(s, signal.SIG_IGN)\n"
        "            except OSError: pass\n"
        "        if os.fork(): os._exit(0)\n"
        f"        time.sleep(99)\n{SUM}",
        True,
    ),
    "ends by a signal to itself": Odd(
        "import os, signal\nos.kill(os.getpid(), 6)\nos.abort()\n", False
    ),
    "ends with an odd code": Odd(
        SUM + "import sys, os\nsys.stdout.flush()\nos._exit(255)\n", False
    ),
    "is replaced by another program": Odd(
        "import os, sys\nos.execv(sys.executable, [b'\\xff\\n)', '-c', 'import time; "
        "time.sleep(.06); input(); print(sum(map(int, input().split())))'])\n",
        True,
    ),
    "escape sequences in its last words": Odd(
        "import sys\nsys.exit('\\x1b]0;title\\x07 \\x9b31m \\u202e \\r hidden')\n", False
    ),
    "drops of output": Odd("import os\nwhile True: os.write(1, b'7')\n", False),
    "drops of errors": Odd("import os\nwhile True: os.write(2, b'\\x1b')\n", False),
}
