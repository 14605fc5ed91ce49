"""Shapes of published models by name, so that a run can be planned before anything is fetched."""

from __future__ import annotations

import re
from dataclasses import replace

from prime_core.planning.shapes import ModelShape, PlanError


def _qwen(
    hidden: int, inner: int, layers: int, heads: int, kv_heads: int, tied: bool, positions: int
) -> ModelShape:
    """A Qwen2.5; the untied ones have a slightly larger vocabulary."""
    vocabulary = 151936 if tied else 152064
    width = hidden // heads
    sizes = (vocabulary, hidden, layers, heads, kv_heads, width, inner, positions)
    return ModelShape(*sizes, tied=tied, qkv_bias=True)


def _llama(
    hidden: int,
    inner: int,
    layers: int,
    heads: int,
    kv_heads: int,
    tied: bool,
    vocabulary: int = 128256,
    positions: int = 131072,
) -> ModelShape:
    width = hidden // heads
    sizes = (vocabulary, hidden, layers, heads, kv_heads, width, inner, positions)
    return ModelShape(*sizes, tied=tied)


KNOWN = {
    "qwen2.5-0.5b": _qwen(896, 4864, 24, 14, 2, True, 32768),
    "qwen2.5-1.5b": _qwen(1536, 8960, 28, 12, 2, True, 131072),
    "qwen2.5-3b": _qwen(2048, 11008, 36, 16, 2, True, 32768),
    "qwen2.5-7b": _qwen(3584, 18944, 28, 28, 4, False, 131072),
    "qwen2.5-14b": _qwen(5120, 13824, 48, 40, 8, False, 131072),
    "qwen2.5-32b": _qwen(5120, 27648, 64, 40, 8, False, 131072),
    "qwen2.5-72b": _qwen(8192, 29568, 80, 64, 8, False, 131072),
    "qwen2.5-math-1.5b": _qwen(1536, 8960, 28, 12, 2, True, 4096),
    "qwen2.5-math-7b": _qwen(3584, 18944, 28, 28, 4, False, 4096),
    "qwen2.5-math-72b": _qwen(8192, 29568, 80, 64, 8, False, 4096),
    "llama-3.2-1b": _llama(2048, 8192, 16, 32, 8, True),
    "llama-3.2-3b": _llama(3072, 8192, 28, 24, 8, True),
    "llama-3.1-8b": _llama(4096, 14336, 32, 32, 8, False),
    "llama-3.1-70b": _llama(8192, 28672, 80, 64, 8, False),
    "smollm2-135m": _llama(576, 1536, 30, 9, 3, True, 49152, 8192),
    "smollm2-360m": _llama(960, 2560, 32, 15, 5, True, 49152, 8192),
    "smollm2-1.7b": _llama(2048, 8192, 24, 32, 32, True, 49152, 8192),
}
# Other names of the same shapes; a bare size means Qwen2.5, where that family has it.
ALIASES = {
    **{
        name.removeprefix("qwen2.5-"): name
        for name in KNOWN
        if re.fullmatch(r"qwen2\.5-[\d.]+b", name)
    },
    "1b": "llama-3.2-1b",
    "8b": "llama-3.1-8b",
    "70b": "llama-3.1-70b",
    # The paper's models, all trained from Qwen2.5-Math-7B.
    "eurus-2-7b-sft": "qwen2.5-math-7b",
    "eurus-2-7b-prime": "qwen2.5-math-7b",
    "eurus-2-7b-prime-zero": "qwen2.5-math-7b",
}
# Fine-tuned variants have the widths and layers of the model that they come from.
_VARIANT = re.compile(r"-(instruct|base|coder)(?=-|$)")
# Qwen2.5's have fewer positions than the larger base models: their configurations leave the
# stretching to 131,072 to the user (rope_scaling).
_FEWER = re.compile(r"^qwen2\.5-.*-(instruct|coder)(-|$)|^qwen2\.5-coder-")
_POSITIONS = 32768


def known_shape(name: str) -> ModelShape | None:
    """The shape behind a hub id or a size ("Qwen/Qwen2.5-7B-Instruct", "7b"); None: unknown."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    plain = _VARIANT.sub("", last)
    shape = KNOWN.get(ALIASES.get(plain, plain))
    if shape is not None and _FEWER.search(last):
        return replace(shape, max_position=min(shape.max_position, _POSITIONS))
    return shape


def shape_of_size(size: str) -> ModelShape:
    """The shape of --model-size. Raises PlanError listing those that are known."""
    shape = known_shape(size)
    if shape is None:
        names = ", ".join([*sorted(ALIASES), *KNOWN])
        raise PlanError(f"--model-size {size}: unknown; expected one of {names}")
    return shape
