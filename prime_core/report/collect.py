"""What a run has written so far, as tables.

In: the folder of a run, finished or not. Out: one row per iteration, one per evaluation, settings
and provenance as flat mappings. Files that do not exist yet leave gaps, never errors; a file that
exists but cannot be read is an error, since a file that exists is complete.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from prime_core.layout import RunFiles
from prime_core.report.cost import Cost, read_cost
from prime_core.report.seconds import stage_seconds
from prime_core.rollouts import OUTCOMES, TableError, read_json, read_table
from prime_core.statistics import mean_interval

ITERATION_STAGES = ("sample", "verify", "select", "score", "prm", "policy")
EVALUATION_COLUMNS = (
    "iteration",
    "benchmark",
    "num_problems",
    "n_samples_per_prompt",
    "temperature",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "response_length_mean",
    "clip_ratio",
)


@dataclass(frozen=True)
class RunTables:
    """Everything that the report shows of a run, besides its responses.

    iterations: one row per iteration that has figures; evaluations: one per benchmark and
    iteration; stages: seconds (see `stage_seconds`); cost: hours in Slurm; settings, provenance:
    dotted key -> value.
    """

    name: str
    iterations: pd.DataFrame
    evaluations: pd.DataFrame
    stages: pd.DataFrame
    cost: Cost
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def num_planned(self) -> int:
        """Iterations that the settings ask for."""
        return int(self.settings["iterations"])

    @property
    def num_done(self) -> int:
        """Iterations whose policy update has finished."""
        return int(self.iterations["finished"].sum())


def collect(run_dir: Path) -> RunTables:
    """Tables of one run. Raises TableError naming a file that cannot be read."""
    files = RunFiles(run_dir)
    provenance = read_json(files.provenance) if files.provenance.exists() else {}
    return RunTables(
        name=run_dir.resolve().name,
        iterations=iteration_table(files),
        evaluations=evaluation_table(files),
        stages=stage_seconds(run_dir),
        cost=read_cost(files),
        settings=flatten(_read_settings(files.config)),
        provenance=flatten(provenance),
    )


def iteration_table(files: RunFiles) -> pd.DataFrame:
    """One row per iteration: the figures of all its stages, shards combined."""
    rows = []
    for folder in sorted((files.root / "iterations").glob("[0-9]*")):
        iteration = int(folder.name)
        row: dict[str, float] = {}
        for stage in ITERATION_STAGES:
            shards = [read_json(path) for path in stage_files(folder / "metrics", stage)]
            row |= combine_shards(stage, [_numbers(shard) for shard in shards])
        if row:
            finished = files.metrics(iteration, "policy").exists()
            rows.append(
                {"iteration": iteration, "finished": finished}
                | row
                | _training_interval(files, iteration, row)
            )
    if not rows:
        return pd.DataFrame({"iteration": [], "finished": []}, dtype=int)
    return pd.DataFrame(rows)


def stage_files(folder: Path, stage: str) -> list[Path]:
    """Figures of one stage: <stage>.json, or one file a shard, <stage>-00.json."""
    return sorted(path for path in folder.glob("*.json") if path.stem.split("-")[0] == stage)


def combine_shards(stage: str, shards: list[dict[str, float]]) -> dict[str, float]:
    """Figures of a stage from those of its shards.

    Counts and seconds add up; means and shares are averaged with the shards' numbers of responses
    as weights. `timing_s/train` becomes `timing_s/policy_train`: several stages have one.
    """
    combined = {}
    for key in dict.fromkeys(key for shard in shards for key in shard):
        having = [shard for shard in shards if key in shard]
        values = [shard[key] for shard in having]
        name = key.replace("timing_s/", f"timing_s/{stage}_")
        if len(values) == 1:
            combined[name] = values[0]
        elif _is_average(key):
            weights = [_num_responses(shard) for shard in having]
            combined[name] = float(np.average(values, weights=weights if any(weights) else None))
        else:
            combined[name] = sum(values)
    return combined


def _is_average(key: str) -> bool:
    return key.endswith(("mean", "accuracy", "ratio", "share"))


def _num_responses(shard: dict[str, float]) -> float:
    count = next((shard[key] for key in shard if key.endswith("/num_responses")), 0)
    return count - shard.get("verify/no_verdict", 0)


def _training_interval(files: RunFiles, iteration: int, row: dict[str, float]) -> dict[str, float]:
    tables = sorted(files.outcomes(iteration, 0).parent.glob("*.parquet"))
    if "rollout/accuracy" not in row or not tables:
        return {}
    judged = pd.concat([read_table(path, OUTCOMES) for path in tables]).dropna(subset="outcome")
    if judged.empty:
        return {}
    _, low, high = mean_interval(judged.groupby("prompt_id")["outcome"].mean().to_numpy())
    return {"rollout/accuracy_low": low, "rollout/accuracy_high": high}


def evaluation_table(files: RunFiles) -> pd.DataFrame:
    """One row per benchmark and iteration, in the order of iterations."""
    rows = []
    for path in sorted((files.root / "evaluations").glob("[0-9]*/*.json")):
        place = {"iteration": int(path.parent.name), "benchmark": path.stem}
        rows.append(place | {k: v for k, v in read_json(path).items() if k not in place})
    table = pd.DataFrame(rows)
    return table.reindex(columns=list(dict.fromkeys([*EVALUATION_COLUMNS, *table.columns])))


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings: {"a": {"b": 1}} -> {"a.b": 1}.

    Mappings in a list are numbered from one: {"a": [{"b": 1}]} -> {"a.1.b": 1}.
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = {str(number): item for number, item in enumerate(value, start=1)}
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _read_settings(path: Path) -> dict[str, Any]:
    """The run's settings as they stand in its file: another version may know other keys."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(settings, dict) or "iterations" not in settings:
        raise TableError(f"{path}: expected the settings of a run, with the key 'iterations'")
    return settings


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
