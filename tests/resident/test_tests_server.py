"""The resident process that tests share: what they start is a fork of it, whatever they import."""

import subprocess
import sys

import pytest

from tests.support.warm import SET_BY_IMPORTS, warm, warm_environment

pytestmark = pytest.mark.slow
PROGRAM = "import os, sys; print('torch' in sys.modules, __name__, *sys.argv); sys.exit(3)"


def test_a_program_is_a_fork_also_after_libraries_have_set_variables(monkeypatch):
    for name in SET_BY_IMPORTS:
        monkeypatch.setenv(name, "as torch sets it")
    import deepspeed
    import torch._inductor.config  # noqa: F401

    assert deepspeed.__version__
    done = subprocess.run(
        warm([sys.executable, "-c", PROGRAM, "a", "b"]),
        env=warm_environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "True __main__ -c a b\n"), done.stderr
    assert done.stderr == ""


def test_without_the_server_it_starts_by_itself():
    environment = warm_environment() | {"PRIME_RESIDENT": "none", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        warm([sys.executable, "-c", PROGRAM, "a", "b"]),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "False __main__ -c a b\n")
    assert "no help from the resident process" in done.stderr
