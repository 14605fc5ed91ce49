"""`python -m tests.slurm.lab`: a shell, or one command, inside a throw-away Slurm."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.slurm.lab import LabError, SlurmLab

GREETING = """\
A Slurm of your own: cpu1, gpu1 and gpu2 (4 GPUs each, in name only), all on this machine.
  sinfo                        its partitions and nodes
  srun -p gpu -N2 hostname     a job over two nodes
  prime site --dry-run         what PRIME makes of this cluster
  snakemake --profile slurm    the quickstart, every stage a Slurm job
  sacct                        what has run
Logs: {logs}. `exit` ends everything.
"""


def main() -> None:
    """Start a lab, run the command in it, end both; exit with the command's status."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.lab", description=__doc__)
    parser.add_argument("--no-accounting", action="store_true", help="without slurmdbd and MariaDB")
    parser.add_argument("--folder", type=Path, help="empty folder for logs and state, to keep")
    parser.add_argument("command", nargs="*", help="after --: one command instead of a shell")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="slurm-lab-"))
    # A handler, unlike "ignore", is not inherited: Ctrl-C ends the command, not the lab.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with SlurmLab(folder, accounting=not options.no_accounting) as lab:
            if not options.command:
                print(GREETING.format(logs=lab.logs), flush=True)
            command = options.command or [os.environ.get("SHELL", "bash")]
            status = subprocess.run(command, env=lab.env).returncode
    except LabError as error:
        print(f"slurm lab: {error}", file=sys.stderr)
        status = 1
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    # Killed by a signal: as a shell would say it.
    sys.exit(status if status >= 0 else 128 - status)
