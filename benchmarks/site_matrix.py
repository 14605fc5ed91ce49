"""One iteration on every kind of site, as an ordinary user: the bits of a local run everywhere?

    python -m benchmarks.site_matrix                    # all kinds, both ways: `make test-sites`
    python -m benchmarks.site_matrix --only QoS --ways profile

Each kind of site (tests/slurm/site_matrix.py) is a Slurm of its own; a user without any rights
there has it surveyed by `prime site`, then runs a small model through the Slurm profile and through
one allocation. Prints a line for each as it ends. Needs root and Debian's Slurm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.slurm.lab import SlurmLab
from tests.slurm.site_matrix import KINDS, RUN, SETTINGS, WAYS, Kind, Way, lab_of, run
from tests.support.workflow_runs import digests, run_well


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and print a table. Exit status 1 when a run failed or differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.site_matrix", description=__doc__)
    parser.add_argument("--only", default="", help="kinds of site whose name has this text")
    parser.add_argument("--ways", default=",".join(WAYS), help="some of profile,allocation")
    options = parser.parse_args(arguments)
    kinds = {name: kind for name, kind in KINDS.items() if options.only in name}
    ways = [way for way in WAYS if way in options.ways.split(",")]
    if not (kinds and ways):
        parser.error("nothing to run")
    print("| site | way | seconds | pre-empted | same bits |\n|---|---|---|---|---|", flush=True)
    well = []
    # Not pytest's folder: every user may enter this one.
    with tempfile.TemporaryDirectory(prefix="prime-sites-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        run_well(folder / "local", settings=SETTINGS)
        reference = digests(folder / "local" / RUN)
        for number, (name, kind) in enumerate(kinds.items()):
            with lab_of(kind, folder / f"lab-{number}") as lab:
                for row, same in _rows(lab, kind, ways, folder / f"{number}", reference):
                    well.append(same)
                    print(f"| {name} | {row} |", flush=True)
    print(f"{sum(well)} of {len(well)} have the bits of the local run, pre-empted where meant")
    return 0 if all(well) else 1


def _rows(
    lab: SlurmLab, kind: Kind, ways: Sequence[Way], folder: Path, reference: dict[str, str]
) -> Iterator[tuple[str, bool]]:
    for way in ways:
        try:
            done = run(lab, kind, way, folder / way)
        except AssertionError as error:
            print(error, file=sys.stderr, flush=True)
            yield f"{way} | failed | | no", False
        else:
            same = done.digests == reference
            interrupted, bits = ("yes" if one else "no" for one in (done.was_interrupted, same))
            well = same and done.was_interrupted == bool(kind.urgent)
            yield f"{way} | {done.seconds:.0f} | {interrupted} | {bits}", well
        lab.restore()


if __name__ == "__main__":
    sys.exit(main())
