"""Trials in processes of their own: what they say, and that a crash or a hang is a sentence."""

import os
import sys
import time

import pytest

from prime_core.doctor.processes import ask, ask_together


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_the_objects_among_a_librarys_chatter_are_the_answer():
    answer = ask(python("print('hello'); print('{\"a\": 1}'); print('[2]')"), 20)
    assert (answer.lines, answer.problem) == ([{"a": 1}], "")


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module"),
        ("import os; os.kill(os.getpid(), 4)", "ended by SIGILL: built for another processor"),
        ("raise SystemExit(3)", "exit status 3"),
        ("raise RuntimeError('CUDA error: no kernel image')", "RuntimeError: CUDA error: no kern"),
    ],
)
def test_the_end_of_a_trial_is_one_line(program, problem):
    answer = ask(python(f"print('{{\"a\": 1}}', flush=True); {program}"), 20)
    assert answer.lines == [{"a": 1}]
    assert answer.problem.startswith(problem)


def test_a_trial_that_hangs_ends_in_time_with_its_children(tmp_path):
    place = tmp_path / "child"
    program = (
        "import subprocess, pathlib, time; child = subprocess.Popen(['sleep', '60']);"
        f"pathlib.Path({str(place)!r}).write_text(str(child.pid)); print('{{}}', flush=True);"
        "time.sleep(60)"
    )
    began = time.monotonic()
    answer = ask(python(program), 1.5)
    assert time.monotonic() - began < 10
    assert (answer.lines, answer.problem) == ([{}], "no answer within 2 s")
    for _ in range(100):
        if not is_alive(int(place.read_text())):
            return
        time.sleep(0.05)
    pytest.fail("its child is still running")


def is_alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_rank_that_fails_ends_the_others_which_wait_for_it():
    program = (
        "import os, time; rank = os.environ['RANK'];"
        "print('{\"rank\": %s}' % rank, flush=True);"
        "time.sleep(60) if rank == '0' else exit('rank one is ill')"
    )
    began = time.monotonic()
    answer = ask_together(python(program), [{"RANK": "0"}, {"RANK": "1"}], 50)
    assert time.monotonic() - began < 20
    assert (answer.lines, answer.problem) == ([{"rank": 0}], "rank one is ill")


def test_the_trial_has_this_processs_environment_and_its_own():
    program = "import os, json; print(json.dumps([os.environ['A'], os.environ['PATH']][::1] and "
    answer = ask(python(f"{program}dict(os.environ)))"), 20, {"A": "b"})
    assert answer.lines[0]["A"] == "b"
    assert answer.lines[0]["PATH"] == os.environ["PATH"]
