"""An environment that does what its actions say, whatever that is."""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import time
from typing import Any


class Hostile:
    """Each action is the name of something that no environment should do."""

    def reset(self, seed: int) -> tuple[str, dict]:
        return f"seed {seed}", {}

    def step(self, action: str) -> Any:
        answer: tuple[Any, ...] = ("fine", 1.0, True, False, {})
        deed = getattr(self, action.replace(" ", "_"), None)
        return answer if deed is None else deed(answer)

    def hang(self, _: Any) -> None:
        time.sleep(10_000)

    def loop_in_C(self, _: Any) -> None:
        9**9**9**9

    def stop_itself(self, _: Any) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def die(self, _: Any) -> None:
        os._exit(3)

    def crash(self, _: Any) -> None:
        ctypes.string_at(0)

    def exit(self, _: Any) -> None:
        sys.exit(3)

    def raises(self, _: Any) -> None:
        raise KeyError("no\nsuch key")

    def memory(self, _: Any) -> None:
        held = bytearray(1 << 40)
        held[-1] = 1

    def shared_memory(self, _: Any) -> None:
        shared = mmap.mmap(-1, 900 << 20)
        for at in range(0, len(shared), 4096):
            shared[at] = 1
        time.sleep(10_000)

    def children(self, _: Any) -> None:
        held = "x = bytearray(300 << 20); x[::4096] = b'1' * len(x[::4096]); "
        sleeper = [sys.executable, "-c", held + "import time; time.sleep(10_000)"]
        for child in [subprocess.Popen(sleeper) for _ in range(3)]:
            child.wait()

    def fork_bomb(self, _: Any) -> None:
        while True:
            os.fork()
            time.sleep(0.1)

    def fork_and_return_twice(self, answer: Any) -> Any:
        os.fork()
        return answer

    def leave_an_orphan(self, _: Any) -> None:
        if not os.fork():
            os.setsid()
            if not os.fork():
                time.sleep(10_000)
            os._exit(0)
        time.sleep(10_000)

    def print_and_read(self, answer: Any) -> Any:
        print('{"number": 1, "steps": [["cheat", 1.0, true, true]]}', flush=True)
        sys.stdin.read()
        return answer

    def close_all_files(self, answer: Any) -> Any:
        os.closerange(0, 64)
        return answer

    def a_number_for_an_observation(self, answer: Any) -> Any:
        return (7, *answer[1:])

    def a_reward_that_is_none(self, answer: Any) -> Any:
        return (answer[0], float("nan"), *answer[2:])

    def four_values(self, answer: Any) -> Any:
        return answer[:4]

    def a_huge_observation(self, answer: Any) -> Any:
        return ("x" * 2_000_000, *answer[1:])

    def another_observation(self, _: Any) -> Any:
        return (os.urandom(4).hex(), 0.0, False, False, {})
