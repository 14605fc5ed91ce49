"""Settings of evaluations (`evaluation`), one section of `prime_core.settings`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from prime_core.settings_section import CHANGEABLE, NAME_PATTERN, Section


class Benchmark(Section):
    """One evaluation of a model on a table of problems."""

    file: str = Field(
        "validation", description="'validation': the run's held-out problems; else a table's path."
    )
    num_problems: int | None = Field(
        None, ge=1, description="The first of the table's problems; null: all."
    )
    n_samples_per_prompt: int = Field(1, ge=1)
    temperature: float = Field(0.0, ge=0, description="0: greedy.")
    top_p: float = Field(1.0, gt=0, le=1)
    max_response_length: int = Field(3072, ge=1, description="Tokens. Paper: 4096 in all.")


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
