"""Settings of verification (`verification`), one section of `prime_core.settings.run`."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from prime_core.settings.section import CHANGEABLE, Section

# What a problem asks for, and so which verifier judges it: prime_core.verifiers has one for each.
# function: the user's own (verification.function); judge: a model (verification.judge).
Ability = Literal["math", "code", "function", "judge"]
ABILITIES: tuple[Ability, ...] = get_args(Ability)


# Of a judge: where and how often it is asked, not what it says.
JUDGE_ACCESS = {"base_url", "api_key_env", "timeout_seconds", "max_retries", "max_concurrency"}
# What partial credit and flips consist of: rewards depend on them, evaluations do not.
CREDIT_FIELDS = (
    *("partial_credit", "max_tests", "pass_rate_reward_threshold"),
    *("flip_correct", "flip_wrong"),
)


class Judge(Section):
    """A language model that judges responses against a reference: behind base_url, or of path."""

    # Changeable: where and how often it is asked, since a server may move to another node.
    base_url: str | None = Field(
        None,
        description="OpenAI-compatible endpoint, e.g. http://node1:8000/v1, which vllm serve has. "
        "This or path.",
        json_schema_extra=CHANGEABLE,
    )
    model: str | None = Field(None, description="The model's name there; needed with base_url.")
    path: str | None = Field(
        None,
        description="Folder or hub id of a model that the stage itself samples from "
        "(rollout.sampler, model.dtype): verification then asks for the GPUs of sampling, and no "
        "network.",
    )
    api_key_env: str | None = Field(
        None,
        description="Environment variable that holds the key; null: none is sent.",
        json_schema_extra=CHANGEABLE,
    )
    prompt: str = Field(
        description="Text file with {question}, {reference} and {response}, relative to the "
        "folder of the run's command."
    )
    choices: tuple[str, str] = Field(
        ("yes", "no"),
        description="Words for right and for wrong; the last one in a reply that stands alone "
        "counts.",
    )
    abilities: list[Ability] = Field(
        ["judge"], min_length=1, description="Problems of which abilities it judges."
    )
    n_samples: int = Field(1, ge=1, description="Replies to each response.")
    aggregate: Literal["majority", "mean"] = Field(
        "majority", description="The outcome of several replies."
    )
    temperature: float = Field(0.0, ge=0, description="0: the same reply each time.")
    max_tokens: int = Field(512, ge=1, description="Of a reply.")
    timeout_seconds: float = Field(
        60.0, gt=0, description="Of one request.", json_schema_extra=CHANGEABLE
    )
    max_retries: int = Field(
        3,
        ge=0,
        description="Further tries of a request that failed.",
        json_schema_extra=CHANGEABLE,
    )
    max_concurrency: int = Field(
        32, ge=1, description="Requests of one job at a time.", json_schema_extra=CHANGEABLE
    )
    compare_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the responses that a rule verifier can judge too and is asked "
        "about, for figures of agreement; the outcome stays the judge's.",
    )

    @model_validator(mode="after")
    def _is_somewhere(self) -> Judge:
        if (self.base_url is None) == (self.path is None):
            raise ValueError("one of base_url (an endpoint) and path (a model folder) is needed")
        if (self.base_url is None) != (self.model is None):
            raise ValueError("model is the model's name at base_url: both or neither")
        if self.path is not None and self.api_key_env is not None:
            raise ValueError("api_key_env is a key of base_url, and a model of path asks for none")
        return self

    @model_validator(mode="after")
    def _can_differ(self) -> Judge:
        if self.n_samples > 1 and self.temperature == 0:
            raise ValueError(
                f"n_samples {self.n_samples} at temperature 0 asks for the same reply each time"
            )
        if self.choices[0].lower() == self.choices[1].lower():
            raise ValueError(f"choices are both '{self.choices[0]}'")
        if self.compare_share > 0 and set(self.abilities) == {"judge"}:
            raise ValueError(
                "compare_share compares with rule verifiers, and abilities has none that has one"
            )
        return self


class Verification(Section):
    """How responses are judged."""

    max_no_verdict_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="The run stops when the verifier fails on more than this share of a shard.",
    )
    timeout_seconds: float = Field(
        60.0,
        gt=0,
        description="Wall-clock limit of one judgement; of a program, for all its tests together.",
    )
    function: str | None = Field(
        None,
        pattern=r"^.+\.py:[A-Za-z_][A-Za-z0-9_]*$",
        description="FILE.py:NAME, a function of your own, (response, ground_truth, row) -> a "
        "number from 0 to 1 or a verdict. It judges the run's training and held-out problems; "
        "other benchmarks only where their ability is function. null: each problem's ability says "
        "what judges it.",
    )
    no_box: Literal["no_answer", "last_line"] = Field(
        "no_answer",
        description="How a mathematical response without \\boxed{} is judged: as no answer, or by "
        "its last line.",
    )
    sandbox: Literal["auto", "bubblewrap", "namespaces", "none"] = Field(
        "auto", description="Isolation of model-written programs; none runs them unprotected."
    )
    packages: list[str] = Field(
        ["numpy"],
        description="Installed packages that model-written programs may import, with all that "
        "these depend on; nothing else of what is installed is seen by a program.",
    )
    memory_mb: int = Field(
        1024,
        ge=64,
        description="Memory of one program's process tree, and of that of verification.function.",
    )
    partial_credit: Literal["none", "all_tests", "first_tests"] = Field(
        "none",
        description="Outcome of a program that fails a test: 0 (none), the share of its tests that "
        "it passes (all_tests; paper), or of its first max_tests tests (first_tests; the authors' "
        "code). Evaluations count programs that pass all tests, whatever is set here.",
    )
    max_tests: int = Field(
        10, ge=1, description="Tests that count with first_tests. The authors' code: 10."
    )
    pass_rate_reward_threshold: float = Field(
        0.0, ge=0, le=1, description="A share of passed tests below this one counts as 0."
    )

    flip_correct: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="An experiment: share of the right responses whose outcome is turned to 0 for "
        "training, as by a judge that errs. Evaluations, rollout/accuracy and prm/true_* keep the "
        "true outcomes.",
    )
    flip_wrong: float = Field(
        0.0, ge=0, lt=1, description="The same share of the wrong responses, turned to 1."
    )

    judge: Judge | None = Field(
        None, description="Outcomes from a language model; null: problems have rules."
    )

    @property
    def flips(self) -> bool:
        """Whether training outcomes are turned over on purpose."""
        return self.flip_correct > 0 or self.flip_wrong > 0

    @model_validator(mode="after")
    def _outcomes_say_something(self) -> Verification:
        if self.flip_correct + self.flip_wrong >= 1:
            raise ValueError(
                f"flip_correct {self.flip_correct} and flip_wrong {self.flip_wrong} leave outcomes "
                "that say nothing, or the opposite; expected a sum below 1"
            )
        return self

    @property
    def judges_by_model(self) -> bool:
        """Whether the stage that judges samples from a model itself (judge.path)."""
        return self.judge is not None and self.judge.path is not None

    def without_judge(self) -> Verification:
        """The rule verifiers alone."""
        return self.model_copy(update={"judge": None})

    def without_partial_credit(self) -> Verification:
        """The same rules where only whole passes count: those of evaluations."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in CREDIT_FIELDS})
