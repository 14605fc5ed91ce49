"""Which packages a judged program may import, and where they lie on this machine.

In: names of installed distributions. Out: the files and folders of these and of all that they
depend on, each of which is shown inside the sandbox under its own name, and nothing else of what
is installed: verdicts are then the same in a virtual environment, conda and a container.
"""

import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

# numpy, where it is installed, which solutions may expect as the sites that they come from do.
DEFAULT_PACKAGES = ("numpy",) if importlib.util.find_spec("numpy") else ()
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)[^;]*(;?)(.*)", re.DOTALL)


class PackagesMissing(ValueError):
    """A package that programs may import is not installed on this machine."""


def normal(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(distribution: importlib.metadata.Distribution) -> list[tuple[str, bool]]:
    """(name, whether it may be absent) of what a distribution depends on; none of its extras.

    One with a marker, such as of another platform, may be absent.
    """
    found = [REQUIREMENT.match(text.strip()) for text in distribution.requires or ()]
    return [
        (match[1], bool(match[2]))
        for match in found
        if match and not re.search(r"\bextra\s*==", match[3])
    ]


def with_dependencies(names: Sequence[str]) -> dict[str, importlib.metadata.Distribution]:
    """The installed distributions of these names and all that they depend on.

    PackagesMissing, naming it, for one that is not installed.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [(name, False, "") for name in names]
    while waiting:
        name, may_be_absent, wanted_by = waiting.pop()
        if normal(name) in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            if may_be_absent:
                continue
            why = f", which {wanted_by} needs," if wanted_by else ""
            raise PackagesMissing(
                f"verification.packages: {name!r}{why} is not installed here"
            ) from None
        found[normal(name)] = distribution
        waiting += [(*needed, name) for needed in requirements(distribution)]
    return found


def entries(distribution: importlib.metadata.Distribution) -> dict[str, str]:
    """{name: place on this machine} of the files and folders that make up a distribution."""
    found: dict[str, str] = {}
    for file in distribution.files or ():
        top = file.parts[0]
        # Scripts lie above the folder of packages; compiled code of single modules may go.
        if top not in ("..", "/", "__pycache__"):
            found.setdefault(top, str(distribution.locate_file(top)))
    if not found:  # no list of files, as in some distributions' own packages
        names = (distribution.read_text("top_level.txt") or distribution.metadata["Name"]).split()
        for name in names:
            for top in (name, f"{name}.py", f"{name}.libs"):
                found[top] = str(distribution.locate_file(top))
    return {top: place for top, place in found.items() if Path(place).exists()}


@functools.cache
def installed(names: tuple[str, ...]) -> dict[str, str]:
    """Where the packages lie on this machine: {name inside: file or folder}.

    PackagesMissing for one that is not installed, or installed without files of its own.
    """
    found: dict[str, str] = {}
    for name, distribution in with_dependencies(names).items():
        of_this = entries(distribution)
        if not any(not top.endswith((".dist-info", ".egg-info", ".pth")) for top in of_this):
            raise PackagesMissing(
                f"verification.packages: the files of {name!r} are not where it is installed (as "
                "of an editable installation)"
            )
        found |= of_this
    return found
