"""Conversations as tokens, by a tokenizer's chat template, and the token that ends an answer.

In: messages. Out: token ids up to where the response begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from prime_core.models.load import ModelError, first_line, saved_eos_token_ids

Messages = list[dict[str, str]]
_QUOTED = 60  # characters of a message that is refused


class PromptRefused(ModelError):
    """A chat template does not take a conversation."""


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    """Tokens of a conversation up to where the response begins.

    By the tokenizer's chat template; without one, the messages' texts joined by line breaks.
    Raises PromptRefused where the template refuses the conversation or leaves its system message
    out.
    """
    return _tokens(tokenizer, [_prompt_text(tokenizer, messages)])[0]


def prompt_lengths(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Messages]
) -> list[int | PromptRefused]:
    """Numbers of tokens of many conversations, as `prompt_tokens` has them, several at a time.

    Where the template refuses one, the refusal instead.
    """
    lengths: list[int | PromptRefused] = []
    texts = [_text_or_refusal(tokenizer, messages) for messages in prompts]
    usable = [text for text in texts if isinstance(text, str)]
    tokens = iter(_tokens(tokenizer, usable))
    for text in texts:
        lengths.append(text if isinstance(text, PromptRefused) else len(next(tokens)))
    return lengths


def end_of_answer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> int:
    """The token that ends an answer in a conversation with the model in `folder`.

    The one that the chat template writes behind it, if responses end at it; else EOS. (Gemma 3, for
    one: <end_of_turn> ends an answer, and the tokenizer's EOS a text.)
    """
    eos = int(tokenizer.eos_token_id)
    if not tokenizer.chat_template:
        return eos
    answer = "0"
    asked = [{"role": "user", "content": "0"}, {"role": "assistant", "content": answer}]
    try:
        text = str(tokenizer.apply_chat_template(asked, tokenize=False))
    except TemplateError:
        return eos
    behind = text.rpartition(answer)[2]
    ends = saved_eos_token_ids(folder, tokenizer)
    found = tokenizer(behind, add_special_tokens=False)["input_ids"]
    return next((token for token in found if token in ends), eos)


def _tokens(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    if tokenizer.chat_template:  # it writes BOS itself, where its model wants one
        return list(tokenizer(texts, add_special_tokens=False)["input_ids"])
    return [_unended(tokenizer, ids) for ids in tokenizer(texts)["input_ids"]]


def _unended(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """Without the EOS that some tokenizers append: behind it, a response would be a new text."""
    length = len(ids)
    while length > 1 and ids[length - 1] == tokenizer.eos_token_id:
        length -= 1
    return ids[:length]


def _text_or_refusal(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str | PromptRefused:
    try:
        return _prompt_text(tokenizer, messages)
    except PromptRefused as refusal:
        return refusal


def _prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    if not tokenizer.chat_template:
        return "\n".join(message["content"] for message in messages)
    try:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        reason = f"refuses it: {first_line(error)}"
        raise PromptRefused(_refusal(tokenizer, messages, reason)) from None
    # Some templates write only the roles that they know, without a word about others.
    system = next((m["content"].strip() for m in messages if m["role"] == "system"), "")
    if system not in str(text):
        raise PromptRefused(_refusal(tokenizer, messages, "leaves its system message out"))
    return str(text)


def _refusal(tokenizer: PreTrainedTokenizerBase, messages: Messages, reason: str) -> str:
    roles = [message["role"] for message in messages]
    advice = ""
    if "system" in roles:
        advice = (
            "; data.system_role: merge puts a system message (data.system_prompt, "
            "data.system_prompts, or the row's own) before the user's text"
        )
    return (
        f"{tokenizer.name_or_path}: a conversation of {', '.join(roles)} "
        f"({messages[-1]['content'][:_QUOTED]!r}): the chat template {reason}{advice}"
    )
