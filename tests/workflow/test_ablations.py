"""The workflow of many runs: their order, what is not run again, and how a run is stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from prime_core.ablations.run import follow, wait_for_holder
from prime_core.run.layout import RunFiles
from tests.support.made_up_ablations import SETTINGS
from tests.support.shared_data import ROOT
from tests.support.warm import warm, warm_environment

# In place of the stages: each command writes down what it was called for, and makes its outputs.
COMMAND = """\
#!{python}
import pathlib, sys
words = sys.argv[1:]
given = dict(zip(words, words[1:]))
if words[0] == "ablations-report":
    folder = pathlib.Path(given["--results"], "report")
    made = [folder / name for name in
            ("report.html", "comparisons.csv", "curves.csv", "curves.svg", "differences.svg")]
    made.append(pathlib.Path(given["--settings"]))
else:
    made = [pathlib.Path(given["--out"])]
name = pathlib.Path(words[1]).stem if words[0] == "ablation" else words[0]
with open("order.txt", "a") as order:
    order.write(name + "\\n")
if name == pathlib.Path("fails.txt").read_text().strip():
    sys.exit(1)
for path in made:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{{}}")
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with settings of ablations, and a command `prime` that only says what it is for."""
    command = tmp_path / "commands" / "prime"
    command.parent.mkdir()
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    (tmp_path / "fails.txt").write_text("")
    (tmp_path / "base.yaml").write_text("evaluation: {every: 2}\n")
    return tmp_path


def start(folder: Path, *words: str, **changes) -> tuple[int, list[str], str]:
    """One start: its status, the commands that it ran, in their order, and what it said."""
    order = folder / "order.txt"
    order.write_text("")
    place = {"results": "results", "base": str(folder / "base.yaml")}
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS | place | changes))
    paths = [str(folder / "commands"), str(Path(sys.executable).parent), os.environ["PATH"]]
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--configfile", str(folder / "settings.yaml")),
        *("--workflow-profile", str(ROOT / "profiles" / "default"), "--cores", "1"),
        *words,
        *("--", "ablations"),
    ]
    done = subprocess.run(
        warm(command),
        env=warm_environment() | {"PATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, order.read_text().split(), done.stdout + done.stderr


@pytest.mark.slow
def test_runs_wait_for_what_they_need_and_finished_ones_are_not_started_again(folder):
    status, order, said = start(folder, "--dry-run")
    assert status == 0, said
    assert order == []
    assert "8 of 8 runs to do" in said
    assert not (folder / "results").exists()

    status, order, said = start(folder)
    assert status == 0, said
    assert len(order) == 8 + 2 + 1  # runs, two files of responses, the report
    for seed in (0, 3):
        assert order.index(f"base-seed{seed}") < order.index(f"one-seed{seed}")
        assert order.index(f"one-seed{seed}") < order.index(f"taught-seed{seed}")
    assert order.index("labelled") < order.index("taught-seed0")
    assert order[-1] == "ablations-report"

    assert start(folder)[1] == []

    variants = SETTINGS["variants"] | {"other": {"title": "Other", "settings": {"prm.beta": 0.2}}}
    status, order, said = start(folder, variants=variants)
    assert status == 0, said
    assert sorted(order) == ["ablations-report", "other-seed0", "other-seed3"]


@pytest.mark.slow
def test_after_a_run_failed_the_same_command_goes_on_with_it(folder):
    (folder / "fails.txt").write_text("other-seed0")
    status, order, said = start(folder, "--keep-going")
    assert status != 0
    assert "ablations-report" not in order
    (folder / "fails.txt").write_text("")
    status, order, said = start(folder)
    assert status == 0, said
    assert order == ["other-seed0", "ablations-report"]


@pytest.mark.slow
def test_other_targets_and_wrong_settings_end_in_one_sentence(folder):
    said = start(folder, seeds=[1, 1])[2]
    assert "ablations: seeds [1, 1]: each may occur only once" in said
    assert "Traceback" not in said


PATIENT = """\
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", flush=True)
time.sleep(30)
"""


def test_a_run_is_followed_to_its_end():
    assert follow([sys.executable, "-c", "raise SystemExit(4)"]) == (False, 4)


def test_sigterm_is_handed_on_to_the_runs_snakemake(capfd):
    def tell():
        while "ready" not in capfd.readouterr().err:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=tell).start()
    assert follow([sys.executable, "-c", PATIENT]) == (True, 3)


def test_at_ctrl_c_a_run_is_waited_for_since_it_has_got_the_signal_itself():
    """Its Snakemake ends its stages, cleans up, and only then has it ended."""
    program = (
        "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.5); exit(1)"
    )
    assert follow([sys.executable, "-c", program]) == (True, 1)


def test_a_run_that_an_earlier_start_left_at_work_is_waited_for(tmp_path, capfd):
    program = (
        "import pathlib, sys, time\n"
        "from prime_core.runtime.run_lock import RunLock\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "lock = RunLock(root)\n"
        "lock.take()\n"
        "(root / 'held').touch()\n"
        "time.sleep(1)\n"
        "(root / 'done').touch()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    while not (tmp_path / "held").exists():
        time.sleep(0.05)
    wait_for_holder(RunFiles(tmp_path))
    assert (tmp_path / "done").exists()
    child.wait()
    assert f"still runs from an earlier launch (process {child.pid}" in capfd.readouterr().out
