"""PRIME beside outcome-only RLOO on the quickstart task: same rollouts, several seeds.

    python -m benchmarks.quickstart_seeds --seeds 0 1 2

Each seed's two runs share data and supervised warm-up, and differ in prm.prm_update alone. Prints
a table and draws the held-out accuracy by iteration; finished runs are not run again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
METHODS = {"prime": "PRIME", "rloo": "RLOO, outcome only"}


def run(method: str, seed: int) -> Path:
    """Run one method with one seed through the workflow; its folder."""
    name = f"{method}-seed{seed}"
    options = [f"run={name}", f"seed={seed}", "evaluation={every: 1}"]
    files = ["configs/quickstart.yaml"]
    if method == "rloo":
        files.append("configs/ablations/quickstart_rloo.yaml")
        start = ROOT / "results" / f"prime-seed{seed}" / "models" / "policy-0000"
        options += [f"model={{path: {start}}}", "sft={enabled: false}"]
    command = [sys.executable, "-m", "snakemake", "--configfile", *files, "--config", *options]
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / "results" / name


def accuracies(folder: Path) -> dict[int, float]:
    """Held-out accuracy by iteration (avg@4 at temperature 1)."""
    return {
        int(path.parent.name): json.loads(path.read_text())["accuracy"]
        for path in sorted(folder.glob("evaluations/*/validation.json"))
    }


def training_accuracies(folder: Path) -> dict[int, float]:
    """Accuracy of each iteration's rollouts, before its update."""
    return {
        int(path.parent.parent.name): json.loads(path.read_text())["rollout/accuracy"]
        for path in sorted(folder.glob("iterations/*/metrics/select.json"))
    }


def across_seeds(curves: list[dict[int, float]]) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Iterations, mean and standard error over seeds."""
    iterations = sorted(curves[0])
    values = np.array([[curve[i] for i in iterations] for curve in curves])
    error = values.std(0, ddof=1) / np.sqrt(len(curves)) if len(curves) > 1 else 0 * values[0]
    return iterations, values.mean(0), error


def table(held_out: dict[str, list[dict[int, float]]]) -> str:
    """Held-out accuracy by iteration in percent, mean and standard error over seeds."""
    curves = {METHODS[method]: across_seeds(of_seeds) for method, of_seeds in held_out.items()}
    iterations = next(iter(curves.values()))[0]
    lines = ["| iteration | " + " | ".join(curves) + " |", "|---" * (len(curves) + 1) + "|"]
    for place, iteration in enumerate(iterations):
        cells = [
            f"{100 * mean[place]:.1f} ± {100 * error[place]:.1f}"
            for _, mean, error in curves.values()
        ]
        lines.append(f"| {iteration} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(
    held_out: dict[str, list[dict[int, float]]],
    training: dict[str, list[dict[int, float]]],
    to: Path,
) -> None:
    """Two panels: held-out accuracy, and accuracy of the training rollouts."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    panels = zip(axes, (held_out, training), ("held-out (avg@4)", "training rollouts"), strict=True)
    for axis, curves_of, title in panels:
        for method, curves in curves_of.items():
            iterations, mean, error = across_seeds(curves)
            axis.plot(iterations, mean, marker="o", markersize=3, label=METHODS[method])
            axis.fill_between(iterations, mean - error, mean + error, alpha=0.2)
        axis.set(title=title, xlabel="iteration")
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="accuracy", ylim=(0.3, 1.0))
    axes[1].legend(loc="lower right", frameon=False)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(to, metadata={"Date": None})


def main() -> None:
    """Run what is missing, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "images" / "quickstart.svg")
    options = parser.parse_args()
    held_out: dict[str, list[dict[int, float]]] = {method: [] for method in METHODS}
    training: dict[str, list[dict[int, float]]] = {method: [] for method in METHODS}
    for seed in options.seeds:
        for method in METHODS:
            folder = run(method, seed)
            held_out[method].append(accuracies(folder))
            training[method].append(training_accuracies(folder))
    draw(held_out, training, options.plot)
    print(f"Held-out accuracy in percent, mean ± standard error over seeds {options.seeds}\n")
    print(table(held_out))


if __name__ == "__main__":
    main()
