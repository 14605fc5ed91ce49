"""Partial credit: the outcome of a program that passes some of its tests and fails others.

In: whether the program passed each test, in their order. Out: an outcome in [0, 1]. arXiv
2502.01456 rewards the share of tests that pass; the authors' code 1 where all pass, else the share
among the first ten. docs/decisions.md#partial-credit
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Credit:
    """How the outcome of a program follows from its tests.

    kind: none, all_tests or first_tests. max_tests: how many count with first_tests.
    threshold: a share below it counts as 0.
    """

    kind: str = "none"
    max_tests: int = 10
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("none", "all_tests", "first_tests"):
            raise ValueError(f"no partial credit is named {self.kind!r}")

    def counted(self, num_tests: int) -> int:
        """How many of the tests decide the outcome of a program that fails one of them."""
        return min(num_tests, self.max_tests) if self.kind == "first_tests" else num_tests

    def is_settled(self, passed: Sequence[bool], num_tests: int) -> bool:
        """Whether the tests so far decide the outcome, whatever the others would say.

        passed: of the first tests, in their order, whether the program passed them.
        """
        if all(passed):
            return len(passed) == num_tests
        return self.kind == "none" or len(passed) >= self.counted(num_tests)

    def outcome(self, passed: Sequence[bool], num_tests: int) -> float:
        """The outcome of a program; tests that were not reached have failed.

        all pass: 1. none: 0. all_tests: passed / num_tests. first_tests: passed among the first
        max_tests / min(max_tests, num_tests), which may be 1 though a later test fails.
        """
        if len(passed) == num_tests and all(passed):
            return 1.0
        if self.kind == "none":
            return 0.0
        counted = self.counted(num_tests)
        share = sum(passed[:counted]) / counted
        return share if share >= self.threshold else 0.0
