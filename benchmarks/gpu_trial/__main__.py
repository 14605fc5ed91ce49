"""Measure what this machine's GPUs do, in under eight minutes and without a network.

    python -m benchmarks.gpu_trial                        # all GPUs of this machine
    python -m benchmarks.gpu_trial --size tiny            # the same parts in small, also on a CPU
    prime plan --measured gpu-trial.json                  # the plan with what was measured

A Qwen2 of 0.5 to 7 B parameters with random weights, as large as ZeRO 2 can train on these GPUs.
Parts run in processes of their own, each for a bounded time: one that fails is a line with its
reason. Figures are written after each part.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.gpu_trial.assumptions import measured_assumptions
from benchmarks.gpu_trial.parts import NEEDS_NO_MODEL, PARTS
from benchmarks.gpu_trial.trial import SMALL_WORK, TINY, Trial, Work, fitting_size
from prime_core.doctor.job_check import rank_environments
from prime_core.doctor.processes import ask, ask_together
from prime_core.doctor.trial import __name__ as facts_module
from prime_core.planning.gpus import PROCESSORS, UnknownGpu, gpu_of
from prime_core.run.atomic import write_text
from prime_core.runtime.text import table

PACKAGES = ("torch", "transformers", "deepspeed", "vllm")
GIB = 2**30
LEAST_SECONDS = 15  # a part that has less would do little but import


def seen_gpus() -> list[dict[str, Any]]:
    """torch's GPUs, asked in another process: this one must leave their memory alone."""
    answer = ask([sys.executable, "-m", facts_module, "torch"], 120)
    if answer.problem:
        sys.exit(f"torch does not load: {answer.problem}")
    return answer.lines[-1]["gpus"]


def make_trial(options: argparse.Namespace, gpus: list[dict[str, Any]], folder: str) -> Trial:
    """The trial that these GPUs allow. Raises SystemExit in words."""
    ranks = options.ranks or max(len(gpus), 1)
    if gpus and ranks > len(gpus):
        sys.exit(f"--ranks {ranks}: torch sees {len(gpus)} GPUs")
    work = SMALL_WORK if options.size == TINY else Work()
    if not gpus:
        if options.size != TINY:
            sys.exit("torch sees no GPU; --size tiny runs the parts in small on the CPU")
        return Trial(folder, TINY, PROCESSORS.name, 0.0, ranks, "float32", work)
    name = options.gpu or gpus[0]["name"]
    try:
        known, _ = gpu_of(name)
    except UnknownGpu as error:
        sys.exit(f"{error}; --gpu TYPE names the nearest")
    memory = min(gpu["bytes"] for gpu in gpus) / GIB
    dtype = "bfloat16" if tuple(gpus[0]["capability"]) >= (8, 0) else "float32"
    try:
        size = options.size or fitting_size(memory, dtype, ranks, work)
    except ValueError as reason:
        sys.exit(str(reason))
    return Trial(folder, size, known.name, memory, ranks, dtype, work)


def run_part(trial: Trial, name: str, seconds: float) -> dict[str, Any]:
    """Its figures, or why there are none."""
    part = PARTS[name]
    command = [sys.executable, "-m", "benchmarks.gpu_trial.parts", name, trial.folder]
    ranks = trial.num_ranks if part.all_ranks else 1
    cores = max((os.cpu_count() or 1) // ranks, 1)
    usual = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores))}
    environments = [
        {**usual, **part.environment, **(one if ranks > 1 else {})}
        for one in rank_environments(ranks)
    ]
    answer = ask_together(command, environments, seconds)
    if answer.problem:
        return {"failed": answer.problem}
    return answer.lines[-1] if answer.lines else {"failed": "it ended without figures"}


def measure(trial: Trial, options: argparse.Namespace, gpu_name: str) -> dict[str, Any]:
    """All parts that time allows; written after each."""
    found: dict[str, dict[str, Any]] = {}
    until = time.monotonic() + options.seconds
    with tqdm(options.parts, unit="part", dynamic_ncols=True) as bar:
        for name in bar:
            bar.set_postfix_str(name)
            left, begun = until - time.monotonic(), time.monotonic()
            if name not in NEEDS_NO_MODEL and "gb" not in found.get("build", {}):
                found[name] = {"left_out": "there is no model (part build)"}
            elif left < LEAST_SECONDS:
                found[name] = {"left_out": "time was up; --seconds gives more"}
            else:
                found[name] = run_part(trial, name, min(left, PARTS[name].seconds))
            found[name]["wall_s"] = time.monotonic() - begun
            report = as_report(trial, found, gpu_name)
            write_text(options.out, json.dumps(report, indent=1) + "\n")
    return report


def as_report(trial: Trial, found: dict[str, dict[str, Any]], gpu_name: str) -> dict[str, Any]:
    """The file: what `prime plan --measured` reads, and all figures."""
    values, notes = measured_assumptions(trial, found)
    return {
        "gpu": {"type": trial.gpu, "name": gpu_name, "memory_gib": trial.memory_gib},
        "num_gpus": trial.num_ranks,
        "model": {"size": trial.size, "dtype": trial.dtype},
        "assumptions": values,
        "notes": notes,
        "parts": found,
        "versions": {name: version_of(name) for name in PACKAGES},
    }


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def lines_of(report: dict[str, Any]) -> list[str]:
    """The report as text."""
    rows = [("part", "seconds", "figures")]
    for name, figures in report["parts"].items():
        problems = [f"{key}: {figures[key]}" for key in ("failed", "left_out") if key in figures]
        texts = problems or [shown(key, value) for key, value in figures.items() if key != "wall_s"]
        rows.append((name, f"{figures['wall_s']:.0f}", "; ".join(filter(None, texts))))
    values = [(name, f"{value:.4g}") for name, value in report["assumptions"].items()]
    return [
        f"{report['num_gpus']} x {report['gpu']['name']}, {report['model']['size']}, "
        f"{report['model']['dtype']}",
        *table(rows, "<><"),
        "",
        "MEASURED, in place of the plan's assumptions" if values else "NOTHING WAS MEASURED",
        *(table(values, "<") if values else []),
        *report["notes"],
    ]


def shown(name: str, value: Any) -> str:
    """A figure as text; "" for what does not exist here."""
    if value is None:
        return ""
    if name == "points":
        return ", ".join(f"{one['responses']} at {1000 * one['step_s']:.1f} ms" for one in value)
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["7b", "3b", "1.5b", "0.5b", TINY])
    parser.add_argument("--gpu", metavar="TYPE", help="in place of the GPU's own name")
    parser.add_argument("--ranks", type=int, help="GPUs, or processes on a CPU; default: all, or 1")
    parser.add_argument("--seconds", type=float, default=460.0, help="of all parts together")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk of runs")
    parser.add_argument("--out", type=Path, default=Path("gpu-trial.json"))
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    options = parse(words)
    gpus = seen_gpus()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-trial-", dir=options.folder) as folder:
        trial = make_trial(options, gpus, str(Path(folder).resolve()))
        trial.write()
        report = measure(trial, options, gpus[0]["name"] if gpus else platform.machine())
    print("\n".join(lines_of(report)))
    print(f"prime plan --measured {options.out}")


if __name__ == "__main__":
    main()
