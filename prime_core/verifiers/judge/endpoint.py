"""One reply of a model behind an OpenAI-compatible endpoint (`/chat/completions`).

What can pass is tried again with growing pauses: refused connections, time-outs, the statuses of
RETRIED, answers that are no JSON. What remains is a JudgeFailed, whose text says why.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

from prime_core.settings.verification import Judge

RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds
_LARGEST_ANSWER = 8_000_000  # bytes


class JudgeFailed(Exception):
    """The judge gave no reply: nothing is known of the response."""


class _Passing(Exception):
    """A failure that the next try may not have."""


def ask(judge: Judge, prompt: str, seed: int) -> str:
    """The judge's reply to a prompt. Raises JudgeFailed."""
    pause = FIRST_PAUSE
    for tries_left in range(judge.max_retries, -1, -1):
        try:
            return _reply(judge, prompt, seed)
        except _Passing as failure:
            if not tries_left:
                raise JudgeFailed(f"{failure}, {judge.max_retries + 1} times") from None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    raise AssertionError("the last try returns or raises")


def _reply(judge: Judge, prompt: str, seed: int) -> str:
    assert judge.base_url is not None  # a judge of judge.path is not asked here
    body = {
        "model": judge.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": judge.temperature,
        "max_tokens": judge.max_tokens,
        "seed": seed,
    }
    headers = {"Content-Type": "application/json"}
    if judge.api_key_env:
        headers["Authorization"] = f"Bearer {os.environ.get(judge.api_key_env, '')}"
    request = urllib.request.Request(
        judge.base_url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers
    )
    try:
        answer = json.loads(_answer(request, judge.timeout_seconds))
    except urllib.error.HTTPError as error:
        text = f"status {error.code} from the judge"
        raise (_Passing if error.code in RETRIED else JudgeFailed)(text) from None
    except ValueError:
        raise _Passing("the judge's answer is no JSON") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _Passing(f"no answer from the judge: {type(error).__name__}: {reason}") from None
    return _content(answer)


def _answer(request: urllib.request.Request, seconds: float) -> bytes:
    """The answer's body. Raises TimeoutError also where a server drips byte by byte."""
    ends = time.monotonic() + seconds
    parts: list[bytes] = []
    with urllib.request.urlopen(request, timeout=seconds) as response:
        while part := response.read1(1 << 16):
            parts.append(part)
            if time.monotonic() > ends or sum(map(len, parts)) > _LARGEST_ANSWER:
                raise TimeoutError(f"it did not end within {seconds:g} s")
    return b"".join(parts)


def _content(answer: Any) -> str:
    """The reply's text. Raises JudgeFailed for a refusal, and for what is no reply."""
    try:
        message = answer["choices"][0]["message"]
        refusal, content = message.get("refusal"), message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Passing("the judge's answer is no chat completion") from None
    if refusal or not isinstance(content, str) or not content.strip():
        raise JudgeFailed("the judge refused" if refusal else "the judge's reply is empty")
    return content
