"""Run `snakemake --lint` and fail on anything but the lints that this project declines.

Declined, with the reasons in docs/decisions.md: a conda environment or container for each rule
(all stages share one environment), and the run's folder as an argument of each command (stages
find their files by prime_core.layout, so that a person can paste the command).
"""

import re
import subprocess
import sys

DECLINED = (
    "Specify a conda environment or container for each rule.",
    "Shell command directly uses variable RESULTS from outside of the rule",
)


def main() -> int:
    """Print the lints that count; 1 if there are any, or if the linter did not run."""
    done = subprocess.run(
        ["snakemake", "--lint", "--config", "run=lint"], capture_output=True, text=True
    )
    text = done.stdout + done.stderr
    lints = re.findall(r"^    \* (.+?):?$", text, flags=re.MULTILINE)
    counted = [title for title in lints if not title.startswith(DECLINED)]
    if counted or not lints:
        print(text)
    print(f"snakemake --lint: {len(counted)} lints, {len(lints) - len(counted)} declined")
    return 1 if counted or not lints else 0


if __name__ == "__main__":
    sys.exit(main())
