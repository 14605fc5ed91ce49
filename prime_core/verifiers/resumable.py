"""Judgements that survive a killed job: a file of finished rows beside the output.

Rows without a verdict are judged again. A file of other rows or rules is thrown away
(prime_core/runtime/partial_rows.py).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import pandas as pd

from prime_core.runtime.console import progress_bar
from prime_core.runtime.interruption import Interrupted, ending_at_once
from prime_core.runtime.partial_rows import PartialRows
from prime_core.settings.run import Settings
from prime_core.settings.verification import JUDGE_ACCESS, Verification
from prime_core.verifiers import pool
from prime_core.verifiers.function import function_file
from prime_core.verifiers.judge import judging
from prime_core.verifiers.judge.judging import Replies
from prime_core.verifiers.judge.prompts import prompt_text
from prime_core.verifiers.pool import Row
from prime_core.verifiers.verdict import FAILURES, Judgement, Turns, Verdict


class VerifiedRows(PartialRows):
    """The judgements so far, by row. Without a path nothing is kept on disk."""

    def __init__(self, path: Path | None, rows: list[Row], rules: Verification) -> None:
        """Read what an earlier job left, if it is of the same rows."""
        super().__init__(path, fingerprint(rows, rules))
        earlier = {index: _judgement(*kept) for index, kept in self.rows.items()}
        # The verifier may have been broken then, and work now.
        self.judgements = {i: j for i, j in earlier.items() if j.verdict is not Verdict.no_verdict}

    def add(self, index: int, judgement: Judgement, *, at_once: bool = False) -> None:
        """Keep one more judgement; at_once: on disk now, since it cost more than the disk does."""
        self.judgements[index] = judgement
        self.keep({index: list(astuple(judgement))}, at_once=at_once)


def judge_all(
    rows: list[Row],
    rules: Verification,
    partial: Path | None,
    description: str,
    replies: Replies | None = None,
) -> list[Judgement]:
    """Judgements in the order of the rows; rows found in the partial file are not judged again.

    replies: what a judge of rules.judge.path answers. Raises Interrupted when a signal ends it
    after some rows that the partial file keeps.
    """
    with (
        # The signal has hit the sandboxes, too: docs/decisions.md#stage-requeues-itself
        ending_at_once(),
        VerifiedRows(partial, rows, rules) as done,
        progress_bar(len(rows), "response", description) as bar,
    ):
        num_found = len(done.judgements)
        bar.update(num_found)
        missing = [index for index in range(len(rows)) if index not in done.judgements]
        try:
            for index, judgement, is_asked in _judged(rows, missing, rules, replies):
                done.add(index, judgement, at_once=is_asked)
                bar.update()
        except SystemExit:
            num_done = len(done.judgements)
            # Without a new row there is no progress, and to requeue the job might go on for ever.
            if partial is None or num_done == num_found:
                raise
            raise Interrupted(
                f"stopped after {num_done} of {len(rows)} rows; the next start judges the rest"
            ) from None
        return [done.judgements[index] for index in range(len(rows))]


def _judged(
    rows: list[Row], missing: list[int], rules: Verification, replies: Replies | None
) -> Iterator[tuple[int, Judgement, bool]]:
    """Row, judgement, and whether a judge was asked for it; the judge's rows come first."""
    asked = [index for index in missing if judging.is_judged(rows[index].ability, rules)]
    if asked and rules.judge is not None:
        of_judge = [rows[index] for index in asked]
        for number, judgement in judging.judge_rows(of_judge, rules.judge, replies=replies):
            yield asked[number], judgement, True
    ruled = sorted({*missing} - {*asked})
    for number, judgement in pool.judge_rows([rows[index] for index in ruled], rules):
        yield ruled[number], judgement, False


def _judgement(verdict: str, *rest: Any) -> Judgement:
    """A judgement as the partial file keeps it; those of an older version have no turns."""
    values = dict(zip([field.name for field in fields(Judgement)][1:], rest, strict=False))
    turns = values.pop("turns", None)
    return Judgement(Verdict(verdict), **values, turns=Turns(*turns) if turns else None)


def columns(judgements: list[Judgement]) -> dict[str, pd.Series]:
    """The columns that judgements add to a table; those of turns where there are any."""
    of_turns = {}
    if any(j.turns for j in judgements):
        names = {"turn_rewards": "rewards", "states": "states", "valid_actions": "valid"}
        of_turns = {
            column: pd.Series(
                [None if j.turns is None else list(getattr(j.turns, name)) for j in judgements],
                dtype="object",
            )
            for column, name in names.items()
        }
    return of_turns | {
        "outcome": pd.Series([j.outcome for j in judgements], dtype="float64"),
        "verdict": pd.Series([j.verdict.value for j in judgements], dtype="object"),
        "extracted": pd.Series([_storable(j.extracted) for j in judgements], dtype="object"),
        "seconds": pd.Series([j.seconds for j in judgements], dtype="float64"),
    }


def is_right(table: pd.DataFrame) -> pd.Series:
    """Which rows of a judged table are right: whole passes, not shares of tests."""
    return table["outcome"].eq(1.0) & ~table["verdict"].isin(FAILURES)


def _storable(text: str | None) -> str | None:
    """Text without lone surrogates, which no UTF-8 file holds."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")


def fingerprint(rows: list[Row], rules: Verification) -> str:
    """A digest of all that judgements depend on."""
    # Not on the share of failures: who raises it after VerifierBroken keeps the rows judged so far.
    # Nor on where a judge is asked: a server that has moved is the same judge.
    left_out: dict[str, Any] = {"max_no_verdict_share": True, "judge": JUDGE_ACCESS}
    judged_by = rules.model_dump_json(exclude=left_out)
    digest = hashlib.sha256(judged_by.encode())
    if rules.function is not None:
        digest.update(function_file(rules.function).read_bytes())
    if rules.judge is not None:
        digest.update(prompt_text(rules.judge.prompt).encode())
    for row in rows:
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


class VerifierBroken(ValueError):
    """The verifier failed on more rows than the settings allow."""


def refuse_broken(judgements: list[Judgement], settings: Settings, output: Path) -> None:
    """Raises VerifierBroken where more rows than verification.max_no_verdict_share have none."""
    failed = [j for j in judgements if j.verdict is Verdict.no_verdict]
    limit = settings.verification.max_no_verdict_share
    if judgements and len(failed) / len(judgements) > limit:
        reason, count = Counter(j.detail for j in failed).most_common(1)[0]
        raise VerifierBroken(
            f"{output}: the verifier failed on {len(failed)} of {len(judgements)} responses, more "
            f"than verification.max_no_verdict_share {limit:g}; {count} times: {reason}. No "
            "outcomes are written; fix the cause and run again: rows judged so far are kept"
        )
