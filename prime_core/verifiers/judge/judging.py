"""Rows to judgements by a judge, many requests at a time.

In: rows whose ability the settings give to the judge. Out: (index, Judgement) as they come. Equal
prompts are asked once. A judge of judge.path answers all prompts in one call, of a function that is
handed in: samplers are no part of verification.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from prime_core.settings.verification import Judge, Verification
from prime_core.verifiers.judge.endpoint import JudgeFailed, ask
from prime_core.verifiers.judge.prompts import filled, prompt_text
from prime_core.verifiers.judge.replies import named_choice
from prime_core.verifiers.pool import Row
from prime_core.verifiers.verdict import Judgement, Verdict

Ask = Callable[[Judge, str, int], str]
# Prompts with their seeds -> replies; None: the prompt leaves the model no room for one.
Replies = Callable[[Judge, Sequence[tuple[str, int]]], Sequence[str | None]]


def is_judged(ability: str, rules: Verification) -> bool:
    """Whether rows of an ability are the judge's."""
    return rules.judge is not None and ability in rules.judge.abilities


def judge_rows(
    rows: Sequence[Row], judge: Judge, asking: Ask = ask, replies: Replies | None = None
) -> Iterator[tuple[int, Judgement]]:
    """Judge every row once, in no particular order. Raises PromptError before anything is asked.

    replies: of the model of judge.path, without which ValueError is raised for such a judge.
    """
    template = prompt_text(judge.prompt)
    same: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if not row.response.strip():
            yield index, Judgement(Verdict.no_answer, None, "the response is empty")
            continue
        text = filled(template, row.question, row.ground_truth, row.response)
        same.setdefault(text, []).append(index)
    if judge.path is None:
        judged_texts = _in_threads(list(same), judge, asking)
    elif replies is not None:
        judged_texts = _by_model(list(same), judge, replies)
    else:
        raise ValueError("verification.judge.path: this command has no sampler; use base_url")
    for text, judgement in judged_texts:
        for index in same[text]:
            yield index, judgement


def _by_model(texts: list[str], judge: Judge, replies: Replies) -> Iterator[tuple[str, Judgement]]:
    begun = time.perf_counter()
    asked = [(text, seed_of(text, n)) for text in texts for n in range(judge.n_samples)]
    answers = dict(zip(asked, replies(judge, asked) if asked else [], strict=True))
    seconds = (time.perf_counter() - begun) / max(len(texts), 1)

    def answer(_: Judge, text: str, seed: int) -> str:
        reply = answers[text, seed]
        if reply is None:
            raise JudgeFailed("the prompt leaves the judge's positions no room for a reply")
        return reply

    for text in texts:
        yield text, replace(judged(text, judge, answer), seconds=seconds)


def _in_threads(texts: list[str], judge: Judge, asking: Ask) -> Iterator[tuple[str, Judgement]]:
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Judgement]] = queue.SimpleQueue()
    for text in texts:
        waiting.put(text)

    def work() -> None:
        while True:
            try:
                text = waiting.get_nowait()
            except queue.Empty:
                return
            done.put((text, judged(text, judge, asking)))

    for _ in range(min(judge.max_concurrency, len(texts))):
        # Daemons: a stage that is told to stop does not wait for a server that stalls.
        threading.Thread(target=work, daemon=True).start()
    for _ in texts:
        yield done.get()


def judged(text: str, judge: Judge, asking: Ask) -> Judgement:
    """The judgement on one prompt. A failure of the judge, whatever it is, is no verdict."""
    begun = time.perf_counter()
    try:
        judgement = _of_samples(text, judge, asking)
    except Exception as error:
        detail = f"the judge failed: {type(error).__name__}: {error}"[:500]
        judgement = Judgement(Verdict.no_verdict, None, detail)
    return replace(judgement, seconds=time.perf_counter() - begun)


def _of_samples(text: str, judge: Judge, asking: Ask) -> Judgement:
    said: list[bool] = []
    replies: list[str] = []
    failure = ""
    for sample in range(judge.n_samples):
        try:
            reply = asking(judge, text, seed_of(text, sample))
        except JudgeFailed as error:
            failure = str(error)
            continue
        choice = named_choice(reply, judge.choices)
        if choice is None:
            failure = f"the judge named none of {', '.join(judge.choices)}"
            continue
        said.append(choice == judge.choices[0])
        replies.append(choice)
    if not said:
        return Judgement(Verdict.no_verdict, None, failure)
    share = sum(said) / len(said)
    detail = f"the judge: {', '.join(replies)}"
    if judge.aggregate == "mean":
        verdict = Verdict.correct if share == 1 else Verdict.wrong
        return Judgement(verdict, None, detail, outcome=share)
    if share == 0.5:
        return Judgement(Verdict.no_verdict, None, f"{detail}: as many of each")
    return Judgement(Verdict.correct if share > 0.5 else Verdict.wrong, None, detail)


def seed_of(text: str, sample: int) -> int:
    """A request's seed: the same for the same prompt, whichever shard asks."""
    return int.from_bytes(hashlib.sha256(f"{sample} {text}".encode()).digest()[:4], "big") >> 1
