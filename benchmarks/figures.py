"""Print which tables and images of README and docs are older than what they depend on.

    python -m benchmarks.figures        # make figures

docs/figures.yaml names them. One is stale when a commit after the one that made it has changed a
file that it depends on, or when such a file is changed and not committed. It may still be right:
only the command that made it can say.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TODAY = "today"  # held by a test, not by a commit


@dataclass(frozen=True)
class Figure:
    """A measured table or image; the fields are explained in docs/figures.yaml."""

    name: str
    file: str
    begins: str
    command: str
    commit: str
    seeds: int | Sequence[int] | None
    depends: tuple[str, ...]
    image: str | None = None

    @property
    def origin(self) -> str:
        """How it was made, as it stands beside it."""
        seeds = f", {_seeds(self.seeds)}" if self.seeds else ""
        return f"`{self.command}`{seeds}, commit {self.commit}"


def figures(root: Path = ROOT) -> list[Figure]:
    """All of them. Raises ValueError for an unknown key."""
    table: dict[str, Any] = yaml.safe_load((root / "docs" / "figures.yaml").read_text("utf-8"))
    try:
        return [
            Figure(name, **row | {"depends": tuple(_flat(row["depends"]))})
            for name, row in table["figures"].items()
        ]
    except TypeError as error:
        raise ValueError(f"docs/figures.yaml: {error}") from None


def changes_since(figure: Figure, root: Path = ROOT) -> list[str]:
    """Commits that changed what a figure depends on, the newest first, and what is not committed.

    Raises ValueError for a commit that the checkout does not have.
    """
    if figure.commit == TODAY or not figure.depends:
        return []
    paths = ["--", *(f":(glob){path}" if "*" in path else path for path in figure.depends)]
    try:
        commits = _git(root, "log", "--format=%h %s", f"{figure.commit}..HEAD", *paths)
    except subprocess.CalledProcessError:
        raise ValueError(f"{figure.name}: this checkout has no commit {figure.commit}") from None
    return [*_git(root, "diff", "--name-only", "HEAD", *paths), *commits]


def report(root: Path = ROOT) -> Iterator[str]:
    """A line for each stale figure, and one for all."""
    all_of_them, num_stale = figures(root), 0
    for figure in all_of_them:
        try:
            since = changes_since(figure, root)
        except ValueError as error:  # a shallow copy of the repository
            yield str(error)
            continue
        if since:
            num_stale += 1
            yield (
                f"{figure.image or figure.file} ({figure.name}): made at {figure.commit}, "
                f"{len(since)} changes since, the last: {since[0]}; again: {figure.command}"
            )
    yield f"{num_stale} of {len(all_of_them)} figures are older than what they depend on"


def _seeds(seeds: int | Sequence[int]) -> str:
    if isinstance(seeds, int):
        return f"seeds 0 to {seeds - 1}" if seeds > 1 else "seed 0"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _flat(values: Sequence[Any]) -> Iterator[str]:
    for value in values:
        yield from _flat(value) if isinstance(value, list) else (value,)


def _git(root: Path, *words: str) -> list[str]:
    command = ["git", "-C", str(root), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def main() -> None:
    """Print the list."""
    for line in report():
        print(line)


if __name__ == "__main__":
    main()
