"""What the sandbox tests run in a process of its own, also as another user: no tests in here.

Standard library only. Reads {"rows", "sandbox", "limits"} as JSON on standard input; every row has
id, program, tests, prompt. Sets out things to be stolen or broken, judges the rows one after the
other, and prints one JSON line a row: verdict, detail, seconds, peak_bytes and `broken`, the names
of the conditions that did not hold. A condition is checked whether or not the row asks for it.
"""

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
    """Files, a port and an environment variable that no program may reach."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.home = Path(tempfile.mkdtemp())
        name, _, value = SECRET.partition("=")
        os.environ.update({name: value, "HOME": str(self.home)})
        (self.home / ".bashrc").write_text("keep\n")
        shutil.rmtree(CANARY, ignore_errors=True)
        CANARY.mkdir(mode=0o777)
        CANARY.chmod(0o777)
        (CANARY / "keep").write_text("keep")
        (CANARY / "port").write_text(str(self.listener.getsockname()[1]))
        (CANARY / "keep").chmod(0o666)
        self.harness = digest(HARNESS)
        self.free_bytes = shutil.disk_usage(tempfile.gettempdir()).free

    def touched(self) -> list[str]:
        """The conditions that no longer hold."""
        kept = {"keep", "port"}
        found = {path.name for path in CANARY.iterdir()} if CANARY.exists() else set()
        conditions = {
            "canary_intact": kept <= found and (CANARY / "keep").read_text() == "keep",
            "no_file": not found - kept,
            "home_intact": [p.name for p in self.home.iterdir()] == [".bashrc"]
            and (self.home / ".bashrc").read_text() == "keep\n",
            "harness_files_intact": digest(HARNESS) == self.harness,
            "no_network": not self.was_called(),
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

    def remove(self) -> None:
        """Take everything away again."""
        shutil.rmtree(CANARY, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)


class MemoryPeak:
    """The most memory that all our descendants held together, sampled from outside."""

    def __init__(self) -> None:
        self.bytes, self.stopped = 0, False
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def sample(self) -> None:
        """Keep looking."""
        while not self.stopped:
            family = watch.descendants(os.getpid())
            if watch.usage(family).resident > self.bytes:
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


def judge_row(judge: CodeJudge, row: dict, bait: Bait) -> dict:
    """Judge one row and look at what it did."""
    peak = MemoryPeak()
    judgement = judge(row["program"], row["tests"], is_program=True, prompt=row["prompt"])
    broken = []
    if judgement.seconds > judge.limits.total_seconds + 2:
        broken.append("within_time")
    # two processes a sandbox: its outer end and the server
    if len(watch.descendants(os.getpid())) > 2 * len(judge.workers):
        broken.append("no_survivors")
    peak_bytes = peak.stop()
    if peak_bytes > (judge.limits.memory_mb + 256) << 20:
        broken.append("rss_bounded")
    broken += bait.touched()
    if SECRET.partition("=")[2] in judgement.detail:
        broken.append("secret_not_seen")
    control = judge("print(sum(map(int, input().split())))", CONTROL, is_program=True)
    if control.outcome != 1.0:
        broken.append("harness_alive")
    return {
        "id": row["id"],
        "verdict": judgement.verdict,
        "detail": judgement.detail,
        "seconds": judgement.seconds,
        "peak_bytes": peak_bytes,
        "broken": broken,
    }


def main() -> None:
    """Judge the rows on standard input."""
    order = json.load(sys.stdin)
    bait = Bait()
    try:
        with CodeJudge(sandbox=order["sandbox"], limits=Limits(**order["limits"])) as judge:
            for row in order["rows"]:
                print(json.dumps(judge_row(judge, row, bait)), flush=True)
        time.sleep(order.get("linger", 0))
        touched = bait.touched()
        survivors = watch.descendants(os.getpid())
        print(json.dumps({"id": "end", "broken": touched, "survivors": len(survivors)}))
    finally:
        bait.remove()


if __name__ == "__main__":
    main()
