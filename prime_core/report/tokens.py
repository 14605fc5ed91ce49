"""Responses with the implicit reward of each token.

In: a run's batch and rewards tables and its tokenizer. Out: pairs of a correct and an incorrect
response to the same prompt, cut into pieces of text with their rewards. The text is data: the page
escapes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prime_core.evaluation.step_truth import TrueSteps, true_steps
from prime_core.run.layout import RunFiles, in_order
from prime_core.run.tables import BATCH, REWARDS, read_table

HEAD, TAIL = 500, 200  # tokens shown of a long response: its beginning and its end
# UTF-8's longest. What is not a character by then never becomes one, and must not wait on.
MAX_BYTES_A_CHARACTER = 4
BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Piece:
    """One token. strength: root of its reward's size over the largest one beside it, 0 to 1.

    The root, or one large reward would leave all others white. wrong: of the first wrong step.
    """

    text: str
    token: int
    reward: float
    position: int
    strength: float
    wrong: bool = False


@dataclass(frozen=True)
class Response:
    """One response: outcome, summed reward, and its pieces (None: tokens left out).

    steps: what is known of its steps by rule, as a sentence; "" where nothing is.
    """

    outcome: float
    summed_reward: float
    pieces: list[Piece | None]
    steps: str = ""


@dataclass(frozen=True)
class Pair:
    """A correct and an incorrect response to one prompt; scale: the reward of the full colour."""

    iteration: int
    prompt: str
    scale: float
    responses: list[Response]


def example_pairs(run_dir: Path) -> list[Pair]:
    """Pairs of the first, middle and last iteration whose rewards are not all zero.

    Of each iteration the first prompt of the batch that has both a correct and an incorrect
    response, and the first of each: nothing is cherry-picked.
    """
    files = RunFiles(run_dir)
    folders = in_order((run_dir / "iterations").glob("[0-9]*"))
    found = [int(folder.name) for folder in folders if files.rewards(int(folder.name)).exists()]
    rated = _first_rated(files, found)
    if rated is None:
        return []
    usable = found[found.index(rated) :]
    chosen = sorted({usable[0], usable[len(usable) // 2], usable[-1]})
    tokenizer = load_tokenizer(files)
    pairs = [_pair(_scored_batch(files, iteration), iteration, tokenizer) for iteration in chosen]
    return [pair for pair in pairs if pair is not None]


def load_tokenizer(files: RunFiles) -> Any:
    """The run's tokenizer, from the first model folder that exists: it decodes, and no more."""
    folders = (files.policy(0), files.reference, files.base_model)
    folder = next((folder for folder in folders if folder.exists()), folders[0])
    if (folder / "tokenizer.json").exists():
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    # Of a model that brings another kind of file; imports torch, which takes seconds.
    from transformers import AutoTokenizer

    # A compute node may have no network, and the run's own tokenizer is the right one.
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def token_texts(tokenizer: Any, tokens: list[int]) -> list[str]:
    """Text of each token; one character of several tokens appears at the last of them.

    Byte-level tokens can be parts of a character, and decode to nothing readable alone.
    """
    texts: list[str] = []
    waiting: list[int] = []
    for token in tokens:
        waiting.append(token)
        # Special tokens, too: the end of a response has a reward like any other.
        text = tokenizer.decode(waiting, skip_special_tokens=False)
        if text.endswith(BROKEN) and len(waiting) < MAX_BYTES_A_CHARACTER:
            texts.append("")
        else:
            texts.append(text)
            waiting = []
    return texts


def _first_rated(files: RunFiles, iterations: list[int]) -> int | None:
    """The first iteration with a reward other than 0: the first PRM equals its reference."""
    for iteration in iterations:
        rewards = read_table(files.rewards(iteration), REWARDS, files.root)["implicit_reward"]
        if any(np.any(np.asarray(row) != 0) for row in rewards):
            return iteration
    return None


def _scored_batch(files: RunFiles, iteration: int) -> pd.DataFrame:
    batch = read_table(files.batch(iteration), BATCH, files.root)
    if "true_outcome" in batch:  # a response is shown as what it is, not as it was called
        batch["outcome"] = batch["true_outcome"]
    rewards = read_table(files.rewards(iteration), REWARDS, files.root)
    # One to one, or tokens would be shown with another response's rewards.
    return batch.merge(rewards, on=["prompt_id", "sample"], validate="one_to_one")


def _pair(batch: pd.DataFrame, iteration: int, tokenizer: Any) -> Pair | None:
    for _, group in batch.groupby("prompt_id", sort=False):
        correct, incorrect = group[group["outcome"] == 1], group[group["outcome"] == 0]
        if len(correct) and len(incorrect):
            rows = [correct.iloc[0], incorrect.iloc[0]]
            # Common to both, so that equal colours mean equal rewards. A response may be empty.
            scale = float(max(np.abs(row["implicit_reward"]).max(initial=0) for row in rows))
            prompt = tokenizer.decode(list(rows[0]["prompt_tokens"]), skip_special_tokens=False)
            return Pair(
                iteration, prompt, scale, [_response(row, scale, tokenizer) for row in rows]
            )
    return None


def _response(row: pd.Series, scale: float, tokenizer: Any) -> Response:
    tokens = [int(token) for token in row["response_tokens"]]
    rewards = [float(reward) for reward in row["implicit_reward"]]
    texts = token_texts(tokenizer, tokens)
    steps = true_steps(row["prompt_id"], row["text"], texts, rewards)
    wrong = steps.tokens(steps.label) if steps and steps.label >= 0 else range(0)
    pieces: list[Piece | None] = [
        Piece(
            text,
            token,
            reward,
            position + 1,
            math.sqrt(abs(reward) / scale) if scale else 0.0,
            position in wrong,
        )
        for position, (text, token, reward) in enumerate(zip(texts, tokens, rewards, strict=True))
    ]
    if len(pieces) > HEAD + TAIL:
        pieces = [*pieces[:HEAD], None, *pieces[-TAIL:]]
    words = _in_words(steps) if steps else ""
    return Response(float(row["outcome"]), float(sum(rewards)), pieces, words)


def _in_words(steps: TrueSteps) -> str:
    """Which step is wrong by rule, and whether the PRM's largest fall lies on it."""
    number, fall = len(steps.ends), steps.largest_fall
    if steps.falls[fall] >= 0:
        lowest = "the PRM lowers none"
    else:
        place = "it" if fall == steps.label else f"step {fall + 1}"
        lowest = f"the PRM's largest fall lies on {place}"
    if steps.label < 0:
        return f"All {number} steps are right; {lowest}."
    luck = ", the answer right by luck" if steps.answer_correct else ""
    return f"Step {steps.label + 1} of {number} is wrong (underlined){luck}; {lowest}."
