"""How much work an iteration is: prompts, responses, tokens, jobs.

In: settings and assumptions. Out: numbers; means are of the expected responses, the longest are
what the settings allow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from prime_core.planning.hardware import Assumptions
from prime_core.planning.ways import num_shards
from prime_core.run.schedule import num_first_round
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.rollout import Tree
from prime_core.settings.run import Settings


@dataclass(frozen=True)
class BenchmarkWork:
    """One evaluation: responses in total and per problem, mean and longest response in tokens.

    code_share: programs among its problems; scored: by the PRM, too. num_shards: jobs that it is
    split into. begun_tokens: of a response, read instead of sampled, since another has begun it.
    turns: mean number of an episode's; 0: a problem without an environment.
    """

    num_responses: int
    n_samples_per_prompt: int
    response_tokens: float
    longest: int
    code_share: float = 0.0
    scored: bool = False
    num_shards: int = 1
    begun_tokens: float = 0.0
    turns: float = 0.0

    def of_a_shard(self) -> BenchmarkWork:
        """What one of its jobs has to do."""
        return replace(self, num_responses=math.ceil(self.num_responses / self.num_shards))


@dataclass(frozen=True)
class ContinuedWork:
    """Continuations of one iteration's batch. Tokens are means, of one state or continuation.

    num_states: between steps, each once; prefix_tokens: of a response before a state.
    """

    num_states: float
    n_continuations: int
    prefix_tokens: float
    continued_tokens: float

    @property
    def num_responses(self) -> float:
        """Continuations in all."""
        return self.num_states * self.n_continuations


@dataclass(frozen=True)
class Workload:
    """One iteration of a run. Tokens are means, of one prompt or response.

    num_shards: sampling jobs, refill rounds included. first_responses: of the first round;
    sampled_responses: of all rounds. trained_responses: of the batch. code_share: programs among
    the training problems. step_solutions: whose steps an evaluation has the PRM score. own_share:
    tokens of a response that were sampled for it alone; below 1 where responses fork from one
    another. continued: with Monte-Carlo values. turns: mean number of an episode's, 0 without an
    environment, where drawn_share of its tokens are the policy's.
    """

    prompt_tokens: float
    response_tokens: float
    text_bytes: float
    num_shards: int
    first_responses: float
    sampled_responses: float
    trained_responses: float
    code_share: float
    benchmarks: dict[str, BenchmarkWork]
    step_solutions: int
    evaluated_iterations: tuple[int, ...]
    continued: ContinuedWork | None = None
    own_share: float = 1.0
    turns: float = 0.0
    drawn_share: float = 1.0

    @property
    def read_tokens(self) -> float:
        """Tokens of an episode's prompts: for each turn, all before it."""
        so_far = self.response_tokens * max(self.turns - 1, 0.0) / 2
        return self.turns * self.prompt_tokens + so_far

    @property
    def continued_ratio(self) -> float:
        """Tokens of continuations over those of the responses that are trained on."""
        if self.continued is None:
            return 0.0
        drawn = self.continued.num_responses * self.continued.continued_tokens
        return drawn / (self.trained_responses * self.response_tokens)

    @property
    def sampled_tokens(self) -> float:
        """Of an iteration, each token of a tree once."""
        return self.sampled_responses * self.response_tokens * self.own_share

    @property
    def trained_tokens(self) -> float:
        """Of an iteration, each token of a tree once for each response that it is part of."""
        return self.trained_responses * self.response_tokens


def sampling_rounds(work: BenchmarkWork, tree: Tree | None, position: float) -> list[BenchmarkWork]:
    """The calls of the sampler one after the other: of a tree its chains, then its continuations.

    position: assumed share of a response before its fork.
    """
    if tree is None:
        return [work]
    chains = replace(
        work,
        num_responses=round(work.num_responses * tree.m / tree.num_leaves),
        n_samples_per_prompt=tree.m,
    )
    continued = replace(
        work,
        num_responses=round((work.num_responses - chains.num_responses) / tree.l),
        n_samples_per_prompt=tree.t,  # of one fork: they read the same tokens
        response_tokens=work.response_tokens * (1 - position),
        longest=round(work.longest * (1 - position)),
        begun_tokens=work.response_tokens * position,
    )
    return [chains, *[continued] * tree.l]


def own_share(tree: Tree | None, position: float) -> float:
    """Tokens that were sampled, of all tokens of the responses of a prompt."""
    if tree is None:
        return 1.0
    return (tree.m + (tree.num_leaves - tree.m) * (1 - position)) / tree.num_leaves


