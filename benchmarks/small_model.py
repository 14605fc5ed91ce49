"""The model that benchmarks of training and sampling measure."""

from pathlib import Path

from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.load import save_model


def small_model(folder: Path) -> Path:
    """3.2 M parameters, six heads of width 32: the narrowest that vLLM's CPU build supports."""
    tokenizer = build_tokenizer()
    model = build_model(
        tokenizer,
        num_layers=7,
        hidden_size=192,
        num_heads=6,
        intermediate_size=512,
        max_position=4096,
        initializer_range=0.1,
        seed=0,
    )
    save_model(model, tokenizer, folder)
    return folder
