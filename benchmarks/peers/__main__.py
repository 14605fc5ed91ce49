"""Print this project beside TRL's RLOOTrainer: the quickstart's task, model, prompts and rates.

    python -m benchmarks.peers                        # six iterations; build/peers
    python -m benchmarks.peers --iterations 12 --folder /scratch/peers
    python -m benchmarks.peers --go-on                # an interrupted call's rows stay

On the CPU, one thread a process. Both start from the same warmed-up model (the quickstart's SFT)
and sample the same number of responses; this project runs without a PRM and without the filter, as
TRL does, and once more as the quickstart is. TRL is one process; here every stage is one, cold or,
where this version has the setting `resident`, forked from a warm process. TRL gets an environment
of its own in the folder, by pip. Accuracies of both come from this project's sampler and verifier.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.peers.watching import Watched, watch
from prime_core.evaluation.benchmark import benchmark_named, benchmark_problems, judge_responses
from prime_core.run.layout import RunFiles
from prime_core.run.tables import PROMPTS, read_table
from prime_core.samplers import SamplingParams
from prime_core.samplers.ask import ask
from prime_core.settings.reading import load_settings
from prime_core.settings.run import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = ROOT / "configs" / "quickstart.yaml"
LOCK = ROOT / "locks" / "cpu.txt"
TRL = "trl==1.16.0"
NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SETUP = ["--until", "sft"]
OUTCOMES_ALONE = ("prm.prm_update=none", "filter.filter_accuracy=false")


@dataclass(frozen=True)
class Row:
    """One way: seconds of its iterations, what all of it used, weights after each iteration."""

    name: str
    iterations_s: list[float]
    watched: Watched
    first_at: float
    weights: list[Path]

    def write(self, path: Path) -> None:
        """Keep it, for a call that goes on."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Row:
        """What `write` has kept."""
        found = json.loads(path.read_text(encoding="utf-8"))
        weights = [Path(one) for one in found["weights"]]
        return cls(**found | {"watched": Watched(**found["watched"]), "weights": weights})


def trl_python(folder: Path) -> Path:
    """The Python of TRL's own environment, made where it is missing. Raises SystemExit."""
    place = folder / "trl-venv"
    python, stamp = place / "bin" / "python", place / f".{TRL}"
    if not stamp.exists():
        print(f"installing {TRL} into {place}", file=sys.stderr)
        # This project's torch and transformers: other ones would be another comparison.
        commands = (
            [sys.executable, "-m", "venv", "--clear", str(place)],
            ["make", "--no-print-directory", "-C", str(ROOT), "torch-cpu", f"VENV={place}"],
            [str(python), "-m", "pip", "install", "--quiet", "-c", str(LOCK), TRL],
        )
        for command in commands:
            if subprocess.run(command).returncode:
                sys.exit(f"{TRL} cannot be installed: {' '.join(command)}")
        stamp.touch()
    return python


def snakemake(folder: Path, run: str, targets: list[str], changes: list[str]) -> list[str]:
    """The command of a run, up to these files or by `--until` up to this rule."""
    words = [sys.executable, "-m", "prime_core.cli.main", "run", *targets, "--cores", "2"]
    words += ["--configfile", str(CONFIG)]
    return [*words, "--config", f"run={run}", f"results={folder / 'results'}", *changes]


def start_model(folder: Path) -> RunFiles:
    """The quickstart's problems and its model after SFT; made once."""
    files = RunFiles(folder / "results" / "start")
    if not (files.policy(0) / "config.json").exists():
        command = snakemake(folder, "start", SETUP, ["prm.prm_update=none"])
        watch(command, NO_GPU, ROOT, folder / "start.log")
    return files


