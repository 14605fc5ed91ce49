"""What a run has not written yet, or what sets it apart, in words for the page."""

from __future__ import annotations

from pathlib import Path

from prime_core.report.tables.collect import RunTables
from prime_core.run.layout import RunFiles


def missing_parts(run: RunTables, run_dir: Path) -> list[str]:
    """One sentence for each part of the report that is empty, short or of an odd kind, and why."""
    files = RunFiles(run_dir)
    notes = [
        _iterations(run),
        _evaluations(run),
        _rewards(run, files),
        _seconds(run),
        _flips(run),
        None if run.provenance else f"{files.provenance.name} is absent: no versions to show.",
    ]
    return [note for note in notes if note]


def has_prm(run: RunTables) -> bool:
    """False for a run that learns from outcome rewards only."""
    return run.settings.get("prm.prm_update") != "none"


def has_values(run: RunTables) -> bool:
    """False for a run whose advantages come from comparing responses; true for PPO."""
    return run.settings.get("policy.adv_estimator") == "gae"


def has_trees(run: RunTables) -> bool:
    """Whether the run's responses fork from one another."""
    return any(key.startswith("rollout.tree.") for key in run.settings)


def _iterations(run: RunTables) -> str | None:
    planned, done = run.num_planned, run.num_done
    begun = len(run.iterations) - done
    if not begun and done >= planned:
        return None
    unfinished = f", and figures of {begun} that have begun" if begun else ""
    return f"The run is not finished: this page shows {done} of {planned} iterations{unfinished}."


def _evaluations(run: RunTables) -> str | None:
    if run.evaluations.empty:
        return "No evaluation has finished yet: nothing is known about held-out problems."
    last = run.evaluations["iteration"].max()
    if last < run.last_iteration:
        return f"The last evaluation so far is that of iteration {last}."
    return None


def _rewards(run: RunTables, files: RunFiles) -> str | None:
    if run.settings.get("prm.source") == "monte_carlo":
        return None  # the rewards of steps are in the figure of their values
    if not has_prm(run):
        return (
            "This run learns from outcome rewards only (prm.prm_update is 'none'): "
            "there are no implicit rewards and no figures of a PRM."
        )
    iterations = run.iterations["iteration"]
    if not any(files.rewards(iteration).exists() for iteration in iterations):
        return "No iteration has scored its responses yet: no implicit rewards to show."
    return None


def _flips(run: RunTables) -> str | None:
    """Not missing, but a reader must know it before all figures."""
    right, wrong = (
        float(run.settings.get(f"verification.flip_{kind}") or 0) for kind in ("correct", "wrong")
    )
    if not right and not wrong:
        return None
    return (
        f"An experiment: {100 * right:g} % of the right and {100 * wrong:g} % of the wrong "
        "outcomes were turned over before training (verification.flip_*). Accuracies, prm/true_* "
        "and the responses below are of the true ones, reward/* and other prm/* of those."
    )


def _seconds(run: RunTables) -> str | None:
    if run.stages.empty:
        return "No stage has recorded its seconds yet."
    if not run.stages["startup_seconds"].notna().any():
        return (
            "Snakemake's benchmark files are absent: seconds are those of the stages' own clocks, "
            "without start-up."
        )
    return None
