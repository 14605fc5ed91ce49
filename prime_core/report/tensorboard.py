"""The report's figures as TensorBoard events, with the times at which they were known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prime_core.report.points import Point, points_of, tag_of
from prime_core.report.samples import Sample
from prime_core.report.tables.collect import RunTables
from prime_core.runtime.hidden_modules import hidden

# What TensorBoard's page of hyper-parameters shows beside the settings: the newest of each.
_RESULTS = ("accuracy", "reward")


def write_events(folder: Path, run: RunTables, samples: list[Sample]) -> None:
    """Scalars under the metrics' own names, responses as text, settings as hyper-parameters.

    Evaluations are evaluation/<benchmark>/<figure>; the step is the iteration, the time that of
    its end. The folder must be one that nobody reads yet: events are written one by one.
    """
    # It imports torch where it can, for tensors, and is given numbers alone.
    with hidden("torch"):
        from tensorboardX import SummaryWriter

    with SummaryWriter(logdir=str(folder)) as writer:
        found = list(points_of(run.iterations, run.evaluations))
        for point in found:
            for name, value in point.values.items():
                writer.add_scalar(tag_of(name), value, point.iteration, walltime=point.time)
        times = {point.iteration: point.time for point in found}
        for sample in samples:
            at = times.get(sample.iteration)
            writer.add_text(f"response/{sample.kind}", sample.markdown, sample.iteration, at)
        for summary in _hyper_parameters(run, found):
            writer.file_writer.add_summary(summary)


def _hyper_parameters(run: RunTables, found: list[Point]) -> Iterator[Any]:
    """TensorBoard's own records of a run's settings and of what it reached."""
    from tensorboardX.summary import hparams

    newest: dict[str, float] = {}
    for point in found:
        for name, value in point.values.items():
            if name.startswith("evaluation/") and name.rpartition("/")[2] in _RESULTS:
                newest[tag_of(name)] = value
    yield from hparams(
        {key: _plain(value) for key, value in run.settings.items() if value is not None}, newest
    )


def _plain(value: Any) -> bool | float | str:
    """Hyper-parameters are numbers, truth values or texts."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)
