"""A run whose sampler and trainers stay in memory, for all of it, for a part, or until a kill."""

import re
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.support.warm import SERVER
from tests.support.workflow_runs import TINY, command, digests, environment, run_well

pytestmark = pytest.mark.slow
KEPT = "continuing in the engine that wrote it"
RUN = Path("results/tiny")


def settings(resident: str, iterations: int = 4):
    return TINY | {"resident": resident, "iterations": iterations}


def log(folder: Path, iteration: int, stage: str) -> str:
    return (folder / RUN / f"logs/iterations/{iteration:04d}/{stage}.log").read_text()


def workers() -> list[psutil.Process]:
    """Processes that keep engines for this one's runs, as their server's log has them."""
    servers = [p for p in psutil.Process().children() if SERVER in p.cmdline()]
    found = []
    for server in servers:
        said = Path(f"/proc/{server.pid}/fd/2").read_text()
        numbers = {
            int(number) for number in re.findall(r"^process (\d+) keeps", said, re.MULTILINE)
        }
        found += [child for child in server.children() if child.pid in numbers]
    return found


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """What the run gives without engines."""
    folder = tmp_path_factory.mktemp("usual")
    run_well(folder, "--cores", "2", settings=settings("fork"))
    return digests(folder / RUN)


def test_a_run_with_engines_for_some_of_its_iterations_is_the_run_without(usual, tmp_path):
    for resident, iterations in (("engines", 2), ("fork", 3), ("engines", 4)):
        run_well(tmp_path, "--cores", "2", settings=settings(resident, iterations))
    # The last iteration of each launch is evaluated, too.
    assert usual.items() <= digests(tmp_path / RUN).items()
    for stage in ("policy", "prm"):
        kept = [KEPT in log(tmp_path, iteration, stage) for iteration in (1, 2, 3, 4)]
        assert kept == [False, True, False, False]


def test_workers_may_be_killed_at_any_time(usual, tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--cores", "2", settings=settings("engines")),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = 0
    # At whatever a stage is then: some work, some wait.
    for moment in ("1/rollouts/00.parquet", "1/metrics/prm.json", "2/batch.parquet"):
        path = tmp_path / RUN / "iterations" / f"000{moment}"
        while not path.exists() and process.poll() is None:
            time.sleep(0.02)
        for worker in workers():
            worker.kill()
            killed += 1
    assert killed > 3
    assert process.wait(300) == 0, process.communicate()[1][-3000:]
    assert digests(tmp_path / RUN) == usual
