"""Sampling by transformers' `generate`, in batches of similar prompt lengths.

Each response draws from its own random numbers (inverse of the cumulative distribution at one
uniform number a token), so what is sampled depends on the response's seed and on the model, not on
which responses happen to share a batch.

docs/decisions.md#token-numbers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from prime_core.models.load import device, eos_token_ids, load_model, load_tokenizer
from prime_core.run.input_digest import folder_digest
from prime_core.runtime import kept
from prime_core.runtime.console import note
from prime_core.samplers.finished import FinishedResponses
from prime_core.samplers.request import (
    Engine,
    Request,
    Sampled,
    SamplingParams,
    room_for_response,
)


def sample(
    model_path: Path,
    dtype: str,
    requests: Sequence[Request],
    params: SamplingParams,
    engine: Engine,
    progress: Callable[[int], object],
    finished: FinishedResponses,
) -> list[Sampled]:
    """One response for each request, in the requests' order. finished: batches drawn before."""
    tokenizer, held = load_tokenizer(model_path), _kept_model(model_path, dtype)
    model, eos = held.model, held.eos or eos_token_ids(held.model, tokenizer)
    pad = int(tokenizer.pad_token_id)
    # The model's own settings may hold penalties that generate() would add to ours.
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad)
    responses: list[Sampled | None] = [None] * len(requests)
    # Longest first: what does not fit in memory fails at once. Sorted, batches need least padding.
    order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].prompt_tokens), i))
    for start in range(0, len(order), engine.batch_size):
        chosen = order[start : start + engine.batch_size]
        drawn = finished.batch(chosen)
        if drawn is None:
            batch = [requests[index] for index in chosen]
            drawn = _generate(model, batch, params, eos, pad)
            finished.add(chosen, drawn)
        for index, response in zip(chosen, drawn, strict=True):
            responses[index] = response
        progress(len(chosen))
    held.eos = eos
    kept.keep(held)
    return [response for response in responses if response is not None]


@dataclass
class KeptModel:
    """A model that stays for the next stage, which may sample from the same weights.

    digest: of their folder; eos: tokens that end a response, once they are known.
    """

    model: Any  # its method `to` has no type
    dtype: str
    digest: str
    eos: list[int]

    def rest(self) -> None:
        """Leave the GPU."""
        self.model.to("cpu")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def end(self) -> None:
        """Let the model go."""
        self.rest()
        self.model = None


def _kept_model(folder: Path, dtype: str) -> KeptModel:
    """The model that this process keeps, where it is the folder's, else a new one."""
    digest = folder_digest(folder) if kept.keeps() else ""
    held = kept.take()
    if held is not None and not isinstance(held, KeptModel):
        raise kept.Unfit("it is another sampler's")
    if held is not None and (held.digest, held.dtype) == (digest, dtype):
        held.model.to(device())
        if kept.rests():  # what a stage keeps for itself is nobody's news
            note(f"{folder}: sampling from the kept model")
        return held
    # No weights are loaded into an old model: a new one holds these and nothing else.
    return KeptModel(load_model(folder, dtype), dtype, digest, [])


