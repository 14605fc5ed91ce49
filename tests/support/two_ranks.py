"""Tests that need two ranks: two processes that torchrun starts."""

import subprocess
import sys

from tests.support.shared_data import ROOT
from tests.support.warm import warm, warm_environment

LAUNCHER = (
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
)
# The launcher and its ranks are forks; LAUNCHER itself starts cold, as its ranks then should.
TORCHRUN = (*warm(LAUNCHER), "--no-python", "--")


def run_two_ranks(module: str, *words: str) -> None:
    """Run a module of the tests on two ranks. Raises AssertionError with the end of its stderr."""
    ours = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
    environment = {key: value for key, value in warm_environment().items() if key not in ours}
    command = [*TORCHRUN, *warm([sys.executable, "-m", module]), *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
