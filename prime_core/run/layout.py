"""Where each file of a run is. The Snakefile and the stages both read it from here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# In a folder of weights that were trained: optimizer, schedule, steps, random state.
TRAINING_STATE = "training_state"


@dataclass(frozen=True)
class RunFiles:
    """Paths of one run's files; docs/files.md shows them as a tree.

    root: the run's folder, results/<run>.
    """

    root: Path

    @property
    def config(self) -> Path:
        """Resolved settings."""
        return self.root / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Commit, versions, hosts."""
        return self.root / "provenance.json"

    @property
    def reward_function(self) -> Path:
        """Copy of the file of verification.function, as it judges the run's responses."""
        return self.root / "reward_function.py"

    @property
    def train(self) -> Path:
        """Training problems."""
        return self.root / "data" / "train.parquet"

    @property
    def validation(self) -> Path:
        """Held-out problems."""
        return self.root / "data" / "validation.parquet"

    @property
    def demonstrations(self) -> Path:
        """Demonstrations for SFT; an empty table when there are none."""
        return self.root / "data" / "demonstrations.parquet"

    @property
    def dropped(self) -> Path:
        """Rows left out of the run's data: malformed, too long, a duplicate, ..."""
        return self.root / "data" / "dropped.parquet"

    @property
    def candidates(self) -> Path:
        """Training problems before their difficulty is known (data.difficulty)."""
        return self.root / "data" / "candidates.parquet"

    def difficulty(self, shard: int) -> Path:
        """How the start model does on one shard of the candidates."""
        return self.root / "data" / "difficulty" / f"{shard:02d}.parquet"

    @property
    def too_easy_or_hard(self) -> Path:
        """Candidates outside the band of data.difficulty, with their accuracy."""
        return self.root / "data" / "too_easy_or_hard.parquet"

    @property
    def base_model(self) -> Path:
        """The model that the run starts from."""
        return self.root / "models" / "base"

    @property
    def reference(self) -> Path:
        """The frozen reference of the implicit reward and of the KL."""
        return self.root / "models" / "reference"

    @property
    def prm_reference(self) -> Path:
        """The PRM's own reference, where prm.reference_path names one."""
        return self.root / "models" / "prm-reference"

    @property
    def labelled(self) -> Path:
        """Labelled responses that the first PRM is trained on, where prm.offline names some."""
        return self.root / "data" / "labelled.parquet"

    def iteration(self, iteration: int) -> Path:
        """Folder of one iteration."""
        return self.root / "iterations" / f"{iteration:04d}"

    def shard_count(self, iteration: int) -> Path:
        """How many shards a round of this iteration began with."""
        return self.iteration(iteration) / "num_shards.json"

    def num_shards(self, iteration: int, configured: int) -> int:
        """Shards a round of one iteration: what it began with, else the configured number.

        The number may be changed for iterations to come; those that have begun keep theirs.
        """
        begun = self.shard_count(iteration)
        if not begun.exists():
            return configured
        text = begun.read_text(encoding="utf-8").strip()
        if not text.isdecimal() or int(text) == 0:
            raise ValueError(
                f"{begun}: expected the number of shards that a round began with, found {text!r}"
            )
        return int(text)

    def sampler(self, iteration: int) -> Path:
        """Which sampler this iteration's responses come from."""
        return self.iteration(iteration) / "sampler.json"

    def rollouts(self, iteration: int, shard: int) -> Path:
        """Sampled responses of one shard."""
        return self.iteration(iteration) / "rollouts" / f"{shard:02d}.parquet"

    def outcomes(self, iteration: int, shard: int) -> Path:
        """Verdicts of one shard."""
        return self.iteration(iteration) / "outcomes" / f"{shard:02d}.parquet"

    def batch(self, iteration: int) -> Path:
        """The groups that passed the filter."""
        return self.iteration(iteration) / "batch.parquet"

    def surplus(self, iteration: int) -> Path:
        """Further groups that passed the filter, which may enter the next batch."""
        return self.iteration(iteration) / "surplus.parquet"

    def rewards(self, iteration: int) -> Path:
        """Implicit rewards of the batch."""
        return self.iteration(iteration) / "rewards.parquet"

    def values(self, iteration: int) -> Path:
        """Values of the states of the batch's responses (PPO with a value model)."""
        return self.iteration(iteration) / "values.parquet"

    def continuations(self, iteration: int, shard: int) -> Path:
        """Responses continued from one shard of the batch's states (Monte-Carlo values)."""
        return self.iteration(iteration) / "continuations" / f"{shard:02d}.parquet"

    def step_values(self, iteration: int) -> Path:
        """Values of the states between the batch's steps (Monte-Carlo values)."""
        return self.iteration(iteration) / "step_values.parquet"

    def weights(self, model: str, iteration: int) -> Path:
        """A model that the run trains (policy, prm, value) after an iteration; 0: the start."""
        if iteration == 0:
            # Apart from iterations/, whose weights may be temporary: start models never are, since
            # adapters train beside them for the whole run. docs/decisions.md#adapters
            return self.root / "models" / f"{model}-0000"
        return self.iteration(iteration) / model

    def policy(self, iteration: int) -> Path:
        """Policy after an iteration; 0: the start."""
        return self.weights("policy", iteration)

    def prm(self, iteration: int) -> Path:
        """Process reward model after an iteration; 0: the start."""
        return self.weights("prm", iteration)

    def value(self, iteration: int) -> Path:
        """Value model after an iteration, from 1 on: it starts from the policy (PPO)."""
        return self.weights("value", iteration)

    def trained(self, iteration: int, models: Iterable[str]) -> list[Path]:
        """Weights of these models after an iteration."""
        return [self.weights(model, iteration) for model in models]

    def metrics(self, iteration: int, stage: str) -> Path:
        """Figures of one stage, flat numbers."""
        return self.iteration(iteration) / "metrics" / f"{stage}.json"

    def setup_metrics(self, stage: str) -> Path:
        """Figures of a stage that runs once."""
        return self.root / "metrics" / f"{stage}.json"

    def evaluation(self, iteration: int, benchmark: str) -> Path:
        """Figures of one evaluation; the judged responses lie beside it as .parquet."""
        return self.root / "evaluations" / f"{iteration:04d}" / f"{benchmark}.json"

    def evaluation_shard(self, iteration: int, benchmark: str, shard: int, of: int) -> Path:
        """Figures of one shard of an evaluation, whose responses lie beside it until all are there.

        The number of shards is part of the name: it may change while an evaluation is under way.
        """
        return self.evaluation(iteration, f"{benchmark}/{shard:02d}-of-{of:02d}")

    @property
    def submitted_jobs(self) -> Path:
        """Every Slurm job that was submitted for the run (prime_core.run.job_records)."""
        return self.root / "slurm" / "jobs.jsonl"

    @property
    def refused_jobs(self) -> Path:
        """Every job that Slurm did not take (prime_core.run.job_records)."""
        return self.root / "slurm" / "refused.jsonl"

    @property
    def held_back_jobs(self) -> Path:
        """How many jobs a limit keeps from being submitted now, and which limit."""
        return self.root / "slurm" / "held_back.json"

    @property
    def controllers(self) -> Path:
        """Every start of the workflow (prime_core.run.job_records)."""
        return self.root / "slurm" / "controllers.jsonl"

    @property
    def accounting(self) -> Path:
        """Every start of those jobs, as Slurm accounts for it (prime_core.run.costs)."""
        return self.root / "slurm" / "accounting.json"

    @property
    def stage_stops(self) -> Path:
        """Every stage that the end of an allocation cut off or deferred (run.job_records)."""
        return self.root / "slurm" / "stops.jsonl"

    @property
    def controller_folder(self) -> Path:
        """What `prime launch` submitted, and the log of each controller job."""
        return self.root / "slurm" / "controller"

    @property
    def resident_log(self) -> Path:
        """What the process that stages are forked from says (prime_core.resident)."""
        return self.root / "logs" / "resident.log"

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.root / "report" / "report.html"

    @property
    def crate(self) -> Path:
        """The run's record as a Workflow Run RO-Crate."""
        return self.root / "ro-crate.zip"


def unfinished_folder(output: Path) -> Path:
    """Checkpoint of a stage that stopped between steps (prime_core.training.step_checkpoint)."""
    # Beside the output, not inside: Snakemake removes the outputs of a job before it runs again.
    # docs/decisions.md#step-checkpoints
    return output.with_name(f".{output.name}.unfinished")


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths sorted with the numbers in their names as numbers: 9999 before 10000, 99 before 100."""

    def parts(path: Path) -> list[tuple[int, str]]:
        return [
            (int(part), "") if part.isdigit() else (-1, part)
            for part in re.split("([0-9]+)", str(path))
        ]

    return sorted(paths, key=parts)
