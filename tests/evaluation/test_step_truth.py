r"""A PRM's rewards held against the truth of steps of generated sums."""

import pytest

from prime_core.evaluation.step_truth import TrueSteps, true_steps, truth_metrics

# One step is wrong (7+5=13), and what follows from it is not.
TEXT = r"3+4=7, 7+5=13, 13+6=19: \boxed{19}"
PIECES = ["3+4", "=7", ", ", "7+5=", "13, 1", "3+6=19: ", r"\boxed{", "19}", "<end>"]


def test_the_tokens_of_a_step_are_those_that_begin_in_it():
    rewards = [1.0, 1.0, 1.0, -2.0, -3.0, 0.5, 0.25, 0.25, -9.0]
    steps = true_steps("arithmetic-3+4+5+6", TEXT, PIECES, rewards)
    assert steps is not None
    # The token "13, 1" ends the step that it begins in; the end of the response is in none.
    assert steps.ends == [3, 5, 6, 8]
    assert steps.falls == [3.0, -5.0, 0.5, 0.5]
    assert (steps.label, steps.largest_fall, steps.answer_correct) == (1, 1, False)
    assert list(steps.tokens(0)) == [0, 1, 2]
    assert list(steps.tokens(1)) == [3, 4]


@pytest.mark.parametrize(
    ("prompt_id", "text", "pieces"),
    [
        ("p0", TEXT, PIECES),  # no generated sum
        ("arithmetic-3+4+5+6", r"maybe \boxed{18}", ["maybe", r" \boxed{18}"]),
        ("arithmetic-3+4+5+6", TEXT, ["3+4 =7", *PIECES[2:]]),  # another text than the pieces'
        ("arithmetic-3+4+5+6", TEXT, [TEXT]),  # one token of several steps
    ],
)
def test_nothing_is_said_of_other_responses(prompt_id, text, pieces):
    assert true_steps(prompt_id, text, pieces, [0.0] * len(pieces)) is None


def chain(label: int, falls: list[float], right: bool) -> TrueSteps:
    return TrueSteps(list(range(1, len(falls) + 1)), label, right, falls)


def test_a_prm_that_falls_at_wrong_steps_passes_the_line_of_outcomes():
    chains = [
        chain(-1, [0.1, 0.2, 0.1], True),
        chain(0, [-3.0, 0.1, 0.1], False),
        chain(1, [0.1, -2.0, 0.1], False),
        chain(2, [0.1, 0.2, -2.5], False),
        chain(0, [-1.0, 0.3, 0.1], True),
    ] * 2
    metrics = truth_metrics(chains, [0] * 5 + [1] * 5)
    assert metrics["steps/f1"] == metrics["steps/auc"] == metrics["steps/clean_above_lucky"] == 1
    assert metrics["steps/fall_on_wrong_share"] == 1
    assert (metrics["steps/num_chains"], metrics["steps/num_wrong"]) == (10, 8)
    assert metrics["steps/num_lucky"] == 2
    # One place is right for one of the four wrong chains: 2 * 1/4 * 1 / (1/4 + 1).
    assert metrics["steps/outcome_f1"] == pytest.approx(0.4)


def test_figures_that_a_batch_cannot_have_are_left_out():
    assert truth_metrics([], []) == {
        "steps/num_chains": 0,
        "steps/num_wrong": 0,
        "steps/num_lucky": 0,
    }
    clean = truth_metrics([chain(-1, [0.0, 0.0], True)] * 3, [0, 1, 2])
    assert clean == {"steps/num_chains": 3, "steps/num_wrong": 0, "steps/num_lucky": 0}
