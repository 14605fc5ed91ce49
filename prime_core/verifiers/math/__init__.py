r"""Mathematics: judge the boxed answer of a response against a gold answer.

judge() is the whole interface. Model-written text is parsed by this package's own small parser and
never evaluated as code; what the parser does not read goes to math-verify, in another process.
"""

import time
from collections.abc import Sequence

from prime_core.verifiers.math.compare import Comparison, compare, is_list
from prime_core.verifiers.math.extract import MAX_ANSWER_CHARS, Extraction, NoBox, extract
from prime_core.verifiers.verdict import Judgement, Verdict

__all__ = ["NoBox", "judge"]

SECONDS = 5.0
_SHOWN_CHARS = 2_000


def judge(
    response: str,
    ground_truth: str | Sequence[str],
    *,
    answer_type: str | None = None,
    tolerance: float | None = None,
    no_box: NoBox = "no_answer",
    seconds: float = SECONDS,
) -> Judgement:
    """Judge a response.

    ground_truth: the gold answer, or several that are each right by themselves.
    answer_type: what the data row says of its answer; 'tuple' and 'vector' make bare lists ordered,
        'text' compares words only.
    tolerance: relative tolerance of numbers, where the data row states one.
    no_box: what a response without a box or <answer> is worth.
    seconds: limit of the fallback; the rest is bounded by construction.
    """
    start = time.perf_counter()
    extraction = extract(response, no_box)
    golds = [ground_truth] if isinstance(ground_truth, str) else list(ground_truth)
    verdict, detail = _verdict(extraction, golds, answer_type, tolerance, seconds)
    shown = extraction.answer[:_SHOWN_CHARS] if extraction.answer is not None else None
    return Judgement(verdict, shown, detail, time.perf_counter() - start)


def _verdict(
    extraction: Extraction,
    golds: list[str],
    answer_type: str | None,
    tolerance: float | None,
    seconds: float,
) -> tuple[Verdict, str]:
    if extraction.answer is None:
        return Verdict.no_answer, extraction.how
    # What is left of it must not be compared.
    if extraction.cut:
        return Verdict.unparsable, extraction.how
    undecided: list[tuple[str, Comparison]] = []
    results: list[Comparison] = []
    for gold in golds:
        if len(gold) > MAX_ANSWER_CHARS:
            # Bounds the work, whatever the data hold.
            gold = gold[:MAX_ANSWER_CHARS]
        result = compare(extraction.answer, gold, answer_type, tolerance)
        if result.same:
            return Verdict.correct, f"{extraction.how}: {result.how}"
        # Where the gold is one answer, several boxes would be several guesses.
        if extraction.together and is_list(gold):
            parts = compare(extraction.together, gold, answer_type, tolerance)
            if parts.same:
                return Verdict.correct, f"the last boxes together: {parts.how}"
        results.append(result)
        if result.same is None:
            undecided.append((gold, result))
    # math-verify comes last: it is the slowest, and another gold may have decided by then.
    for gold, result in undecided:
        verdict, detail = _fallback(extraction.answer, gold, result, seconds)
        if verdict is not Verdict.wrong:
            return verdict, f"{extraction.how}: {detail}"
        results.append(Comparison(False, detail))
    if not results:
        return Verdict.wrong, "no gold answer"
    # Reached only where no gold matched: the last comparison speaks for all.
    last = results[-1]
    verdict = Verdict.wrong if last.readable else Verdict.unparsable
    return verdict, f"{extraction.how}: {last.how}"


def _fallback(answer: str, gold: str, result: Comparison, seconds: float) -> tuple[Verdict, str]:
    """What math-verify says of a pair that our parser leaves open."""
    # Imported on first use: verifiers/__init__.py asks sys.modules whether there is one to end.
    from prime_core.verifiers.math import fallback

    # unparsable, not wrong: nobody has read it. Either is worth 0 (docs/verification.md).
    if not (fallback.may_read(answer) and fallback.may_read(gold)):
        return Verdict.unparsable, f"{result.how}, and is not passed to math-verify"
    try:
        same, how = fallback.math_verify(answer, gold, seconds)
    # The verifier's fault, not the answer's: a row without a verdict is dropped, never labelled 0.
    except fallback.FallbackError as error:
        return Verdict.no_verdict, str(error)
    if same is None:
        return (Verdict.timeout if how == "timeout" else Verdict.unparsable), f"{result.how}; {how}"
    return (Verdict.correct if same else Verdict.wrong), f"{result.how}; {how}"
