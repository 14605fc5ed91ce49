"""Judging in a process that has more files open than select() can watch."""

import os
import resource
from collections.abc import Iterator

import pytest

from prime_core.verifiers.code import CodeJudge
from prime_core.verifiers.math import fallback
from tests.verifiers.test_sandbox import SUM, SUM_TESTS

MOST = 1100


@pytest.fixture
def many_files() -> Iterator[None]:
    """All descriptors below MOST are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MOST + 100:
        pytest.skip(f"this system allows only {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MOST + 100), hard))
    taken = [os.open("/dev/null", os.O_RDONLY)]
    while taken[-1] < MOST:
        taken.append(os.dup(taken[0]))
    yield
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_verifiers_work_with_descriptors_beyond_those_of_select() -> None:
    fallback.stop()
    assert fallback.math_verify("1", "1", 60.0) == (True, "math-verify")
    fallback.stop()
    with CodeJudge() as one:
        assert one(SUM, SUM_TESTS, is_program=True).outcome == 1.0
        with_calls = {"test_list": ["assert total([1, 2]) == 3"]}
        source = "def total(xs): return sum(xs)"
        assert one(source, with_calls, is_program=True).outcome == 1.0
