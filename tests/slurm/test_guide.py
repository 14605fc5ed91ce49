"""docs/clusters.md: every command in it is executed here, or says that it is not.

What the marks are is tested with those of the other pages (tests/workflow/test_documents.py).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.slurm.lab import SlurmLab
from tests.slurm.workflow_on_slurm import ONE_ITERATION
from tests.support.shared_data import ROOT

GUIDE = ROOT / "docs" / "clusters.md"
BLOCK = re.compile(r"^```sh\n# ✓\n(.*?)```", re.MULTILINE | re.DOTALL)
NEEDED = ("Snakefile", "workflow", "configs", "cluster_profiles", "profiles", "slurm", "allocation")


def executed() -> list[str]:
    """The lines of all blocks that are marked as executed."""
    found = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    return [line for commands in found for line in commands.splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_guides_commands_work(slurm: SlurmLab, tmp_path: Path):
    house = copy_of_the_repository(tmp_path / "house")
    own = str(Path(sys.executable).parent)
    env = slurm.env | {"PATH": os.pathsep.join([own, slurm.env["PATH"]]), "OMP_NUM_THREADS": "1"}
    assert len(executed()) > 15
    for line in executed():
        done = subprocess.run(
            ["bash", "-c", line], cwd=house, env=env, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def copy_of_the_repository(folder: Path) -> Path:
    """What a user has cloned, with a smaller model in place of the quickstart's."""
    folder.mkdir()
    for name in NEEDED:
        source = ROOT / name
        if source.is_symlink():
            (folder / name).symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            shutil.copy(source, folder / name)
    (folder / "cluster_profiles" / "slurm" / "site.yaml").unlink(missing_ok=True)
    small = ONE_ITERATION | {"run": "quickstart"}
    (folder / "configs" / "quickstart.yaml").write_text(yaml.safe_dump(small))
    return folder
