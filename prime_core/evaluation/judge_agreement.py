"""How often a judge and the rule verifier agree, on a share of the responses that both can judge.

In: rows that a judge has judged, its judgements. Out: verify/judge_agreement, and how often the
judge passes what the rule fails (judge_false_positive) and the other way (judge_false_negative),
each with its 95 % interval (Wilson's). The outcome that is trained on stays the judge's.
"""

from __future__ import annotations

import hashlib

import numpy as np

from prime_core.evaluation.statistics.intervals import mean_interval
from prime_core.settings.verification import Verification
from prime_core.verifiers.judge.judging import is_judged
from prime_core.verifiers.pool import Row
from prime_core.verifiers.resumable import judge_all
from prime_core.verifiers.verdict import Judgement, Verdict

_UNKNOWN = Verdict.no_verdict


def agreement_metrics(
    rows: list[Row], judgements: list[Judgement], rules: Verification
) -> dict[str, float]:
    """The figures; none without rules.judge.compare_share, and none of an empty comparison."""
    if rules.judge is None or rules.judge.compare_share == 0:
        return {}
    chosen = [
        index
        for index, row in enumerate(rows)
        if row.ability != "judge"
        and is_judged(row.ability, rules)
        and judgements[index].verdict is not _UNKNOWN
        and is_compared(row, rules.judge.compare_share)
    ]
    ruled = judge_all([rows[index] for index in chosen], rules.without_judge(), None, "comparing")
    pairs = [
        (judgements[index].verdict is Verdict.correct, by_rule.verdict is Verdict.correct)
        for index, by_rule in zip(chosen, ruled, strict=True)
        if by_rule.verdict is not _UNKNOWN
    ]
    figures: dict[str, float] = {"verify/judge_num_compared": len(pairs)}
    figures |= _share("judge_agreement", [judge == rule for judge, rule in pairs])
    figures |= _share("judge_false_positive", [judge for judge, rule in pairs if not rule])
    figures |= _share("judge_false_negative", [not judge for judge, rule in pairs if rule])
    return figures


def is_compared(row: Row, share: float) -> bool:
    """Whether a row is in the share: by its text, so the same rows whoever asks."""
    text = "\x00".join([row.question, row.ground_truth, row.response])
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _share(name: str, held: list[bool]) -> dict[str, float]:
    if not held:
        return {}
    mean, low, high = mean_interval(np.asarray(held, dtype=float))
    return {f"verify/{name}": mean, f"verify/{name}_low": low, f"verify/{name}_high": high}
