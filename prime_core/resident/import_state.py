"""What decides how a Python process comes out of its imports, as one digest.

A child of the server stands in for a cold process only where both would have imported the same
code under the same variables. Imports nothing heavy: every `prime` command computes it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

# Read while modules are imported, or by the C libraries as they are loaded.
_PREFIXES = (
    "CUDA_",
    "DS_",
    "GOTO_",
    "HF_",
    "KMP_",
    "LC_",
    "LD_",
    "MKL_",
    "NUMEXPR_",
    "OMP_",
    "OPENBLAS_",
    "PYTHON",
    "PYTORCH_",
    "TOKENIZERS_",
    "TORCH",
    "TRANSFORMERS_",
    "TRITON_",
    "VLLM_",
    "XDG_",
)
# A stage in a Slurm job or step of its own belongs to its own cgroup, limits and accounting.
_NAMES = ("HOME", "LANG", "SLURM_JOB_ID", "SLURM_STEP_ID", "VIRTUAL_ENV")
# Set for each rank, and read when ranks meet.
_READ_LATER = ("CUDA_VISIBLE_DEVICES", "TORCHELASTIC_", "TORCH_NCCL_")


def import_state(environment: Mapping[str, str]) -> str:
    """Hexadecimal digest of interpreter, installed packages, this package's files, variables."""
    digest = hashlib.sha256()
    for part in (sys.version, os.path.realpath(sys.prefix), *_packages(), *_own_files()):
        digest.update(f"{part}\0".encode())
    for name, value in sorted(environment.items()):
        if (name.startswith(_PREFIXES) or name in _NAMES) and not name.startswith(_READ_LATER):
            digest.update(f"{name}={value}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _packages() -> list[str]:
    """When packages were last installed or removed: pip adds and removes folders there."""
    folders = {os.path.realpath(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    return [f"{folder} {Path(folder).stat().st_mtime_ns}" for folder in sorted(folders)]


def _own_files() -> list[str]:
    """Path, size and time of each Python file of this package."""
    found, folders = [], [str(Path(__file__).parent.parent)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__":
                        folders.append(entry.path)
                elif entry.name.endswith(".py"):
                    state = entry.stat()
                    found.append(f"{entry.path} {state.st_size} {state.st_mtime_ns}")
    return sorted(found)
