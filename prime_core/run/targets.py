"""The files that the workflow asks for, by iteration: what a finished run has."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from prime_core.run.branching import evaluated_by_origin, taken_folders, taken_tables
from prime_core.run.kl_coef import kl_coef_files
from prime_core.run.layout import TRAINING_STATE, RunFiles
from prime_core.run.prm_folders import (
    evaluation_scorer_folders,
    frozen_reference_folder,
    linked_prm_folders,
    trains_first_prm,
)
from prime_core.run.schedule import sampling_policy
from prime_core.run.state import RunState
from prime_core.settings.run import Settings


class Targets:
    """Paths, as texts, of one run's tables, weights, evaluations and report."""

    def __init__(
        self,
        settings: Settings,
        files: RunFiles,
        state: RunState,
        states_in_memory: bool = False,
    ) -> None:
        """states_in_memory: whether updates leave their training states there."""
        self.settings, self.files, self.state = settings, files, state
        self.states_in_memory = states_in_memory
        # Read once an iteration: each is asked for many times.
        self._shards_a_round: dict[int, int] = {}
        self.has_rewards = settings.prm.prm_update != "none"

    def shards_a_round(self, iteration: int) -> int:
        """Shards of each round of an iteration."""
        if iteration not in self._shards_a_round:
            configured = self.settings.rollout.num_shards
            self._shards_a_round[iteration] = self.files.num_shards(iteration, configured)
        return self._shards_a_round[iteration]

    def shards(self, iteration: int) -> range:
        """Numbers of all shards of an iteration, refill rounds included."""
        return range(self.shards_a_round(iteration) * (1 + self.settings.rollout.refill_rounds))

    def rollouts(self, iteration: int) -> list[str]:
        """Rollouts of all shards of an iteration."""
        return [str(self.files.rollouts(iteration, shard)) for shard in self.shards(iteration)]

    def outcomes(self, iteration: int) -> list[str]:
        """Outcomes of all shards of an iteration."""
        return [str(self.files.outcomes(iteration, shard)) for shard in self.shards(iteration)]

    def rewards(self, iteration: int) -> list[str]:
        """Implicit rewards of the batch; nothing where only outcomes count."""
        return [str(self.files.rewards(iteration))] if self.has_rewards else []

    def sampled_policy(self, iteration: int) -> str:
        """The policy that an iteration samples from (rollout.max_staleness)."""
        return str(self.files.policy(sampling_policy(iteration, self.settings.rollout.lag)))

    def carried(self, iteration: int) -> list[str]:
        """Groups that the iteration before left over; nothing where none are kept."""
        keeps = self.settings.rollout.keeps_surplus and iteration > 1
        return [str(self.files.surplus(iteration - 1))] if keeps else []

    def carried_groups(self, wildcards: Any) -> list[str]:
        """Groups left over by the iteration before: that many fewer are sampled.

        Takes wildcards, as rules give them.
        """
        return self.carried(int(wildcards.iteration))

    def judged(self, iteration: int) -> dict[str, list[str]]:
        """What an iteration's batch is selected from."""
        return {
            "rollouts": self.rollouts(iteration),
            "outcomes": self.outcomes(iteration),
            "carried": self.carried(iteration),
        }

    def values(self, wildcards: Any) -> list[str]:
        """What PPO's policy update waits for: values of the batch; nothing without a value model.

        Takes wildcards, as rules give them.
        """
        values = self.files.values(int(wildcards.iteration))
        return [str(values)] if self.settings.has_value_model else []

    def continuations(self, wildcards: Any) -> list[str]:
        """Continued responses of all shards: as many as one round of sampling has.

        Takes wildcards, as rules give them.
        """
        iteration = int(wildcards.iteration)
        shards = range(self.shards_a_round(iteration))
        return [str(self.files.continuations(iteration, shard)) for shard in shards]

    def step_values(self, wildcards: Any) -> list[str]:
        """Values of the batch's steps; nothing where none are estimated by continuing responses.

        Takes wildcards, as rules give them.
        """
        values = self.files.step_values(int(wildcards.iteration))
        return [str(values)] if self.settings.draws_continuations else []

    def previous_kl(self, wildcards: Any) -> list[str]:
        """Figures that hold the weight of an iteration's KL; nothing where it is the settings'.

        Takes wildcards, as rules give them.
        """
        paths = kl_coef_files(self.settings, self.files, int(wildcards.iteration))
        return [str(path) for path in paths]

    def previous_value(self, wildcards: Any) -> str:
        """The value model that an iteration trains, or the first policy, which it starts from.

        Takes wildcards, as rules give them.
        """
        iteration = int(wildcards.iteration)
        return str(self.files.value(iteration - 1) if iteration > 1 else self.files.policy(0))

    def saved_states(self, iteration: int, *models: str) -> list[str]:
        """What the update after this iteration waits for where states are in memory.

        Copies of its states on disk; nothing for models that the run begins with.
        """
        if not self.states_in_memory or iteration <= self.settings.start:
            return []
        return [str(self.files.metrics(iteration, f"save_state-{model}")) for model in models]

    def policy_state(self, wildcards: Any) -> list[str]:
        """The copy of the state that an iteration's policy update continues from.

        Takes wildcards, as rules give them; likewise below.
        """
        return self.saved_states(int(wildcards.iteration) - 1, "policy")

    def prm_state(self, wildcards: Any) -> list[str]:
        """The PRM's."""
        return self.saved_states(int(wildcards.iteration) - 1, "prm")

    def value_state(self, wildcards: Any) -> list[str]:
        """The value model's."""
        return self.saved_states(int(wildcards.iteration) - 1, "value")

    def kept_until_saved(self, wildcards: Any) -> list[str]:
        """Weights that stay until the state of those after them is on disk.

        Nothing where it is there, and the older weights may be gone.
        """
        model, iteration = wildcards.model, int(wildcards.iteration)
        saved = self.files.weights(model, iteration) / TRAINING_STATE
        before = self.files.weights(model, iteration - 1)
        # The first value model starts from the policy, which stays anyway.
        first = model == "value" and iteration == 1
        return [] if first or saved.exists() else [str(before)]

    @property
    def frozen_policy(self) -> list[str]:
        """The first policy, where adapters are trained beside its weights."""
        return [str(self.files.policy(0))] if self.settings.policy.lora else []

    @property
    def frozen_prm(self) -> list[str]:
        """The first PRM, where adapters are trained beside its weights."""
        return [str(self.files.prm(0))] if self.settings.prm.lora else []

    @property
    def trains_first_prm(self) -> bool:
        """Whether the run trains its first PRM itself (prm.offline)."""
        return trains_first_prm(self.settings)

    def linked_prms(self, root: str) -> list[str]:
        """PRM models that are linked beside the first policy; root may hold wildcards."""
        return [str(path) for path in linked_prm_folders(self.settings, RunFiles(Path(root)))]

    def first_reference(self, root: str) -> str:
        """The frozen reference of the first PRM; root may hold wildcards."""
        return str(frozen_reference_folder(self.settings, RunFiles(Path(root))))

    def earlier_rounds(self, wildcards: Any) -> list[str]:
        """What a refill round depends on: rollouts and outcomes of the rounds before it.

        Takes wildcards, as rules give them.
        """
        iteration, shard = int(wildcards.iteration), int(wildcards.shard)
        # All earlier rounds, since each shard derives again what they asked and kept; but none of
        # its own round, whose shards sample at the same time.
        a_round = self.shards_a_round(iteration)
        earlier = shard // a_round * a_round
        return self.rollouts(iteration)[:earlier] + self.outcomes(iteration)[:earlier]

    def scorers(self, wildcards: Any) -> list[str]:
        """The PRM and its reference that score an evaluation's responses or steps; else nothing.

        Takes wildcards, as rules give them.
        """
        evaluation = self.settings.evaluation
        known = wildcards.benchmark in evaluation.names
        if not known or not evaluation.uses_prm(wildcards.benchmark):
            return []
        return [
            str(path)
            for path in evaluation_scorer_folders(
                self.settings, self.files, int(wildcards.iteration)
            )
        ]

    def benchmarks(self, *, sharded: bool, scored: bool | None = None) -> str:
        """Regular expression of the benchmarks that are split into shards, or are not.

        scored: of those alone whose responses a PRM scores, or does not; None: of both.
        """
        names = [
            re.escape(name)
            for name, one in self.settings.evaluation.benchmarks.items()
            if (one.num_shards > 1) == sharded and scored in (None, one.scorer is not None)
        ]
        return f"(?:{'|'.join(names)})" if names else "(?!)"

    @property
    def has_sharded_evaluations(self) -> bool:
        """Whether any benchmark is split into shards."""
        return any(one.num_shards > 1 for one in self.settings.evaluation.benchmarks.values())

    def evaluation_shards(self, wildcards: Any) -> list[str]:
        """Responses and figures of all shards; nothing where a branch takes its origin's.

        Takes wildcards, as rules give them.
        """
        iteration, name = int(wildcards.iteration), wildcards.benchmark
        if evaluated_by_origin(self.settings, self.files, iteration, name):
            return []
        of = self.settings.evaluation.benchmarks[name].num_shards
        shards = [self.files.evaluation_shard(iteration, name, shard, of) for shard in range(of)]
        return [str(path) for one in shards for path in (one.with_suffix(".parquet"), one)]

    def tried(self, root: str) -> list[str]:
        """Shards of the trial that training problems are chosen by; root may hold wildcards."""
        difficulty = self.settings.data.difficulty
        shards = range(difficulty.num_shards if difficulty else 0)
        return [str(RunFiles(Path(root)).difficulty(shard)) for shard in shards]

    def setup(self) -> list[str]:
        """What exists before the first iteration: training problems, policy, PRM."""
        return [str(path) for path in (self.files.train, self.files.policy(0), self.files.prm(0))]

    def learned(self, iteration: int) -> list[str]:
        """What exists at the end of an iteration: figures of the models that it trained."""
        # Figures, not weights: asking for weights that were deleted would train them again.
        return [str(self.files.metrics(iteration, stage)) for stage in self.settings.trained]

    def iteration(self, iteration: int) -> list[str]:
        """Tables of an iteration, and its weights where it is among the last."""
        targets = [*self.rollouts(iteration), *self.outcomes(iteration)]
        targets += [str(self.files.batch(iteration)), *self.rewards(iteration)]
        targets += [str(self.files.values(iteration))] if self.settings.has_value_model else []
        if self.settings.draws_continuations:
            targets += [str(self.files.step_values(iteration))]
        targets += self.learned(iteration)
        # Not every n-th that is kept, too: after a change of save_freq some would have to be
        # trained again.
        if self.state.is_last(iteration):
            targets += self.saved_states(iteration, *self.settings.trained)
            targets += [str(path) for path in self.files.trained(iteration, self.settings.trained)]
        return targets

    @cached_property
    def iterations(self) -> list[str]:
        """Targets of all iterations, ascending: Snakemake then recurses one iteration deep."""
        numbers = self.settings.own_iterations
        return [target for number in numbers for target in self.iteration(number)]

    def branch_folders(self, root: str) -> list[str]:
        """Weights that a branch takes from its origin; root may hold wildcards."""
        return [str(path) for path in taken_folders(self.settings, RunFiles(Path(root)))]

    def branch_tables(self, root: str) -> list[str]:
        """Tables that a branch takes from its origin; root may hold wildcards."""
        return [str(path) for path in taken_tables(self.settings, RunFiles(Path(root)))]

    @cached_property
    def evaluations(self) -> list[str]:
        """Figures of all evaluations whose policy exists or is still to come."""
        return [str(self.files.evaluation(*pair)) for pair in self.state.evaluations()]

    @cached_property
    def all(self) -> list[str]:
        """Targets of the whole run: setup, iterations, evaluations, report and record."""
        report = [str(self.files.report), str(self.files.crate)]
        return [*self.setup(), *self.iterations, *self.evaluations, *report]
