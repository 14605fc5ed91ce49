"""`results` names a folder, whatever letters it has: no shell and no wildcard sees them."""

import re

import pytest

from prime_core.settings.reading import SettingsError, parse_settings
from tests.support.shared_data import ROOT
from tests.support.workflow_runs import TINY, run_well

RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
HOSTILE = "it's my $(touch made) `touch made` ; touch made #"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_paths_in_commands_are_quoted(path):
    for command in re.findall(r'shell:\n((?: +".*"\n)+)', path.read_text(encoding="utf-8")):
        fields = re.findall(r"\{(RESULTS|log|input|output)([^}]*)\}", command)
        assert [field for field in fields if not field[1].endswith(":q")] == [], command


@pytest.mark.parametrize("name", ["r{output}", "a\nb", "a\x1b[31m", "", "-rf"])
def test_names_that_rules_or_terminals_would_read_are_refused(name):
    with pytest.raises(SettingsError, match="results: expected the path of a folder"):
        parse_settings({"results": name}, "test")


@pytest.mark.slow
def test_a_run_in_a_folder_with_blanks_and_what_a_shell_would_execute(tmp_path):
    run_well(tmp_path, "--until", "prepare", settings=TINY | {"results": HOSTILE})
    assert (tmp_path / HOSTILE / "tiny" / "data" / "train.parquet").exists()
    assert (tmp_path / HOSTILE / "tiny" / "logs" / "prepare.log").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {HOSTILE, "settings.yaml", ".snakemake"}
