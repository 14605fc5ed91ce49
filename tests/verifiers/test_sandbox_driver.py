"""What the sandbox tests run in a process of its own, also as another user: no tests in here.

Standard library only. Reads {"rows", "sandbox", "limits"} as JSON on standard input; every row has
id, program, tests, prompt, and may have limits of its own. Judges the rows one after the other
beside the things to be stolen or broken that the caller has set out (Bait), and prints one JSON
line a row: verdict, detail, seconds, peak_bytes and `broken`, the names of the conditions that did
not hold. A condition is checked whether or not the row asks for it.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from prime_core.verifiers.code import CodeJudge, Limits
from prime_core.verifiers.code.inside import watch

SECRET = "VERIFIER_SECRET=do-not-tell"
CANARY = Path("/dev/shm/verifier_canary")
HARNESS = Path(sys.modules[CodeJudge.__module__].__file__ or "").parent
CONTROL = {"inputs": ["20 22"], "outputs": ["42"]}
SAMPLE_SECONDS = 0.02


class Bait:
    """Files, a port and an environment variable that no program may reach; `with` sets them out."""

    def __init__(self) -> None:
        self.harness = digest(HARNESS)
        self.free_bytes = shutil.disk_usage(tempfile.gettempdir()).free

    def __enter__(self) -> "Bait":
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.home = Path(tempfile.mkdtemp())
        self.home.chmod(0o777)
        (self.home / ".bashrc").write_text("keep\n")
        (self.home / ".bashrc").chmod(0o666)
        shutil.rmtree(CANARY, ignore_errors=True)
        CANARY.mkdir(mode=0o777)
        CANARY.chmod(0o777)
        (CANARY / "keep").write_text("keep")
        (CANARY / "port").write_text(str(self.listener.getsockname()[1]))
        (CANARY / "keep").chmod(0o666)
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        shutil.rmtree(CANARY, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the driver is to be started with."""
        name, _, value = SECRET.partition("=")
        return {name: value, "HOME": str(self.home)}

    def touched(self) -> list[str]:
        """The conditions that no longer hold, at the end of all."""
        conditions = {
            "home_intact": [p.name for p in self.home.iterdir()] == [".bashrc"]
            and (self.home / ".bashrc").read_text() == "keep\n",
            "no_network": not self.was_called(),
        }
        return [name for name, holds in conditions.items() if not holds] + self.touched_files()

    def touched_files(self) -> list[str]:
        """The conditions on files that no longer hold: whoever asks."""
        kept = {"keep", "port"}
        found = {path.name for path in CANARY.iterdir()} if CANARY.exists() else set()
        conditions = {
            "canary_intact": kept <= found and (CANARY / "keep").read_text() == "keep",
            "no_file": not found - kept,
            "harness_files_intact": digest(HARNESS) == self.harness,
            "disk_bounded": self.free_bytes - shutil.disk_usage(tempfile.gettempdir()).free
            < 2 << 30,
        }
        return [name for name, holds in conditions.items() if not holds]

    def was_called(self) -> bool:
        """Whether anybody connected to the port."""
        try:
            self.listener.accept()
        except BlockingIOError:
            return False
        return True


class MemoryPeak:
    """The most memory that all our descendants held together, sampled from outside."""

    def __init__(self) -> None:
        self.bytes, self.stopped = 0, False
        self.watcher = watch.Watcher()
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def sample(self) -> None:
        """Keep looking."""
        while not self.stopped:
            family = watch.descendants(os.getpid())
            if self.watcher.usage(family).resident > self.bytes:
                with contextlib.suppress(PermissionError):  # from out here; the server ends it
                    self.bytes = max(self.bytes, watch.proportional_memory(family))
            time.sleep(SAMPLE_SECONDS)

    def stop(self) -> int:
        """The peak."""
        self.stopped = True
        self.thread.join()
        return self.bytes


def digest(folder: Path) -> str:
    """A fingerprint of all source files below a folder."""
    content = [path.read_bytes() for path in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(content)).hexdigest()


def judge_row(judge: CodeJudge, row: dict, limits: Limits, bait: Bait) -> dict:
    """Judge one row and look at what it did."""
    peak = MemoryPeak()
    spent = time.thread_time()
    own = judge.limits = dataclasses.replace(limits, **row.get("limits", {}))
    judgement = judge(row["program"], row["tests"], is_program=True, prompt=row["prompt"])
    spent = time.thread_time() - spent
    lacks = [must.partition(":")[2] for must in row["must"] if must.startswith("detail_lacks:")]
    # two processes a sandbox: its outer end and the server
    num_left = len(watch.descendants(os.getpid())) - 2 * len(judge.workers)
    peak_bytes = peak.stop()
    judge.limits = limits
    control = judge("print(sum(map(int, input().split())))", CONTROL, is_program=True)
    conditions = {
        "within_time": judgement.seconds <= own.total_seconds + 2,
        "no_survivors": num_left <= 0,
        "rss_bounded": peak_bytes <= (limits.memory_mb + 256) << 20,
        "secret_not_seen": SECRET.partition("=")[2] not in judgement.detail,
        "detail_lacks": not any(text in judgement.detail for text in lacks),
        "verdict_given": judgement.outcome is not None,
        "host_cpu_bounded": spent < 2,
        "harness_alive": control.outcome == 1.0,
    }
    broken = [name for name, holds in conditions.items() if not holds]
    return {
        "id": row["id"],
        "verdict": judgement.verdict,
        "detail": judgement.detail,
        "seconds": judgement.seconds,
        "peak_bytes": peak_bytes,
        "broken": broken + bait.touched_files(),
    }


def main() -> None:
    """Judge the rows on standard input."""
    order = json.load(sys.stdin)
    bait, limits = Bait(), Limits(**order["limits"])
    with CodeJudge(sandbox=order["sandbox"], limits=limits) as judge:
        for row in order["rows"]:
            print(json.dumps(judge_row(judge, row, limits, bait)), flush=True)
    time.sleep(order.get("linger", 0))
    print(json.dumps({"id": "end", "survivors": len(watch.descendants(os.getpid()))}))


if __name__ == "__main__":
    main()
