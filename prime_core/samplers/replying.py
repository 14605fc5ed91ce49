"""Replies of the judge of verification.judge.path: the stage samples them, without a network.

In: settings, the table that is judged for. Out: a function of prompts and their seeds, which
prime_core.verifiers.judge.judging asks once for all prompts. Finished batches are kept beside the
table, so that a killed job draws only the rest. docs/decisions.md#judge-model
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from prime_core.settings.run import Settings
from prime_core.settings.verification import Judge

Replies = Callable[[Judge, Sequence[tuple[str, int]]], list[str | None]]


def replies_of(settings: Settings, output: Path | None) -> Replies | None:
    """The function; None where no judge is a model of this run's settings.

    output: the table beside which finished replies are kept; None: nowhere.
    """
    if not settings.verification.judges_by_model:
        return None
    return lambda judge, asked: _replies(settings, output, judge, asked)


def _replies(
    settings: Settings, output: Path | None, judge: Judge, asked: Sequence[tuple[str, int]]
) -> list[str | None]:
    """A reply to each prompt; None where prompt and reply exceed the model's positions."""
    # Here: judges behind an endpoint, and rules, need no engine.
    from prime_core.models.load import find_model, load_config, load_tokenizer
    from prime_core.models.positions import max_positions
    from prime_core.models.prompts import prompt_tokens
    from prime_core.runtime.console import progress_bar
    from prime_core.runtime.partial_rows import partial_path
    from prime_core.samplers import Request, SamplingParams
    from prime_core.samplers.choice import choose_sampler
    from prime_core.samplers.draw import draw, engine_of

    assert judge.path is not None
    folder = find_model(judge.path)
    tokenizer, positions = load_tokenizer(folder), max_positions(load_config(folder))
    requests = [
        Request(prompt_tokens(tokenizer, [{"role": "user", "content": text}]), seed)
        for text, seed in asked
    ]
    fits = [
        positions is None or len(one.prompt_tokens) + judge.max_tokens <= positions
        for one in requests
    ]
    with progress_bar(sum(fits), "reply", "judging") as bar:
        fitting = [one for one, fit in zip(requests, fits, strict=True) if fit]
        params = SamplingParams(judge.temperature, 1.0, 0, judge.max_tokens)
        sampled = draw(
            choose_sampler(settings.rollout.sampler, folder),
            (folder, settings.model.dtype, fitting, params, engine_of(settings)),
            bar.update,
            partial_path(output, "replies") if output else None,
        )
    texts = iter([str(tokenizer.decode(one.tokens, skip_special_tokens=True)) for one in sampled])
    return [next(texts) if fit else None for fit in fits]
