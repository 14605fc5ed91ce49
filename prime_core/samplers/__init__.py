"""Samplers by name: modules whose `sample` turns requests into responses.

To add one:

1. a module in prime_core/samplers whose `sample` has the arguments of transformers_generate's;
2. its line in SAMPLERS;
3. its name in the Literal of `sampler` in prime_core/settings/rollout.py;
4. `make schema`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from prime_core.samplers.finished import FinishedResponses
from prime_core.samplers.request import (
    Engine,
    Request,
    Sampled,
    SamplerError,
    SamplingParams,
    request_seed,
)
from prime_core.samplers.vllm_platform import why_vllm_cannot_run

__all__ = [
    "SAMPLERS",
    "Engine",
    "FinishedResponses",
    "Request",
    "Sampled",
    "Sampler",
    "SamplerError",
    "SamplingParams",
    "load_sampler",
    "request_seed",
]


def runs_anywhere(_model_path: Path) -> None:
    """A sampler that can always run, whatever the model and the machine."""


@dataclass(frozen=True)
class Sampler:
    """module: of the function `sample`. why_not(model_path): why it cannot run with this model in
    this process; None: it can.
    """

    module: str
    why_not: Callable[[Path], str | None] = runs_anywhere


# By preference: `auto` uses the first that can run.
SAMPLERS = {
    "vllm": Sampler("prime_core.samplers.vllm_generate", why_vllm_cannot_run),
    "transformers": Sampler("prime_core.samplers.transformers_generate"),
}


def load_sampler(name: str) -> Callable[..., list[Sampled]]:
    """The `sample` function of a sampler; imported only now, since engines are heavy."""
    return import_module(SAMPLERS[name].module).sample
