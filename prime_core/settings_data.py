"""Settings of problems and demonstrations (`data`), one section of `prime_core.settings`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from prime_core.settings_section import Section


class ArithmeticTask(Section):
    """The generator of sums for runs without any data set."""

    max_number: int = Field(19, ge=2, description="Largest summand.")
    min_terms: int = Field(2, ge=2, description="Fewest summands.")
    max_terms: int = Field(3, ge=2, description="Most summands.")
    num_train: int = Field(2000, ge=1, description="Training problems.")
    num_validation: int = Field(200, ge=1, description="Held-out problems.")
    num_demonstrations: int = Field(20000, ge=0, description="Demonstrations for the SFT warm-up.")
    guess_share: float = Field(
        0.55, ge=0, le=1, description="Share of demonstrations that guess instead of adding up."
    )
    guess_accuracy: float = Field(
        0.1, ge=0, le=1, description="Share of the guesses that are right."
    )
    max_error: int = Field(9, ge=1, description="How far a wrong guess lies off, at most.")

    @model_validator(mode="after")
    def _terms_in_order(self) -> ArithmeticTask:
        if self.min_terms > self.max_terms:
            raise ValueError(f"min_terms {self.min_terms} is above max_terms {self.max_terms}")
        return self


class Data(Section):
    """Problems to train on, held-out problems, and demonstrations for SFT."""

    source: Literal["arithmetic", "files"] = Field(
        "arithmetic", description="arithmetic: generated sums; files: the tables named below."
    )
    arithmetic: ArithmeticTask = Field(default_factory=ArithmeticTask)
    train: str | None = Field(None, description="Parquet or JSON-lines file of training problems.")
    validation: str | None = Field(None, description="The same for held-out problems.")
    sft: str | None = Field(None, description="File of demonstrations (prompt, response).")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our column name -> the file's: prompt, ground_truth, ability, response, ...",
    )
    ground_truth_after: str = Field(
        "",
        description="Ground truth is what follows the last of these marks, such as '####' in "
        "GSM8K's answers; '': the whole value.",
    )
    system_prompt: str = Field("", description="System message put before every prompt; '' none.")
    prompt_suffix: str = Field("", description="Text added to the end of every user message.")
    max_prompt_length: int = Field(
        1024, ge=1, description="Tokens; longer prompts are dropped and counted. Paper: 1024."
    )

    @model_validator(mode="after")
    def _files_are_named(self) -> Data:
        if self.source == "files" and (self.train is None or self.validation is None):
            raise ValueError("source 'files' needs both data.train and data.validation")
        return self
