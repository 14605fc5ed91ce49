"""vLLM's engine, kept from one stage to the next, with the weights that each of them needs.

In: the arguments that a fresh engine would be started with, the folder of weights. Out: an engine
that holds them: a fresh one, or the kept one with these weights loaded into it. Loaded weights are
never believed: the engine then has to find the log-probabilities that the trainer wrote beside them
(prime_core.run.probe).

docs/decisions.md#kept-sampler
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prime_core.run.input_digest import folder_digest
from prime_core.run.probe import Probe, read_probe
from prime_core.runtime import kept
from prime_core.runtime.console import note

if TYPE_CHECKING:
    from torch import nn
    from vllm import LLM


@dataclass
class KeptEngine:
    """started_with: its arguments, and the model's configuration; digest: of the folder whose
    weights it holds, "" where it has let them go; in_use: since some call of this stage.
    """

    llm: LLM
    started_with: Mapping[str, Any]
    digest: str
    in_use: bool = False

    def rest(self) -> None:
        """Give the GPU back, weights included: the next stage brings its own."""
        self.in_use = False
        if self.started_with.get("enable_sleep_mode"):
            self.llm.sleep(level=2)
            self.digest = ""

    def end(self) -> None:
        """Shut the engine down and free its memory."""
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        release_memory()


def release_memory() -> None:
    """What an engine held that nothing refers to any more."""
    from vllm.distributed import cleanup_dist_env_and_memory

    gc.collect()
    cleanup_dist_env_and_memory()


@contextmanager
def kept_engine(
    folder: Path, copy: Path, arguments: Mapping[str, Any], sleeps: bool
) -> Iterator[LLM]:
    """An engine with the weights of a folder, for the block; afterwards it is kept.

    copy: where the weights are read from. sleeps: it gives its GPU back between stages. Raises
    kept.Unfit where the process keeps an engine that cannot be brought to these weights.
    """
    from vllm import LLM

    wanted = {**arguments, "enable_sleep_mode": sleeps}
    fixed = {k: v for k, v in wanted.items() if k != "model"}
    fixed["configuration"] = (folder / "config.json").read_text(encoding="utf-8")
    digest, engine = folder_digest(folder), kept.take()
    if engine is None:
        engine = KeptEngine(LLM(**wanted), fixed, digest)
    elif not isinstance(engine, KeptEngine) or engine.started_with != fixed:
        raise kept.Unfit("it was started with other settings")
    elif engine.digest != digest:
        _exchange_weights(engine.llm, folder, copy, fixed)
        engine.digest = digest
        note(f"{folder}: loaded into the kept engine, which finds the trainer's log-probabilities")
    elif kept.rests() and not engine.in_use:  # what a stage keeps for itself is nobody's news
        note(f"{folder}: sampling in the kept engine")
    engine.in_use = True
    yield engine.llm
    # Later stages share no prompts with this one, and computed them with other weights.
    engine.llm.reset_prefix_cache()
    kept.keep(engine)


def _exchange_weights(llm: LLM, folder: Path, copy: Path, fixed: Mapping[str, Any]) -> None:
    probe = read_probe(folder)
    if probe is None:
        raise kept.Unfit(f"{folder} has no probe.json, so its weights could not be checked")
    if fixed["enable_sleep_mode"]:
        llm.wake_up(tags=["weights"])
    llm.collective_rpc("reload_weights", kwargs={"weights_path": str(copy)})
    if not fixed["enable_sleep_mode"]:
        llm.apply_model(pack_output_layers)
    if fixed["enable_sleep_mode"]:
        llm.wake_up(tags=["kv_cache"])
    llm.reset_prefix_cache()
    fault = probe.fault(_logprobs(llm, probe, fixed["max_model_len"]), fixed["dtype"])
    if fault:
        raise kept.Unfit(f"{folder}: after loading these weights {fault}")
    llm.reset_prefix_cache()


def pack_output_layers(model: nn.Module) -> None:
    """Make the CPU build's packed copy of the output layer anew.

    `reload_weights` does so for layers that the folder has weights for, so not for an output layer
    that is tied to the embedding.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for layer in model.modules():
        if isinstance(layer, ParallelLMHead):
            layer.quant_method.process_weights_after_loading(layer)


def _logprobs(llm: LLM, probe: Probe, max_model_len: int) -> list[list[float]]:
    """Of the probe's responses, cut where the engine's sequences end."""
    from vllm import SamplingParams

    params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
    rows = [
        [*prompt, *response][: max_model_len - 1]
        for prompt, response in zip(probe.prompts, probe.responses, strict=True)
    ]
    answers = llm.generate([{"prompt_token_ids": row} for row in rows], params, use_tqdm=False)
    found = []
    for row, prompt, answer in zip(rows, probe.prompts, answers, strict=True):
        tokens = zip(row, answer.prompt_logprobs, strict=True)
        found.append([entry[token].logprob for token, entry in list(tokens)[len(prompt) :]])
    return found
