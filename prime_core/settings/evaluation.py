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


class Evaluation(Section):
    """When and on what the policy is evaluated."""

    every: int = Field(
        16, ge=1, description="Iterations between evaluations.", json_schema_extra=CHANGEABLE
    )
    benchmarks: dict[BenchmarkName, Benchmark] = Field(
        default_factory=lambda: {"validation": Benchmark()},
        description="Name -> how it is run.",
    )
