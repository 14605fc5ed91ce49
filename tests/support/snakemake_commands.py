"""Many commands of Snakemake, one after the other, from one process that has imported it once.

`python -m tests.support.snakemake_commands` reads a JSON list of [folder, arguments] and prints one
of [status, output]. Each command is a child of its own, in its folder: Snakemake's state and the
settings are fresh. What every start of Snakemake spends on imports is spent once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.shared_data import ROOT

Command = tuple[Path, Sequence[str]]


def outputs(commands: Sequence[Command], **variables: str) -> list[tuple[int, str]]:
    """Exit status and output, standard error included, of each command."""
    asked = json.dumps([[str(folder), list(arguments)] for folder, arguments in commands])
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.snakemake_commands"],
        input=asked,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [(status, text) for status, text in json.loads(done.stdout)]


def run(folder: Path, arguments: Sequence[str], log: Path) -> int:
    """Run a command in a child; its output is the file's text. Returns its exit status."""
    child = os.fork()
    if child == 0:
        _become(folder, arguments, log)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def import_once() -> None:
    """Import what each child would import."""
    import snakemake.cli  # noqa: F401

    import prime_core.launch.fetch
    import prime_core.launch.slurm.executor
    import prime_core.launch.workflow_output
    import prime_core.run.targets  # noqa: F401


def _become(folder: Path, arguments: Sequence[str], log: Path) -> None:
    """In the child: never returns."""
    from snakemake.cli import main

    status = 1
    try:
        with log.open("w", encoding="utf-8") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(folder)
        sys.argv = ["snakemake", *arguments]
        main(list(arguments))
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1 - (ended.code is None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _main() -> None:
    import tempfile

    import_once()
    found = []
    with tempfile.TemporaryDirectory() as place:
        for folder, arguments in json.load(sys.stdin):
            log = Path(place) / "log"
            status = run(Path(folder), arguments, log)
            found.append((status, log.read_text(encoding="utf-8")))
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
