"""The reference of all settings as Markdown (docs/settings.md), from their model.

In: the typed model, and the paper's main run (configs/paper/eurus2_7b_prime.yaml). Out: a table for
each section: key, values, default, the paper's run, whether it may change while a run is under way,
meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from prime_core.run.changes import is_changeable
from prime_core.runtime.repository import REPOSITORY
from prime_core.settings.reading import flatten, load_yaml
from prime_core.settings.run import Settings
from prime_core.settings.section import Section

PAPER = Path("configs/paper/eurus2_7b_prime.yaml")
_HEAD = """# Settings

Written by `prime schema --markdown` from the settings' model; `prime schema` gives the same as JSON
schema, which editors read. A key is given in a settings file, nested, or on the command line,
dotted: `prime run --config policy.eps_clip=0.3`. *Paper's run* is the value in
`configs/paper/eurus2_7b_prime.yaml`; empty where the default is the paper's value already. A key
marked ✎ may change while a run is under way; any other is refused once a file exists that depends
on it ([decisions](decisions.md#config-no-input)). `<name>` and `<number>` stand for what you
choose.
"""
_TABLE = "| key | values | default | paper's run | | meaning |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Key:
    """One setting: its dotted key, its field, what it may be."""

    key: str
    field: FieldInfo
    values: str


def settings_page() -> str:
    """The page's text."""
    paper = flatten(load_yaml(REPOSITORY / PAPER))
    lines = [_HEAD]
    section = None
    for one in keys():
        title = one.key.partition(".")[0] if "." in one.key else "The run"
        if title != section:
            section = title
            lines += [f"\n## {title}\n", _TABLE]
        lines.append(_row(one, paper))
    return "\n".join(lines) + "\n"


def keys() -> list[Key]:
    """Every key of the model: those of no section first, then section by section."""
    found = list(_keys(Settings, ""))
    return sorted(found, key=lambda one: "." in one.key)  # stable


def _keys(section: type[Section], prefix: str) -> Iterator[Key]:
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        inner, mark = _section_of(field.annotation)
        # An optional section, or one of names that a user chooses, is a value as well.
        if inner is None or field.default_factory is None or mark:
            yield Key(key, field, _values(field.annotation))
        if inner is not None:
            yield from _keys(inner, f"{key}.{mark}")


def _section_of(kind: Any) -> tuple[type[Section] | None, str]:
    """The section that a field holds, if any, and what stands between its key and those inside."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind, ""
    marks = {dict: "<name>.", list: "<number>."}
    for one in get_args(kind):
        inner, mark = _section_of(one)
        if inner is not None:
            return inner, marks.get(get_origin(kind), "") + mark  # type: ignore[arg-type]
    return None, ""


def _values(kind: Any) -> str:
    """What a value may be, in words."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join("null" if one is None else f"`{one}`" for one in inside)
    if origin is Annotated:
        return _values(inside[0])
    if origin in (Union, UnionType):
        return " or ".join(_values(one) for one in inside)
    if origin in (list, tuple):
        return "list"
    if origin is dict or (isinstance(kind, type) and issubclass(kind, Section)):
        return "mapping"
    names = {int: "integer", float: "number", str: "text", bool: "true, false", type(None): "null"}
    return names.get(kind, "text")


def _row(one: Key, paper: dict[str, Any]) -> str:
    default = _default(one.field)
    theirs = _shown(paper[one.key]) if one.key in paper else ""
    cells = [
        f"`{one.key}`",
        one.values,
        default,
        "" if theirs == default else theirs,
        "✎" if is_changeable(one.key.replace("<name>.", "").replace("<number>.", "")) else "",
        one.field.description or "",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        value = field.get_default(call_default_factory=True, validated_data={})
        return _shown(_plain(value))
    return "required" if field.default is PydanticUndefined else _shown(field.default)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    # What a section is by default follows key by key.
    return {} if isinstance(value, Section) else value


def _shown(value: Any) -> str:
    return f"`{value}`" if isinstance(value, float) else f"`{json.dumps(value)}`"
