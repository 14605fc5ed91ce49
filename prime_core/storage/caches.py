"""Where programs keep what they can fetch or compile again: the hub's files, kernels, sources.

In: a folder of the site's choice. Out: variables of this process and of what it starts. For homes
that are small, or read-only on compute nodes: docs/clusters.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# Most programs heed the first one; the others have variables of their own.
XDG = "XDG_CACHE_HOME"
_BELOW = {
    XDG: "",
    "HF_HOME": "huggingface",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
    "FLASHINFER_WORKSPACE_BASE": "",
    "MPLCONFIGDIR": "matplotlib",
}


def use_caches(folder: str | None) -> None:
    """Let this process, and what it starts, keep caches in a folder instead of the home.

    folder: may hold variables, `$SCRATCH/$USER/cache`. None: the home, or, where that cannot be
    written, .snakemake/caches here. What the environment names already stays.
    """
    os.environ.update(chosen(folder, os.environ))


def chosen(folder: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set."""
    if folder is None:
        if XDG in environment or _can_be_written(Path.home() / ".cache"):
            return {}
        # What was fetched into the home is read from there.
        fetched = Path.home() / ".cache" / "huggingface"
        kept = {"HF_HOME": str(fetched)} if fetched.is_dir() else {}
        return chosen(str(Path(".snakemake", "caches").absolute()), {**environment, **kept}) | kept
    root = Path(os.path.expandvars(folder)).expanduser()
    return {name: str(root / sub) for name, sub in _BELOW.items() if name not in environment}


def _can_be_written(folder: Path) -> bool:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(existing, os.W_OK)
