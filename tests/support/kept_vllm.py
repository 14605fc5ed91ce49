"""Sampling by vLLM from one policy after the other, in an engine that is kept and in fresh ones.

    python -m tests.support.kept_vllm FOLDER

In a process of its own, since vLLM changes it. Prints JSON by kind: tied, untied, and unpacked,
which is tied with an output layer that is not packed again; for each policy whether the kept engine
gives the responses of a fresh one, and why it was given up.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch

from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.load import load_model, save_model
from prime_core.run.probe import Probe
from prime_core.runtime import kept
from prime_core.samplers import Engine, Request, Sampled, SamplingParams, kept_vllm, load_sampler
from prime_core.samplers.finished import FinishedResponses
from prime_core.settings.training import Training
from prime_core.training.logprob_model import give_logprobs
from prime_core.training.passes import passes_of
from prime_core.training.scoring import ragged_logprobs
from tests.support.tiny_model import ragged_sequences

SEQUENCES = ragged_sequences(8)
REQUESTS = [Request(prompt, seed) for seed, prompt in enumerate(SEQUENCES.prompts * 4)]
PARAMS = SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_response_length=24)
LEARNING_RATE = 1e-4  # how far each weight moves from one policy to the next


def policies(folder: Path, tied: bool) -> list[Path]:
    """Three folders of weights, each a small step from the one before."""
    tokenizer = build_tokenizer()
    sizes = {"num_layers": 2, "hidden_size": 64, "num_heads": 2, "intermediate_size": 64}
    model: Any = build_model(tokenizer, **sizes, max_position=512, initializer_range=0.2, seed=0)
    if not tied:
        config = copy.deepcopy(model.config)
        config.tie_word_embeddings = False
        torch.manual_seed(1)
        model = type(model)(config)
    before: list[list[float]] = []
    found = []
    for number in range(3):
        save_model(model, tokenizer, folder / str(number))
        found.append(folder / str(number))
        now = logprobs(found[-1], tokenizer)
        if before:
            Probe(SEQUENCES.prompts, SEQUENCES.responses, now, before).write(found[-1])
        before = now
        with torch.no_grad():
            for weight in model.parameters():
                weight += LEARNING_RATE * torch.randn_like(weight).sign()
    return found


def logprobs(folder: Path, tokenizer: Any) -> list[list[float]]:
    """Of the fixed responses, by this project's own forward pass."""
    model = load_model(folder, "float32")
    passes = passes_of(Training(), 8, tokenizer, give_logprobs(model))
    return ragged_logprobs(model, SEQUENCES, passes)


def responses(folder: Path) -> list[Sampled]:
    """To all prompts."""
    sample = load_sampler("vllm")
    nothing = FinishedResponses(None, "")
    return sample(folder, "float32", REQUESTS, PARAMS, Engine(16), lambda _count: None, nothing)


def give_up() -> None:
    """End the kept engine, as the end of its process would."""
    from vllm.distributed import cleanup_dist_env_and_memory

    engine = kept.take()
    if isinstance(engine, kept_vllm.KeptEngine):
        engine.llm.llm_engine.engine_core.shutdown()
    del engine
    cleanup_dist_env_and_memory()


def said_of_kept(folders: list[Path], fresh: list[list[Sampled]]) -> list[Any]:
    """What the kept engine comes to with one policy after the other, the last one twice."""
    said: list[Any] = []
    for number in (0, 1, 2, 2):
        try:
            said.append(responses(folders[number]) == fresh[number])
            kept.rest()
        except kept.Unfit as reason:
            said.append(str(reason))
            break
    give_up()
    return said


def main(folder: Path) -> None:
    """Say what came of each policy, by kind."""
    folders = {kind: policies(folder / kind, kind == "tied") for kind in ("untied", "tied")}
    fresh = {kind: [responses(one) for one in some] for kind, some in folders.items()}
    for first, second, third in fresh.values():
        assert first != second != third
    kept.begin(folder / "unused")
    said = {kind: said_of_kept(folders[kind], fresh[kind]) for kind in folders}
    kept_vllm.pack_output_layers = lambda model: None  # noqa: ARG005
    said["unpacked"] = said_of_kept(folders["tied"], fresh["tied"])
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
