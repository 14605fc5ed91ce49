"""Sampling trees: chains, and rounds of continuations from within them (TreeRL, arXiv 2506.11902).

In: prompts, and `rollout.tree`. Out: responses as others are, each with the sample that it forked
from and the index of its first own token; what stands before is that sample's, tokens and
log-probabilities alike.

A round is one call of the sampler for all prompts. Where it forks follows from the rounds before,
so a job that was killed draws the rest of the round that it was in, and no bit changes.

docs/decisions.md#trees-in-rounds
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedTokenizerBase

from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import prompt_tokens
from prime_core.run.seeds import derive_seed
from prime_core.runtime import kept
from prime_core.runtime.partial_rows import partial_path
from prime_core.samplers import Request, Sampled, SamplingParams, request_seed
from prime_core.samplers.ask import response_row
from prime_core.samplers.draw import draw, engine_of
from prime_core.samplers.forks import KINDS, Leaf, Place
from prime_core.settings.rollout import Tree
from prime_core.settings.run import Settings


@dataclass(frozen=True)
class _Branch:
    """A response of a prompt. trunk: number of the chain whose tree it was sampled for."""

    trunk: int
    parent: int
    fork: int
    response: Sampled
    pieces: list[str]


def ask_trees(
    *,
    sampler: str,
    model_path: Path,
    prompts: pd.DataFrame,
    iteration: int,
    tree: Tree,
    params: SamplingParams,
    settings: Settings,
    progress: Callable[[int], object],
    output: Path,
) -> list[dict[str, Any]]:
    """Responses to each prompt, prompt by prompt: columns of ROLLOUTS without policy_iteration.

    The first `tree.m` are those that `ask` draws. output: the table beside which each round's
    finished responses are kept until it is written. Raises SamplerError as `ask` does.
    """
    tokenizer = load_tokenizer(model_path)
    tokens = [prompt_tokens(tokenizer, list(messages)) for messages in prompts["prompt"]]
    ids: list[str] = prompts["prompt_id"].tolist()
    found: list[list[_Branch]] = [[] for _ in ids]
    # An engine takes longer to start than many a round to sample.
    with kept.meanwhile():
        for number in range(tree.l + 1):
            # By prompt: the trunk and the place of each response of this round; None: the prompt.
            wanted = [
                _chains(tree) if number == 0 else _places(tree, found[row], settings, names)
                for row, names in enumerate((iteration, one, number) for one in ids)
            ]
            requests = [
                _request(settings, iteration, ids[row], prompt, found[row], offset, place)
                for row, prompt in enumerate(tokens)
                for offset, (_, place) in enumerate(wanted[row])
            ]
            partial = partial_path(output, f"responses-{number}")
            how = (model_path, settings.model.dtype, requests, params, engine_of(settings))
            drawn = iter(draw(sampler, how, progress, partial))
            for branches, places in zip(found, wanted, strict=True):
                pairs = zip(places, islice(drawn, len(places)), strict=True)
                branches += [_branch(tokenizer, branches, *place, one) for place, one in pairs]
    return [
        response_row(tokenizer, ids[row], sample, tokens[row], branch.response)
        | {"parent": branch.parent, "fork": branch.fork}
        for row, branches in enumerate(found)
        for sample, branch in enumerate(branches)
    ]


def _chains(tree: Tree) -> list[tuple[int, Place | None]]:
    return [(trunk, None) for trunk in range(tree.m)]


def _places(
    tree: Tree, branches: list[_Branch], settings: Settings, names: tuple[int | str, ...]
) -> list[tuple[int, Place | None]]:
    """Where one prompt's trees fork in a round, each place as often as it is continued from.

    A tree with fewer candidates than n forks more often at those that it has; one without any is
    given chains, so that each prompt has the same number of responses.
    """
    found: list[tuple[int, Place | None]] = []
    for trunk in range(tree.m):
        leaves = [
            Leaf(sample, one.fork, one.pieces, one.response.logprobs)
            for sample, one in enumerate(branches)
            if one.trunk == trunk
        ]
        chosen = KINDS[tree.kind](leaves, tree.n, (settings.seed, "fork", *names, trunk))
        for turn in range(tree.n):
            place = chosen[turn % len(chosen)] if chosen else None
            found += [(trunk, place)] * tree.t
    return found


def _request(
    settings: Settings,
    iteration: int,
    prompt_id: str,
    prompt: list[int],
    branches: list[_Branch],
    offset: int,
    place: Place | None,
) -> Request:
    """One response's; offset: its number among those of its prompt and round."""
    sample, before = len(branches) + offset, (settings.seed, "sample", iteration, prompt_id)
    if place is None:
        return Request(prompt, request_seed(*before, sample))
    seed = derive_seed(*before, sample, place.sample, place.index)
    begun = branches[place.sample].response.tokens[: place.index]
    return Request([*prompt, *begun], seed, len(begun))


def _branch(
    tokenizer: PreTrainedTokenizerBase,
    branches: list[_Branch],
    trunk: int,
    place: Place | None,
    drawn: Sampled,
) -> _Branch:
    """A response with what it shares with the one that it forked from."""
    # Each token by itself, so that pieces and tokens correspond.
    pieces = tokenizer.batch_decode([[token] for token in drawn.tokens])
    if place is None:
        return _Branch(trunk, -1, 0, drawn, pieces)
    shared, fork = branches[place.sample], place.index
    response = Sampled(
        [*shared.response.tokens[:fork], *drawn.tokens],
        [*shared.response.logprobs[:fork], *drawn.logprobs],
        drawn.finish_reason,
    )
    return _Branch(trunk, place.sample, fork, response, [*shared.pieces[:fork], *pieces])
