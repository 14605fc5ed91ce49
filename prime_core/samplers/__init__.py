"""Samplers by name. To add one: a module with the same `sample` function, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from prime_core.samplers.request import (
    Engine,
    Request,
    Sampled,
    SamplerError,
    SamplingParams,
    request_seed,
)

SAMPLERS = {
    "transformers": "prime_core.samplers.transformers_generate",
    "vllm": "prime_core.samplers.vllm_generate",
}

__all__ = [
    "SAMPLERS",
    "Engine",
    "Request",
    "Sampled",
    "SamplerError",
    "SamplingParams",
    "load_sampler",
    "request_seed",
]


def load_sampler(name: str) -> Callable[..., list[Sampled]]:
    """The `sample` function of a sampler; imported only now, since engines are heavy."""
    return import_module(SAMPLERS[name]).sample
