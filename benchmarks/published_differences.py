"""Print how much the deliberate differences from the published runs change, on a finished run.

    snakemake --config run=differences iterations=6
    python -m benchmarks.published_differences results/differences

Of one iteration; the PRM of the iteration before must still be there, and the trained one is not
saved. The differences and their reasons: docs/paper.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prime_core.implicit_reward import batch_norm, implicit_reward
from prime_core.run.work import open_run
from prime_core.settings.run import Settings
from prime_core.training.batch_advantages import batch_advantages
from prime_core.training.distributed import start_ranks
from prime_core.training.learning_batch import LearningBatch, read_batch, read_rewards
from prime_core.training.prm_update import PrmUpdate
from prime_core.training.scoring import ragged_logprobs
from prime_core.training.updates import minibatch_plan

RANKS = 8  # of the published runs


class Prm:
    """The PRM of the iteration before, and what its optimizer steps make of it."""

    def __init__(self, run_dir: Path, iteration: int) -> None:
        self.settings, self.files = open_run(run_dir)
        self.iteration = iteration
        self.batch = read_batch(self.files, iteration)
        table = read_rewards(self.files, iteration, self.batch)
        self.reference = self.batch.matrix(table["reference_logprobs"])

    def updated(self, plan: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Rewards [B, T] of each minibatch just before its own step, and of all after the last."""
        start = (self.settings, self.files, self.iteration, self.batch, self.reference)
        update = PrmUpdate(*start, None)
        seen = torch.zeros_like(self.reference)
        for rows in plan:
            seen[rows] = self._rewards(update)[rows]
            update.step(rows)
        return seen, self._rewards(update)

    def _rewards(self, update: PrmUpdate) -> Tensor:
        rows = ragged_logprobs(update.trainer.engine, self.batch.sequences, update.passes)
        prm, beta = self.batch.matrix(rows), self.settings.prm.beta
        return implicit_reward(prm, self.reference, self.batch.mask, beta)


def main() -> None:
    """Print one line for each difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--iteration", type=int, help="default: the last")
    options = parser.parse_args()
    run_dir = options.run_dir
    settings, _ = open_run(run_dir)
    iteration = options.iteration or settings.iterations
    start_ranks()
    prm = Prm(run_dir, iteration)
    batch, size = prm.batch, settings.prm.mini_batch_size
    num_rows = len(batch.sequences)
    shuffled = minibatch_plan(range(num_rows), size, 1, settings.seed, "prm", iteration)
    in_order = [part.tolist() for part in np.array_split(np.arange(num_rows), len(shuffled))]
    seen, after = prm.updated(shuffled)
    _, after_in_order = prm.updated(in_order)
    fixed, _ = prm.updated([list(range(num_rows))])

    print(f"{run_dir}, iteration {iteration}: {num_rows} responses, {len(shuffled)} PRM steps")
    ratio, correlation = by_rank(fixed, batch, settings)
    print(f"norm by rank: rewards {ratio:.2f} times as large, {correlation}")
    print(f"PRM that earlier minibatches updated: {agreement(fixed, seen, batch, settings)}")
    print(f"PRM minibatches in order: {agreement(after, after_in_order, batch, settings)}")
    lengths = batch.mask.sum(1)
    weights = lengths * num_rows / lengths.sum()
    print(f"token-mean: responses weigh {weights.min():.2f} to {weights.max():.2f}, not 1")


def by_rank(rewards: Tensor, batch: LearningBatch, settings: Settings) -> tuple[float, str]:
    """Mean absolute reward normalised rank by rank over that of the whole batch; agreement."""
    parts = torch.tensor_split(torch.arange(len(rewards)), RANKS)
    ranks = torch.cat([batch_norm(rewards[rows], batch.mask[rows]) for rows in parts])
    whole = batch_norm(rewards, batch.mask)
    ratio = float(ranks.abs().sum() / whole.abs().sum())
    return ratio, agreement(whole, ranks, batch, settings)


def agreement(first: Tensor, second: Tensor, batch: LearningBatch, settings: Settings) -> str:
    """Correlations over the batch's tokens, of the rewards and of the advantages from them."""
    found = [
        batch_advantages(settings, batch, batch_norm(rewards, batch.mask), None).advantages
        for rewards in (first, second)
    ]
    rewards = correlation(first, second, batch.mask)
    advantages = correlation(found[0], found[1], batch.mask)
    return f"correlation of rewards {rewards:.4f}, of advantages {advantages:.4f}"


def correlation(first: Tensor, second: Tensor, mask: Tensor) -> float:
    """Pearson's, over the tokens of the mask."""
    return float(torch.corrcoef(torch.stack([first[mask], second[mask]]).double())[0, 1])


if __name__ == "__main__":
    main()
