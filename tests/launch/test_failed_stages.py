"""What a workflow on one machine shows of a stage that failed, through Snakemake itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shared_data import ROOT

SNAKEFILE = """
import logging
from prime_core.launch.failed_stages import FailedStages

LOGGER = logging.getLogger("snakemake.logging")
LOGGER.addFilter(FailedStages(workflow, LOGGER))

rule kept_policy:
    output: "weights"
    log: "policy.log"
    shell: "( {command} ) 2> {{log}}"
"""
KILLED = "for i in $(seq 20); do echo step $i >&2; done; kill -9 $$"
STOPPED = "echo 'sft: stopped at step 156 of 6000; the next start resumes there' >&2; exit 75"
SAID = "echo working >&2; echo 'prime policy: error: no room' | tee /dev/stderr; exit 1"


def output(folder: Path, command: str) -> str:
    (folder / "Snakefile").write_text(SNAKEFILE.format(command=command))
    words = ["--cores", "1", "--quiet", "rules", "host", "reason", "progress"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize(("command", "shown"), [(KILLED, True), (SAID, False), (STOPPED, False)])
def test_the_end_of_its_log_is_shown_unless_the_stage_has_said_its_error(command, shown, tmp_path):
    said = output(tmp_path, command)
    assert ("policy failed.\nThe end of policy.log:\n" in said) == shown, said
    assert said.count("  step 20\n") == shown
    assert "step 10\n" not in said
