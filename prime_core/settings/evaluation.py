"""Settings of evaluations (`evaluation`), one section of `prime_core.settings.run`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from prime_core.settings.section import CHANGEABLE, NAME_PATTERN, Section
from prime_core.settings.verification import Ability

# How a benchmark's own table is read; the run's held-out problems have been read already.
_OF_A_TABLE = ("columns", "ability", "system_prompt", "prompt_suffix", "ground_truth_after")


class Benchmark(Section):
    """One evaluation of a model on a table of problems."""

    file: str = Field(
        "validation",
        description="'validation': the run's held-out problems; else a table of problems, "
        "specified like data.train.",
    )
    form: Literal[
        "plain", "humaneval", "mbpp", "evalplus", "leetcode", "livecodebench", "olympiadbench"
    ] = Field(
        "plain",
        description="How a row of the table states problem and ground truth: plain (columns prompt "
        "and ground_truth), or as the public data set of that name.",
    )
    columns: dict[str, str] | None = Field(
        None, description="Our column name -> the file's, as in data.columns; null: data.columns."
    )
    ability: Ability | None = Field(
        None,
        description="Which verifier judges; null: what the table's column ability says, else that "
        "of the form (plain, olympiadbench: math; the others: code).",
    )
    system_prompt: str | None = Field(
        None, description="System message; '': none; null: that of data for the ability."
    )
    prompt_suffix: str | None = Field(
        None,
        description="Text added to the end of every problem; '': none; null: that of data for the "
        "ability.",
    )
    ground_truth_after: str | None = Field(
        None,
        description="As data.ground_truth_after; null: that of data, but nothing where columns are "
        "the benchmark's own.",
    )
    num_problems: int | None = Field(
        None, ge=1, description="How many of the table's problems, from the first on; null: all."
    )
    n_samples_per_prompt: int = Field(
        1, ge=1, description="Responses to each problem. Paper: 1; avg@16: 16; LiveCodeBench: 10."
    )
    temperature: float = Field(
        0.0, ge=0, description="0: greedy. Paper: 0; avg@16: 0.3; LiveCodeBench: 0.2."
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Share of the probability sampled from. LiveCodeBench: 0.95."
    )
    # Not held against the model's context length: responses end there, as in the paper's
    # evaluations. docs/decisions.md#evaluation-positions
    max_response_length: int = Field(
        3072, ge=1, description="Tokens. Paper: 4096; MATH-500 and LeetCode: 8192."
    )
    num_shards: int = Field(
        1,
        ge=1,
        description="Jobs that the problems are split into, side by side, and one that joins "
        "them; 1: a single job does both. The results are the same.",
        json_schema_extra=CHANGEABLE,
    )
    scorer: Literal["prm"] | None = Field(
        None,
        description="prm: the iteration's PRM scores each response, for best-of-n and weighted "
        "majority; null: neither.",
    )

    @property
    def usual_ability(self) -> Ability:
        """Which verifier judges rows that do not say it themselves."""
        mathematics = self.form in ("plain", "olympiadbench")
        return self.ability or ("math" if mathematics else "code")

    @model_validator(mode="after")
    def _keys_that_apply(self) -> Benchmark:
        given = [key for key in _OF_A_TABLE if getattr(self, key) is not None]
        given += ["form"] if self.form != "plain" else []
        if self.file == "validation" and given:
            raise ValueError(
                f"{given[0]} says how a table of problems is read, but file is 'validation', the "
                "run's own problems; name the table in file, or leave it out"
            )
        if self.scorer and self.n_samples_per_prompt == 1:
            raise ValueError(
                "scorer 'prm' chooses among several responses, but n_samples_per_prompt is 1"
            )
        return self


BenchmarkName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
GENERATED = "generated"  # solutions of held-out sums, instead of a file's
STEPS = "steps"  # the name of the evaluation of steps, beside those of benchmarks


class StepEvaluation(Section):
    """How well the iteration's PRM finds the first wrong step of published solutions."""

    files: dict[BenchmarkName, str] = Field(
        min_length=1,
        description="Name -> parquet or JSON-lines file with the columns of ProcessBench: problem, "
        "steps, label (first wrong step; -1: none) and, where known, final_answer_correct; or "
        "'generated': chains of the run's held-out sums that slip as often as its demonstrations "
        "(data.arithmetic.slip_share), other ones under each name.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="Our column name -> the files'."
    )
    threshold: BenchmarkName | None = Field(
        None,
        description="Name of the file on which the threshold is chosen that the others use; null: "
        "the first.",
    )
    score: Literal["step", "prefix", "step_mean", "prefix_mean"] = Field(
        "step",
        description="Which of the four scores the report shows; the evaluation has all. "
        "prefix: the sum of rewards up to a step's end; step: of the step; _mean: by tokens.",
    )
    num_rows: int | None = Field(
        None,
        ge=1,
        description="How many rows of each file, from the first on; null: all (generated: 1000).",
    )

    @model_validator(mode="after")
    def _known_threshold(self) -> StepEvaluation:
        if self.threshold is not None and self.threshold not in self.files:
            raise ValueError(
                f"threshold '{self.threshold}' is none of the files {', '.join(self.files)}"
            )
        return self

    @property
    def chosen_on(self) -> str:
        """The file on which the threshold is chosen."""
        return self.threshold or next(iter(self.files))


class Evaluation(Section):
    """When and on what the policy is evaluated."""

    every: int = Field(
        16, ge=1, description="Iterations between evaluations.", json_schema_extra=CHANGEABLE
    )
    benchmarks: dict[BenchmarkName, Benchmark] = Field(
        default_factory=lambda: {"validation": Benchmark()},
        description="Name -> how it is run.",
    )
    steps: StepEvaluation | None = Field(
        None,
        description="Also evaluate how well the PRM finds first wrong steps; null: no.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Evaluation:
        if STEPS in self.benchmarks:
            raise ValueError(
                f"benchmarks.{STEPS}: the name is that of the evaluation of steps "
                "(evaluation.steps); choose another"
            )
        return self

    def refuse_prm(self) -> None:
        """Raise ValueError for what needs a PRM, in a run that has none."""
        for name, benchmark in self.benchmarks.items():
            if benchmark.scorer:
                raise ValueError(
                    f"evaluation.benchmarks.{name}.scorer 'prm' needs a PRM, and prm.prm_update "
                    "'none' has none"
                )
        if self.steps:
            raise ValueError(
                "evaluation.steps rates steps by the PRM, and prm.prm_update 'none' has none"
            )

    @property
    def names(self) -> list[str]:
        """What is evaluated each time: the benchmarks, and the PRM on steps."""
        return [*self.benchmarks, *([STEPS] if self.steps else [])]

    def uses_prm(self, name: str) -> bool:
        """Whether an evaluation needs the iteration's PRM and its reference."""
        return name == STEPS or self.benchmarks[name].scorer is not None
