"""The trial's parts, and the process of one of them.

    python -m benchmarks.gpu_trial.parts NAME FOLDER

Prints the part's figures as one JSON object, on the first rank alone; anything wrong is an
exception.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_trial import sampling_parts, storage_parts, training_parts
from benchmarks.gpu_trial.trial import Trial, read_trial, save_built_model
from prime_core.models.load import device
from prime_core.runtime.rank import is_first_rank


@dataclass(frozen=True)
class Part:
    """run: its work. seconds: at most. all_ranks: on every GPU, else on the first alone."""

    run: Callable[[Trial], dict[str, Any]]
    seconds: float
    all_ranks: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def build(trial: Trial) -> dict[str, Any]:
    """Write the model that the other parts load."""
    save_built_model(trial)
    folder = trial.files.policy(0)
    return {
        "num_parameters": trial.shape.num_parameters,
        "gb": storage_parts.bytes_in(folder) / 1e9,
    }


# What matters most comes first: a later part is left out when time is up.
PARTS = {
    "start": Part(training_parts.start, 90, all_ranks=True),
    "build": Part(build, 120),
    "policy-zero2": Part(partial(training_parts.policy, zero_stage=2), 120, all_ranks=True),
    "prm-zero2": Part(partial(training_parts.prm, zero_stage=2), 90, all_ranks=True),
    "vllm": Part(sampling_parts.vllm, 150),
    "score": Part(training_parts.score, 60, all_ranks=True),
    "disk": Part(storage_parts.disk, 40),
    "files": Part(storage_parts.files, 60),
    "fork": Part(
        storage_parts.fork_after_nvml, 60, environment={"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    ),
    "offload-reload": Part(training_parts.offload_reload, 90, all_ranks=True),
    "bf16-gradient": Part(training_parts.bf16_gradient, 40),
    "transformers": Part(sampling_parts.transformers, 60),
    "policy-zero3": Part(partial(training_parts.policy, zero_stage=3), 90, all_ranks=True),
    "policy-zero1": Part(partial(training_parts.policy, zero_stage=1), 90, all_ranks=True),
    "policy-offloaded": Part(
        partial(training_parts.policy, zero_stage=2, offload_optimizer="cpu"), 120, all_ranks=True
    ),
    "prm-zero3": Part(partial(training_parts.prm, zero_stage=3), 90, all_ranks=True),
    "prm-zero1": Part(partial(training_parts.prm, zero_stage=1), 90, all_ranks=True),
}
NEEDS_NO_MODEL = ("start", "build", "disk", "files", "fork", "bf16-gradient")


def main(name: str, folder: Path) -> None:
    """Run one part in this process."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # engines print to standard output
    if torch.cuda.is_available() and name != "fork":  # a parent must not touch the GPU
        torch.cuda.set_device(device())
    try:
        figures = PARTS[name].run(read_trial(folder))
    except sampling_parts.LeftOut as reason:
        figures = {"left_out": str(reason)}
    if is_first_rank():
        answers.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    sys.stderr.flush()
    # Not sys.exit: engines and process groups may hang at exit, and nothing here needs theirs.
    os._exit(0)
