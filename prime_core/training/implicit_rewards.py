"""Implicit rewards of any responses under a PRM and its reference, a folder each.

In: token ids of prompts and responses, two folders of models with the same tokens. Out: rewards of
tokens, or of whole responses: best-of-N and weighted majority choose by these.
"""

from __future__ import annotations

from pathlib import Path

import torch

from prime_core.implicit_reward import implicit_reward, response_score
from prime_core.models.load import load_model, load_tokenizer
from prime_core.runtime.console import progress_bar
from prime_core.runtime.partial_rows import partial_path
from prime_core.settings.run import Settings
from prime_core.training.batches import Sequences
from prime_core.training.finished_rows import finished_rows
from prime_core.training.learning_batch import LearningBatch
from prime_core.training.logprob_model import give_logprobs
from prime_core.training.passes import passes_of
from prime_core.training.scoring import ragged_logprobs


def logprobs_of(
    folder: Path,
    sequences: Sequences,
    settings: Settings,
    temperature: float = 1.0,
    micro_batch_size: int | None = None,
    partial: Path | None = None,
) -> list[list[float]]:
    """Log-probabilities of the responses' tokens under one model.

    micro_batch_size: responses per pass; None: as the settings say for the PRM. partial: where
    finished rows are kept until the stage has written its table; None: nowhere.
    """
    model = load_model(folder, settings.model.dtype)
    passes = passes_of(
        settings.training,
        micro_batch_size or settings.prm.micro_batch_size,
        load_tokenizer(folder),
        packs=give_logprobs(model),
    )
    with (
        finished_rows(partial, folder, sequences, passes, settings, temperature) as finished,
        progress_bar(len(sequences), "response", f"log-probabilities, {folder.name}") as bar,
    ):
        return ragged_logprobs(
            model,
            sequences,
            passes,
            temperature=temperature,
            progress=bar.update,
            finished=finished,
        )


def token_rewards(
    prm: Path,
    reference: Path,
    sequences: Sequences,
    settings: Settings,
    output: Path | None = None,
) -> list[list[float]]:
    """Implicit reward of every token of the responses: r_t = beta (log pi_phi - log pi_ref).

    output: the table beside which finished rows are kept until it is written; None: nowhere.
    """
    ours, theirs = (output and partial_path(output, name) for name in ("prm", "reference"))
    # One after the other: two large models need not fit in memory at once.
    rows = zip(
        # At temperature 1 whatever the sampler's: the PRM is trained on unscaled log-probabilities.
        logprobs_of(prm, sequences, settings, partial=ours),
        logprobs_of(reference, sequences, settings, partial=theirs),
        strict=True,
    )
    return [_rewards_of_one(mine, other, settings.prm.beta) for mine, other in rows]


def whole_rewards(
    prm: Path,
    reference: Path,
    sequences: Sequences,
    settings: Settings,
    output: Path | None = None,
) -> list[float]:
    """Score of each whole response: the PRM's log-odds that it is correct, or their mean.

    output: as in token_rewards.
    """
    rewards = token_rewards(prm, reference, sequences, settings, output)
    rows = (torch.tensor([row]) for row in rewards)
    kind = settings.prm.response_score
    return [
        float(response_score(row, torch.ones_like(row, dtype=torch.bool), kind)) for row in rows
    ]


def _rewards_of_one(logprobs: list[float], reference: list[float], beta: float) -> list[float]:
    # A batch of one, so that the equation has one home, prime_core.implicit_reward.
    ours, theirs = torch.tensor([logprobs]), torch.tensor([reference])
    mask = torch.ones_like(ours, dtype=torch.bool)
    return implicit_reward(ours, theirs, mask, beta)[0].tolist()


def logprobs_under(
    folder: Path,
    batch: LearningBatch,
    settings: Settings,
    temperature: float = 1.0,
    partial: Path | None = None,
) -> list[list[float]]:
    """Log-probabilities of the batch's responses under one model. partial: as in logprobs_of."""
    return logprobs_of(folder, batch.sequences, settings, temperature, partial=partial)
