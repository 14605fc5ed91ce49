"""What a stage is: one table, a row a stage, in the order of the graph.

In: a stage's name, or a path below a run's logs. Out: how often it runs, in how many jobs and
ranks, what it does with models; the file that exists when it has finished.
docs/decisions.md#table-of-stages

To add a stage that trains a model in each iteration:

1. a row in STAGES, and the model that it trains in the Literal of `trains`; with `like`, tables of
   resources that were written before the stage existed stay valid;
2. its settings in a file of their own in prime_core/settings/, with epochs, mini_batch_size and
   micro_batch_size, and `make schema`;
3. its section and `Settings.trained` in prime_core/settings/run.py, which says when a run has it;
4. the stage itself, prime_core/stages/<name>.py, which writes RunFiles.weights(model, iteration);
5. its command in prime_core/cli/stages.py;
6. its rule in workflow/rules/learning.smk;
7. its files in docs/files.md, and a test in tests/stages/.

The plan, status, deadlines, cleaning up, the report and the accounts follow from the row.
tests/workflow/test_new_stage.py takes these steps. A model of another size than the policy has its
shape in prime_core/planning/case.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prime_core.run.layout import RunFiles
from prime_core.settings.run import Settings


@dataclass(frozen=True)
class StageKind:
    """A row of STAGES.

    each: what it runs once for; shards: it is cut into jobs that run side by side; refills: it has
    further rounds of them; models: it is one job for each model that is trained; ranks: a job may
    have several; stops: it saves a checkpoint when asked to stop; samples: it generates responses;
    forward_only: it computes with models and trains none; trains: the model that it trains;
    section: of the settings, with its micro batches; colour: its place in the report's palette,
    None where the report has no figures of it; like: where a stages' table has no row of this name,
    that stage's row applies.
    """

    each: Literal["run", "iteration", "evaluation"]
    shards: bool = False
    refills: bool = False
    models: bool = False
    ranks: bool = False
    stops: bool = False
    samples: bool = False
    forward_only: bool = False
    trains: Literal["", "policy", "prm", "value"] = ""
    section: str = ""
    colour: int | None = None
    like: str = ""


def _training(each: Literal["run", "iteration"], **columns: object) -> StageKind:
    return StageKind(each, ranks=True, stops=True, **columns)  # type: ignore[arg-type]


# The order matters: --help, the plan and the report's tables follow it.
# docs/decisions.md#table-of-stages
STAGES = {
    "build": StageKind("run"),
    "prepare": StageKind("run"),
    "sft": _training("run", trains="policy", section="sft"),
    "difficulty": StageKind("run", shards=True, samples=True, like="sample"),
    "band": StageKind("run", like="prepare"),
    "branch": StageKind("run", like="prepare"),
    "prm_data": StageKind(
        "run", ranks=True, forward_only=True, section="prm.offline", like="prm_offline"
    ),
    "prm_offline": _training("run", trains="prm", section="prm.offline", like="prm"),
    "sample": StageKind("iteration", shards=True, refills=True, samples=True, colour=0),
    "verify": StageKind("iteration", shards=True, refills=True, colour=1),
    "select": StageKind("iteration", colour=2),
    "score": StageKind("iteration", ranks=True, forward_only=True, section="prm", colour=3),
    "values": StageKind(
        "iteration", ranks=True, forward_only=True, section="value", colour=7, like="score"
    ),
    "continuations": StageKind("iteration", shards=True, samples=True, colour=9, like="sample"),
    "step_values": StageKind("iteration", colour=10, like="verify"),
    "prm": _training("iteration", trains="prm", section="prm", colour=4),
    "value": _training("iteration", trains="value", section="value", colour=8, like="prm"),
    "policy": _training("iteration", trains="policy", section="policy", colour=5),
    "save_state": StageKind("iteration", models=True, like="select"),
    "evaluate": StageKind("evaluation", samples=True, colour=6),
    "report": StageKind("run"),
}
STOPPABLE = tuple(name for name, kind in STAGES.items() if kind.stops)


def stages_of_an_iteration(settings: Settings) -> list[str]:
    """The stages that each iteration of a run has, in the order of the graph."""
    absent = {"score"} if settings.prm.prm_update == "none" else set()
    absent |= set() if settings.has_value_model else {"values"}
    absent |= set() if settings.draws_continuations else {"continuations", "step_values"}
    # Beside the next iteration, and only where states are in memory.
    absent |= {"save_state"}
    return [
        name
        for name, kind in STAGES.items()
        if kind.each == "iteration"
        and name not in absent
        and (not kind.trains or name in settings.trained)
    ]


@dataclass(frozen=True, order=True)
class Stage:
    """One piece of work; iteration 0: before the first; part: as of `part_of`, or ""."""

    iteration: int
    name: str
    part: str

    def __str__(self) -> str:
        # An evaluation of iteration 0 exists (the start model's); elsewhere 0 means before the
        # first.
        number = [str(self.iteration)] if self.iteration or self.name == "evaluate" else []
        return " ".join([self.name, *number, *([self.part] if self.part else [])])


def stage_of_rule(rule: str) -> str:
    """The stage that a rule runs; one may be several rules: kept_policy, evaluate_shard.

    docs/decisions.md#kept-and-temporary
    """
    name = rule.removeprefix("kept_")
    first = name.rpartition("_")[0]
    return first if name not in STAGES and first in STAGES else name


def part_of(options: Mapping[str, Any]) -> str:
    """The part of a stage that a command's options name: a shard, a benchmark, or a model.

    options: without their dashes; those that were not given may be None or absent. A shard of an
    evaluation is called as its file is: aime/03-of-08.
    """
    shard, of, benchmark = (options.get(name) for name in ("shard", "of", "benchmark"))
    number = "" if shard is None else f"{int(shard):02d}"
    number += f"-of-{int(of):02d}" if number and of else ""
    return "/".join(filter(None, (benchmark, number))) or options.get("model") or ""


def stage_of(path: Path) -> Stage:
    """The stage that a file below logs/, benchmarks/ or metrics/ belongs to.

    iterations/0003/sample-01.tsv -> sample 3 01; evaluations/0016/aime.json -> evaluate 16 aime;
    evaluations/0016/aime/03-of-08.json -> evaluate 16 aime/03-of-08; sft.log -> sft.
    """
    iteration = next((int(part) for part in path.parts[:-1] if part.isdigit()), 0)
    # Before the split at "-": a benchmark's own name may hold one (math-500).
    if path.parts[0] == "evaluations":
        return Stage(iteration, "evaluate", str(Path(*path.parts[2:]).with_suffix("")))
    name, _, part = path.stem.partition("-")
    return Stage(iteration, name, part)


def result_of(files: RunFiles, stage: Stage) -> Path:
    """The file that exists when a stage has finished."""
    if stage.name == "report":
        return files.crate  # the page is there from the first iteration on
    if stage.name == "evaluate":
        return files.evaluation(stage.iteration, stage.part)
    name = f"{stage.name}-{stage.part}" if stage.part else stage.name
    if stage.iteration == 0:
        return files.setup_metrics(name)
    return files.metrics(stage.iteration, name)
