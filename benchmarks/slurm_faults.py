"""Faults at random moments of a run on a real Slurm: does it end with the same bits, redoing what?

    python -m benchmarks.slurm_faults                     # 20 trials, each kind of fault in turn
    python -m benchmarks.slurm_faults --kinds scancel,requeue --trials 4

Each trial runs a small model through one iteration as Slurm jobs (`--profile slurm`), with one
fault at a random moment. Where the workflow itself ended, the same command is run again. Its tables
and weights are compared with those of an undisturbed local run. Needs root and Debian's Slurm
(tests/slurm/lab.py says which packages).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from prime_core.launch.slurm import commands as slurm
from prime_core.run.job_records import submitted_jobs
from prime_core.run.layout import RunFiles
from tests.slurm.faults import KINDS, Trial
from tests.slurm.lab import SlurmLab
from tests.slurm.workflow_on_slurm import LONG_SFT, ONE_ITERATION, slurm_command, write_site
from tests.support.workflow_runs import digests, environment, run_well

MAX_STARTS = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials and print a table. Exit status 1 when a run ended with other bits."""
    options = _options(arguments)
    rng = random.Random(options.seed)
    kinds = options.kinds.split(",") if options.kinds else list(KINDS)
    plan = [(number, kinds[number % len(kinds)]) for number in range(options.trials)]
    rows = []
    with contextlib.ExitStack() as leave:
        folder = options.folder or Path(leave.enter_context(tempfile.TemporaryDirectory()))
        references = _references(folder, {KINDS[kind].settings for _, kind in plan})
        with SlurmLab(folder / "lab") as lab:
            seconds = _undisturbed(lab, folder, references["iteration"])
            for number, kind in plan:
                rows.append(
                    _trial(lab, folder / f"{number:02d}-{kind}", kind, rng, seconds, references)
                )
                print(
                    pd.DataFrame([rows[-1]]).to_string(index=False, header=number == 0), flush=True
                )
                lab.restore()
    table = pd.DataFrame(rows)
    same = int(table["same_bits"].sum())
    print(f"{same} of {len(table)} runs ended with the bits of the undisturbed local run")
    return 0 if same == len(table) else 1


def _references(folder: Path, settings: set[str]) -> dict[str, dict[str, str]]:
    """Digests of undisturbed local runs, by the name of their settings."""
    known = {"iteration": ONE_ITERATION, "long_sft": LONG_SFT}
    found = {}
    for name in sorted(settings | {"iteration"}):
        print(f"local run of '{name}' ...", file=sys.stderr, flush=True)
        run_well(folder / f"local-{name}", settings=known[name])
        found[name] = digests(folder / f"local-{name}" / "results" / "tiny")
    return found


def _undisturbed(lab: SlurmLab, folder: Path, reference: dict[str, str]) -> float:
    """Seconds of a run on Slurm without a fault; its bits are those of the local run."""
    place = folder / "undisturbed"
    start = time.monotonic()
    subprocess.run(
        slurm_command(place, ONE_ITERATION),
        env=environment() | write_site(place),
        check=True,
        capture_output=True,
    )
    seconds = time.monotonic() - start
    assert digests(place / "results" / "tiny") == reference, "a run on Slurm has other bits"
    print(f"undisturbed on Slurm: {seconds:.0f} s, the bits of the local run", file=sys.stderr)
    lab.wait_idle()
    return seconds


def _trial(
    lab: SlurmLab,
    place: Path,
    kind: str,
    rng: random.Random,
    seconds: float,
    references: dict[str, dict[str, str]],
) -> dict[str, object]:
    fault = KINDS[kind]
    settings = LONG_SFT if fault.settings == "long_sft" else ONE_ITERATION
    trial = Trial(lab, place, rng, settings, fault)
    fault.prepare(trial)
    moment = rng.uniform(0.05, 0.75) * seconds
    start = time.monotonic()
    trial.start()
    time.sleep(moment)
    what = fault.strike(trial)
    trial.wait()
    for daemon in lab.daemons:  # a fault may have stopped the accounting's
        lab.start(daemon)
    while trial.status != 0 and trial.starts < MAX_STARTS:
        fault.repair(trial)
        trial.start()
        trial.wait()
    took = time.monotonic() - start
    run_dir = place / "results" / "tiny"
    same = trial.status == 0 and digests(run_dir) == references[fault.settings]
    return {
        "fault": kind,
        "after_s": round(moment),
        "struck": what,
        "starts": trial.starts,
        "jobs_again": repeated_jobs(run_dir),
        "took_s": round(took),
        "same_bits": same,
    }


def repeated_jobs(run_dir: Path) -> int:
    """Starts of stages beyond one each: resubmitted and requeued jobs."""
    jobs = submitted_jobs(RunFiles(run_dir))
    again = len(jobs) - len({(job.stage, job.iteration, job.part) for job in jobs})
    ids = [job.job_id for job in jobs]
    fields = ["--noheader", "--parsable2", "--allocations", "--format=JobIDRaw,State"]
    time.sleep(6)  # accounting lags by that much
    lines = slurm.call("sacct", "--duplicates", *fields, "--jobs", ",".join(ids)).splitlines()
    requeued = sum(line.split("|")[1] in ("REQUEUED", "NODE_FAIL", "PREEMPTED") for line in lines)
    return again + requeued


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kinds", help=f"comma-separated, of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the choices")
    parser.add_argument("--folder", type=Path, help="keep all runs here, with their logs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
