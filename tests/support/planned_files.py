"""A finished run's files against its plan."""

from pathlib import Path

from prime_core.planning.command import Options, find_shape, make_case
from prime_core.planning.disk import REPORT_FILES
from prime_core.planning.plan import plan
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import load_settings


def assert_files_as_planned(run_dir: Path) -> None:
    """Files to the number (those of the report nearly), and no more bytes of tables."""
    settings = load_settings(RunFiles(run_dir).config)
    found = plan(make_case(settings, None, find_shape(settings, None)[1], Options()))
    everything = [path for path in run_dir.rglob("*") if not path.is_dir()]
    report = [path for path in everything if path.relative_to(run_dir).parts[0] == "report"]
    assert len(everything) - len(report) == found.disk.num_files - REPORT_FILES
    assert abs(len(report) - REPORT_FILES) <= 10
    tables = sum(path.stat().st_size for path in run_dir.glob("iterations/**/*.parquet"))
    assert 0 < tables < found.disk.tables
