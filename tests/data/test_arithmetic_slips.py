r"""Slips in chains, and the truth of their steps by rule."""

import random

import pytest

from prime_core.data.arithmetic import chain, demonstrations, problems, slips, terms_of
from prime_core.data.arithmetic_solutions import generated_solutions
from prime_core.data.arithmetic_steps import first_wrong, read_steps
from prime_core.settings.data import ArithmeticTask

TERMS = (3, 4, 5, 6)


def shares(**changed) -> list[int]:
    """First wrong steps of demonstrated chains; 99: right although a step is wrong."""
    train = problems(
        num_train=300, num_validation=0, max_number=19, min_terms=3, max_terms=5, seed=0
    )["train"]
    rows = demonstrations(
        train,
        num_demonstrations=2000,
        guess_share=0.0,
        guess_accuracy=0.0,
        max_error=9,
        seed=3,
        **changed,
    )
    found = []
    for row in rows:
        asked = tuple(map(int, row["prompt"][0]["content"].removesuffix("=?").split("+")))
        steps = read_steps(asked, row["response"])
        assert steps is not None
        lucky = row["response"].endswith(f"{{{sum(asked)}}}") and first_wrong(steps) >= 0
        found.append(99 if lucky else first_wrong(steps))
    return found


def test_as_many_chains_slip_and_are_lucky_as_asked():
    found = shares(slip_share=0.4, cancel_share=0.5)
    clean, lucky = found.count(-1) / 2000, found.count(99) / 2000
    assert clean == pytest.approx(0.6, abs=0.04)
    # Of a slip at the last of two to four steps nothing is left to undo it.
    assert lucky == pytest.approx(0.4 * 0.5 * (1 - (1 / 2 + 1 / 3 + 1 / 4) / 3), abs=0.06)
    assert {0, 1, 2, 3} <= set(found)


def test_without_slips_the_demonstrations_are_those_of_settings_without_the_keys():
    assert shares(slip_share=0.0) == shares() == [-1] * 2000
    assert shares(slip_share=1.0).count(-1) == 0


def test_a_slip_never_writes_a_number_below_zero_and_a_later_one_undoes_it():
    rng = random.Random(0)
    for _ in range(500):
        terms = tuple(rng.randint(0, 3) for _ in range(rng.randint(2, 6)))
        errors = slips(terms, 9, 1.0, rng)
        response = chain(terms, errors)
        assert "-" not in response
        assert (sum(errors.values()) == 0) == (len(errors) == 2) == (min(errors) < len(terms) - 1)
        steps = read_steps(terms, response)
        assert steps is not None
        assert [number for number, step in enumerate(steps, 1) if not step.right] == sorted(errors)
    assert slips((5,), 9, 1.0, rng) == {}


@pytest.mark.parametrize(
    ("response", "right"),
    [
        (r"3+4=7, 7+5=12, 12+6=18: \boxed{18}", [1, 1, 1, 1]),
        # Only the step that errs is wrong; the next one follows from it.
        (r"3+4=8, 8+5=13, 13+6=19: \boxed{19}", [0, 1, 1, 1]),
        (r"3+4=8, 8+5=12, 12+6=18: \boxed{18}", [0, 0, 1, 1]),
        # Another term, or a partial sum that nobody had.
        (r"3+4=7, 7+9=16, 16+6=22: \boxed{22}", [1, 0, 1, 1]),
        (r"3+4=7, 8+5=13, 13+6=19: \boxed{19}", [1, 0, 1, 1]),
        (r"3+4=7, 7+5=12, 12+6=18: \boxed{19}", [1, 1, 1, 0]),
        # Too early, too long.
        (r"3+4=7, 7+5=12: \boxed{12}", [1, 1, 0]),
        (r"3+4=7, 7+5=12, 12+6=18, 18+0=18: \boxed{18}", [1, 1, 1, 0, 1]),
    ],
)
def test_each_step_is_held_to_what_stands_before_it(response, right):
    steps = read_steps(TERMS, response)
    assert steps is not None
    assert [step.right for step in steps] == [bool(one) for one in right]
    assert "".join(response[step.begin : step.end] for step in steps) == response
    assert first_wrong(steps) == (right.index(0) if 0 in right else -1)


@pytest.mark.parametrize(
    "response",
    [r"maybe \boxed{18}", "", r"\boxed{18}", "3+4=7, 7+5=12", r"3+4=7: \boxed{7} and more",
     "9" * 10_000 + r"+4=7: \boxed{7}", r"3+4=7; 7+5=12: \boxed{12}"],
)  # fmt: skip
def test_what_is_no_chain_has_no_steps(response):
    assert read_steps(TERMS, response) is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"cancel_share": 0.5}, "slip_share 0 makes none"),
        ({"slip_share": 0.5, "cancel_share": 0.5, "max_terms": 2}, "max_terms 3 or more"),
    ],
)
def test_settings_that_do_nothing_are_said(changed, told):
    with pytest.raises(ValueError, match=told):
        ArithmeticTask(**changed)


def test_the_terms_of_a_problem_are_those_of_its_prompt():
    rows = problems(num_train=5, num_validation=0, max_number=9, min_terms=2, max_terms=4, seed=1)
    for row in rows["train"]:
        assert read_steps(terms_of(row), chain(terms_of(row)))


def test_generated_solutions_carry_the_truth_of_their_steps():
    task = ArithmeticTask(max_terms=4, slip_share=0.5, cancel_share=0.5)
    train = problems(num_train=50, num_validation=0, max_number=9, min_terms=3, max_terms=4, seed=0)
    names = [row["prompt_id"] for row in train["train"]]
    rows = generated_solutions(names, task, 400, 7)
    assert rows == generated_solutions(names, task, 400, 7)
    assert rows != generated_solutions(names, task, 400, 8)
    assert 100 < sum(row["label"] >= 0 for row in rows) < 300
    assert any(row["label"] >= 0 and row["final_answer_correct"] for row in rows)
    for row in rows:
        response = row["separator"].join(row["steps"])
        assert response.endswith(f"{{{sum(row['terms'])}}}") == row["final_answer_correct"]
