"""A small set of ablations, and results as its runs would leave them."""

import json
from pathlib import Path
from typing import Any

from prime_core.ablations.plan import Plan, dump_ablations, parse_ablations
from prime_core.settings.reading import dump_settings, expand_dotted, merged

SETTINGS: dict[str, Any] = {
    "base": "base.yaml",
    "seeds": [0, 3],
    "settings": {"iterations": 4},
    "variants": {
        "one": {"title": "The <first>"},
        "other": {"title": "Other", "settings": {"prm.beta": 0.1}},
        "taught": {
            "title": "Taught",
            "labelled": {"variant": "one", "first": 1, "last": 2},
            "settings": {"prm.prm_update": "frozen"},
        },
    },
    "comparisons": {
        "pair": {
            "title": "One & other",
            "first": "one",
            "second": "other",
            "finding": "first",
            "paper": "2 against 1",
        },
        "late": {
            "title": "Taught",
            "first": "one",
            "second": "taught",
            "finding": "close",
            "paper": "close",
        },
    },
}


def plan(folder: Path, **changes: Any) -> Plan:
    """The set with some keys changed, its runs in a folder of their own."""
    (folder / "base.yaml").write_text("evaluation: {every: 2}\n")
    place = {"results": str(folder / "results")}
    values = merged(merged(SETTINGS, expand_dotted(changes)), place)
    return Plan(parse_ablations(values, "file.yaml"), folder)


def write_results(made: Plan, accuracies: dict[str, dict[int, float]]) -> Path:
    """The folder as runs leave it. accuracies: run -> iteration -> held-out accuracy.

    Rollouts of an iteration are as good as the policy before it, less 0.1.
    """
    made.root.mkdir(parents=True)
    made.resolved.write_text(dump_ablations(made.ablations))
    for name, curve in accuracies.items():
        run = made.runs[name]
        folder = made.root / name
        for iteration, accuracy in curve.items():
            _write(folder / f"evaluations/{iteration:04d}/validation.json", accuracy=accuracy)
            sampled = {"rollout/accuracy": accuracy - 0.1}
            if not name.startswith("base"):
                _write(folder / f"iterations/{iteration:04d}/metrics/select.json", **sampled)
        (folder / "config.yaml").write_text(dump_settings(run.settings))
        if run.settings.iterations in curve:
            _write(Path(run.marker), seconds=90.0)
    return made.root


def _write(path: Path, **values: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
