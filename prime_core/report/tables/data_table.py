"""What the report says of a run's data: how many problems there are, and what was left out.

In: figures of the stages `prepare` and `band`. Out: rows of a table, and benchmarks that the
training problems were not compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json

_LEFT_OUT = {
    "malformed": "malformed",
    "duplicate": "with the text of an earlier one",
    "in_benchmark": "that occur in a benchmark",
    "too_long": "longer than data.max_prompt_length",
    "too_easy": "too easy for the start model",
    "too_hard": "too hard for the start model",
    "no_verdict": "without a verdict in the trial",
}
_IN_BENCHMARK = "data/num_in_benchmark/"


def read_data_figures(files: RunFiles) -> dict[str, float]:
    """Figures of the run's data; none for a branch, or before the data are prepared."""
    figures: dict[str, float] = {}
    for stage in ("prepare", "band"):  # in this order: the band decides how many there are
        path = files.setup_metrics(stage)
        figures |= read_json(path) if path.exists() else {}
    return figures


def data_rows(figures: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of the table: what is counted, its number, and its breakdown."""
    rows = [
        _row("training problems", figures, "data/num_train"),
        _row("held-out problems", figures, "data/num_validation"),
        _row("demonstrations", figures, "data/num_demonstrations"),
    ]
    rows += list(_left_out(figures))
    return [row for row in rows if row["number"]]


def not_compared(figures: Mapping[str, float], settings: Mapping[str, Any]) -> list[str]:
    """Benchmarks with tables of their own that the training problems were not compared with."""
    prefix = "evaluation.benchmarks."
    files = {
        key.removeprefix(prefix).removesuffix(".file"): file
        for key, file in settings.items()
        if key.startswith(prefix) and key.endswith(".file")
    }
    if not figures or settings.get("data.source") != "files":
        return []
    return sorted(
        name
        for name, file in files.items()
        if file != "validation" and _IN_BENCHMARK + name not in figures
    )


def _left_out(figures: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    for reason, words in _LEFT_OUT.items():
        detail = ""
        if reason == "in_benchmark":
            found = [(key, n) for key, n in figures.items() if key.startswith(_IN_BENCHMARK) and n]
            detail = ", ".join(f"{key.removeprefix(_IN_BENCHMARK)} {n:,.0f}" for key, n in found)
        number = figures.get(f"data/num_train_{reason}", 0)
        yield {"what": f"left out: training problems {words}", "number": number, "detail": detail}
    for split, words in (("validation", "held-out problems"), ("demonstrations", "demonstrations")):
        number = sum(figures.get(f"data/num_{split}_{reason}", 0) for reason in _LEFT_OUT)
        yield {"what": f"left out: {words}", "number": number, "detail": ""}


def _row(what: str, figures: Mapping[str, float], key: str) -> dict[str, Any]:
    parts = [(name, n) for name, n in figures.items() if name.startswith(f"{key}/")]
    whole = figures.get(key, 0)
    detail = ", ".join(f"{name.rpartition('/')[2]} {n:,.0f}" for name, n in parts)
    # A single part repeats the whole; parts that do not add up to it would mislead.
    shown = len(parts) > 1 and sum(n for _, n in parts) == whole
    return {"what": what, "number": whole, "detail": detail if shown else ""}
