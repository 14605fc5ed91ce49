"""What an installation consists of: the documented ways, resolved by uv without downloading.

uv resolves for any Python and platform from the index's metadata; lock.py beside this file writes
the locks of the folder locks/ with it.
"""

import re
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import yaml
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.support.shared_data import ROOT

FOLDER = ROOT / "locks"
LOCKS = ("gpu", "cpu", "test", "docs")
HELD = FOLDER / "held.txt"
PYTHONS = ("3.11", "3.12", "3.13")
# The oldest glibc for which each way finds its wheels.
PLATFORMS = {"cpu": "x86_64-manylinux_2_28", "gpu": "x86_64-manylinux_2_31"}
# Those that publish no wheels; pip builds them in seconds, but for pycosat (of reasoning-gym)
# without a compiler.
BUILT = ("cellpylib", "connection-pool", "deepspeed", "pycosat", "zss")
# What the CUDA build of torch requires, and the CPU build does not.
CUDA = re.compile(r"(nvidia|cuda)-(?!ml-py)[\w-]+|triton")
UV = ("uv", "--no-python-downloads", "pip", "compile", "--quiet")


@dataclass(frozen=True)
class Resolution:
    """What would be installed: version by name, and the bytes of all that would be downloaded."""

    versions: dict[str, str]
    num_bytes: int


class UnresolvedError(RuntimeError):
    """What uv says where requirements cannot be satisfied, or where it reached no index."""


def project() -> dict:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def locked(name: str, python: str) -> dict[str, str]:
    """Version by name in locks/NAME.txt, on Linux (x86_64) with that Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": "x86_64",
        "sys_platform": "linux",
    }
    versions: dict[str, str] = {}
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (version,) = requirement.specifier
            versions[canonicalize_name(requirement.name)] = version.version
    return versions


def pins(python: str) -> dict[str, str]:
    """Version by name in all locks: no package has two versions on one Python."""
    return {name: version for lock in LOCKS for name, version in locked(lock, python).items()}


def resolve(lock: str, python: str, limits: dict[str, str]) -> Resolution:
    """Resolve what a lock holds as a machine with that Python would, under the one override.

    limits: versions that packages must have where they are needed. Raises UnresolvedError.
    """
    extras = project()["optional-dependencies"]
    beside = "\n".join(extras["docs"] if lock == "docs" else extras["test"])
    workflow = ["pyproject.toml", "--extra=workflow"]
    what = {"cpu": workflow, "gpu": [*workflow, "--extra=gpu"], "test": ["-"], "docs": ["-"]}
    # "both" is what lies in one environment when the tests run on GPUs.
    what["both"] = [*what["gpu"], "-"]
    with tempfile.TemporaryDirectory() as folder:
        constraints, excluded = Path(folder, "constraints.txt"), Path(folder, "excluded.txt")
        constraints.write_text("\n".join(f"{name}=={limits[name]}" for name in limits))
        excluded.write_text("\n".join(name for name in limits if CUDA.fullmatch(name)))
        arguments = [*what[lock], f"--constraints={constraints}", f"--constraints={HELD}"]
        if lock == "cpu":
            arguments.append(f"--excludes={excluded}")
        return _compile(arguments, python, "cpu" if lock == "cpu" else "gpu", beside)


def resolve_conda(python: str) -> Resolution:
    """Resolve the section `pip` of environment.yml, as pip does for conda: without any override.

    Raises UnresolvedError.
    """
    return _compile(["--no-config", "-"], python, "gpu", "\n".join(conda_section()))


def resolve_beside(requirement: str, python: str) -> Resolution:
    """Resolve one more package in an environment that has the versions of locks/cpu.txt.

    Raises UnresolvedError.
    """
    return _compile(["-", f"--constraints={FOLDER / 'cpu.txt'}"], python, "cpu", requirement)


def conda_section() -> list[str]:
    """The lines below `pip:` in environment.yml."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (lines,) = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    return lines


def _compile(arguments: list[str], python: str, platform: str, text: str) -> Resolution:
    wheels = ["--only-binary=:all:", *(f"--no-binary={name}" for name in BUILT)]
    where = [f"--python-version={python}", f"--python-platform={PLATFORMS[platform]}"]
    output = _uv([*arguments, *wheels, *where, "--format=pylock.toml"], text)
    packages = [p for p in tomllib.loads(output)["packages"] if "directory" not in p]
    return Resolution(
        {package["name"]: package["version"] for package in packages},
        sum(_file(package, python)["size"] for package in packages),
    )


def _file(package: dict, python: str) -> dict:
    """The file that an installer takes: the wheel of the most specific tag, else the source."""
    version = tuple(map(int, python.split(".")))
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(31, 4, -1)]
    platforms += [f"{name}_x86_64" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
    tags = [*cpython_tags(version, platforms=platforms), *compatible_tags(version, "cp", platforms)]
    rank = {tag: place for place, tag in enumerate(tags)}
    ranked = {}
    for wheel in package.get("wheels", []):
        known = parse_wheel_filename(unquote(wheel["url"].rpartition("/")[2]))[3] & rank.keys()
        ranked[min(rank[tag] for tag in known)] = wheel
    return ranked[min(ranked)] if ranked else package["sdist"]


def _uv(arguments: list[str], text: str) -> str:
    """The output of `uv pip compile` in the project's folder."""
    # First from what uv has seen of the index: with the locks' versions nothing newer counts, and
    # asking for 250 packages again takes many times as long as resolving them.
    for offline in (["--offline"], []):
        done = subprocess.run(
            [*UV, *offline, *arguments], input=text, capture_output=True, text=True, cwd=ROOT
        )
        if done.returncode == 0:
            return done.stdout
    raise UnresolvedError(done.stderr.strip())
