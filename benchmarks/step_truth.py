"""Does a PRM that has seen outcomes alone find the first wrong step? A trial on generated sums.

    python -m benchmarks.step_truth                                  # results/step-truth
    python -m benchmarks.step_truth --seeds 0 --flips 0 0.2 --losses ce

For each seed a start model learns chains, half of which slip (the task of
configs/ablations/faithfulness.yaml); a PRM is trained on labelled chains of training problems, of
which it is told the outcome alone, a share of them turned over; then it rates other chains of
held-out problems, whose wrong steps are known by rule. Beside it stands what an outcome alone
reaches by pointing at the best fixed place of every wrong answer. What a folder holds already is
kept; figures.json has all figures.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prime_core.ablations.plan import Plan, load_ablations
from prime_core.data.arithmetic import chain, question, shuffled, slips, terms_of
from prime_core.data.arithmetic_solutions import generated_solutions
from prime_core.evaluation.step_rating import Solutions, rate_steps
from prime_core.report.drawing.plots import MUTED, SERIES, render
from prime_core.run.state import RunState
from prime_core.run.tables import PROMPTS, read_table
from prime_core.settings.evaluation import GENERATED
from prime_core.settings.reading import merged, parse_settings
from prime_core.settings.run import Settings
from prime_core.stages import build, prepare, prm_data, prm_offline, sft

if TYPE_CHECKING:  # imported when something is drawn
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/ablations/faithfulness.yaml"
NUM_CHAINS, NUM_A_PROMPT, NUM_RATED = 6000, 4, 1000
# Beside the loss: what it needs. The same number of steps for all.
LOSSES: dict[str, dict[str, Any]] = {
    "ce": {"beta": 0.05, "offline": {"loss_type": "ce"}},
    "dpo": {"beta": 0.05, "offline": {"loss_type": "dpo"}},
    "prefix": {
        "beta": 10.0,
        "offline": {"loss_type": "prefix", "response_score": "mean", "margin": 5.0},
    },
}
OFFLINE = {
    "max_length": 80,  # the model has as many positions
    "mini_batch_size": 32,
    "micro_batch_size": 32,
    "epochs": 2,
    "optimizer": {"learning_rate": 1e-3},
}


def labelled_chains(settings: Settings, prompt_ids: list[str], flips: float) -> Iterator[dict]:
    """NUM_A_PROMPT chains to each of some problems with their outcomes, a share turned over."""
    task = settings.data.arithmetic
    rng = random.Random(f"labelled chains {settings.seed}")
    noise = random.Random(f"noise {settings.seed}")
    for prompt_id in rng.sample(prompt_ids, NUM_CHAINS // NUM_A_PROMPT):
        terms = shuffled(terms_of({"prompt_id": prompt_id}), rng)
        for _ in range(NUM_A_PROMPT):
            slipped = rng.random() < task.slip_share
            errors = slips(terms, task.max_error, task.cancel_share, rng) if slipped else {}
            right = sum(errors.values()) == 0
            outcome = right != (noise.random() < flips)
            yield {
                "prompt_id": prompt_id,
                "prompt": question(terms),
                "response": chain(terms, errors),
                "outcome": int(outcome),
            }


def settings_of(results: Path, run: str, seed: int, own: dict[str, Any]) -> Settings:
    """Settings of one run of the trial."""
    common = merged(Plan(load_ablations(ROOT / CONFIG), ROOT).common, own)
    identity = {"results": str(results), "run": run, "seed": seed, "iterations": 0}
    return parse_settings(merged(common, identity), run)


def start(results: Path, seed: int) -> RunState:
    """The run whose start model all PRMs of a seed begin from."""
    state = RunState(settings_of(results, f"start-seed{seed}", seed, {}))
    if not state.files.policy(0).exists():
        state.begin()
        for stage in (build, prepare, sft):
            stage.run(state.files.root)
        state.give_back()
    return state


def trained(results: Path, base: RunState, loss: str, flips: float) -> RunState:
    """A PRM trained on labelled chains from the start model."""
    seed = base.settings.seed
    name = f"{loss}-{round(100 * flips):02d}-seed{seed}"
    file = results / "labelled" / f"{round(100 * flips):02d}-seed{seed}.jsonl"
    own = merged({"prm": LOSSES[loss]}, {"prm": {"offline": OFFLINE | {"file": str(file)}}})
    # The base's weights are what it starts from; nothing else of it is needed.
    own |= {"model": {"path": str(base.files.policy(0))}, "sft": {"enabled": False}}
    state = RunState(settings_of(results, name, seed, own))
    if state.files.prm(0).exists():
        return state
    names = list(read_table(base.files.train, PROMPTS)["prompt_id"])
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = labelled_chains(base.settings, names, flips)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    state.begin()
    for stage in (build, prepare, sft, prm_data, prm_offline):
        stage.run(state.files.root)
    state.give_back()
    return state


def figures_of(base: RunState, state: RunState) -> dict[str, Any]:
    """Figures of the chains that the threshold was not chosen on."""
    names = list(read_table(base.files.validation, PROMPTS)["prompt_id"])
    task = base.settings.data.arithmetic
    given = Solutions(
        files={"threshold": GENERATED, "chains": GENERATED},
        columns={},
        key="{}",
        chosen_on="threshold",
        num_rows=NUM_RATED,
        asked=lambda messages: messages,
        generated=lambda part, number: generated_solutions(
            names, task, number or NUM_RATED, f"{base.settings.seed} {part}"
        ),
    )
    files = state.files
    table = files.root / "rated.parquet"
    part = rate_steps(given, files.prm(0), files.reference, state.settings, table)["chains"]
    of = part["scores"]["step"]
    keys = ("f1", "auc", "clean_above_lucky", "right_by_luck_found", "falls_found")
    return {key: of[key] for key in keys} | {"outcome_f1": part["outcome_only"]["f1"]}


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means over seeds as a table in Markdown, the least and the largest beside the first."""
    yield "| loss | labels flipped | F1 | outcome alone | AUC | clean above lucky | falls found |"
    yield "|---|---|---|---|---|---|---|"
    for loss, flips in dict.fromkeys((row["loss"], row["flips"]) for row in rows):
        found = [row for row in rows if (row["loss"], row["flips"]) == (loss, flips)]
        f1, only, auc, above, falls = (
            np.array([row[key] for row in found])
            for key in ("f1", "outcome_f1", "auc", "clean_above_lucky", "falls_found")
        )
        yield (
            f"| {loss} | {100 * flips:.0f} % | {f1.mean():.2f} ({f1.min():.2f} to {f1.max():.2f}) "
            f"| {only.mean():.2f} | {auc.mean():.3f} | {100 * above.mean():.1f} % "
            f"| {100 * falls.mean():.1f} % |"
        )


