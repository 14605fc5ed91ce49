"""A Slurm whose jobs are done the moment they are submitted: only its commands are made up.

In: a folder. Out: programs named sbatch, squeue and so on for PATH, which keep their queue there.
For what many jobs cost the workflow itself: a job writes its output (of
tests/slurm/small_workflow.py) and is COMPLETED.
"""

from __future__ import annotations

import os
from pathlib import Path

# As many ended jobs as Slurm remembers.
REMEMBERED = 400
_SBATCH = """\
exec 9>{folder}/lock; flock 9
read number < {folder}/next; echo $((number + 1)) > {folder}/next
for word; do
    case $last in --comment) comment=$word;; --job-name) name=$word;; esac
    last=$word
done
part=${{comment#rule_kept_step_wildcards_}}
output=results/small/iterations/${{part%_*}}/${{part#*_}}.txt
mkdir -p ${{output%/*}}
if [ {late} = 0 ]; then echo done > $output
else (sleep {late}; echo done > $output) > /dev/null 2>&1 9>&- &
fi
echo "$number|$name|COMPLETED|None|cpu|n1|0:01|9:00|N/A|$comment" >> {folder}/queue
echo $number
"""
_PROGRAMS = {
    "sbatch": _SBATCH,
    "squeue": "tail -n {remembered} {folder}/queue\n",
    "scontrol": "echo 'MaxArraySize = 1001'; echo 'MinJobAge = 300 sec'\n",
    "scancel": "",
    "sacct": "",
    "sacctmgr": "",
}


def install(folder: Path, late: int = 0) -> dict[str, str]:
    """Write the programs; returns the environment in which they are found.

    late: seconds until an output can be seen here, as on slow network file systems.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (folder / "next").write_text("1\n")
    (folder / "queue").touch()
    for name, text in _PROGRAMS.items():
        body = text.format(folder=folder, remembered=REMEMBERED, late=late)
        (programs / name).write_text(f"#!/bin/sh\n{body}")
        (programs / name).chmod(0o755)
    return os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def num_submitted(folder: Path) -> int:
    """Jobs submitted so far."""
    return int((folder / "next").read_text() or 1) - 1
