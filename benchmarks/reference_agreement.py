"""Print how closely our mathematics agrees with the published implementations' values.

From the project's root, with the folder `shared` beside it (or PRIME_SHARED naming it):

    python -m benchmarks.reference_agreement

A line an option: the setting that chooses it, the reference files that hold it (or its equation in
plain Python, tests.support.reference_options), and the largest difference of values and of
gradients, each relative to the largest value of its array. Every file of the folder `reference` is
compared or named: a file whose settings we cannot express, or that holds what we do not compute, is
counted with the reason, and the others are compared.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass, field

from tests.support.comparison import Comparison, NotExpressible
from tests.support.reference_checks import check, prefix_of
from tests.support.reference_options import EQUATION, OPTIONS, Option, equations, option_of
from tests.support.shared_data import SHARED

ROW = "{:<28} {:<41} {:<59} {:>7} {:>8} {:>8}"


@dataclass
class Line:
    """An option's comparisons; sources: file name -> prefix of its kind."""

    option: Option
    comparisons: list[Comparison] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """One line of the table."""
        kinds = [f"{kind}* ({n})" if n > 1 else f"{kind}*" for kind, n in self._kinds()]
        numbers = sum(one.ours.size for one in self.comparisons)
        gradients = [one for one in self.comparisons if one.what.endswith("gradient")]
        values = [one for one in self.comparisons if not one.what.endswith("gradient")]
        cells = ["; ".join(kinds) or EQUATION, numbers, _largest(values), _largest(gradients)]
        return ROW.format(self.option.name, self.option.key, *cells)

    def _kinds(self) -> list[tuple[str, int]]:
        kinds = list(self.sources.values())
        return [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)]


def _largest(comparisons: list[Comparison]) -> str:
    return f"{max(one.relative for one in comparisons):.1e}" if comparisons else "-"


def by_option(found: dict[str, dict[str, list[Comparison]]]) -> list[Line]:
    """The table's lines, in the order of OPTIONS, then what no option is named for."""
    lines = {one: Line(one) for one in OPTIONS}
    for prefix, files in found.items():
        for name, comparisons in files.items():
            for one in comparisons:
                option = option_of(prefix, one.what)
                line = lines.setdefault(option, Line(option))
                line.comparisons.append(one)
                line.sources[name] = prefix
    for one in equations():
        lines[option_of(EQUATION, one.what)].comparisons.append(one)
    return [line for line in lines.values() if line.comparisons]


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
    print(ROW.format("option", "key", "reference files", "numbers", "values", "gradient"))
    for line in by_option(found):
        print(line.text())
    num_compared = sum(map(len, found.values()))
    print(f"\n{num_compared} of {len(names)} files compared")
    for reason, left in others.items():
        print(f"{len(left)} not compared, {reason}: {', '.join(left)}")


if __name__ == "__main__":
    main()
