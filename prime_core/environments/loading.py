"""What makes an environment, by its id.

In: `data.env.id`. Out: a callable that `data.env.kwargs` are given to. Packages are imported here
and nowhere else, in the process of the environments (worker.py).
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prime_core.environments import packages, toy_text
from prime_core.runtime.user_code import load

Maker = Callable[..., Any]
# Prefix of an id -> the package that it needs, and what makes it from the rest of the id.
ADAPTERS: Mapping[str, tuple[str, Callable[[str], Maker]]] = {
    "gem": ("gem", packages.gem_game),
    "reasoning_gym": ("reasoning_gym", packages.puzzle),
    "textworld_express": ("textworld_express", packages.text_world),
}
_DISTRIBUTIONS = {"gem": "gem-llm"}
_NUM_NAMED = 40  # of the ids that an error names


class UnknownEnvironment(ValueError):
    """No environment has this id here; the message names those that are installed."""


def maker_of(name: str) -> Maker:
    """What makes the environment of that id. Raises UnknownEnvironment, or what its code raises."""
    prefix, colon, rest = name.partition(":")
    if prefix in ADAPTERS and colon:
        package, adapter = ADAPTERS[prefix]
        _refuse_missing(name, package)
        return _known(name, adapter, rest)
    if not colon:
        _refuse_missing(name, "gymnasium")
        return _known(name, toy_text.toy_text, name)
    if name.rpartition(":")[0].endswith(".py"):
        if not Path(name.rpartition(":")[0]).is_file():
            raise UnknownEnvironment(
                f"{name!r}: there is no such file in {Path.cwd()}, the folder that the workflow is "
                "started in"
            )
        return load(name)
    return _of_module(name, prefix, rest)


def source_digest(name: str, maker: Maker) -> str:
    """A digest of the file of a user's own environment; "" for a package's.

    By it problems know the environment that they were made from.
    """
    if ":" not in name or name.partition(":")[0] in ADAPTERS:
        return ""
    file = inspect.getsourcefile(maker)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""


def installed() -> list[str]:
    """Ids of the packages that are installed here."""
    ids: list[str] = []
    if find_spec("gymnasium"):
        ids += toy_text.names()
    for prefix, (package, _) in ADAPTERS.items():
        if find_spec(package):
            ids += [f"{prefix}:{one}" for one in packages.NAMES[prefix]()]
    return ids


def _of_module(name: str, module: str, attribute: str) -> Maker:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Of a module that is there, and imports one that is not, the error speaks for itself.
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UnknownEnvironment(f"{name!r}: there is no module {module}; {_here()}") from None
    maker = getattr(found, attribute, None)
    if not callable(maker):
        raise UnknownEnvironment(f"{name!r}: {module} has no {attribute} that can be called")
    return maker


def _known(name: str, adapter: Callable[[str], Maker], rest: str) -> Maker:
    try:
        return adapter(rest)
    except KeyError:
        raise UnknownEnvironment(f"{name!r} is not an environment; {_here()}") from None


def _refuse_missing(name: str, package: str) -> None:
    if find_spec(package) is None:
        how = "pip install '.[env]'"
        if package == "textworld_express":
            how = "pip install textworld-express, which needs Java"
        raise UnknownEnvironment(
            f"{name!r} needs {_DISTRIBUTIONS.get(package, package)}, which is not installed: {how}"
        )


def _here() -> str:
    ids = installed()
    if not ids:
        return "no package of environments is installed: pip install '.[env]'"
    more = f" and {len(ids) - _NUM_NAMED} more" if len(ids) > _NUM_NAMED else ""
    return f"installed are {', '.join(ids[:_NUM_NAMED])}{more}"
