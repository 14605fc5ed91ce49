"""What a run is to leave behind: the files that the workflow asks for, by iteration."""

from __future__ import annotations

from functools import cached_property

from prime_core.layout import RunFiles
from prime_core.run_state import RunState
from prime_core.schedule import sampling_policy
from prime_core.settings import Settings


class Targets:
    """Paths, as texts, of one run's tables, weights, evaluations and report."""

    def __init__(self, settings: Settings, files: RunFiles, state: RunState) -> None:
        """Shard numbers are read once an iteration: each is asked for many times."""
        self.settings, self.files, self.state = settings, files, state
        self._shards_a_round: dict[int, int] = {}
        update = settings.prm.prm_update
        self.has_rewards, self.has_updates = update != "none", update in ("after", "before")

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

    def judged(self, iteration: int) -> dict[str, list[str]]:
        """What an iteration's batch is selected from."""
        return {
            "rollouts": self.rollouts(iteration),
            "outcomes": self.outcomes(iteration),
            "carried": self.carried(iteration),
        }

    @property
    def frozen_policy(self) -> list[str]:
        """The first policy, where adapters are trained beside its weights."""
        return [str(self.files.policy(0))] if self.settings.policy.lora else []

    @property
    def frozen_prm(self) -> list[str]:
        """The first PRM, where adapters are trained beside its weights."""
        return [str(self.files.prm(0))] if self.settings.prm.lora else []

    def earlier_rounds(self, iteration: int, shard: int) -> list[str]:
        """What sampling looks at first: rollouts and outcomes of the rounds before it."""
        a_round = self.shards_a_round(iteration)
        earlier = shard // a_round * a_round
        return self.rollouts(iteration)[:earlier] + self.outcomes(iteration)[:earlier]

    def setup(self) -> list[str]:
        """What is made once."""
        return [str(path) for path in (self.files.train, self.files.policy(0), self.files.prm(0))]

    def learned(self, iteration: int) -> list[str]:
        """What stands at the end of an iteration: figures of its policy and of its PRM."""
        stages = ("policy", "prm") if self.has_updates else ("policy",)
        return [str(self.files.metrics(iteration, stage)) for stage in stages]

    def iteration(self, iteration: int) -> list[str]:
        """Tables of an iteration, and its weights where it is among the last."""
        targets = [*self.rollouts(iteration), *self.outcomes(iteration)]
        targets += [str(self.files.batch(iteration)), *self.rewards(iteration)]
        targets += self.learned(iteration)
        if self.state.is_last(iteration):
            targets += [str(self.files.policy(iteration))]
            targets += [str(self.files.prm(iteration))] if self.has_updates else []
        return targets

    @cached_property
    def iterations(self) -> list[str]:
        """Of all iterations, ascending: Snakemake's recursion is then one iteration deep."""
        numbers = range(1, self.settings.iterations + 1)
        return [target for number in numbers for target in self.iteration(number)]

    @cached_property
    def evaluations(self) -> list[str]:
        """Figures of all evaluations whose policy exists or is still to come."""
        return [str(self.files.evaluation(*pair)) for pair in self.state.evaluations()]

    @cached_property
    def all(self) -> list[str]:
        """Everything."""
        return [*self.setup(), *self.iterations, *self.evaluations, str(self.files.report)]
