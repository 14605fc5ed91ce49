"""What a verifier says of one response: a verdict, and the outcome that it is rewarded with."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Why a response did or did not earn its outcome.

    `no_verdict` alone speaks of the verifier, not of the response: it broke, and nothing is known.
    """

    correct = "correct"
    wrong = "wrong"
    no_answer = "no_answer"
    unparsable = "unparsable"
    timeout = "timeout"
    memory = "memory"
    crashed = "crashed"
    forbidden = "forbidden"
    no_verdict = "no_verdict"


FAILURES = frozenset(Verdict) - {Verdict.correct, Verdict.no_verdict}
"""What an answer that is not right may be."""


@dataclass(frozen=True)
class Turns:
    """What an environment said of each turn of a response.

    rewards: its own. states: digests of the observations that the turns answered. valid: whether it
    could take the action.
    """

    rewards: tuple[float, ...]
    states: tuple[str, ...]
    valid: tuple[bool, ...]


@dataclass(frozen=True)
class Judgement:
    """One verdict with what it rests on.

    verdict: the class of the result.
    extracted: the answer (or program) that was judged; None when there was none.
    detail: one line for people: which comparison decided, or what went wrong.
    seconds: wall-clock time of the judgement.
    outcome: the reward, in [0, 1]; None where the verifier itself failed. Follows from the verdict
        (1 correct, 0 incorrect) unless stated, as partial credit does for incorrect programs.
        Rewards read it; evaluations count verdicts.
    turns: of an environment; None for any other problem, and where there is no verdict.
    Raises ValueError for an outcome that its verdict does not allow.
    """

    verdict: Verdict
    extracted: str | None
    detail: str
    seconds: float = 0.0
    outcome: float | None = None
    turns: Turns | None = None

    def __post_init__(self) -> None:
        implied = IMPLIED_OUTCOMES.get(self.verdict, 0.0)
        if self.outcome is None:
            object.__setattr__(self, "outcome", implied)
        elif self.verdict in IMPLIED_OUTCOMES and self.outcome != implied:
            raise ValueError(f"an answer that is {self.verdict} has no outcome {self.outcome}")
        elif not 0 <= self.outcome <= 1:
            raise ValueError(f"outcomes lie in [0, 1], not {self.outcome}")


IMPLIED_OUTCOMES: dict[Verdict, float | None] = {Verdict.correct: 1.0, Verdict.no_verdict: None}
"""Of the verdicts that leave no choice."""