def workload(settings: Settings, assumed: Assumptions) -> Workload:
    """The expected work of one iteration."""
    rollout = settings.rollout
    samples = rollout.n_samples_per_prompt
    greedy = int(settings.policy.compares_with_greedy)
    passing = assumed.pass_share if settings.filter.filter_accuracy else 1.0
    first: float = num_first_round(rollout.rollout_batch_size, rollout.oversample_factor)
    if rollout.keeps_surplus and passing * first > rollout.rollout_batch_size:
        # Surplus groups enter the next batch, so on average only a batch's worth need pass.
        first = rollout.rollout_batch_size / passing
    asked, missing = float(first), max(rollout.rollout_batch_size - passing * first, 0.0)
    # As sampling does in a later round: ask for what is missing, oversampled again.
    enough = rollout.min_batch_fill * rollout.rollout_batch_size
    for _ in range(rollout.refill_rounds):
        if rollout.rollout_batch_size - missing >= enough:
            break
        more = missing * rollout.oversample_factor
        asked, missing = asked + more, max(missing - passing * more, 0.0)
    trained = (rollout.rollout_batch_size - missing) * samples
    return Workload(
        prompt_tokens=assumed.prompt_share * settings.data.max_prompt_length,
        response_tokens=assumed.response_share * rollout.max_response_length,
        text_bytes=assumed.text_bytes,
        num_shards=rollout.num_shards * (1 + rollout.refill_rounds),
        first_responses=first * (samples + greedy),
        sampled_responses=asked * (samples + greedy),
        trained_responses=trained,
        code_share=_code_share(settings, assumed),
        benchmarks={
            name: _benchmark(benchmark, settings, assumed)
            for name, benchmark in settings.evaluation.benchmarks.items()
        },
        step_solutions=_step_solutions(settings, assumed),
        evaluated_iterations=tuple(
            iteration
            for iteration in range(settings.start, settings.iterations + 1)
            if iteration % settings.evaluation.every == 0 or iteration == settings.iterations
        ),
        own_share=own_share(rollout.tree, assumed.fork_position),
        continued=_continued(settings, assumed, trained) if settings.draws_continuations else None,
        turns=_turns(settings, assumed),
        drawn_share=assumed.drawn_share if settings.data.env else 1.0,
    )


def _continued(settings: Settings, assumed: Assumptions, trained: float) -> ContinuedWork:
    """Steps are taken as equally long: a state after k of n leaves (n - k) / n of a response."""
    steps = _turns(settings, assumed) or assumed.steps
    asked = min(steps, settings.value.max_steps)
    # The state before the first step is the prompt, which all responses to it share.
    prompts = trained / settings.rollout.n_samples_per_prompt
    later = trained * (asked - 1)
    num_states = prompts + later
    share = later / num_states * asked / 2 / steps
    length = assumed.response_share * settings.rollout.max_response_length
    return ContinuedWork(
        num_states, settings.value.n_continuations, share * length, (1 - share) * length
    )


def _step_solutions(settings: Settings, assumed: Assumptions) -> int:
    steps = settings.evaluation.steps
    return len(steps.files) * (steps.num_rows or assumed.problems) if steps else 0


def _turns(settings: Settings, assumed: Assumptions) -> float:
    env = settings.data.env
    return max(assumed.turn_share * env.max_turns, 1.0) if env else 0.0


def _code_share(settings: Settings, assumed: Assumptions) -> float:
    """Programs among the training problems, as far as the settings say."""
    # The files' own column decides, row by row, and a plan opens no file: where a setting speaks of
    # programs there are as many as assumed.
    data = settings.data
    named = {*data.templates, *data.system_prompts, *(one.ability for one in data.sources.values())}
    of_files = data.source == "files" and ("code" in named or "ability" in data.columns)
    return assumed.code_share if of_files else 0.0


def _benchmark(benchmark: Benchmark, settings: Settings, assumed: Assumptions) -> BenchmarkWork:
    """Work of a benchmark. A limit above the rollouts' makes few responses longer."""
    usual = settings.rollout.max_response_length
    held_out, env = benchmark.file == "validation", settings.data.env
    known = env.num_validation if held_out and env else assumed.problems
    return BenchmarkWork(
        num_responses=(benchmark.num_problems or known) * benchmark.n_samples_per_prompt,
        n_samples_per_prompt=benchmark.n_samples_per_prompt,
        response_tokens=assumed.response_share * min(benchmark.max_response_length, usual),
        longest=benchmark.max_response_length,
        code_share=_code_share(settings, assumed)
        if held_out
        else float(benchmark.usual_ability == "code"),
        scored=benchmark.scorer is not None,
        num_shards=num_shards(benchmark),
        turns=_turns(settings, assumed) if held_out else 0.0,
    )
