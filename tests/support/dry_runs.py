"""Dry runs of the real workflow, one after the other in one process that has imported it once.

`python -m tests.support.dry_runs FOLDER CONFIG... -- OVERRIDE...` prints one line of JSON: by file
name the number of jobs (the rule `all` is not counted), or the end of what Snakemake said. Each dry
run is a child of its own: Snakemake's state, the settings and the working directory are fresh.
"""

import json
import os
import re
import sys
from pathlib import Path

from tests.support.shared_data import ROOT


def num_jobs(output: str) -> int:
    """Of the table that a dry run prints. Raises ValueError where there is none."""
    totals = re.findall(r"^total +(\d+)", output, flags=re.MULTILINE)
    if not totals:
        raise ValueError(output[-3000:])
    return int(totals[-1]) - 1


def main(folder: Path, configs: list[Path], overrides: list[str]) -> None:
    """All dry runs; results on standard output."""
    import snakemake.cli

    import prime_core.launch.slurm.executor
    import prime_core.run.targets  # noqa: F401  both for the children: imported once

    found: dict[str, int | str] = {}
    for config in configs:
        log = folder / f"{config.stem}.log"
        arguments = ["--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--directory"]
        arguments += [str(folder), "--configfile", str(config.resolve())]
        arguments += ["--quiet", "rules", "reason", "host", *overrides]
        child = os.fork()
        if child == 0:
            _dry_run(snakemake.cli.main, arguments, log)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = log.read_text(encoding="utf-8")
        try:
            found[config.stem] = num_jobs(text) if status == 0 else text[-3000:]
        except ValueError as error:
            found[config.stem] = str(error)
    print(json.dumps(found))


def _dry_run(run, arguments: list[str], log: Path) -> None:
    """In the child: never returns."""
    status = 1
    try:
        with log.open("w", encoding="utf-8") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        sys.argv = ["snakemake", *arguments]
        run(arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1 - (ended.code is None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    split = sys.argv.index("--")
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:split]], sys.argv[split + 1 :])
