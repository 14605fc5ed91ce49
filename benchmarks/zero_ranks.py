"""Print how far the weights of ZeRO stages, number formats and ranks end from one process's.

    python -m benchmarks.zero_ranks                     # Qwen2 of 0.4 M parameters, CPU or GPUs
    python -m benchmarks.zero_ranks --iterations 5 --learning-rate 1e-4

Compared are weights in float32, also those that DeepSpeed keeps beside bfloat16 ones.
Each iteration is a policy update: log-probabilities of the policy that sampled, then a clipped step
on each of its minibatches. The column "2, 1, 2" saves after two fifths and three fifths of the
iterations and resumes from there on another number of ranks.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from prime_core.masked import masked_sum
from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.load import device
from prime_core.policy_loss import clipped_surrogate
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.training import Training
from prime_core.training import distributed
from prime_core.training.batches import Sequences, pad_rows
from prime_core.training.engine import Trainer
from prime_core.training.passes import Passes, passes_of
from prime_core.training.scoring import ragged_logprobs, response_logprobs
from prime_core.training.updates import minibatch_plan, take_step

KINDS = [("float32", stage) for stage in range(4)] + [("bfloat16", stage) for stage in (1, 2, 3)]
NUM_ROWS, MINIBATCH, MICRO_BATCH = 32, 8, 2
DONE = "done: "


@dataclass(frozen=True)
class Part:
    """Iterations first to last, from the state in `start` where there is one."""

    name: str
    first: int
    last: int
    start: str | None = None


def launches(iterations: int) -> list[tuple[int, list[Part]]]:
    """Numbers of ranks, and what they do, one launch after the other."""
    one, two = max(2 * iterations // 5, 1), max(3 * iterations // 5, 2)
    whole = Part("whole", 1, iterations)
    return [
        (2, [whole, Part("started", 1, one)]),
        (1, [whole, Part("between", one + 1, two, "started")]),
        (2, [Part("resumed", two + 1, iterations, "between")]),
    ]


def small_model(dtype: str) -> PreTrainedModel:
    """A model with weights of more than 100,000 elements, which ZeRO-3 partitions, among others."""
    model: Any = build_model(
        build_tokenizer(),
        num_layers=2,
        hidden_size=192,
        num_heads=4,
        intermediate_size=576,
        max_position=64,
        initializer_range=0.1,
        seed=0,
    )
    return model.to(device(), getattr(torch, dtype))


def batch_of(iteration: int) -> tuple[Sequences, Tensor]:
    """Prompts and responses of an iteration, and an advantage for each response."""
    rng = random.Random(iteration)

    def tokens(longest: int) -> list[int]:
        return [rng.randrange(6, 262) for _ in range(rng.randint(1, longest))]

    rows = range(NUM_ROWS)
    sequences = Sequences([tokens(16) for _ in rows], [tokens(32) for _ in rows])
    return sequences, torch.tensor([rng.gauss(0.0, 1.0) for _ in rows])


def update(trainer: Trainer, passes: Passes, iteration: int) -> None:
    """One iteration: every minibatch once."""
    sequences, advantages = batch_of(iteration)
    old = ragged_logprobs(trainer.engine, sequences, passes)

    def losses_of(minibatch: list[int]) -> Callable[[list[int], bool], Tensor]:
        num_tokens = sum(len(sequences.responses[row]) for row in minibatch)

        def loss_of(rows: list[int], _counted: bool) -> Tensor:
            batch = passes.batch(sequences.take(rows))
            logprobs = response_logprobs(trainer.engine, batch)
            before = pad_rows([old[row] for row in rows], logprobs.shape[1]).to(device())
            each = advantages[rows].to(device())[:, None].expand_as(logprobs)
            losses, _ = clipped_surrogate(logprobs, before, each, batch.mask, 0.2, 0.2)
            return masked_sum(losses, batch.mask) / num_tokens

        return loss_of

    for rows in minibatch_plan(range(NUM_ROWS), MINIBATCH, 1, 0, "benchmark", iteration):
        take_step(trainer, sequences, rows, passes, losses_of(rows))


def work(folder: Path, parts: list[Part], learning_rate: float) -> None:
    """On each rank: all kinds, all parts; each leaves a folder <part>-<dtype>-<stage>-<ranks>."""
    distributed.start_ranks()
    tokenizer = build_tokenizer()
    for dtype, stage in KINDS:
        for part in parts:
            optimizer = Optimizer(learning_rate=learning_rate, weight_decay=0.01)
            training = Training(zero_stage=stage)
            trainer = Trainer(small_model(dtype), optimizer, lambda _step: 1.0, training)
            passes = passes_of(training, MICRO_BATCH, tokenizer, trainer.packs)
            if part.start:
                trainer.load_state(folder / f"{part.start}-{dtype}-{stage}")
            for iteration in range(part.first, part.last + 1):
                update(trainer, passes, iteration)
            ranks = f"-{distributed.world_size()}" if part.name == "whole" else ""
            place = folder / f"{part.name}-{dtype}-{stage}{ranks}"
            trainer.save(place, tokenizer)
            exact = exact_weights(trainer)
            if distributed.rank() == 0:
                torch.save(exact, place.with_suffix(".pt"))
                print(DONE, part.name, file=sys.stderr, flush=True)
    torch.distributed.destroy_process_group()


def exact_weights(trainer: Trainer) -> dict[str, Tensor]:
    """The weights in float32: what DeepSpeed keeps beside bfloat16 ones."""
    from deepspeed.utils import safe_get_full_fp32_param

    weights = dict(trainer.engine.module.named_parameters())
    if trainer.engine.zero_optimization_stage() == 0:
        return {name: weight.detach().cpu() for name, weight in weights.items()}
    return {name: safe_get_full_fp32_param(weight).cpu() for name, weight in weights.items()}


def launch(num_ranks: int, index: int, options: argparse.Namespace, bar: tqdm) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(num_ranks), "-m", "benchmarks.zero_ranks"]
    command += ["--worker", str(index), "--folder", str(options.folder)]
    command += ["--iterations", str(options.iterations)]
    command += ["--learning-rate", str(options.learning_rate)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    lines = []
    for line in process.stderr or ():
        bar.update(line.startswith(DONE))
        lines.append(line)
    if process.wait():
        sys.exit("".join(lines[-40:]))


def apart(some: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    return max(float((some[name] - others[name]).abs().max()) for name in some)


def mean_apart(some: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    return float(torch.cat([(some[name] - others[name]).abs().flatten() for name in some]).mean())


def table(folder: Path) -> list[str]:
    """Rows: stages; columns: number formats and ranks."""
    start = {dtype: small_model(dtype).float().cpu().state_dict() for dtype, _ in KINDS}
    reference = {
        "float32": torch.load(folder / "whole-float32-0-1.pt"),
        "bfloat16": torch.load(folder / "whole-bfloat16-1-1.pt"),
    }
    means = {
        dtype: (
            mean_apart(weights, start[dtype]),
            mean_apart(weights, torch.load(folder / f"whole-{dtype}-1-2.pt")),
        )
        for dtype, weights in reference.items()
    }
    columns = [(dtype, how) for dtype in reference for how in ("1 rank", "2 ranks", "2, 1, 2")]
    row = "{:<8}" + "{:>18}" * len(columns)
    lines = [row.format("ZeRO", *(f"{dtype} {how}" for dtype, how in columns))]
    for stage in range(4):
        cells = []
        for dtype, how in columns:
            names = {"1 rank": f"whole-{dtype}-{stage}-1", "2 ranks": f"whole-{dtype}-{stage}-2"}
            path = folder / f"{names.get(how, f'resumed-{dtype}-{stage}')}.pt"
            known = (dtype, stage) in KINDS
            cells.append(f"{apart(torch.load(path), reference[dtype]):.1e}" if known else "refused")
        lines.append(row.format(stage, *cells))
    lines += [
        f"{dtype}: largest difference from one process with ZeRO {dtype == 'bfloat16':d}, whose "
        f"weights moved by {apart(reference[dtype], start[dtype]):.1e} at most, {of_all:.1e} on "
        f"average; mean difference of ZeRO 1 on 2 ranks: {of_two:.1e}"
        for dtype, (of_all, of_two) in means.items()
    ]
    return lines


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of AdamW, constant")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    todo = launches(options.iterations)
    if options.worker is not None:
        work(options.folder, todo[options.worker][1], options.learning_rate)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        with tqdm(total=len(KINDS) * sum(len(parts) for _, parts in todo), unit="case") as bar:
            for index, (num_ranks, _) in enumerate(todo):
                launch(num_ranks, index, options, bar)
        print("\n".join(table(options.folder)))


if __name__ == "__main__":
    main()
