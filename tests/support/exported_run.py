"""A made-up run with real weights, as `prime export` finds it: some kept, the others deleted."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from prime_core.run.layout import RunFiles
from prime_core.run.probe import Probe
from prime_core.run.tables import EVALUATION, write_table
from prime_core.settings.reading import load_settings, merged, parse_settings
from tests.support.fake_run import make_run
from tests.support.tiny_model import save_tiny_model

NUM_PROBLEMS, NUM_SAMPLES = 50, 4


def make_run_with_weights(
    root: Path, *, kept: tuple[int, ...] = (3, 4), changes: dict[str, Any] | None = None, **how: Any
) -> Path:
    """A run whose iterations `kept` have weights, each of another seed. changes: of settings."""
    make_run(root, **how)
    files = RunFiles(root)
    change_settings(root, changes or {})
    for iteration in (0, *kept):
        for offset, model in enumerate(("policy", "prm")):
            folder = save_tiny_model(files.weights(model, iteration), seed=10 * iteration + offset)
            Probe([[7]], [[8]], [[-1.0]], [[-2.0]]).write(folder)
            (folder / "training_state").mkdir()
            (folder / "training_state" / "state.pt").write_bytes(b"x" * 1000)
            (folder / ".snakemake_timestamp").touch()
    for iteration in (0, 4):
        if files.evaluation(iteration, "validation").exists():
            _judged(files, iteration)
    return root


def change_settings(root: Path, changes: dict[str, Any]) -> None:
    """Write the run's settings anew, some of them changed."""
    config = RunFiles(root).config
    nested = load_settings(config).model_dump(mode="json")
    settings = parse_settings(merged(nested, changes), "test")
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))


def _judged(files: RunFiles, iteration: int) -> None:
    rng = np.random.default_rng(iteration)
    right = rng.random((NUM_PROBLEMS, NUM_SAMPLES)) < (0.5 + 0.1 * iteration)
    rows = [
        {
            "prompt_id": f"p{problem}",
            "sample": sample,
            "prompt_tokens": [1],
            "response_tokens": [2],
            "sampler_logprobs": [-0.5],
            "text": "",
            "finish_reason": "stop",
            "outcome": float(outcome),
            "verdict": "correct" if outcome else "wrong",
            "extracted": "7",
        }
        for (problem, sample), outcome in np.ndenumerate(right)
    ]
    names = set(EVALUATION.names)
    path = files.evaluation(iteration, "validation").with_suffix(".parquet")
    write_table(path, [{k: v for k, v in row.items() if k in names} for row in rows], EVALUATION)
