"""Settings from YAML files and the command line, validated.

In: a YAML file (configs/*.yaml) or Snakemake's `config`. Out: `Settings`. The error for a wrong
key, type or combination names the key, the value and what was expected.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from prime_core.settings.run import Settings
from prime_core.settings.section import NAME_PATTERN

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting is missing, misspelt, of the wrong type or in conflict with another."""


def parse_settings(raw: dict[str, Any], source: str) -> Settings:
    """Settings from nested plain values.

    Raises SettingsError naming `source`, each wrong key, its value and what was expected.
    """
    try:
        return Settings.model_validate(_with_nulls(expand_dotted(raw)))
    except ValidationError as error:
        raise SettingsError(_explain(error.errors(), source)) from None


def load_settings(path: Path) -> Settings:
    """Settings from a YAML file. Raises SettingsError naming the file and the key."""
    return parse_settings(load_yaml(path), str(path))


def settings_of(paths: Sequence[Path], overrides: Sequence[str]) -> Settings:
    """Settings of files, each laid over those before it, and of --config's texts over all of them.

    Raises SettingsError naming the file or --config, and the key.
    """
    raw: dict[str, Any] = {}
    for path in paths:
        raw = merged(raw, expand_dotted(load_yaml(path)))
    raw = merged(raw, expand_dotted(parse_overrides(overrides, "--config")))
    source = ", ".join(map(str, paths))
    return parse_settings(raw, f"{source} and --config" if overrides else source)


def check_files(paths: Iterable[Path]) -> None:
    """Raise SettingsError for what is wrong in files that Snakemake reads by itself.

    It takes the last of two equal keys. A file that is gone by now has been read as well.
    """
    for path in map(Path, paths):
        if path.is_file():
            load_yaml(path)


def parse_overrides(
    texts: Sequence[str], option: str, expected: str = "KEY=VALUE, e.g. policy.eps_clip=0.3"
) -> dict[str, Any]:
    """{"a.b": value} from texts "a.b=value"; values are read as YAML.

    Raises SettingsError naming the option, the key and what was expected.
    """
    values = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not all(key.split(".")):
            raise SettingsError(f"{option} {text}: expected {expected}")
        try:
            # By way of JSON: a run may be named 2026-11-29, which YAML reads as a date.
            values[key] = json.loads(json.dumps(yaml.safe_load(value), default=str))
        except (yaml.YAMLError, ValueError, TypeError):
            raise SettingsError(
                f"{option} {key}: expected a YAML value, e.g. 0.3, true or [1, 2], got {value!r}"
            ) from None
    return values


def check_overrides(values: dict[str, Any], option: str) -> None:
    """Raise SettingsError for an unknown key, or a value that is wrong whatever the others are."""
    try:
        Settings.model_validate(expand_dotted(values))
    except ValidationError as error:
        # A missing key, or a conflict with a default, may be resolved by the run's own file.
        alone = [one for one in error.errors() if one["type"] not in ("missing", "value_error")]
        if alone:
            raise SettingsError(_explain(alone, option)) from None


class _OnceEach(yaml.SafeLoader):
    """YAML in which each key of a mapping stands once: else the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in lines:
                problem = f"{key.value!r} stands here again, after line {lines[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file. Raises SettingsError naming the file."""
    try:
        # YAML 1.1 reads 1e-5 as a text; pydantic makes it the number that was meant.
        raw = yaml.load(path.read_text(encoding="utf-8"), _OnceEach)
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file; expected a run's settings (YAML)") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}{_yaml_problem(error)}") from None
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, found {type(raw).__name__}")
    dotted = {key for key in raw if "." in str(key)}
    nested = flatten({key: value for key, value in raw.items() if key not in dotted})
    if twice := sorted(dotted & nested.keys()):
        raise SettingsError(f"{path}: {twice[0]!r} stands here both with dots and nested")
    return raw


def _yaml_problem(error: Exception) -> str:
    """Line and reason of a YAML error in one sentence; its own text is over five lines."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f": not readable as YAML: {' '.join(str(error).split())}"
    context = getattr(error, "context", None)
    reason = f"{context}, {error.problem}" if context else error.problem  # type: ignore[attr-defined]
    return f": not readable as YAML, line {mark.line + 1}, column {mark.column + 1}: {reason}"


def checked(expected: type[T], values: Any, source: str) -> T:
    """Values of a small file, e.g. a table of stages, validated as the expected type.

    Raises SettingsError naming `source` and the first wrong key.
    """
    try:
        return TypeAdapter(expected).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = _words(first)
        raise SettingsError(": ".join(filter(None, (source, key, message)))) from None


def dump_settings(settings: Settings) -> str:
    """YAML text of all settings, defaults included."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def expand_dotted(raw: dict[str, Any]) -> dict[str, Any]:
    """Nested form of a mapping in which keys may be dotted paths: {"a.b": 1} -> {"a": {"b": 1}}.

    Dotted keys win over nested ones, since they come from the command line.
    """
    nested: dict[str, Any] = {}
    for key, value in sorted(raw.items(), key=lambda item: "." in str(item[0])):
        *parents, last = str(key).split(".")
        target = nested
        for parent in parents:
            inner = target.get(parent)
            # A copy: the caller's own mappings stay as they were.
            target[parent] = target = dict(inner) if isinstance(inner, dict) else {}
        target[last] = value
    return nested


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings: {"a": {"b": 1}} -> {"a.b": 1}.

    Mappings in a list are numbered from one: {"a": [{"b": 1}]} -> {"a.1.b": 1}.
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = {str(number): item for number, item in enumerate(value, start=1)}
        # An empty mapping is a value: flattened, its key would vanish.
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping, as Snakemake merges its settings."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = merged(below, value) if both and below is not None else value
    return result


def _with_nulls(values: Any) -> Any:
    """The text "null" as None: Snakemake passes on values inside a nested override as text."""
    if isinstance(values, dict):
        return {key: _with_nulls(value) for key, value in values.items()}
    return None if values == "null" else values


def _explain(problems: Sequence[Mapping[str, Any]], source: str) -> str:
    return f"{source}: " + "; ".join(map(_explain_one, problems))


def _explain_one(problem: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_suggestion(problem['loc'])}"
    if problem["type"] == "model_type":
        return f"{key}: expected a mapping of settings, got {problem['input']!r}"
    message = _words(problem)
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, got {problem['input']!r}"


def _words(problem: Mapping[str, Any]) -> str:
    """What is wrong with a value, without pydantic's own words and regular expressions."""
    if problem["type"] == "string_pattern_mismatch" and problem["ctx"]["pattern"] == NAME_PATTERN:
        return (
            "expected letters, digits, '.', '_' and '-', beginning with a letter or a digit, since "
            "it names a file or folder"
        )
    # pydantic puts these words before what a validator of ours says.
    return str(problem["msg"]).removeprefix("Value error, ")


def _suggestion(location: tuple[str | int, ...]) -> str:
    section: type[BaseModel] = Settings
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()  # it may be null
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return ""
        section = inner[0]
    near = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1, cutoff=0.6)
    known = ", ".join(section.model_fields)
    return f"; did you mean '{near[0]}'?" if near else f"; expected one of: {known}"