class DrawToken(LogitsProcessor):
    """Leave one token possible in each row, drawn with the row's own random numbers.

    Keeps the log-probability of each drawn token in `logprobs`, one [B] tensor per step. With
    `uniforms` None the most probable token is chosen.
    """

    def __init__(self, uniforms: Float[Tensor, "B T"] | None) -> None:
        self.uniforms = uniforms
        self.logprobs: list[Tensor] = []

    def __call__(
        self,
        input_ids: Int[Tensor, "B L"],  # noqa: ARG002
        scores: Float[Tensor, "B V"],
    ) -> Float[Tensor, "B V"]:
        """Scores that are -inf except for the drawn token, whose score is 0."""
        # float32: bfloat16 would leave log-probabilities with two or three digits.
        logprobs = scores.float().log_softmax(1)
        tokens = self._choose(logprobs)[:, None]
        self.logprobs.append(logprobs.gather(1, tokens)[:, 0].cpu())
        # Greedy search then takes the drawn token: generate's own sampling would use the global
        # stream.
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)

    def _choose(self, logprobs: Float[Tensor, "B V"]) -> Int[Tensor, " B"]:
        if self.uniforms is None:
            return logprobs.argmax(1)
        # float64: in float32 the sum over a large vocabulary rounds rare tokens away
        cumulative = logprobs.double().exp().cumsum(1)
        # Times the total, which rounding leaves near 1 and not at it.
        point = self.uniforms[:, len(self.logprobs), None] * cumulative[:, -1:]
        # Rounded up, a number close to 1 would fall beyond the last token.
        # right=True: a uniform of exactly 0 must not draw a token of probability 0.
        return torch.searchsorted(cumulative, point, right=True)[:, 0].clamp(
            max=logprobs.shape[1] - 1
        )


def _generate(
    model: PreTrainedModel,
    batch: list[Request],
    params: SamplingParams,
    eos: list[int],
    pad: int,
) -> list[Sampled]:
    width = max(len(request.prompt_tokens) for request in batch)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    rooms = [
        min(
            room_for_response(positions, len(request.prompt_tokens), params, model.name_or_path),
            params.max_response_length - request.num_before,
        )
        for request in batch
    ]
    ids = torch.full((len(batch), width), pad)
    mask = torch.zeros_like(ids)
    for row, request in enumerate(batch):
        # Padded on the left: generate appends on the right, to all rows at once.
        ids[row, width - len(request.prompt_tokens) :] = torch.tensor(request.prompt_tokens)
        mask[row, width - len(request.prompt_tokens) :] = 1
    uniforms = _uniforms(batch, params)
    draw = DrawToken(None if uniforms is None else uniforms.to(model.device))
    with torch.no_grad():
        output = model.generate(  # type: ignore[operator]
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            # `draw` last: it draws from, and reports, what the others leave.
            logits_processor=LogitsProcessorList([*_warpers(params), draw]),
            do_sample=False,  # `draw` leaves one token possible
            max_new_tokens=max(rooms),
            eos_token_id=eos,
            pad_token_id=pad,
        )
    tokens = output[:, width:].tolist()
    logprobs = torch.stack(draw.logprobs, 1).tolist()
    rows = zip(tokens, logprobs, rooms, strict=True)
    # A row with less room than its neighbours was generated beyond it, with them.
    return [_until_eos(t[:room], p[:room], set(eos)) for t, p, room in rows]


def _uniforms(batch: list[Request], params: SamplingParams) -> Float[Tensor, "B T"] | None:
    if params.temperature == 0:
        return None
    # As many as a response could need, whatever its neighbours do: the n-th is the n-th token's.
    rows = [
        np.random.Generator(np.random.Philox(request.seed)).random(params.max_response_length)
        for request in batch
    ]
    return torch.from_numpy(np.stack(rows))


def _warpers(params: SamplingParams) -> list[LogitsProcessor]:
    warpers: list[LogitsProcessor] = []
    if params.temperature == 0:
        return warpers
    if params.temperature != 1:
        warpers.append(TemperatureLogitsWarper(float(params.temperature)))  # it refuses an int
    # top_p after top_k, as vLLM has it: its share is of what top_k leaves.
    if params.top_k > 0:
        warpers.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        warpers.append(TopPLogitsWarper(params.top_p))
    return warpers


def _until_eos(tokens: list[int], logprobs: list[float], eos: set[int]) -> Sampled:
    # Rows that ended before their batch were padded, perhaps with an EOS: the first one counts.
    end = next((index + 1 for index, token in enumerate(tokens) if token in eos), None)
    length = len(tokens) if end is None else end
    return Sampled(tokens[:length], logprobs[:length], "length" if end is None else "stop")
