"""Settings of verification (`verification`), one section of `prime_core.settings.run`."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from prime_core.settings.section import Section

# What a problem asks for, and so which verifier judges it: prime_core.verifiers has one for each.
# function: the user's own (verification.function).
Ability = Literal["math", "code", "function"]
ABILITIES: tuple[Ability, ...] = get_args(Ability)


# What partial credit consists of: rewards depend on it, evaluations do not.
CREDIT_FIELDS = ("partial_credit", "max_tests", "pass_rate_reward_threshold")


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

    def without_partial_credit(self) -> Verification:
        """The same rules where only whole passes count: those of evaluations."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in CREDIT_FIELDS})
