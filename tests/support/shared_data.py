"""Reference values and data sets, read from the folder `shared` beside the project.

A test that needs a file skips where it is absent, and says where it is published
(shared_sources.py). In CI (CI=true) a missing file fails instead: what should have been tested was
not.
"""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.shared_sources import source_of

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PRIME_SHARED", ROOT.parent / "shared"))


def shared(name: str) -> Path:
    """Path of one file of the shared folder."""
    path = SHARED / name
    if not path.exists():
        # The name alone, not the whole path, so that pytest folds equal reasons into one line.
        reason = f"shared/{name} is missing ({source_of(name)}): README.md, 'What is where'"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; CI needs the folder")
        pytest.skip(reason)
    return path


def read_jsonl(name: str) -> list[dict]:
    """Rows of shared/data/<name> (.jsonl or .jsonl.gz)."""
    path = shared(f"data/{name}")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def reference_names(prefix: str) -> list[str]:
    """Names of the reference files that begin so, for parametrize; a pattern if absent."""
    names = sorted(p.stem for p in SHARED.glob(f"reference/{prefix}*.npz"))
    return names or [f"{prefix}*"]


def reference(name: str) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and settings of one reference file (see reference/README.md)."""
    arrays = dict(np.load(shared(f"reference/{name}.npz")))
    settings = json.loads(shared("reference/index.json").read_text())[name]
    return arrays, settings
