"""Running the whole workflow in a folder of its own, on a model and a task as small as they get."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tests.support.shared_data import ROOT
from tests.support.warm import warm, warm_environment

TINY: dict[str, Any] = {
    "run": "tiny",
    "iterations": 2,
    "model": {
        "build": {
            "num_layers": 1,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "initializer_range": 0.08,
        }
    },
    "data": {
        "arithmetic": {
            "max_number": 3,
            "max_terms": 2,
            "num_train": 8,
            "num_validation": 2,
            "num_demonstrations": 400,
            "guess_accuracy": 0.3,
            "max_error": 2,
        }
    },
    "sft": {"num_steps": 300, "batch_size": 16, "optimizer": {"learning_rate": 1e-2}},
    "rollout": {
        "sampler": "transformers",
        "rollout_batch_size": 6,
        "n_samples_per_prompt": 6,
        "max_response_length": 24,
    },
    "filter": {"filter_accuracy": False},
    "prm": {"mini_batch_size": 24, "micro_batch_size": 12, "optimizer": {"learning_rate": 1e-3}},
    "policy": {
        "ppo_mini_batch_size": 24,
        "micro_batch_size": 12,
        "optimizer": {"learning_rate": 1e-3},
    },
    "evaluation": {
        "every": 2,
        "benchmarks": {
            "validation": {
                "n_samples_per_prompt": 2,
                "temperature": 1.0,
                "max_response_length": 24,
            }
        },
    },
    "checkpoints": {"keep_last": 1, "save_freq": 0},
}


def command(folder: Path, *options: str, settings: dict | None = None) -> list[str]:
    """The Snakemake command that runs TINY, changed by `settings`, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(settings or TINY))
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--configfile", str(config), *options),
    ]


def environment() -> dict[str, str]:
    """The environment of a run: one thread a process, stages as children of one process."""
    return warm_environment()


def run(
    folder: Path, *options: str, settings: dict | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the workflow to its end, whatever that is."""
    return subprocess.run(
        warm(command(folder, *options, settings=settings)),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
    )


def run_well(folder: Path, *options: str, settings: dict | None = None) -> str:
    """Run the workflow; fail with its output unless it succeeds."""
    done = run(folder, *options, settings=settings)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def kill_inside(folder: Path, place: Path, *, settings: dict, lines: int = 0) -> None:
    """Start the workflow, and kill all of it once `place` is there, with so many lines."""
    process = subprocess.Popen(
        command(folder, "--cores", "1", settings=settings),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 400
    try:
        while not place.exists() or (lines and place.read_text().count("\n") < lines):
            assert process.poll() is None, process.communicate()[0].decode()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def digests(run_dir: Path) -> dict[str, str]:
    """A digest of every table and every weight file of a run, times left out.

    Tables are compared as their values: `seconds` differ from run to run, all else must not.
    """
    found = {}
    for path in sorted(run_dir.rglob("*")):
        name = str(path.relative_to(run_dir))
        if path.suffix == ".parquet":
            table = pd.read_parquet(path).drop(columns="seconds", errors="ignore")
            found[name] = hashlib.sha256(table.to_json(double_precision=15).encode()).hexdigest()
        elif path.suffix == ".safetensors":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def modified(run_dir: Path) -> dict[str, int]:
    """When each table, weight file and metrics file of a run was last written."""
    kinds = (".parquet", ".safetensors", ".json")
    return {
        str(path.relative_to(run_dir)): path.stat().st_mtime_ns
        for path in sorted(run_dir.rglob("*"))
        if path.suffix in kinds and path.name != "provenance.json"
    }
