"""What a run has written so far, as tables.

In: the folder of a run, finished or not. Out: one row per iteration, one per evaluation, settings
and provenance as flat mappings. Files that do not exist yet leave gaps, never errors; a file that
exists but cannot be read is an error, since a file that exists is complete.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from prime_core.evaluation.figures import judged_responses
from prime_core.evaluation.statistics.intervals import mean_interval
from prime_core.evaluation.statistics.paired import Paired
from prime_core.report.tables.cost import Cost, read_cost
from prime_core.report.tables.data_table import read_data_figures
from prime_core.report.tables.evaluations import paired_changes
from prime_core.report.tables.seconds import stage_seconds
from prime_core.report.tables.steps import COLUMNS as STEP_COLUMNS
from prime_core.report.tables.steps import step_table
from prime_core.run.layout import RunFiles, in_order
from prime_core.run.stages import STAGES
from prime_core.run.tables import GREEDY, OUTCOMES, TableError, read_json, read_table
from prime_core.settings.reading import flatten

ITERATION_STAGES = tuple(name for name, kind in STAGES.items() if kind.each == "iteration")
ENDED_AT = "process/ended_at"  # seconds since 1970
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
    ENDED_AT,
)


@dataclass(frozen=True)
class RunTables:
    """Everything that the report shows of a run, besides its responses.

    iterations: one row per iteration that has figures; evaluations: one per benchmark and
    iteration; stages: seconds (see `stage_seconds`); cost: hours in Slurm; settings, provenance:
    dotted key -> value; data: figures of how they were prepared; changes: benchmark -> its last
    evaluation against its first, by problem; steps: F1 of the PRM on steps, one row per part and
    evaluated iteration.
    """

    name: str
    iterations: pd.DataFrame
    evaluations: pd.DataFrame
    stages: pd.DataFrame
    cost: Cost
    settings: dict[str, Any]
    provenance: dict[str, Any]
    data: dict[str, float] = field(default_factory=dict)
    changes: dict[str, Paired] = field(default_factory=dict)
    steps: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(STEP_COLUMNS)))

    @property
    def start(self) -> int:
        """The iteration after which the run's own ones begin: that of init_from, else 0."""
        return int((self.settings.get("init_from") or "@0").rpartition("@")[2])

    @property
    def origin_note(self) -> str:
        """Where a branch comes from, as a sentence; "" for an independent run."""
        if not self.settings.get("init_from"):
            return ""
        name = Path(self.settings["init_from"].rpartition("@")[0]).name
        if self.start == 0:
            return f"Data and start models are those of the run {name}."
        return (
            f"Continues from iteration {self.start} of the run {name}: figures are of later "
            "iterations, cost excludes that run's."
        )

    @property
    def last_iteration(self) -> int:
        """The last one that the settings ask for."""
        return int(self.settings["iterations"])

    @property
    def num_planned(self) -> int:
        """Iterations that the settings ask for; of a branch only its own."""
        return self.last_iteration - self.start

    @property
    def elapsed_seconds(self) -> float:
        """From the workflow's first start to the newest figure, pauses included; NaN: unknown."""
        starts = [value for key, value in self.provenance.items() if key == "starts.1.time"]
        ends = [*self.iterations.get(ENDED_AT, []), *self.evaluations[ENDED_AT].dropna()]
        if not starts or not ends:
            return math.nan
        return max(ends) - datetime.fromisoformat(starts[0]).timestamp()

    @property
    def num_done(self) -> int:
        """Iterations whose updates have finished."""
        return int(self.iterations["finished"].sum())


def collect(run_dir: Path) -> RunTables:
    """Tables of one run. Raises TableError naming a file that cannot be read."""
    files = RunFiles(run_dir)
    provenance = read_json(files.provenance) if files.provenance.exists() else {}
    evaluations = evaluation_table(files)
    settings = flatten(_read_settings(files.config))
    return RunTables(
        # Resolved, since `.` has no name.
        name=run_dir.resolve().name,
        iterations=iteration_table(files),
        evaluations=evaluations,
        changes=paired_changes(files, evaluations),
        stages=stage_seconds(run_dir),
        cost=read_cost(files),
        settings=settings,
        # The default where the settings are of a run without: it then has no rows.
        steps=step_table(files, settings.get("evaluation.steps.score", "step")),
        provenance=flatten(provenance) | _gpus(files),
        data=read_data_figures(files),
    )


def _gpus(files: RunFiles) -> dict[str, str]:
    """GPUs, driver and CUDA of each stage that saw some, from its newest figures."""
    found: dict[str, str] = {}
    for folder in in_order((files.root / "iterations").glob("[0-9]*"))[
        -2:
    ]:  # the last may be short
        for stage in ITERATION_STAGES:
            for path in stage_files(folder / "metrics", stage)[:1]:
                figures = read_json(path)
                for name in ("gpus", "gpu_driver", "cuda_of_driver"):
                    if f"process/{name}" in figures:
                        found[f"stages.{stage}.{name}"] = figures[f"process/{name}"]
    return found


