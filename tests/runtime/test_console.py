"""What is printed where: on a terminal, into a log, by which rank."""

import pytest

from prime_core.runtime.console import IN_WORKFLOW, note, progress_bar, say, show
from prime_core.runtime.rank import has_other_ranks, is_first_rank, rank


@pytest.fixture(autouse=True)
def only_rank(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv(IN_WORKFLOW, raising=False)


def test_in_the_workflow_a_line_goes_to_whoever_started_it_and_into_the_log(capsys, monkeypatch):
    monkeypatch.setenv(IN_WORKFLOW, "1")
    say("sft: 8 steps")
    assert capsys.readouterr() == ("sft: 8 steps\n", "sft: 8 steps\n")
    say("prime sft: error: no data", error=True)
    assert capsys.readouterr() == ("prime sft: error: no data\n", "prime sft: error: no data\n")


def test_elsewhere_a_line_stands_once_whether_or_not_there_is_a_terminal(capsys):
    say("sft: 8 steps")
    assert capsys.readouterr() == ("sft: 8 steps\n", "")
    say("prime sft: error: no data", error=True)
    assert capsys.readouterr() == ("", "prime sft: error: no data\n")


def test_a_note_is_for_the_log_alone(capsys):
    note("waiting")
    assert capsys.readouterr() == ("", "waiting\n")


def test_of_several_ranks_the_first_speaks_but_errors_are_everybodys(capsys, monkeypatch):
    assert (rank(), is_first_rank(), has_other_ranks()) == (0, True, False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (rank(), is_first_rank(), has_other_ranks()) == (1, False, True)
    say("sft: 8 steps")
    note("waiting")
    with progress_bar(2, "step", "training") as bar:
        bar.update()
    assert capsys.readouterr() == ("", "")
    say("no memory", error=True)
    assert capsys.readouterr() == ("", "no memory\n")


@pytest.mark.parametrize("out", [show, say, note, lambda text: say(text, error=True)])
def test_no_terminal_takes_what_others_wrote_for_commands(out, capsys):
    out("answer \x1b]0;title\x07 and \x1b[31mred\x9b2J\r over\nnext \u202eline")
    printed = "".join(capsys.readouterr())
    assert printed == "answer \\x1b]0;title\\x07 and \\x1b[31mred\\x9b2J  over\nnext \\u202eline\n"
