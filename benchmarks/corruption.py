"""Damage each file of a finished run in turn, and print who noticed.

    snakemake --config iterations=2 run=damaged
    python -m benchmarks.corruption results/damaged

Each table, each file of weights and of training states that a later stage reads is truncated,
emptied, has a byte flipped, and changes places with its sibling; then what the stages read it with
is called. `named`: it was refused, and the message names the file or its folder. `same`: it was
read, and what was read is the same (a flipped byte that no reader looks at). `silent` is what must
not be. The run is damaged in a copy, in the folder of temporary files.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd

from prime_core.models.load import load_tokenizer
from prime_core.run.layout import RunFiles, in_order
from prime_core.run.records import RECORD, checked_weights
from prime_core.run.selection import read_judged
from prime_core.run.tables import EVALUATION, PROMPTS, read_table
from prime_core.run.work import open_run
from prime_core.settings.run import Settings
from prime_core.training.distributed import start_ranks
from prime_core.training.learning_batch import read_batch, read_rewards
from prime_core.training.updates import iteration_trainer

NUM_FLIPS = 5  # places spread over a file
Read = Callable[[], object]


@dataclass(frozen=True)
class Trial:
    """One damaged file. verdict: named, same or silent."""

    path: Path
    damage: str
    verdict: str
    message: str


@dataclass(frozen=True)
class Run:
    """A finished run, damaged in place and restored."""

    settings: Settings
    files: RunFiles

    @property
    def last(self) -> int:
        """The iteration whose files are damaged."""
        return self.settings.iterations

    def trials(self) -> Iterator[Trial]:
        """Every file with every kind of damage."""
        for path, read, sibling in self._targets():
            whole = path.read_bytes()
            before = read()
            for damage, changed in damages(whole):
                yield self._trial(path, damage, read, before, changed, whole)
            if sibling is not None:
                other = sibling.read_bytes()
                if other != whole:
                    yield self._trial(path, "swapped", read, before, other, whole)

    def _trial(
        self, path: Path, damage: str, read: Read, before: object, changed: bytes, whole: bytes
    ) -> Trial:
        path.write_bytes(changed)
        try:
            verdict = "same" if equal(read(), before) else "silent"
            message = ""
        except Exception as error:  # whatever it is, its words are judged
            message = f"{type(error).__name__}: {error}"
            names = (path, path.parent, path.parent.parent.parent)  # the last: of a training state
            verdict = "named" if any(str(name) in message for name in names) else "silent"
        finally:
            path.write_bytes(whole)
        return Trial(path.relative_to(self.files.root), damage, verdict, message)

    def _targets(self) -> Iterator[tuple[Path, Read, Path | None]]:
        """Each file, what it is read with, and a file of the same kind to swap it with."""
        files, i = self.files, self.last
        train, held_out = files.train, files.validation
        yield train, lambda: read_table(train, PROMPTS, files.root), held_out
        num_shards = files.num_shards(i, self.settings.rollout.num_shards)
        shards = range(num_shards)
        for shard in shards:
            for kind in (files.rollouts, files.outcomes):
                yield kind(i, shard), lambda: read_judged(files, i, shards), kind(i - 1, shard)
        yield files.batch(i), lambda: read_batch(files, i).rows, files.batch(i - 1)
        yield files.rewards(i), self._rewards, files.rewards(i - 1)
        for path in in_order(files.evaluation(i, "x").parent.glob("*.parquet")):
            start = files.evaluation(0, path.stem).with_suffix(".parquet")
            yield path, partial(read_table, path, EVALUATION, files.root), start
        for model, other in (("policy", "prm"), ("prm", "policy")):
            yield from self._weights(model, other)
        for folder in (files.base_model, files.policy(0)):
            for path in sorted(file for file in folder.iterdir() if file.is_file()):
                if path.name.startswith("."):  # Snakemake's
                    continue
                if not path.is_symlink():
                    yield path, partial(self._folder, folder), None

    def _rewards(self) -> pd.DataFrame:
        return read_rewards(self.files, self.last, read_batch(self.files, self.last))

    def _folder(self, folder: Path) -> object:
        return load_tokenizer(checked_weights(folder, self.files.root)).get_vocab()

    def _weights(self, model: str, other: str) -> Iterator[tuple[Path, Read, Path | None]]:
        folder, sibling = (self.files.weights(name, self.last) for name in (model, other))
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            if path.name.startswith(".") or path.name == "latest":
                continue
            theirs = sibling / path.relative_to(folder)
            yield path, lambda: self._trained(model), theirs if theirs.exists() else None

    def _trained(self, model: str) -> object:
        """The weights that the next iteration's update begins with."""
        kind: Literal["policy", "prm"] = "policy" if model == "policy" else "prm"
        trainer, _ = iteration_trainer(self.settings, self.files, kind, self.last + 1, None)
        return [weight.tolist() for weight in trainer.engine.module.parameters()]


def damages(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Kinds of damage and what they make of a file's content."""
    if not whole:
        return
    yield "emptied", b""
    yield "truncated", whole[: len(whole) * 2 // 3]
    for number in range(NUM_FLIPS):
        place = (2 * number + 1) * len(whole) // (2 * NUM_FLIPS)
        yield "flipped", whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]


def equal(first: object, second: object) -> bool:
    """Whether what was read is the same; tables by what a table knows of its rows."""
    if isinstance(first, pd.DataFrame) and isinstance(second, pd.DataFrame):
        return first.to_json() == second.to_json()
    return first == second


def damaged_copy(run_dir: Path, folder: Path) -> Run:
    """A copy of a finished run to be damaged."""
    copy = folder / run_dir.name
    shutil.copytree(run_dir, copy, symlinks=True)
    return Run(*open_run(copy))


def main() -> None:
    """Print a line for each kind of file and damage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    options = parser.parse_args()
    start_ranks()
    with tempfile.TemporaryDirectory() as folder:
        found = list(damaged_copy(options.run_dir, Path(folder)).trials())
    counts = Counter((trial.damage, trial.verdict) for trial in found)
    for (damage, verdict), number in sorted(counts.items()):
        print(f"{damage:<10} {verdict:<7} {number}")
    for trial in found:
        if trial.verdict == "silent":
            print(f"silent: {trial.path} {trial.damage} {trial.message}")
    print(
        f"{len(found)} trials of {len({trial.path for trial in found})} files ({RECORD} included)"
    )


if __name__ == "__main__":
    main()
