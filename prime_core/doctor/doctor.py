"""`prime doctor`: what a run needs, looked at on this machine, one line each.

In: the folder of results, whether to try a job's work on the GPUs. Out: lines or JSON, and the exit
status: 0 where everything needed is there, 1 where something is wrong. Nothing is changed.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from prime_core.doctor import hardware, places, software
from prime_core.doctor.finding import Finding, Probe, examine
from prime_core.doctor.job_check import job_findings
from prime_core.doctor.processes import ask, own_module
from prime_core.runtime.console import show

_NAME_WIDTH = 14
_NOT_A_TERMINAL = 5.0  # seconds after which a log is told what is waited for


def run(results: Path, gpu: bool, as_json: bool, on_cpu: bool = False) -> int:
    """Examine and print; returns the exit status. on_cpu: --gpu's work on the CPU, for tests."""
    progress = _Progress()
    found = []
    for finding in findings(results, gpu, on_cpu, progress.show):
        progress.clear()
        found.append(finding)
        if not as_json:
            show(line_of(finding))
    failed = [finding for finding in found if finding.fails]
    if as_json:
        whole = {
            "ok": not failed,
            "findings": [asdict(one) | {"fails": one.fails} for one in found],
        }
        print(json.dumps(whole, indent=1))
    else:
        show(summary(found))
    return 1 if failed else 0


def findings(
    results: Path, gpu: bool, on_cpu: bool, waiting: Callable[[str, float], object]
) -> Iterator[Finding]:
    """All lines in their order."""
    num_gpus = 0

    def look_at_hardware() -> list[Finding]:
        nonlocal num_gpus
        driver = hardware.ask_driver()
        answer = ask(own_module("trial", "torch"), software.IMPORT_SECONDS)
        num_gpus = len(answer.lines[0]["gpus"]) if answer.lines else 0
        return hardware.hardware_findings(answer, driver)

    heavy = software.IMPORT_SECONDS + 10
    yield from examine(
        [
            Probe("Python", software.python_finding),
            Probe("packages", software.packages_finding, 20.0),
            Probe("torch", look_at_hardware, heavy),
            Probe("vLLM", software.vllm_finding, heavy),
            Probe("DeepSpeed", software.deepspeed_finding, heavy),
            Probe("sandbox", software.sandbox_finding, 70.0),
            Probe("Slurm", software.slurm_finding, 40.0),
            Probe("HF cache", places.hub_cache_finding),
            Probe("results", lambda: places.results_finding(results)),
            Probe("disk", lambda: places.disk_finding(results)),
            Probe("/dev/shm", places.shared_memory_finding),
            Probe("TMPDIR", places.temporary_finding),
        ],
        waiting,
    )
    if gpu and not (num_gpus or on_cpu):
        detail = "this machine has no GPU that torch can use: nothing was tried on one"
        yield Finding("--gpu", "wrong", detail, hardware.IN_A_JOB)
    elif gpu:
        yield from job_findings(num_gpus, on_cpu, waiting)


def line_of(finding: Finding) -> str:
    """One line: state, name, what was found, what to do."""
    text = " ".join(finding.detail.split())
    todo = f" -> {finding.todo}" if finding.todo else ""
    # In capitals what keeps runs from working: the eye finds it in a log without colours.
    state = finding.state.upper() if finding.fails else finding.state
    return f"{state:<8}{finding.name:<{_NAME_WIDTH}}  {text}{todo}"


def summary(found: list[Finding]) -> str:
    """The last line."""
    failed = [finding.name for finding in found if finding.fails]
    absent = [one.name for one in found if one.state == "missing" and not one.fails]
    without = f"; not here, and not needed everywhere: {', '.join(absent)}" if absent else ""
    if not failed:
        return f"everything needed is there{without}"
    return f"to be put right: {', '.join(failed)}{without}"


class _Progress:
    """What is waited for: in place on a terminal, once a thing in a log."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown, self._told, self._longest = False, "", 0.0

    def show(self, name: str, left: float) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            text = f"... {name}: at most {left:.0f} s more"[:width]
            print(f"\r{text:<{width}}", end="", file=sys.stderr, flush=True)
            self._shown = True
            return
        if name not in (self._told, ""):
            self._told, self._longest = name, left
        elif self._longest - left > _NOT_A_TERMINAL:
            print(f"... {name}: at most {left:.0f} s more", file=sys.stderr, flush=True)
            self._longest = -1e9

    def clear(self) -> None:
        if self._shown:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{'':<{width}}\r", end="", file=sys.stderr, flush=True)
            self._shown = False
