from hypothesis import given
from hypothesis import strategies as st

from prime_core.steps import step_ends


def ends(*pieces: str) -> list[int]:
    return [index for index, end in enumerate(step_ends(pieces)) if end]


def test_a_blank_line_ends_a_step_wherever_its_newlines_are():
    assert ends("a", ".\n\n", "b") == [1, 2]
    assert ends("a", "\n", "\n", "\n", "b") == [3, 4]
    assert ends("a", "\n", "  ", "\n", "b") == [3, 4]


def test_a_single_newline_ends_no_step():
    assert ends("a", "\n", "b", "\n") == [3]


def test_a_step_heading_begins_a_step_at_the_beginning_of_a_line_only():
    assert ends("Step", " 1", ":", " x", "\n", "Step", " 2", ":", " y") == [4, 8]
    assert ends("see", " Step", " 1", ":", " x") == [4]
    assert ends("x", "\n", "### ", "Step 12:", " y") == [1, 4]


def test_a_heading_after_a_blank_line_begins_one_step_not_two():
    assert ends("a", "\n\n", "Step 2:", " b") == [1, 3]


def test_a_token_that_holds_both_steps_ends_the_first():
    assert ends("a", "\n\nb", "c") == [1, 2]


def test_blank_lines_before_the_first_step_or_after_the_last_make_no_step():
    assert ends("\n\n", "a", "\n\n", "") == [3]


def test_a_response_without_tokens_has_no_steps():
    assert step_ends([]) == []


@given(st.lists(st.sampled_from(["a", "\n", "\n\n", "Step 1:", " ", "", "b\n\nc"]), min_size=1))
def test_every_token_has_its_mark_and_the_last_one_is_an_end(pieces):
    marks = step_ends(pieces)
    assert len(marks) == len(pieces)
    assert marks[-1]
