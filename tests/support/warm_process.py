"""A Python process that becomes a fork of the server, and that server: see warm.py.

`python warm_process.py -m MODULE ...` (or -c CODE ...) stands for the module;
`python -m tests.support.warm_process LISTENER PATH CONSOLE` serves. Imports what a client needs
alone, since each would take as long as what it saves.
"""

from __future__ import annotations

import os
import sys

from prime_core.resident.client import let_run
from prime_core.resident.protocol import SOCKET

PYTHONPATH = "PYTHONPATH"


def ask() -> None:
    """End as a fork of the server ends; become the program where there is none."""
    if path := os.environ.get(SOCKET):
        let_run(path)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


def program() -> None:
    """What a fork runs: a stage, as `prime` asks for it, or what a client of this file names."""
    if os.path.basename(sys.argv[0]) == os.path.basename(__file__):  # noqa: PTH119
        run_python(*sys.argv[1:])
    else:
        from prime_core.cli.main import main

        main()


def run_python(kind: str, what: str, *words: str) -> None:
    """As the interpreter runs -m MODULE or -c CODE."""
    import runpy
    from types import ModuleType

    sys.path.insert(0, os.getcwd() if kind == "-m" else "")  # noqa: PTH109
    sys.argv = [what if kind == "-m" else kind, *words]
    if kind == "-m":
        if not hasattr(sys.modules.get(what), "__path__"):
            sys.modules.pop(what, None)  # else it would be warned of
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(module))


def prepare() -> None:
    """Import what stages, workflows and launchers of ranks import."""
    import prime_core.cli.serve
    import tests.support.snakemake_commands

    prime_core.cli.serve.prepare()
    tests.support.snakemake_commands.import_once()
    import torch.distributed.run  # noqa: F401


def serve(listener: int, path: str, console: int) -> None:
    """Serve until standard input ends."""
    from pathlib import Path

    from prime_core.resident import server

    # As it is for clients, whose variables have to be this process's.
    if before := os.environ.pop(PYTHONPATH).partition(os.pathsep)[2]:
        os.environ[PYTHONPATH] = before
    server.run(listener, Path(path), console, program, prepare)


if __name__ == "__main__":
    if sys.argv[1] in ("-m", "-c"):
        ask()
    else:
        serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