def iteration_table(files: RunFiles) -> pd.DataFrame:
    """One row per iteration: the figures of all its stages, shards combined."""
    rows, trained = [], _trained(files)
    for folder in in_order((files.root / "iterations").glob("[0-9]*")):
        iteration = int(folder.name)
        row: dict[str, float] = {}
        ends: list[float] = []
        for stage in ITERATION_STAGES:
            shards = [read_json(path) for path in stage_files(folder / "metrics", stage)]
            figures = combine_shards(stage, [_numbers(shard) for shard in shards])
            ends.append(figures.pop(f"process/{stage}_ended_at", 0.0))
            row |= figures
        if "rollout/accuracy" in row:  # of runs before there was partial credit
            row.setdefault("rollout/outcome_mean", row["rollout/accuracy"])
        if row:
            finished = all(files.metrics(iteration, stage).exists() for stage in trained)
            # Of runs before stages recorded it, the file's date.
            dates = [path.stat().st_mtime for path in (folder / "metrics").glob("*.json")]
            at = max(ends) or max(dates)
            rows.append(
                {"iteration": iteration, "finished": finished}
                | row
                | {ENDED_AT: at}
                | _training_interval(files, iteration, row)
            )
    if not rows:
        return pd.DataFrame({"iteration": [], "finished": []}, dtype=int)
    return pd.DataFrame(rows)


def _trained(files: RunFiles) -> list[str]:
    """Stages that update a model in each iteration: with the last of them it has finished."""
    settings = flatten(_read_settings(files.config)) if files.config.exists() else {}
    updates_prm = settings.get("prm.prm_update") in ("after", "before")
    is_ppo = settings.get("policy.adv_estimator") == "gae"
    has_value_model = is_ppo and settings.get("value.source") == "model"
    return ["policy", *(["prm"] if updates_prm else []), *(["value"] if has_value_model else [])]


def stage_files(folder: Path, stage: str) -> list[Path]:
    """Figures of one stage: <stage>.json, or one file a shard, <stage>-00.json."""
    # Not glob("<stage>*"): "value" is also how "values" begins.
    return in_order(path for path in folder.glob("*.json") if path.stem.split("-")[0] == stage)


def combine_shards(stage: str, shards: list[dict[str, float]]) -> dict[str, float]:
    """Figures of a stage from those of its shards.

    Counts and seconds add up; means and shares are averaged with the shards' numbers of responses
    as weights. `timing_s/train` becomes `timing_s/policy_train`, `process/max_rss_mb`
    `process/policy_max_rss_mb`: several stages have one. The largest counts of what says so.
    """
    combined = {}
    for key in dict.fromkeys(key for shard in shards for key in shard):
        having = [shard for shard in shards if key in shard]
        values = [shard[key] for shard in having]
        name = re.sub("^(timing_s|process)/", rf"\1/{stage}_", key)
        if len(values) == 1:
            combined[name] = values[0]
        elif key.startswith("process/") and ("max_" in key or key == ENDED_AT):
            combined[name] = max(values)
        elif _is_average(key):
            # numpy refuses weights that sum to zero, as where no response of any shard was judged.
            weights = [_num_responses(shard) for shard in having]
            combined[name] = float(np.average(values, weights=weights if any(weights) else None))
        else:
            combined[name] = sum(values)
    return combined


def _is_average(key: str) -> bool:
    # By the naming of metrics: everything else is a count or seconds.
    of_a_judge = key.startswith("verify/judge_") and "num_" not in key  # shares and their intervals
    return of_a_judge or key.endswith(("mean", "accuracy", "ratio", "share"))


def _num_responses(shard: dict[str, float]) -> float:
    count = next((shard[key] for key in shard if key.endswith("/num_responses")), 0)
    # Responses without a verdict are in no mean (a broken verifier labels nothing).
    return count - shard.get("verify/no_verdict", 0)


def _training_interval(files: RunFiles, iteration: int, row: dict[str, float]) -> dict[str, float]:
    tables = in_order(files.outcomes(iteration, 0).parent.glob("*.parquet"))
    if "rollout/accuracy" not in row or not tables:
        return {}
    parts = [read_table(path, OUTCOMES, files.root) for path in tables]
    rows = pd.concat(parts)
    judged = judged_responses(rows[rows["sample"] != GREEDY])
    if judged.empty:
        return {}
    # By prompt: responses to one prompt are not independent.
    _, low, high = mean_interval(judged.groupby("prompt_id")["right"].mean().to_numpy())
    return {"rollout/accuracy_low": low, "rollout/accuracy_high": high}


def evaluation_table(files: RunFiles) -> pd.DataFrame:
    """One row per benchmark and iteration, in the order of iterations."""
    rows = []
    for path in in_order((files.root / "evaluations").glob("[0-9]*/*.json")):
        if "parts" in (values := read_json(path)):
            continue  # of steps: step_table
        key = {"iteration": int(path.parent.name), "benchmark": path.stem}
        figures = {k: v for k, v in values.items() if k not in key}
        rows.append(key | figures | {ENDED_AT: figures.get(ENDED_AT) or path.stat().st_mtime})
    table = pd.DataFrame(rows)
    return table.reindex(columns=list(dict.fromkeys([*EVALUATION_COLUMNS, *table.columns])))


def _read_settings(path: Path) -> dict[str, Any]:
    """The run's settings as written in its file: another version may know other keys."""
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
        # Without infinities and NaN, which would spoil a mean over shards.
        if isinstance(value, int | float) and math.isfinite(value)
    }
