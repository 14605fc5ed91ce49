r"""Mathematical verifiers side by side: accuracy, throughput on one core, latency.

    python benchmarks/verifiers.py [--data ../shared/data] [--rows 500] [--out table.md]

Data: real_responses (the boxed ones; published labels, corrected where judged by hand),
math_disagreements_judged (judged by hand), math_adversarial (hostile). Compared: this project's
verifier; math-verify alone, in a process that is killed after a limit; equality of the strings in
the last box. One table, in Markdown.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from prime_core.verifiers.math import fallback, judge
from prime_core.verifiers.math.extract import extract

LIMIT_SECONDS = 5.0


class Case(NamedTuple):
    """A response, its gold answer, and whether it is right (None: either verdict is accepted)."""

    response: str
    gold: str
    right: bool | None


class Outcome(NamedTuple):
    """Whether the verifier accepted the response, and its seconds."""

    accepted: bool
    seconds: float


def ours(case: Case) -> bool:
    return judge(case.response, case.gold, seconds=LIMIT_SECONDS).outcome == 1.0


def math_verify_alone(case: Case) -> bool:
    answer = extract(case.response).answer
    if answer is None:
        return False
    try:
        return fallback.math_verify(answer, case.gold, LIMIT_SECONDS)[0] is True
    except fallback.FallbackError:
        return False


def same_string(case: Case) -> bool:
    return extract(case.response).answer == case.gold


VERIFIERS: dict[str, Callable[[Case], bool]] = {
    "ours": ours,
    "math-verify": math_verify_alone,
    "string match": same_string,
}


def cases(data: Path) -> dict[str, list[Case]]:
    """The three sets of responses, by name."""
    real = [row for row in read(data / "real_responses.jsonl.gz") if "\\boxed" in row["response"]]
    judged = read(data / "math_disagreements_judged.jsonl")
    by_hand = {row["id"]: row["judged"] for row in judged}
    hostile = read(data / "math_adversarial.jsonl")
    return {
        "real, boxed": [
            Case(row["response"], row["gold"], by_hand.get(row["id"], row["label"])) for row in real
        ],
        "judged by hand": [Case(row["response"], row["gold"], row["judged"]) for row in judged],
        "hostile": [Case(built(row), row["gold"], row["expected"]) for row in hostile],
    }


def read(path: Path) -> list[dict]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def built(row: dict) -> str:
    """The response of a hostile row; long ones are described, not stored."""
    build = row.get("build")
    if row["response"] is not None or not build:
        return row["response"]
    return build["prefix"] + build["unit"] * build["times"] + build["suffix"]


def measure(verify: Callable[[Case], bool], rows: list[Case]) -> list[Outcome]:
    outcomes = []
    for row in rows:
        start = time.perf_counter()
        accepted = verify(row)
        outcomes.append(Outcome(accepted, time.perf_counter() - start))
    return outcomes


def line(data: str, verifier: str, rows: list[Case], outcomes: list[Outcome]) -> str:
    """One row of the table."""
    counts = {(right, accepted): 0 for right in (True, False) for accepted in (True, False)}
    for case, outcome in zip(rows, outcomes, strict=True):
        if case.right is not None:
            counts[case.right, outcome.accepted] += 1
    seconds = sorted(outcome.seconds for outcome in outcomes)
    num_right = counts[True, True] + counts[False, False]
    percent = 100 * num_right / max(sum(counts.values()), 1)
    cells = [
        data,
        verifier,
        str(len(rows)),
        f"{percent:.2f}",
        *(str(counts[key]) for key in ((True, True), (True, False), (False, True), (False, False))),
        f"{len(rows) / sum(seconds):.0f}",
        *(f"{1e3 * seconds[int(q * (len(rows) - 1))]:.2f}" for q in (0.5, 0.99, 1.0)),
    ]
    return "| " + " | ".join(cells) + " |"


def table(sets: dict[str, list[Case]]) -> list[str]:
    """The whole table, printed as it grows."""
    head = [
        "data", "verifier", "rows", "agreement %", "right accepted", "right refused",
        "wrong accepted", "wrong refused", "rows/s", "p50 ms", "p99 ms", "max ms",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    print("\n".join(lines))
    for data, rows in sets.items():
        for name, verify in VERIFIERS.items():
            fallback.math_verify("1", "1", 60.0)  # math-verify is up: its startup is not measured
            lines.append(line(data, name, rows, measure(verify, rows)))
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=beside, help="folder with the three files")
    parser.add_argument("--rows", type=int, default=None, help="rows per set, at most")
    parser.add_argument("--out", type=Path, default=None, help="also write the table here")
    arguments = parser.parse_args()
    sets = {name: rows[: arguments.rows] for name, rows in cases(arguments.data).items()}
    lines = table(sets)
    fallback.stop()
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
