"""From what a file holds to the messages that a model is given: templates and system messages."""

from __future__ import annotations

from typing import Any

from prime_core.data.prompt_files import apply_template, prompt_file_text, without_template
from prime_core.settings.data import Data

Messages = list[dict[str, str]]
# How published data sets write the same thing.
# Roles as in ShareGPT's conversations.
_ROLES = {"human": "user", "gpt": "assistant"}
_ABILITIES = {"coding": "code"}
_BETWEEN = "\n\n"  # a system message and the user's text, in one message


def ability_of(value: Any, default: str) -> str:
    """The name under which templates and verifiers know an ability: "Coding" is code."""
    name = default if value is None or value == "" else str(value)
    return _ABILITIES.get(name.lower(), name.lower())


def conversation(prompt: Any) -> Messages | None:
    """Messages from a text or from messages of either usual form; None: neither, or empty."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}] if prompt.strip() else None
    if not isinstance(prompt, list) or not prompt:
        return None
    messages = [_message(value) for value in prompt]
    return None if None in messages else [m for m in messages if m is not None]


def prompt_fault(prompt: Any) -> str:
    """Why a text or messages cannot be asked; "" where they can."""
    messages = conversation(prompt)
    if messages is None:
        return "no prompt, neither text nor messages"
    last = messages[-1]
    # An answer at the end would be given to the model with the problem, and another one asked for.
    if last["role"] != "user":
        return f"its prompt ends with a message of '{last['role']}'; expected one of 'user'"
    return "" if last["content"].strip() else "its prompt ends with an empty message"


def as_messages(
    prompt: Any, data: Data, ability: str = "math", system: str | None = None
) -> Messages | None:
    """A problem as the model is asked it, from a text or messages; None: see `prompt_fault`.

    system: the row's own system message, from a column beside the prompt. `merge_system` comes
    after it.
    """
    messages = conversation(prompt)
    if messages is None or prompt_fault(prompt):
        return None
    if messages[0]["role"] != "system":
        text = system or _system_prompt(data, ability)
        messages = [{"role": "system", "content": text}, *messages] if text else messages
    last = messages[-1]
    return [*messages[:-1], {**last, "content": _asked(last["content"], data, ability)}]


def merge_system(messages: Messages, data: Data) -> Messages:
    """With data.system_role `merge`, the system message put before the first user's text."""
    if data.system_role != "merge" or messages[0]["role"] != "system":
        return messages
    system, *rest = messages
    first = next((i for i, message in enumerate(rest) if message["role"] == "user"), None)
    if first is None:
        return messages
    joined = system["content"] + _BETWEEN + rest[first]["content"]
    return [*rest[:first], {"role": "user", "content": joined}, *rest[first + 1 :]]


def problem_text(messages: Messages, data: Data, ability: str) -> str:
    """The problem alone, without what the settings put around it, for comparison with others."""
    asked = [message["content"] for message in messages if message["role"] == "user"]
    text = asked[-1] if asked else messages[-1]["content"]
    # A row that was merged with its own system message, in a table of the run, keeps that one.
    if data.system_role == "merge" and (system := _system_prompt(data, ability)):
        text = text.removeprefix(system + _BETWEEN)
    if ability in data.templates:
        return without_template(data.templates[ability], text)
    return text.removesuffix(data.prompt_suffix)


def _asked(problem: str, data: Data, ability: str) -> str:
    if ability in data.templates:
        return apply_template(data.templates[ability], problem)
    return problem + data.prompt_suffix


def _system_prompt(data: Data, ability: str) -> str:
    path = data.system_prompts.get(ability)
    return data.system_prompt if path is None else prompt_file_text(path)


def _message(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    for role, content in (("role", "content"), ("from", "value")):
        texts = value.get(role), value.get(content)
        if isinstance(texts[0], str) and isinstance(texts[1], str):
            return {"role": _ROLES.get(texts[0], texts[0]), "content": texts[1]}
    return None
