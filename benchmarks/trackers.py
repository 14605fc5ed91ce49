"""Does `prime track` bring every figure into each tracker, once, also when it is killed?

A made-up run grows by an iteration at a time beside `prime track`, which is killed with SIGKILL in
the middle and started again. Then each tracker's own store is read: W&B's offline files, Trackio's
database, MLflow's folder. Out: a line a tracker: points expected, found, twice, missing.

    pip install wandb trackio mlflow-skinny
    python -m benchmarks.trackers
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prime_core.report.points import points_of, tag_of
from prime_core.report.tables.collect import collect
from tests.support.fake_run import make_run

ITERATIONS = 8
SECONDS_BEFORE_KILL = 10.0
Value = tuple[str, int]  # a figure's name and its iteration


def main() -> None:
    """Try each tracker that is installed."""
    for name, read in (("wandb", of_wandb), ("trackio", of_trackio), ("mlflow", of_mlflow)):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            environment = os.environ | {
                "WANDB_MODE": "offline",
                "TRACKIO_DIR": str(root / "trackio"),
                "MLFLOW_TRACKING_URI": f"file://{root}/mlruns",
                "MLFLOW_ALLOW_FILE_STORE": "true",
            }
            os.environ.update(environment)
            run = mirrored_with_a_kill(root, name)
            tables = collect(run)
            expected = Counter(
                (tag_of(figure), point.iteration)
                for point in points_of(tables.iterations, tables.evaluations)
                for figure in point.values
            )
            found = Counter(value for value in read(root) if value in expected)
            twice = sum(count > 1 for count in found.values())
            print(f"{name}: {len(expected)} figures, {len(found)} found, {twice} twice")


def mirrored_with_a_kill(root: Path, to: str) -> Path:
    """A run that grew while it was mirrored, by two processes, of which the first was killed."""
    run = root / "growing"
    grow(run, 1)
    process = follow(run, to)
    for iteration in range(2, ITERATIONS + 1):
        grow(run, iteration)
        if iteration == ITERATIONS // 2:
            time.sleep(SECONDS_BEFORE_KILL)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = follow(run, to)
    (run / "ro-crate.zip").touch()  # the run has finished
    process.wait(300)
    return run


def grow(run: Path, iteration: int) -> None:
    """One more iteration, and its evaluation."""
    make_run(run, iterations=iteration, planned=ITERATIONS, evaluated=(iteration,))


def follow(run: Path, to: str) -> subprocess.Popen[bytes]:
    """`prime track`, in a process of its own."""
    command = [sys.executable, "-m", "prime_core.cli.main", "track", "--run", str(run), "--to", to]
    return subprocess.Popen([*command, "--interval", "1"], stdout=sys.stderr)


def of_wandb(root: Path) -> Iterator[Value]:
    """Figures in the files of all offline runs."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(root.rglob("*.wandb")):
        for content in records(path.read_bytes()):
            record = Record.FromString(content)
            if record.WhichOneof("record_type") != "history":
                continue
            items = {
                (item.key or ".".join(item.nested_key)): json.loads(item.value_json)
                for item in record.history.item
            }
            for name in items:
                yield tag_of(name), int(items.get("iteration", -1))


def records(content: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format: blocks of 32 kB, of which W&B's first has a header."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        at += 7
        parts += content[at : at + length]
        at += length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def of_trackio(root: Path) -> Iterator[Value]:
    """Figures in its database."""
    for path in (root / "trackio").glob("*.db"):
        with sqlite3.connect(path) as database:
            for step, metrics in database.execute("SELECT step, metrics FROM metrics"):
                for name in json.loads(metrics):
                    yield tag_of(name), int(step)


def of_mlflow(_: Path) -> Iterator[Value]:
    """Figures that its client finds."""
    from mlflow import MlflowClient

    client = MlflowClient()
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            for name in run.data.metrics:
                for metric in client.get_metric_history(run.info.run_id, name):
                    yield name, metric.step


if __name__ == "__main__":
    main()
