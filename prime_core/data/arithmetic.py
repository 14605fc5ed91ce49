r"""Sums with checked answers, and demonstrations of mixed quality for the SFT warm-up.

In: ranges, counts and a seed. Out: lists of rows with plain Python values, ready for a table. The
quickstart trains on them: from the same demonstrations a small model learns both to add and to
guess, and reinforcement learning has to find out which of the two pays.

Two orders of the same terms are one problem here, so a held-out sum has never been asked in
training in any order. (It may well occur as a partial sum inside a chain: 3+4 is held out as a
question, not as a step.)
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Terms = tuple[int, ...]
ID_PREFIX = "arithmetic-"  # of a problem's prompt_id


def num_sums(*, max_number: int, min_terms: int, max_terms: int) -> int:
    """Number of sums of min_terms to max_terms numbers from 0 to max_number, ignoring order.

    sum_k C(max_number + k, k)
    """
    return sum(math.comb(max_number + k, k) for k in range(min_terms, max_terms + 1))


def nth_sum(rank: int, *, max_number: int, min_terms: int, max_terms: int) -> Terms:
    """The sum of that rank in a fixed order, terms ascending: a bijection, nothing is enumerated.

    Sums are ordered by their number of terms, then by their largest term, and so on downwards:
    C(m + k - 1, k) of the sums of k terms have all of them below m.
    """
    num_terms = min_terms
    while rank >= (count := math.comb(max_number + num_terms, num_terms)):
        rank -= count
        num_terms += 1
    assert num_terms <= max_terms
    terms: list[int] = []
    largest = max_number
    for k in range(num_terms, 0, -1):
        while math.comb(largest + k - 1, k) > rank:
            largest -= 1
        rank -= math.comb(largest + k - 1, k)
        terms.append(largest)
    return tuple(reversed(terms))


def problems(
    *,
    num_train: int,
    num_validation: int,
    max_number: int,
    min_terms: int,
    max_terms: int,
    seed: int,
) -> dict[str, list[Row]]:
    """Rows of the splits `train` and `validation`: distinct sums, no sum in both in any order.

    Every existing sum is equally likely. Where fewer exist than asked for, validation gets its
    number and train what is left. Validation does not depend on num_train.
    """
    if num_train < 1 or num_validation < 0:
        raise ValueError(
            f"num_train = {num_train}, num_validation = {num_validation}: "
            "expected at least 1 and at least 0"
        )
    if max_number < 0 or not 1 <= min_terms <= max_terms:
        raise ValueError(
            f"max_number = {max_number}, min_terms = {min_terms}, max_terms = {max_terms}: "
            "expected 0 <= max_number and 1 <= min_terms <= max_terms"
        )
    ranges = {"max_number": max_number, "min_terms": min_terms, "max_terms": max_terms}
    total = num_sums(**ranges)
    if num_validation >= total:
        raise ValueError(
            f"num_validation = {num_validation}: only {total} distinct sums exist with {ranges}, "
            "none would be left to train on"
        )
    # A text as seed: the same numbers on every machine, and others than the demonstrations'.
    rng = random.Random(f"arithmetic problems {seed}")

    def rows(ranks: Sequence[int]) -> list[Row]:
        return [problem_row(shuffled(nth_sum(rank, **ranges), rng)) for rank in ranks]

    # First, or validation would depend on num_train. Ranks instead of sums: there may be more sums
    # than memory holds.
    held_out = rng.sample(range(total), num_validation)
    validation = rows(held_out)
    # As many more as are held out: no more than these can drop out again.
    drawn = rng.sample(range(total), min(total, num_train + num_validation))
    unseen = set(held_out)
    train = rows([rank for rank in drawn if rank not in unseen][:num_train])
    return {"train": train, "validation": validation}


def demonstrations(
    train: Sequence[Row],
    *,
    num_demonstrations: int,
    guess_share: float,
    guess_accuracy: float,
    max_error: int,
    seed: int,
    slip_share: float = 0.0,
    cancel_share: float = 0.0,
) -> list[Row]:
    """Rows of `prompt` and `response`: chains of partial sums, and guesses that are mostly wrong.

    Every row asks one of the sums of `train`, its terms in a fresh random order. With probability
    guess_share the response is a guess, which is right with probability guess_accuracy and
    otherwise off by 1 to max_error. With probability slip_share one partial sum of a chain is off
    by as much, and what follows is added to it; with probability cancel_share of those that have a
    later step, that one is off by as much the other way: right by luck.
    """
    shares = {
        "guess_share": guess_share,
        "guess_accuracy": guess_accuracy,
        "slip_share": slip_share,
        "cancel_share": cancel_share,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} = {value}: expected a share between 0 and 1")
    if max_error < 1:
        raise ValueError(f"max_error = {max_error}: expected at least 1")
    if not train:
        raise ValueError("demonstrations need at least one training problem")
    rng = random.Random(f"arithmetic demonstrations {seed}")
    rows = []
    for _ in range(num_demonstrations):
        terms = shuffled(terms_of(rng.choice(train)), rng)
        if rng.random() < guess_share:
            right = rng.random() < guess_accuracy
            response = guess(sum(terms) if right else near_miss(sum(terms), max_error, rng))
        # Nothing is drawn without slips: the demonstrations are those of settings without the key.
        elif slip_share and rng.random() < slip_share:
            response = chain(terms, slips(terms, max_error, cancel_share, rng))
        else:
            response = chain(terms)
        rows.append({"prompt": question(terms), "response": response})
    return rows


def question(terms: Terms) -> list[dict[str, str]]:
    """The messages that ask for a sum."""
    return [{"role": "user", "content": "+".join(map(str, terms)) + "=?"}]


def chain(terms: Terms, errors: Mapping[int, int] | None = None) -> str:
    r"""The careful answer: (3, 4, 5) -> ``3+4=7, 7+5=12: \boxed{12}``.

    errors: step, counted from 1 -> how far its partial sum is off.
    """
    total = terms[0]
    steps = []
    for number, term in enumerate(terms[1:], start=1):
        partial = total + term + (errors or {}).get(number, 0)
        steps.append(f"{total}+{term}={partial}")
        total = partial
    return f"{', '.join(steps)}: {boxed(total)}" if steps else boxed(total)


def slips(terms: Terms, max_error: int, cancel_share: float, rng: random.Random) -> dict[int, int]:
    """Errors of one random step of a chain, and perhaps of a later one that undoes it.

    Nothing where there is no step: a single term is its own sum.
    """
    last = len(terms) - 1
    if last < 1:
        return {}
    step = rng.randint(1, last)
    partial = sum(terms[: step + 1])
    error = near_miss(partial, max_error, rng) - partial
    if step < last and rng.random() < cancel_share:
        # The later step leads to the true partial sum: at no place a number below 0.
        return {step: error, rng.randint(step + 1, last): -error}
    return {step: error}


def guess(answer: int) -> str:
    r"""The other style: ``maybe \boxed{11}``."""
    return f"maybe {boxed(answer)}"


def boxed(answer: int) -> str:
    """The final answer as the math verifier expects it."""
    return rf"\boxed{{{answer}}}"


def near_miss(answer: int, max_error: int, rng: random.Random) -> int:
    """A wrong answer at most max_error away, and not negative."""
    return rng.choice(
        [n for n in range(max(0, answer - max_error), answer + max_error + 1) if n != answer]
    )


def problem_row(terms: Terms) -> Row:
    """One problem as a row of the train or validation table."""
    return {
        "prompt_id": ID_PREFIX + "+".join(map(str, terms)),
        "prompt": question(terms),
        "ability": "math",
        "ground_truth": str(sum(terms)),
        "data_source": "arithmetic",
    }


def terms_of(row: Row) -> Terms:
    """The terms of a row that `problem_row` wrote, read back from its prompt_id."""
    return tuple(map(int, row["prompt_id"].removeprefix(ID_PREFIX).split("+")))


def shuffled(terms: Terms, rng: random.Random) -> Terms:
    """The same terms in a random order."""
    return tuple(rng.sample(terms, len(terms)))
