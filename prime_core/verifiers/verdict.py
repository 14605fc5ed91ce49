"""What a verifier says of one response: a verdict, and the outcome that follows from it."""

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


@dataclass(frozen=True)
class Judgement:
    """One verdict with what it rests on.

    verdict: the class of the result.
    extracted: the answer (or program) that was judged; None when there was none.
    detail: one line for people: which comparison decided, or what went wrong.
    seconds: wall-clock time of the judgement.
    """

    verdict: Verdict
    extracted: str | None
    detail: str
    seconds: float = 0.0

    @property
    def outcome(self) -> float | None:
        """1.0 correct, 0.0 incorrect, None when the verifier itself failed."""
        if self.verdict is Verdict.no_verdict:
            return None
        return float(self.verdict is Verdict.correct)
