"""A run's figures in experiment trackers, by their names.

To add one: write its class here or in a file of its own, with `log`, called once for each point,
and `finish`; add it to TRACKERS under the name of its package; add the package to the extra `track`
in pyproject.toml, and a line to docs/watching.md.

The packages are imported when a tracker is opened: none of them is required. Where they send to is
theirs to say (WANDB_MODE=offline, MLFLOW_TRACKING_URI, TRACKIO_DIR, ...).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from prime_core.report.points import Point, tag_of


class Tracker(Protocol):
    """One run in a tracker.

    settles_after: seconds until a point that was sent survives a kill of this process (measured by
    benchmarks/trackers.py); 0: at once.
    """

    settles_after: float

    def log(self, point: Point) -> None:
        """Send one point; its step is the iteration."""

    def finish(self) -> None:
        """Wait until all is sent, and close."""


class Wandb:
    """Weights & Biases. The step is the metric `iteration`: evaluations come later than others."""

    settles_after = 60.0

    def __init__(self, project: str, name: str, id: str, settings: dict[str, Any], folder: Path):
        import wandb

        self._run = wandb.init(
            project=project,
            name=name,
            id=id,
            resume="allow",
            config=settings,
            dir=str(folder),
            # This machine's load is not the run's.
            settings=wandb.Settings(x_disable_stats=True),
        )
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def log(self, point: Point) -> None:
        """Send one point."""
        self._run.log({**point.values, "iteration": point.iteration, "_timestamp": point.time})

    def finish(self) -> None:
        """Close the run."""
        self._run.finish()


class Trackio:
    """Trackio, on this machine unless its environment names a Space."""

    settles_after = 60.0

    def __init__(self, project: str, name: str, id: str, settings: dict[str, Any], _: Path):
        import trackio

        self._trackio = trackio
        # It knows a run by its name, and names of folders repeat.
        trackio.init(
            project=project,
            name=f"{name}-{id}",
            resume="allow",
            config=_texts(settings),
            auto_log_cpu=False,  # this machine's load is not the run's
            auto_log_gpu=False,
        )

    def log(self, point: Point) -> None:
        """Send one point."""
        self._trackio.log({**point.values, "ended_at": point.time}, step=point.iteration)

    def finish(self) -> None:
        """Close the run."""
        self._trackio.finish()


class Mlflow:
    """MLflow: a server, a database or a folder, as MLFLOW_TRACKING_URI says."""

    settles_after = 0.0

    def __init__(self, project: str, name: str, id: str, settings: dict[str, Any], _: Path):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._client, self._metric = MlflowClient(), Metric
        known = self._client.get_experiment_by_name(project)
        experiment = known.experiment_id if known else self._client.create_experiment(project)
        found = self._client.search_runs([experiment], f"tags.prime_id = '{id}'")
        if found:
            self._run_id = found[0].info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
        else:
            run = self._client.create_run(experiment, run_name=name, tags={"prime_id": id})
            self._run_id = run.info.run_id
            # MLflow's own limits: a hundred at a time, 6,000 characters each.
            values = [Param(key, text[:6000]) for key, text in _texts(settings).items()]
            for start in range(0, len(values), 100):
                self._client.log_batch(self._run_id, params=values[start : start + 100])

    def log(self, point: Point) -> None:
        """Send one point, with its time."""
        at = round(1000 * point.time)
        metrics = [
            self._metric(tag_of(key), value, at, point.iteration)
            for key, value in point.values.items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics)

    def finish(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)


class Swanlab:
    """SwanLab, in its cloud or, with SWANLAB_MODE=local or offline, on this machine."""

    settles_after = 60.0

    def __init__(self, project: str, name: str, id: str, settings: dict[str, Any], folder: Path):
        import swanlab

        self._run = swanlab.init(
            project=project,
            experiment_name=name,
            id=id,
            resume="allow",
            config=settings,
            logdir=str(folder),
        )

    def log(self, point: Point) -> None:
        """Send one point."""
        self._run.log({tag_of(key): value for key, value in point.values.items()}, point.iteration)

    def finish(self) -> None:
        """Close the run."""
        self._run.finish()


TRACKERS: dict[str, Callable[[str, str, str, dict[str, Any], Path], Tracker]] = {
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": Mlflow,
    "swanlab": Swanlab,
}


def _texts(settings: dict[str, Any]) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in settings.items()
    }
