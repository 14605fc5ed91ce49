"""What a command uses is counted with everything that it starts, also what outlives it."""

import json
import subprocess
import sys

from tests.support.shared_data import ROOT

BURN = "import time\nwhile time.process_time() < 0.5: pass"
# The command ends at once and leaves a child in a session of its own behind.
LEAVING = (
    "import subprocess, sys; "
    f"subprocess.Popen([sys.executable, '-c', {BURN!r}], start_new_session=True)"
)
WATCHING = """
import json, sys
from pathlib import Path
from benchmarks.peers.watching import watch
found = watch([sys.executable, "-c", sys.argv[1]], {}, Path(), Path(sys.argv[2]))
print(json.dumps([found.wall_s, found.cpu_s, found.peak_mb]))
"""


def watched(code: str, log) -> subprocess.CompletedProcess:
    # In a process of its own, which becomes the parent of all orphans below it.
    command = [sys.executable, "-c", WATCHING, code, str(log)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_processor_seconds_of_what_outlives_the_command_count(tmp_path):
    wall, cpu, _ = json.loads(watched(LEAVING, tmp_path / "log").stdout)
    assert wall > 0
    assert 0.5 <= cpu < 5


def test_a_command_that_fails_is_an_error_that_names_its_log(tmp_path):
    ended = watched("print('why'); raise SystemExit(3)", tmp_path / "log")
    assert ended.returncode == 1
    assert f"failed: {tmp_path / 'log'}" in ended.stderr
    assert (tmp_path / "log").read_text() == "why\n"
