"""The states of a batch that are continued: its prompts, and its responses up to a step's end.

In: the batch, the ends of its steps, how many states of a response count. Out: each state once,
however many responses pass through it, and which states each response has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from prime_core.training.learning_batch import LearningBatch


@dataclass(frozen=True)
class State:
    """A state before a step. prompt_id, sample, step, row: where the batch has it first.

    prefix: tokens of the response before it, an environment's observation among them.
    """

    prompt_id: str
    sample: int
    step: int
    prompt_tokens: list[int]
    prefix: list[int]
    row: int


@dataclass(frozen=True)
class BatchStates:
    """states: each once, in the batch's order. of_responses: of each response the indices of its
    states, step by step from the prompt on. step_ends: of each response, tokens before each end.
    """

    states: list[State]
    of_responses: list[list[int]]
    step_ends: list[list[int]]


def batch_states(
    batch: LearningBatch, step_ends: Bool[Tensor, "B T"], max_steps: int
) -> BatchStates:
    """The first max_steps states of each response: before its first step, its second, ..."""
    states: list[State] = []
    known: dict[tuple[str, tuple[int, ...]], int] = {}
    of_responses, all_ends = [], []
    keys = zip(batch.rows["prompt_id"], batch.rows["sample"], strict=True)
    for row, (prompt_id, sample) in enumerate(keys):
        response = batch.sequences.responses[row]
        ends = [int(place) + 1 for place in step_ends[row].nonzero().flatten()]
        own = []
        sampled = batch.mask[row].tolist()
        # Behind a turn stands what the environment said to it.
        begins = [0, *(sampled.index(True, end) for end in ends[:-1])]
        for step, begin in enumerate(begins[:max_steps]):
            key = (str(prompt_id), tuple(response[:begin]))
            if key not in known:
                known[key] = len(states)
                prompt = batch.sequences.prompts[row]
                place = (str(prompt_id), int(sample), step)
                states.append(State(*place, prompt, response[:begin], row))
            own.append(known[key])
        of_responses.append(own)
        all_ends.append(ends)
    return BatchStates(states, of_responses, all_ends)


def of_steps(
    values: Sequence[float | None], states: Sequence[int], num_steps: int
) -> list[float | None]:
    """A response's values of its states, with None for steps whose states are not continued."""
    return [values[state] for state in states] + [None] * (num_steps - len(states))
