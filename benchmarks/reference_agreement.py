"""Print how closely our mathematics agrees with the published implementations' values.

From the project's root, with the folder `shared` beside it (or PRIME_SHARED naming it):

    python -m benchmarks.reference_agreement

Every file of its folder `reference` is compared or named: a file whose settings we cannot express,
or that holds what we do not compute, is counted with the reason, and the others are compared.
"""

import sys
from collections import defaultdict

from tests.support.comparison import Comparison, NotExpressible
from tests.support.reference_checks import check, prefix_of
from tests.support.shared_data import SHARED

ROW = "{:<18} {:>6} {:>9} {:>11} {:>11}  {}"


def row(prefix: str, files: dict[str, list[Comparison]]) -> str:
    """One line of the table: the worst comparison of all files of a prefix."""
    comparisons = [one for found in files.values() for one in found]
    num_numbers = sum(one.ours.size for one in comparisons)
    absolute = max(one.absolute for one in comparisons)
    worst = max(comparisons, key=lambda one: one.relative)
    return ROW.format(
        prefix + "*",
        len(files),
        num_numbers,
        f"{absolute:.1e}",
        f"{worst.relative:.1e}",
        worst.what,
    )


def compared(
    names: list[str],
) -> tuple[dict[str, dict[str, list[Comparison]]], dict[str, list[str]]]:
    """Comparisons by prefix and file; files that are not compared, by the reason."""
    found: dict[str, dict[str, list[Comparison]]] = defaultdict(dict)
    others: dict[str, list[str]] = defaultdict(list)
    for name in names:
        try:
            found[prefix_of(name)][name] = check(name)
        except NotExpressible as error:
            others[str(error)].append(name)
        # A file that somebody else made may lack anything; the others are compared all the same.
        except Exception as error:
            others[f"{type(error).__name__}: {error}"].append(name)
    return found, others


def main() -> None:
    """Print the table; exit with a message where there is nothing to compare with."""
    if not (SHARED / "reference" / "index.json").exists():
        sys.exit(f"{SHARED}/reference/index.json is missing: place the shared folder there")
    names = sorted(path.stem for path in (SHARED / "reference").glob("*.npz"))
    found, others = compared(names)
    print(
        ROW.format("files", "number", "compared", "largest", "relative", "worst in relative terms")
    )
    for prefix, files in found.items():
        if files:
            print(row(prefix, files))
    num_compared = sum(map(len, found.values()))
    print(f"\n{num_compared} of {len(names)} files compared")
    for reason, left in others.items():
        print(f"{len(left)} not compared, {reason}: {', '.join(left)}")


if __name__ == "__main__":
    main()
