"""Python programs as forks of one process that has imported everything, which their tests share.

    subprocess.run(warm([python, "-m", "snakemake", ...]), env=warm_environment())

is what it would be without both, but for the seconds of imports. The process is the project's own
resident one, with a program that runs any module or code beside the stages (warm_process.py). Not
for tests of starts or of process groups: a program is a child of the server, and what stands for it
in its place starts nothing. Nor for a workflow that starts itself again: nobody would hear its end.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from unittest.mock import patch

from prime_core.resident.protocol import SOCKET
from prime_core.resident.starting import Resident
from prime_core.runtime.threads import ONE_THREAD
from tests.support.shared_data import ROOT
from tests.support.warm_process import PYTHONPATH

# By torch's compiler, and by transformers' or DeepSpeed's look for GPUs.
SET_BY_IMPORTS = ("TORCHINDUCTOR_CACHE_DIR", "PYTORCH_NVML_BASED_CUDA_CHECK")
SERVER = "tests.support.warm_process"
CLIENT = str(Path(__file__).with_name("warm_process.py"))


def warm(command: Sequence[str]) -> list[str]:
    """The command of a Python program (-m MODULE or -c CODE), to be run as a fork."""
    python, kind, *words = command
    assert kind in ("-m", "-c"), kind
    return [python, CLIENT, kind, *words]


def warm_environment() -> dict[str, str]:
    """This process's environment, on one thread, with the socket of its server."""
    return without_imports(os.environ) | ONE_THREAD | {SOCKET: _server()}


def without_imports(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what libraries have set in this process as they were imported.

    The server forks nothing for a client whose variables are others than its own.
    """
    return {name: value for name, value in environment.items() if name not in SET_BY_IMPORTS}


@cache
def _server() -> str:
    """Path of the socket of this process's server, which all its tests share."""
    log = Path(tempfile.mkstemp(prefix="prime-resident-", suffix=".log")[1])
    paths = os.pathsep.join((str(ROOT), os.environ.get(PYTHONPATH, "")))  # it imports these tests
    with patch.dict(os.environ, without_imports(os.environ) | {PYTHONPATH: paths}, clear=True):
        server = Resident(log, SERVER)
        # Tests that do not ask for it start stages by themselves: it is forgotten here.
        path = os.environ[SOCKET]

    def end() -> None:
        server.stop()
        log.unlink(missing_ok=True)

    atexit.register(end)
    return path
