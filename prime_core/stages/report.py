"""Stage `report`: one page, tables, plots and TensorBoard events of a run, finished or not.

In: all metrics, evaluations, benchmarks, Slurm's account, of three iterations the batch and its
rewards, of some the batch's texts.
Out: report/report.html, metrics.csv, evaluations.csv, stages.csv, cost.csv, reproduction.csv,
differing_settings.csv, plots/*.svg, tensorboard/. The page is written last: where it exists, the
rest does too. Then ro-crate.zip, which packs it all; while the run goes it is left out.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prime_core.report.crate.crate import write_crate
from prime_core.report.drawing.plots import EMPTY
from prime_core.report.figures import FIGURES, figure_svg
from prime_core.report.page import render_page
from prime_core.report.reproduction.comparison import compare, reproduction_table
from prime_core.report.reproduction.page import PaperSettings, reproduction_section
from prime_core.report.reproduction.paper_settings import (
    differences_table,
    paper_config,
    paper_differences,
)
from prime_core.report.samples import samples
from prime_core.report.tables.collect import RunTables, collect
from prime_core.report.tables.missing import missing_parts
from prime_core.report.tensorboard import write_events
from prime_core.report.tokens import example_pairs
from prime_core.run.atomic import atomic_folder, atomic_path, write_text
from prime_core.run.layout import RunFiles
from prime_core.run.tables import TableError
from prime_core.runtime.console import progress_bar, say
from prime_core.runtime.locks import only_one
from prime_core.settings.reading import load_yaml


def run(run_dir: Path, record: bool = True) -> None:
    """Write the report of the run in this folder, then its record."""
    files = RunFiles(run_dir)
    page = files.report
    if not files.config.exists():
        raise TableError(f"{files.config}: no such file; expected the folder of a run")
    with only_one(page, run_dir):
        tables = collect(run_dir)
        _write_csv(page.with_name("metrics.csv"), tables.iterations)
        _write_csv(page.with_name("evaluations.csv"), tables.evaluations)
        _write_csv(page.with_name("stages.csv"), tables.stages)
        _write_csv(page.with_name("cost.csv"), tables.cost.table)
        svgs = {}
        with progress_bar(len(FIGURES), "figure", "report") as bar:
            for figure in FIGURES:
                svgs[figure.name] = figure_svg(figure, tables)
                bar.update()
        with atomic_folder(page.with_name("plots")) as folder:
            for name, svg in svgs.items():
                # The page shows that there is nothing yet; a file of it would pass for a result.
                if EMPTY not in svg:
                    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        with atomic_folder(page.with_name("tensorboard")) as folder:
            write_events(folder, tables, samples(run_dir))
        missing = missing_parts(tables, run_dir)
        section = reproduction_section(tables, _paper_settings(tables, files))
        _write_csv(page.with_name("reproduction.csv"), reproduction_table(section.found))
        settings_table = differences_table(section.settings.differences)
        _write_csv(page.with_name("differing_settings.csv"), settings_table)
        write_text(page, render_page(tables, svgs, example_pairs(run_dir), missing, section))
        if record:
            write_crate(tables, files, missing)
    say(
        f"report: {tables.num_done} iterations, {len(tables.evaluations)} evaluations, "
        f"{len(missing)} parts missing: {page}"
    )


def _paper_settings(tables: RunTables, files: RunFiles) -> PaperSettings:
    config = paper_config(compare(tables).row)
    if config is None:
        return PaperSettings("", [])
    return PaperSettings(config.name, paper_differences(load_yaml(files.config), config))


def _write_csv(path: Path, rows: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        rows.to_csv(temporary, index=False)
