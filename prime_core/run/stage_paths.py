"""Which stage a file of a run belongs to: logs, benchmarks and figures have the same names.

In: a path below logs/ or benchmarks/, or one of figures without its folder metrics/. Out: the
stage.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.run.stages import Stage


def stage_of(path: Path) -> Stage:
    """The stage that a file belongs to.

    iterations/0003/sample-01.tsv -> sample 3 01; evaluations/0016/aime.json -> evaluate 16 aime;
    sft.log -> sft.
    """
    parents = path.parts[:-1]
    iteration = next((int(part) for part in parents if part.isdigit()), 0)
    if parents[:1] == ("evaluations",):
        return Stage(iteration, "evaluate", path.stem)
    name, _, part = path.stem.partition("-")
    return Stage(iteration, name, part)