def run_ours(
    name: str, run: str, start: RunFiles, folder: Path, iterations: int, changes: tuple[str, ...]
) -> Row:
    """Iterations of this project's workflow; data and start model are there before they count."""
    files = RunFiles(folder / "results" / run)
    shutil.rmtree(files.root, ignore_errors=True)
    words = [f"iterations={iterations}", f"checkpoints.keep_last={iterations}"]
    words += [f"model.path={start.policy(0)}", "sft.enabled=false", *changes]
    watch(snakemake(folder, run, SETUP, words), NO_GPU, ROOT, folder / f"{run}-setup.log")
    # Neither evaluations nor the report: TRL makes none.
    last = [files.policy(iterations)]
    last += [] if changes[: len(OUTCOMES_ALONE)] == OUTCOMES_ALONE else [files.prm(iterations)]
    command = snakemake(folder, run, list(map(str, last)), words)
    watched = watch(command, NO_GPU, ROOT, folder / f"{run}.log")
    numbers = range(1, iterations + 1)
    ends = [files.metrics(number, "policy").stat().st_mtime for number in numbers]
    weights = [files.policy(number) for number in numbers]
    seconds = [end - begun for begun, end in itertools.pairwise([watched.began, *ends])]
    return Row(name, seconds, watched, ends[0], weights)


def run_trl(start: RunFiles, folder: Path, iterations: int, settings: Settings) -> Row:
    """The same in TRL, in an environment and a process of its own."""
    place = folder / "trl"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    work = trl_work(start, place, iterations, settings)
    (place / "work.json").write_text(json.dumps(work), encoding="utf-8")
    script = Path(__file__).with_name("trl_run.py")
    command = [str(trl_python(folder)), str(script), str(place / "work.json")]
    watched = watch(command, NO_GPU, place, folder / "trl.log")
    lines = Path(work["marks"]).read_text(encoding="utf-8").splitlines()
    ends = [json.loads(line)["at"] for line in lines]
    seconds = [end - begun for begun, end in itertools.pairwise(ends)]
    weights = [Path(work["weights"]) / f"{number:04d}" for number in range(1, iterations + 1)]
    return Row(TRL.replace("==", " ").replace("trl", "TRL"), seconds, watched, ends[1], weights)


def trl_work(start: RunFiles, place: Path, iterations: int, settings: Settings) -> dict[str, Any]:
    """What trl_run.py is told: this project's settings, the same problems."""
    policy, rollout = settings.policy, settings.rollout
    problems = read_table(start.train, PROMPTS)
    responses = rollout.rollout_batch_size * rollout.n_samples_per_prompt
    return {
        "model": str(start.policy(0)),
        "marks": str(place / "marks.jsonl"),
        "weights": str(place / "weights"),
        "seed": settings.seed,
        "iterations": iterations,
        "steps": responses // policy.ppo_mini_batch_size,
        "mini_batch": policy.ppo_mini_batch_size,
        "samples": rollout.n_samples_per_prompt,
        "max_response_length": rollout.max_response_length,
        "temperature": rollout.temperature,
        "learning_rate": policy.optimizer.learning_rate,
        "betas": policy.optimizer.betas,
        "weight_decay": policy.optimizer.weight_decay,
        "grad_clip": policy.optimizer.grad_clip,
        "eps_clip": policy.eps_clip,
        "eps_clip_high": policy.eps_clip_high,
        "normalize": policy.whiten,
        "problems": [
            {"prompt": [dict(one) for one in messages], "ground_truth": truth}
            for messages, truth in zip(problems["prompt"], problems["ground_truth"], strict=True)
        ],
    }


