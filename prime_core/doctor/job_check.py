"""`prime doctor --gpu`: what a job does, tried with a small model on all GPUs of this machine.

In: how many GPUs, or that the CPU stands in for them (tests). Out: a finding for each thing.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prime_core.doctor.finding import Finding, Probe, examine
from prime_core.doctor.processes import Answer, ask, ask_together, own_module
from prime_core.runtime.text import bytes_text, duration

SAMPLE_SECONDS = 300.0  # vLLM compiles kernels on its first start
TRAIN_SECONDS = 240.0
RANKS_ON_CPU = 2
STEPS = {"sample": ("load", "generate"), "train": ("all-reduce", "optimizer step")}
ABOUT = {
    "load": "see the lines `torch` and `GPU`",
    "generate": "set rollout.sampler: transformers, or reinstall vLLM (docs/gpu.md)",
    "all-reduce": "NCCL_DEBUG=INFO prime doctor --gpu says more; see the line `/dev/shm`",
    "optimizer step": "see the line `DeepSpeed`",
}


def job_findings(
    num_gpus: int,
    on_cpu: bool,
    waiting: Callable[[str, float], object],
    sampler: str = "auto",
) -> Iterator[Finding]:
    """Load, generate, all-reduce, step. on_cpu: the same on the CPU, with gloo for NCCL."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {}
    ranks = RANKS_ON_CPU if on_cpu else num_gpus
    with tempfile.TemporaryDirectory(prefix="prime-doctor-", ignore_cleanup_errors=True) as place:
        folder = str(Path(place) / "model")

        def sample() -> list[Finding]:
            answer = ask(own_module("job", "sample", folder, sampler), SAMPLE_SECONDS, hidden)
            return findings_of("sample", answer)

        def train() -> list[Finding]:
            if not Path(folder, "config.json").exists():
                return findings_of("train", Answer(problem="there is no model to train"))
            command = own_module("job", "train", folder)
            environments = [hidden | one for one in rank_environments(ranks)]
            return findings_of("train", ask_together(command, environments, TRAIN_SECONDS))

        # One after the other: both want the GPUs' memory.
        yield from examine([Probe("load", sample, SAMPLE_SECONDS + 20)], waiting)
        yield from examine([Probe("all-reduce", train, TRAIN_SECONDS + 20)], waiting)


def rank_environments(ranks: int) -> list[dict[str, str]]:
    """What torch reads in each rank of this machine."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [shared | {"RANK": str(one), "LOCAL_RANK": str(one)} for one in range(ranks)]


def findings_of(what: str, answer: Answer) -> list[Finding]:
    """A line for each step: it worked, or it is where the trial ended, or it was not reached."""
    worked = {line["name"]: line for line in answer.lines if "name" in line}
    found, failed = [], ""
    for name in STEPS[what]:
        if name in worked:
            found.append(Finding(name, "ok", described(worked[name])))
        elif not failed:
            failed = name
            problem = answer.problem or "it ended without an answer"
            found.append(Finding(name, "wrong", problem, ABOUT[name]))
        else:
            found.append(Finding(name, "missing", f"not tried, since `{failed}` failed"))
    return found


def described(facts: dict[str, Any]) -> str:
    """What worked, in words."""
    took = duration(facts["seconds"])
    if facts["name"] == "load":
        return f"a small model on {facts['device']} in {facts['dtype']}, {took}"
    if facts["name"] == "generate":
        counts = f"{facts['responses']} responses, {facts['tokens']} tokens"
        return f"{counts} by {facts['sampler']}, {took} with its start"
    if facts["name"] == "all-reduce":
        with_whom = f"{facts['ranks']} ranks" if facts["ranks"] > 1 else "one rank, with itself"
        rate = f", {facts['gb_per_s']:.3g} GB/s" if facts["ranks"] > 1 else ""
        size = bytes_text(facts["bytes"])
        return (
            f"{size} over {with_whom} by {facts['backend']}, {1000 * facts['seconds']:.3g} ms{rate}"
        )
    way = f"DeepSpeed, ZeRO stage {facts['zero_stage']}, {facts['dtype']}"
    return f"{way}: gradient norm {facts['norm']:.3g}, {took} with its start"
