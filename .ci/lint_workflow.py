"""Run `snakemake --lint` and fail on anything but the lints that this project declines.

Declined, with the reasons in docs/decisions.md: a conda environment or container for each rule
(all stages share one environment), and the run's folder as an argument of each command (stages
find their files by prime_core.run.layout, so that a person can paste the command).
"""

import re
import subprocess
import sys

DECLINED = (
    "Specify a conda environment or container for each rule.",
    "Shell command directly uses variable RESULTS from outside of the rule",
)


# A run, and the workflow of many runs.
WORKFLOWS = (["--config", "run=lint"], ["--config", "results=results/lint", "--", "ablations"])


def main() -> int:
    """1 if there are lints that count in any workflow, or if the linter did not run."""
    return max([lint(arguments) for arguments in WORKFLOWS])


def lint(arguments: list[str]) -> int:
    """Print the lints of one workflow that count; 1 if there are any."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint", *arguments], capture_output=True, text=True
    )
    text = done.stdout + done.stderr
    lints = re.findall(r"^    \* (.+?):?$", text, flags=re.MULTILINE)
    counted = [title for title in lints if not title.startswith(DECLINED)]
    if counted or not lints:
        print(text)
    declined = len(lints) - len(counted)
    print(f"snakemake --lint {' '.join(arguments)}: {len(counted)} lints, {declined} declined")
    return 1 if counted or not lints else 0


if __name__ == "__main__":
    sys.exit(main())
