"""Reference values and data sets, read from the folder `shared` beside the project.

A test that needs a file skips, saying so, where the folder is absent. In CI (CI=true) a missing
file fails instead: what should have been tested was not.
"""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PRIME_SHARED", ROOT.parent / "shared"))


def shared(name: str) -> Path:
    """Path of one file of the shared folder."""
    path = SHARED / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing: CI needs the shared folder beside the project")
        pytest.skip(f"{path} is missing: place the shared folder beside the project")
    return path


def read_jsonl(name: str) -> list[dict]:
    """Rows of shared/data/<name> (.jsonl or .jsonl.gz)."""
    path = shared(f"data/{name}")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def reference_names(prefix: str) -> list[str]:
    """Names of the reference files that begin so, for parametrize; one placeholder if absent."""
    names = sorted(p.stem for p in SHARED.glob(f"reference/{prefix}*.npz"))
    return names or [f"{prefix}missing"]


def reference(name: str) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and settings of one reference file (see reference/README.md)."""
    arrays = dict(np.load(shared(f"reference/{name}.npz")))
    settings = json.loads(shared("reference/index.json").read_text())[name]
    return arrays, settings
