"""Dry runs of the real workflow, one after the other in one process that has imported it once.

`python -m tests.support.dry_runs FOLDER CONFIG... -- OVERRIDE...` prints one line of JSON: by file
name the number of jobs (the rule `all` is not counted), or the end of what Snakemake said.
"""

import json
import re
import sys
from pathlib import Path

from tests.support.shared_data import ROOT
from tests.support.snakemake_commands import import_once, run


def num_jobs(output: str) -> int:
    """Of the table that a dry run prints. Raises ValueError where there is none."""
    totals = re.findall(r"^total +(\d+)", output, flags=re.MULTILINE)
    if not totals:
        raise ValueError(output[-3000:])
    return int(totals[-1])


def main(folder: Path, configs: list[Path], overrides: list[str]) -> None:
    """All dry runs; results on standard output."""
    import_once()
    found: dict[str, int | str] = {}
    for config in configs:
        log = folder / f"{config.stem}.log"
        arguments = ["--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--directory"]
        arguments += [str(folder), "--configfile", str(config.resolve()), *overrides]
        status = run(Path(), arguments, log)
        text = log.read_text(encoding="utf-8")
        try:
            found[config.stem] = num_jobs(text) if status == 0 else text[-3000:]
        except ValueError as error:
            found[config.stem] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    split = sys.argv.index("--")
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:split]], sys.argv[split + 1 :])
