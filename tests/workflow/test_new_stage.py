"""A stage that trains, added as prime_core/run/stages.py says, is found wherever stages are."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.recipes import PackageCopy
from tests.support.shared_data import ROOT

SETTINGS = '''"""Settings of a second opinion (`shadow`)."""

from __future__ import annotations

from pydantic import Field

from prime_core.settings.section import Section


class Shadow(Section):
    """A model that is trained beside the policy."""

    epochs: int = Field(1, ge=1)
    mini_batch_size: int = Field(64, ge=1)
    micro_batch_size: int = Field(8, ge=1)
'''
STAGE = '''"""Stage `shadow`: a model beside the policy."""

from pathlib import Path


def run(run_dir: Path, iteration: int) -> None:
    """Train it."""
'''
COMMAND = '''@click.command()
@RUN
@ITERATION
def shadow(run_dir: Path, iteration: int) -> None:
    """Update the shadow on the batch."""
    stage("shadow").run(run_dir, iteration)


'''
ROW = '    "shadow": _training("iteration", trains="shadow", section="shadow", like="prm"),\n'
IMPORT = "from prime_core.settings.shadow import Shadow\n"
SECTION = "    shadow: Shadow = Field(default_factory=Shadow)\n"


@pytest.fixture
def repository(tmp_path: Path) -> PackageCopy:
    """A copy of what a run needs, with the stage."""
    copy = PackageCopy(tmp_path / "copy")
    shutil.copy(ROOT / "Snakefile", copy.folder)
    for part in ("configs", "cluster_profiles", "profiles"):
        shutil.copytree(ROOT / part, copy.folder / part, symlinks=True)
    stages, run = "prime_core/run/stages.py", "prime_core/settings/run.py"
    copy.insert(stages, r"^STAGES = \{\n(?:    .*\n)*?(?=    \"policy\")", ROW)
    copy.insert(stages, r'trains: Literal\["", ', '"shadow", ')
    (copy.folder / "prime_core/settings/shadow.py").write_text(SETTINGS)
    copy.insert(run, r"^from prime_core\.settings\.section import.*\n", IMPORT)
    copy.insert(run, r"^    value: Value = .*\n", SECTION)
    copy.insert(run, r'^        return \("policy", \*prm, ', '"shadow", ')
    (copy.folder / "prime_core/stages/shadow.py").write_text(STAGE)
    commands = "prime_core/cli/stages.py"
    copy.insert(commands, r"^(?=COMMANDS = )", COMMAND)
    copy.insert(commands, r"^COMMANDS = \(\n", "    shadow,\n")
    rules = copy.folder / "workflow/rules/learning.smk"
    rules.write_text(rules.read_text() + rules_of_shadow(rules.read_text()))
    schema = copy.folder / "workflow/schemas/settings.schema.json"
    schema.write_text(copy.prime("schema"))
    return copy


def rules_of_shadow(text: str) -> str:
    """The policy's two rules, as another model's."""
    rules = text[text.index("rule policy:") :]
    rules = re.sub(r"\bpolicy\b(?!=previous_policy)", "shadow", rules)
    return "\n\n" + rules.replace("kept_policy", "kept_shadow").replace(
        "TARGETS.frozen_policy", "[]"
    )


def test_a_stage_added_by_its_recipe_is_planned_run_and_found(repository):
    snakemake = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules"]
    done = subprocess.run(
        [*snakemake, "--config", "iterations=3"],
        cwd=repository.folder,
        env=os.environ | {"PYTHONPATH": str(repository.folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+) ", done.stdout, flags=re.MULTILINE))
    assert int(counts["shadow"]) == 3
    planned = json.loads(repository.prime("plan", "--json"))["stages"]
    assert planned["shadow"]["jobs"] == planned["policy"]["jobs"]
    compute = {name: plan["seconds"]["compute"] for name, plan in planned.items()}
    assert 0 < compute["shadow"] < compute["policy"]  # which takes old_logprobs, too
    assert "Update the shadow on the batch." in repository.prime("shadow", "--help")
    assert "shadow" not in (repository.folder / "cluster_profiles/stages.yaml").read_text()
