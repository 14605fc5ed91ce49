"""Settings of problems and demonstrations (`data`), one section of `prime_core.settings.run`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from prime_core.settings.env import Env
from prime_core.settings.section import NAME_PATTERN, Section
from prime_core.settings.verification import Ability

TABLE_LOCATION = (
    "a parquet or JSON-lines file, a pattern such as data/train-*.parquet, a folder of them, a "
    "data set on the hub (owner/name), or files of one (hf://datasets/owner/name/train-*.parquet)"
)
SourceName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class ArithmeticTask(Section):
    """Generated sums, for runs without a data set."""

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
    max_error: int = Field(9, ge=1, description="Largest error of a wrong guess, or of a slip.")
    slip_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the demonstrated chains in which one random partial sum is off and "
        "the rest follows from it.",
    )
    cancel_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of those, where a later step exists, in which it undoes the error: the "
        "answer is right by luck.",
    )

    @model_validator(mode="after")
    def _numbers_agree(self) -> ArithmeticTask:
        if self.min_terms > self.max_terms:
            raise ValueError(f"min_terms {self.min_terms} is above max_terms {self.max_terms}")
        if self.cancel_share and not self.slip_share:
            raise ValueError("cancel_share undoes slips, and slip_share 0 makes none")
        if self.cancel_share and self.max_terms < 3:
            raise ValueError("cancel_share needs a step after the slip: max_terms 3 or more")
        return self


class Source(Section):
    """One more table of training problems, with its own columns."""

    file: str = Field(description=f"Where it is: {TABLE_LOCATION}.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="Our column name -> the file's, as in data.columns."
    )
    ground_truth_after: str = Field("", description="As data.ground_truth_after.")
    ability: Ability = Field(
        "math", description="The verifier that judges rows of files without a column ability."
    )


class Contamination(Section):
    """Training problems that occur in a benchmark are left out."""

    ngram_size: int = Field(
        13,
        ge=0,
        description="A training problem is left out if it shares this many consecutive words with "
        "a problem of a benchmark under evaluation.benchmarks; 0: nothing is compared. Paper: not "
        "given.",
    )
    files: list[str] = Field(
        default_factory=list,
        description=f"Further tables to compare with; each is {TABLE_LOCATION}.",
    )


class Difficulty(Section):
    """The start model tries the training problems; those within a band of accuracy are kept."""

    n_samples_per_prompt: int = Field(8, ge=1, description="Responses to each problem.")
    # One and seven right responses of eight: a group needs both kinds to learn from.
    accuracy_lower_bound: float = Field(
        0.125, ge=0, le=1, description="Share of right responses, inclusive; below: too hard."
    )
    accuracy_upper_bound: float = Field(
        0.875, ge=0, le=1, description="Share of right responses, inclusive; above: too easy."
    )
    temperature: float = Field(1.0, ge=0, description="0: greedy.")
    max_response_length: int = Field(3072, ge=1, description="Tokens.")
    num_shards: int = Field(1, ge=1, description="Jobs that the problems are split into.")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Difficulty:
        if self.accuracy_lower_bound > self.accuracy_upper_bound:
            raise ValueError(
                f"accuracy_lower_bound {self.accuracy_lower_bound} is above "
                f"accuracy_upper_bound {self.accuracy_upper_bound}"
            )
        return self


class Data(Section):
    """Problems to train on, held-out problems, and demonstrations for SFT."""

    source: Literal["arithmetic", "files", "env"] = Field(
        "arithmetic",
        description="arithmetic: generated sums; files: the tables named below; env: seeds of an "
        "environment.",
    )
    arithmetic: ArithmeticTask = Field(default_factory=ArithmeticTask)
    env: Env | None = Field(None, description="The environment of data.source env.")
    train: str | None = Field(None, description=f"Training problems: {TABLE_LOCATION}.")
    sources: dict[SourceName, Source] = Field(
        default_factory=dict, description="Name -> a further table of training problems."
    )
    validation: str | None = Field(
        None, description="Held-out problems, specified like train; null with num_validation."
    )
    # Not a seeded share: that would be another one when a row is added.
    # docs/decisions.md#split-by-hash
    num_validation: int = Field(
        0,
        ge=0,
        description="Number of training problems held out instead, always the same ones: those "
        "whose texts have the smallest hashes.",
    )
    sft: str | None = Field(
        None, description="Demonstrations (prompt, response), specified like train."
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our column name -> the file's: prompt, ground_truth, ability, data_source, "
        "prompt_id, response, system; a.b is b inside a.",
    )
    sft_columns: dict[str, str] = Field(
        default_factory=dict,
        description="The same for demonstrations, where their file's names differ from columns.",
    )
    ground_truth_after: str = Field(
        "",
        description="Ground truth is what follows the last occurrence of this mark, e.g. '####' in "
        "GSM8K's answers, or the contents of the last \\boxed{} ('\\boxed'); '': the whole value.",
    )
    templates: dict[str, str] = Field(
        default_factory=dict,
        description="Ability -> text file in which {prompt} stands for the problem, relative to "
        "the repository's folder. Not applied to prompts that already contain its text.",
    )
    system_prompts: dict[str, str] = Field(
        default_factory=dict,
        description="Ability -> text file of the system message, relative to the repository's "
        "folder.",
    )
    system_prompt: str = Field(
        "",
        description="System message of prompts that have none and whose ability has no file under "
        "system_prompts; '': none.",
    )
    system_role: Literal["own", "merge"] = Field(
        "own",
        description="own: a system message is a message of its own; merge: its text is put before "
        "the user's, for models whose chat template knows no system message (Gemma, early "
        "Mistral).",
    )
    prompt_suffix: str = Field(
        "",
        description="Text added to the end of every user message whose ability has no file under "
        "templates.",
    )
    max_prompt_length: int = Field(
        1024, ge=1, description="Tokens; longer prompts are dropped and counted. Paper: 1024."
    )
    # On by default, though the published run took its data unchanged.
    # docs/decisions.md#dropped-rows
    deduplicate: bool = Field(
        True,
        description="Keep only the first of training problems with the same text, ignoring case "
        "and spaces.",
    )
    contamination: Contamination = Field(default_factory=Contamination)
    difficulty: Difficulty | None = Field(
        None, description="A trial of all problems before training; null: all are kept."
    )

    @model_validator(mode="after")
    def _files_are_named(self) -> Data:
        if (self.source == "env") != (self.env is not None):
            raise ValueError(
                f"data.source '{self.source}' and data.env {'set' if self.env else 'null'}: an "
                "environment needs both, data.source: env and data.env.id"
            )
        if self.source != "files":
            for key in ("train", "sources", "validation", "num_validation", "sft"):
                if getattr(self, key):
                    raise ValueError(
                        f"data.{key} is set, and data.source '{self.source}' reads no files; "
                        "expected data.source: files"
                    )
            return self
        no_train = self.train is None and not self.sources
        if no_train or (self.validation is None and not self.num_validation):
            raise ValueError(
                "source 'files' needs data.train (or data.sources) and data.validation (or "
                "data.num_validation)"
            )
        if "train" in self.sources:
            raise ValueError(
                "data.sources: no source may be called 'train', which names data.train's rows"
            )
        if self.validation is not None and self.num_validation:
            raise ValueError(
                f"data.validation {self.validation!r} and data.num_validation "
                f"{self.num_validation}: held-out problems come from one of them; leave one out"
            )
        return self
