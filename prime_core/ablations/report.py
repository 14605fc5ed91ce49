"""Stage `ablations_report`: all runs of the ablations compared, finished or not.

In: ablations.yaml, and of each run its evaluations, figures of selection and settings.
Out: report/report.html, comparisons.csv, curves.csv, curves.svg, differences.svg. The page is
written last: where it exists, the rest does too.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prime_core.ablations.figures import curves_svg, differences_svg
from prime_core.ablations.page import render_page, summary
from prime_core.ablations.plan import dump_ablations
from prime_core.ablations.results import collect, comparison_table
from prime_core.run.atomic import atomic_path, write_text
from prime_core.runtime.console import progress_bar, say
from prime_core.runtime.locks import only_one


def run(root: Path, settings_copy: Path | None) -> None:
    """Write the report of the ablations in this folder."""
    page = root / "report" / "report.html"
    with only_one(page, root):
        results = collect(root)
        _write_csv(page.with_name("comparisons.csv"), comparison_table(results))
        _write_csv(page.with_name("curves.csv"), results.curves)
        svgs = {}
        drawings = {"curves": curves_svg, "differences": differences_svg}
        with progress_bar(len(drawings), "figure", "report") as bar:
            for name, draw in drawings.items():
                svgs[name] = draw(results)
                write_text(page.with_name(f"{name}.svg"), svgs[name])
                bar.update()
        if settings_copy is not None:
            # Its name holds a digest of the settings, so that Snakemake, which compares times
            # alone, renews the report when they change (docs/decisions.md#finished-by-digest); one
            # copy stays.
            for older in settings_copy.parent.glob("ablations-*.yaml"):
                older.unlink()
            write_text(settings_copy, dump_ablations(results.ablations))
        write_text(page, render_page(results, svgs))
    say(f"{results.num_finished} of {results.num_runs} runs finished. {summary(results)} {page}")


def _write_csv(path: Path, rows: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        rows.to_csv(temporary, index=False)
