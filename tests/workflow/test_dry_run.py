"""What a dry run says: a table of the jobs as Snakemake has them, once, and nothing else."""

import re
from pathlib import Path

import pytest
import yaml

from tests.support.shared_data import ROOT
from tests.support.snakemake_commands import outputs
from tests.support.workflow_runs import TINY

SITE = {
    "cpu": {"partition": "cpu", "account": "lab", "max_mem_mb": 5000},
    "gpu": {"partition": "gpu", "account": "lab", "gpus_per_node": 4, "gpu_model": "a100"},
}
# Two nodes of two ranks each; everything else as committed.
POLICY = {"pool": "gpu", "nodes": 2, "gpus_per_node": 2, "cpus_per_task": 3}
POLICY |= {"mem_mb": 9000, "runtime": 90}
NAMES = (
    *("plain", "noted", "changed", "quiet", "slurm", "local", "until", "ablations", "unknown"),
    "reasons",
)


@pytest.fixture(scope="module")
def dry(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Exit status and output of some dry runs, by name."""
    folder: Path = tmp_path_factory.mktemp("dry")
    (folder / "site.yaml").write_text(yaml.safe_dump(SITE))
    stages = yaml.safe_load((ROOT / "cluster_profiles" / "stages.yaml").read_text())
    (folder / "stages.yaml").write_text(yaml.safe_dump(stages | {"policy": POLICY}))
    settings = TINY | {"stage_resources": str(folder / "stages.yaml")}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    tiny = ["-n", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "settings.yaml"]
    slurm = ["--profile", str(ROOT / "slurm")]
    commands = (
        tiny,
        [*tiny, "--config", "policy={adv_estimator: dr_grpo}"],
        [*tiny, "--config", "iterations=4", "--set-resources", "policy:mem_mb=64000"],
        [*tiny, "--quiet", "rules"],
        [*tiny, *slurm],
        [*tiny, "--profile", str(ROOT / "allocation")],
        [*tiny, "--until", "sft"],
        ["-n", "--snakefile", str(ROOT / "Snakefile"), "ablations"],
        [*tiny, "--set-resources", "polcy:mem_mb=1"],
        [*tiny, "--quiet", "rules", "progress", "host"],
    )
    found = outputs([(folder, command) for command in commands], PRIME_SITE=f"{folder}/site.yaml")
    return dict(zip(NAMES, found, strict=True))


def rows(text: str) -> list[list[str]]:
    """The lines of the table as words."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("stage "))
    last = next(number for number, line in enumerate(lines) if line.startswith("total "))
    return [re.split(r"  +", line.strip()) for line in lines[first : last + 1]]


def test_a_dry_run_says_which_settings_cancel_each_other(dry):
    (status, text), (_, plain) = dry["noted"], dry["plain"]
    assert status == 0
    note = next(line for line in text.splitlines() if "dr_grpo as published" in line)
    assert text.replace(f"{note}\n", "") == plain


def test_a_dry_run_is_its_table_and_a_line_of_hours(dry):
    status, text = dry["plain"]
    assert status == 0
    assert rows(text) == [
        ["stage", "jobs", "GPUs", "processors", "memory", "minutes"],
        ["build", "1", "-", "1", "8 GB", "30"],
        ["prepare", "1", "-", "1", "8 GB", "60"],
        ["sft", "1", "1", "2", "8 GB", "120"],
        ["sample", "4", "1", "2", "8 GB", "60"],
        ["verify", "4", "-", "4", "6 GB", "60"],
        ["select", "2", "-", "1", "4 GB", "30"],
        ["score", "2", "1", "2", "8 GB", "60"],
        ["prm", "2", "1", "2", "8 GB", "60"],
        ["policy", "2", "2 x 2", "2 x 6", "2 x 9 GB", "90"],
        ["evaluate", "2", "1", "2", "8 GB", "60"],
        ["report", "1", "-", "1", "4 GB", "30"],
        ["total", "22"],
    ]
    # 2 h of sft, 4 of sample, 2 each of score, prm and evaluate on a GPU, 2 x 1.5 on four
    assert "At most 24 GPU-hours and 79 processor-hours: minutes are the jobs' limits" in text
    assert text.count("total ") == text.count("At most") == text.count("dry-run") == 1
    assert "Reasons" not in text
    assert "Job stats" not in text
    assert len(text.splitlines()) < 20


def test_settings_and_set_resources_show_in_the_table(dry):
    table = {row[0]: row for row in rows(dry["changed"][1])}
    assert table["sample"][1] == "8"
    # Of the stage: also for the rule whose weights are kept, which bears another name.
    assert table["policy"] == ["policy", "4", "2 x 2", "2 x 6", "2 x 64 GB", "90"]


def test_on_slurm_each_row_says_where_its_jobs_go(dry):
    status, text = dry["slurm"]
    assert status == 0
    table = {row[0]: row for row in rows(text)}
    assert table["stage"][2:4] == ["partition", "account"]
    assert table["verify"] == ["verify", "4", "cpu", "lab", "-", "4", "5 GB", "60"]
    assert table["sample"] == ["sample", "4", "gpu", "lab", "1", "2", "8 GB", "60"]


@pytest.mark.parametrize("name", ["quiet", "local", "until", "ablations", "reasons"])
def test_every_dry_run_ends_with_one_table(dry, name):
    status, text = dry[name]
    assert status == 0
    assert len(re.findall("^total ", text, flags=re.MULTILINE)) == 1
    assert "Job stats" not in text
    # Whoever takes `reason` out of Snakemake's quiet list wants to see them.
    assert ("Reasons:" in text) == (name in ("quiet", "reasons"))


def test_only_what_was_asked_for_is_counted(dry):
    assert [row[0] for row in rows(dry["until"][1])] == [
        "stage",
        "build",
        "prepare",
        "sft",
        "total",
    ]
    table = {row[0]: row[1] for row in rows(dry["ablations"][1])}
    assert table["ablations_report"] == "1"
    assert int(table["ablation"]) + 1 <= int(table["total"])


def test_resources_of_a_stage_that_does_not_exist_are_refused(dry):
    status, text = dry["unknown"]
    assert status == 1
    assert "--set-resources polcy: no such stage; expected one of build, prepare, sft" in text
    assert "Traceback" not in text