def accuracy(
    model: Path,
    start: RunFiles,
    settings: Settings,
    benchmark: str = "validation",
    iteration: int = 0,
) -> float:
    """Share of correct responses to the held-out sums, as the evaluations of a run have it.

    iteration: whose random numbers the responses are sampled with.
    """
    chosen = benchmark_named(settings, benchmark)
    problems, _ = benchmark_problems(chosen, settings, start)
    responses = ask(
        sampler="transformers",
        model_path=model,
        prompts=problems,
        purpose="evaluate",
        iteration=iteration,
        n_samples_per_prompt=chosen.n_samples_per_prompt,
        params=SamplingParams(chosen.temperature, chosen.top_p, 0, chosen.max_response_length),
        settings=settings,
        progress=lambda _count: None,
        output=None,
    )
    rows = [row | {"response_length": len(row["response_tokens"])} for row in responses]
    judged = judge_responses(rows, problems, chosen, settings, model / "evaluation.json")
    outcomes = [row["outcome"] for row in judged if row["outcome"] is not None]
    return sum(outcomes) / len(outcomes)


def table_of(rows: list[Row], start: RunFiles, settings: Settings) -> list[str]:
    """The Markdown table; ratios to the first row."""
    begin = accuracy(start.policy(0), start, settings)
    lines = [
        "| | s an iteration | ratio | CPU s an iteration, starts included | ratio | peak MB | "
        "until the first iteration ends, s | accuracy after (seconds) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first = rows[0]
    for row in rows:
        number = len(row.iterations_s)
        wall, theirs = (statistics.median(one.iterations_s[1:]) for one in (row, first))
        cpu, base = (one.watched.cpu_s / number for one in (row, first))
        shown = sorted({number // 2, number})
        reached = [(one, accuracy(row.weights[one - 1], start, settings)) for one in shown if one]
        waited = row.first_at - row.watched.began
        later = [waited + sum(row.iterations_s[1:one]) for one, _ in reached]
        texts = [
            f"{100 * share:.1f} % after {one} ({seconds:.0f})"
            for (one, share), seconds in zip(reached, later, strict=True)
        ]
        lines.append(
            f"| {row.name} | {wall:.1f} | {wall / theirs:.1f} | {cpu:.1f} | {cpu / base:.1f} | "
            f"{row.watched.peak_mb:.0f} | {waited:.0f} | {', '.join(texts)} |"
        )
    return [*lines, "", f"Both start at {100 * begin:.1f} %."]


def ways() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Ways of this project by name: the run's, and its settings. The quicker ones first."""
    names = {"RLOO": ("rloo", OUTCOMES_ALONE), "PRIME": ("prime", ())}
    shown = {"fork": "resident stages", "none": "cold stages"}
    return {
        f"this project, {name}, {how}": (f"{run}-{resident}", (*changes, f"resident={resident}"))
        for resident, how in shown.items()
        for name, (run, changes) in names.items()
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path("build/peers"), help="kept: SFT, TRL")
    parser.add_argument(
        "--go-on", action="store_true", help="keep the rows that an interrupted call has finished"
    )
    found = parser.parse_args()
    if found.iterations < 2:
        parser.error("--iterations: at least 2, since the first one also starts things")
    return found


def rows_of(options: argparse.Namespace, settings: Settings, bar: tqdm) -> list[Row]:
    """All ways, TRL first, each written down as soon as it has ended."""
    folder, number = options.folder.resolve(), options.iterations
    start = start_model(folder)
    bar.update()
    runs = {"TRL": lambda: run_trl(start, folder, number, settings)}
    runs |= {
        name: partial(run_ours, name, run, start, folder, number, changes)
        for name, (run, changes) in ways().items()
    }
    rows = []
    for place, (name, run) in enumerate(runs.items()):
        bar.set_postfix_str(name)
        kept = folder / "rows" / f"{number}-{place}.json"
        if not (options.go_on and kept.exists()):
            run().write(kept)
        rows.append(Row.read(kept))
        bar.update()
    return rows


def main() -> None:
    options = parse()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = load_settings(CONFIG)
    with tqdm(total=3 + len(ways()), unit="run", dynamic_ncols=True) as bar:
        bar.set_postfix_str("TRL's environment, start model")
        trl_python(folder)
        bar.update()
        rows = rows_of(options, settings, bar)
    print("\n".join(table_of(rows, start_model(folder), settings)))


if __name__ == "__main__":
    main()
