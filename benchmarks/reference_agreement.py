"""Print how closely our mathematics agrees with the published implementations' values.

From the project's root, with the folder `shared` beside it (or PRIME_SHARED naming it):

    python -m benchmarks.reference_agreement
"""

import sys

from tests.support.reference_checks import CHECKS, check
from tests.support.shared_data import SHARED, reference_names

ROW = "{:<18} {:>6} {:>9} {:>11} {:>11}  {}"


def row(prefix: str, names: list[str]) -> str:
    """One line of the table: the worst comparison of all files of a prefix."""
    comparisons = [one for name in names for one in check(name)]
    num_numbers = sum(one.ours.size for one in comparisons)
    absolute = max(one.absolute for one in comparisons)
    worst = max(comparisons, key=lambda one: one.relative)
    return ROW.format(
        prefix + "*",
        len(names),
        num_numbers,
        f"{absolute:.1e}",
        f"{worst.relative:.1e}",
        worst.what,
    )


def main() -> None:
    """Print the table; exit with a message where there is nothing to compare with."""
    if not (SHARED / "reference" / "index.json").exists():
        sys.exit(f"{SHARED}/reference/index.json is missing: place the shared folder there")
    print(
        ROW.format("files", "number", "compared", "largest", "relative", "worst in relative terms")
    )
    for prefix in CHECKS:
        # A longer prefix has its own row: orig_ce_logits_ is not among orig_ce_.
        longer = [other for other in CHECKS if other != prefix and other.startswith(prefix)]
        names = [n for n in reference_names(prefix) if not n.startswith(tuple(longer))]
        print(row(prefix, names))


if __name__ == "__main__":
    main()