def draw(canvas: Figure, rows: list[dict[str, Any]]) -> bool:
    """F1 by the share of labels turned over; bars are the least and the largest of the seeds."""
    axes = canvas.subplots()
    for number, loss in enumerate(dict.fromkeys(row["loss"] for row in rows)):
        of_loss = [row for row in rows if row["loss"] == loss]
        shares = sorted({row["flips"] for row in of_loss})
        found = [np.array([r["f1"] for r in of_loss if r["flips"] == share]) for share in shares]
        middle = np.array([one.mean() for one in found])
        ends = np.array(
            [[m - one.min(), one.max() - m] for m, one in zip(middle, found, strict=True)]
        )
        # Beside each other where several losses have the same share.
        places = [100 * share + number for share in shares]
        axes.errorbar(
            places, middle, yerr=ends.T, fmt="o-", color=SERIES[number], capsize=2.5, label=loss
        )
    only = np.mean([row["outcome_f1"] for row in rows])
    axes.axhline(only, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="outcome alone")
    axes.set_xlabel("labels turned over, percent")
    axes.set_ylabel("F1 of first wrong steps")
    axes.set_ylim(0, 1)
    axes.legend(loc="lower left", ncols=2)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "step-truth")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--flips", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.3, 0.4])
    parser.add_argument("--losses", nargs="+", choices=[*LOSSES], default=[*LOSSES])
    parser.add_argument("--figure", type=Path, help="also draw the F1 into this SVG file")
    given = parser.parse_args()
    results, begun = given.results.resolve(), time.monotonic()
    rows = []
    for seed in given.seeds:
        base = start(results, seed)
        for loss in given.losses:
            # What noise does is asked of the paper's loss.
            for flips in given.flips if loss == "ce" else given.flips[:1]:
                figures = figures_of(base, trained(results, base, loss, flips))
                rows.append({"loss": loss, "flips": flips, "seed": seed} | figures)
                print(json.dumps(rows[-1]), flush=True)
    (results / "figures.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(*lines(rows), sep="\n")
    if given.figure:
        svg = render("step-truth", 2.7, lambda canvas: draw(canvas, rows))
        given.figure.write_text(svg, encoding="utf-8")
    print(f"{len(rows)} PRMs in {(time.monotonic() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
