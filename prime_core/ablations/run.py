"""`prime ablation`: one run of the ablations, from the beginning or from where it stopped.

In: the run's settings file, and Snakemake's options. Out: the finished run, and beside its report a
small file that says so. What Snakemake prints goes to standard error, the rule's log.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from prime_core.runtime.console import say
from prime_core.runtime.interruption import handled
from prime_core.runtime.run_lock import find_holder
from prime_core.runtime.text import duration
from prime_core.settings.reading import load_settings
from prime_core.settings.run import Settings

SECONDS_BETWEEN_LOOKS = 2.0


class RunFailed(ValueError):
    """A run of the ablations did not finish."""


def run(settings_file: Path, out: Path, options: Sequence[str]) -> None:
    """Run it to completion and write `out`.

    Raises RunFailed when it failed or was asked to stop; the same command resumes it.
    """
    settings = load_settings(settings_file)
    files = RunFiles(settings.run_dir)
    wait_for_holder(files)
    say(f"{settings.run} begins")
    begun = time.time()
    stopped, status = follow(
        [sys.executable, "-m", "snakemake", "--configfile", str(settings_file), *options]
    )
    if status:
        what = "was stopped" if stopped else f"ended with status {status}"
        raise RunFailed(f"{settings.run} {what}; `snakemake ablations` resumes it")
    seconds = time.time() - begun
    # A run has one set of settings at a time: an older marker would say, once they are changed
    # back, that it has finished with those. Killed before the next line, it is merely resumed.
    for older in out.parent.glob("ablation-*.json"):
        older.unlink()
    write_json(out, {"run": settings.run, "seconds": round(seconds, 1), "finished": time.time()})
    figures, others = outcome(settings, files), left(files.root.parent)
    say(f"{settings.run}: {figures}in {duration(seconds)}; {others}")


def wait_for_holder(files: RunFiles) -> None:
    """Wait while an earlier launch, whose controller was killed, is still running it."""
    said = False
    while (holder := find_holder(files.root)) is not None:
        if not said:
            say(f"{files.root.name} still runs from an earlier launch ({holder}); waiting for it")
            said = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def follow(command: Sequence[str]) -> tuple[bool, int]:
    """Run Snakemake to completion; whether it was asked to stop, and its exit status.

    Ctrl-C reaches it directly, like all that a terminal started; this process only waits for its
    end. SIGTERM is forwarded: Snakemake then ends after its running stages.
    """
    came: set[int] = set()
    # Only handled, not ignored: exec resets handled signals, so the child reacts as usual.
    with handled(lambda number, _: came.add(number), signal.SIGINT, signal.SIGTERM):
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())
        forwarded = False
        # Not wait(), which goes on once a handler has returned: nothing would forward the signal.
        while child.poll() is None:
            if signal.SIGTERM in came and not forwarded:
                os.kill(child.pid, signal.SIGTERM)
                forwarded = True
            time.sleep(0.2)
    return bool(came), child.returncode


def outcome(settings: Settings, files: RunFiles) -> str:
    """The last evaluations in one line; '' where there are none."""
    words = []
    for benchmark in settings.evaluation.benchmarks:
        path = files.evaluation(settings.iterations, benchmark)
        if path.exists():
            words.append(f"{benchmark} {100 * read_json(path)['accuracy']:.1f} %")
    return f"{', '.join(words)}, " if words else ""


def left(root: Path) -> str:
    """How many runs have finished, and how long the others will take at this launch's pace."""
    total = len(list((root / "settings").glob("*.yaml")))
    finished = [path.stat().st_mtime for path in root.glob("*/ablation-*.json")]
    text = f"{len(finished)} of {total} runs finished"
    # Workflow.begin writes it at every launch; runs that earlier ones finished say nothing of pace.
    begun = (root / "ablations.yaml").stat().st_mtime
    lately = sum(when > begun for when in finished)
    if lately == 0 or len(finished) >= total:
        return text
    seconds = (time.time() - begun) / lately * (total - len(finished))
    return f"{text}, about {duration(seconds)} left"
