"""What a batch's turns say: the actions of its episodes."""

from __future__ import annotations

from itertools import chain, groupby
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from prime_core.models.load import load_tokenizer
from prime_core.training.learning_batch import LearningBatch


def turn_texts(batch: LearningBatch, folder: Path) -> list[list[str]]:
    """Of each response the text of each turn. folder: of the model whose tokenizer is used."""
    tokenizer = load_tokenizer(folder)
    found = []
    for tokens, turns in zip(batch.sequences.responses, batch.turn.tolist(), strict=True):
        own = [(turn, token) for turn, token in zip(turns, tokens, strict=False) if turn >= 0]
        runs = [[token for _, token in run] for _, run in groupby(own, key=lambda one: one[0])]
        found.append([str(text) for text in tokenizer.batch_decode(runs, skip_special_tokens=True)])
    return found


def turn_actions(batch: LearningBatch, folder: Path) -> Int[Tensor, "B N"]:
    """A number for the text of each turn, equal where they are; 0 behind the last."""
    texts = turn_texts(batch, folder)
    numbers = {text: number for number, text in enumerate(sorted({*chain(*texts)}))}
    actions = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, said in enumerate(texts):
        actions[row, : len(said)] = torch.tensor([numbers[text] for text in said])
    return actions
