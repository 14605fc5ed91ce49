"""A Qwen2 small enough for tests, and sequences for it."""

import random
from pathlib import Path

from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.load import save_model
from prime_core.training.batches import Sequences

FIRST_BYTE, NUM_TOKENS = 6, 262  # tokens before these are special


def tiny(seed: int = 0) -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast]:
    """The model and its tokenizer. Its weights are wide, so that its predictions differ."""
    tokenizer = build_tokenizer()
    model = build_model(
        tokenizer,
        num_layers=2,
        hidden_size=16,
        num_heads=2,
        intermediate_size=32,
        max_position=64,
        initializer_range=0.4,
        seed=seed,
    )
    return model, tokenizer


def save_tiny_model(folder: Path, seed: int = 0) -> Path:
    """The model as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(*tiny(seed), folder)
    return folder


def ragged_sequences(num_rows: int, seed: int = 0) -> Sequences:
    """Prompts of 1 to 8 tokens, responses of 1 to 9."""
    rng = random.Random(seed)

    def tokens(longest: int) -> list[int]:
        return [rng.randrange(FIRST_BYTE, NUM_TOKENS) for _ in range(rng.randint(1, longest))]

    return Sequences([tokens(8) for _ in range(num_rows)], [tokens(9) for _ in range(num_rows)])
