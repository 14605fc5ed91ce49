"""What a run is compared with, and whose it is: section `reproduction` of a run's settings.

Nothing here changes a run's results: only the report reads it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prime_core.settings.section import CHANGEABLE, Section

# The rows of prime_core/report/reproduction/published.yaml; a test keeps the two equal.
PublishedRow = Literal[
    "eurus2-7b-sft",
    "qwen2.5-math-7b-instruct",
    "rloo-240",
    "prime-80",
    "prime-160",
    "prime-240",
    "prime-320",
    "prime-592",
    "reinforce-240",
    "reinforce-prime-240",
    "grpo-240",
    "grpo-prime-240",
    "ppo-240",
    "ppo-prime-240",
    "prm-as-value-240",
    "prm-3b",
    "prm-7b",
    "prm-14b",
    "prm-dpo-96",
    "prm-ce-96",
    "gsm8k-base",
    "gsm8k-grpo",
    "gsm8k-ppo",
    "gsm8k-prime",
]
Share = Annotated[float, Field(gt=0, le=1)]


class Author(Section):
    """An author of a run."""

    name: str = Field(min_length=1, description="As in a list of authors.")
    orcid: str | None = Field(
        None, pattern=r"^\d{4}-\d{4}-\d{4}-\d{3}[\dX]$", description="0000-0000-0000-0000."
    )
    affiliation: str | None = Field(None, min_length=1, description="Name of the institution.")


class Reproduction(Section):
    """The published figures that the report compares the run with, and who made the run."""

    of: PublishedRow | None = Field(
        None,
        description="Published row that this run reproduces; null: none, and the report compares "
        "with the paper's main run.",
        json_schema_extra=CHANGEABLE,
    )
    accuracies: list[Share] = Field(
        default_factory=list,
        description="Accuracies (0 to 1) for which the report says after how many iterations and "
        "hours they were reached; empty: every tenth between the first and the best, and the "
        "published figure.",
        json_schema_extra=CHANGEABLE,
    )
    authors: list[Author] = Field(
        default_factory=list,
        description="Who made the run, for ro-crate.zip; empty: not stated.",
        json_schema_extra=CHANGEABLE,
    )
