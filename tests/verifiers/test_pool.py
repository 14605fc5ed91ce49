"""The pool: every row gets one judgement, whatever happens to the workers."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from prime_core.settings.verification import Verification
from prime_core.verifiers import VERIFIERS, Verifier
from prime_core.verifiers.pool import Row, judge_rows
from prime_core.verifiers.verdict import Judgement, Verdict

RULES = Verification()


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verifier that does what its response says."""

    def act(response: str, ground_truth: str, _: Verification) -> Judgement:
        if response == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if response == "hang":
            while True:
                time.sleep(1)
        if response == "raise":
            raise RuntimeError("broken")
        if response == "slow":
            time.sleep(0.3)
        if response == "long":  # more than a pipe holds
            return Judgement(Verdict.correct, "x" * (1 << 22), ground_truth)
        if response.startswith("once ") and not Path(response[5:]).exists():
            Path(response[5:]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Judgement(Verdict.correct, response, ground_truth)

    verifier = Verifier(
        judge=act,
        prepare=lambda _: None,
        close=lambda: None,
        grace_seconds=2.0,
        rows_in_chunk=2,
        rows_worth_a_worker=2,
    )
    monkeypatch.setitem(VERIFIERS, "acting", verifier)


def acted(responses: list[str], **options: float) -> list[Judgement]:
    rows = [Row("acting", response, str(i)) for i, response in enumerate(responses)]
    results = dict(judge_rows(rows, RULES, num_workers=2, **options))
    assert sorted(results) == list(range(len(rows)))
    return [results[i] for i in range(len(rows))]


def test_every_row_is_judged_once_and_belongs_to_its_index() -> None:
    rows = [Row("math", f"\\boxed{{{i}}}", str(i - i % 2)) for i in range(300)]
    results = list(judge_rows(rows, RULES, num_workers=2))
    assert sorted(index for index, _ in results) == list(range(300))
    assert all((j.outcome == 1.0) == (i % 2 == 0) for i, j in results)


def test_no_rows_need_no_workers() -> None:
    assert list(judge_rows([], RULES)) == []


def test_an_unknown_ability_is_refused_before_anything_is_judged() -> None:
    with pytest.raises(ValueError, match="poetry"):
        next(judge_rows([Row("math", "", "1"), Row("poetry", "", "1")], RULES))


@pytest.mark.usefixtures("acting")
def test_a_row_that_kills_its_worker_twice_has_no_verdict_and_the_others_have() -> None:
    results = acted(["a", "b", "die", "c", "die", *"defghij"])
    assert [j.verdict for j in results].count(Verdict.correct) == 10
    assert results[2].outcome is None
    assert "exit code -9" in results[2].detail


@pytest.mark.usefixtures("acting")
def test_a_row_whose_worker_died_by_accident_is_judged_on_the_second_try(tmp_path) -> None:
    results = acted(["a", f"once {tmp_path / 'seen'}", "b", "c"])
    assert {j.verdict for j in results} == {Verdict.correct}


@pytest.mark.usefixtures("acting")
def test_a_row_past_its_limit_is_killed_and_has_no_verdict() -> None:
    start = time.monotonic()
    results = acted(["a", "hang", "b", "c"], limit_seconds=0.5)
    assert time.monotonic() - start < 30  # the row would take longer
    assert results[1].verdict is Verdict.no_verdict
    assert "0.5 s" in results[1].detail
    assert [results[i].verdict for i in (0, 2, 3)] == [Verdict.correct] * 3


@pytest.mark.usefixtures("acting")
def test_an_exception_in_a_verifier_is_no_verdict_and_says_which() -> None:
    results = acted(["raise", "a"])
    assert results[0].outcome is None
    assert "RuntimeError: broken" in results[0].detail


@pytest.mark.usefixtures("acting")
def test_rows_waiting_behind_a_slow_reader_are_not_killed() -> None:
    rows = [Row("acting", "a", str(i)) for i in range(20)]
    results = []
    for result in judge_rows(rows, RULES, num_workers=2, limit_seconds=0.2):
        results.append(result)
        time.sleep(0.05)
    assert all(j.verdict is Verdict.correct for _, j in results)


@pytest.mark.usefixtures("acting")
def test_workers_killed_from_outside_lose_no_row() -> None:
    rows = [Row("acting", "slow", str(i)) for i in range(16)]
    results = {}
    stop = threading.Event()

    def kill_children() -> None:
        for _ in range(3):
            if stop.wait(0.25):
                return
            children = multiprocessing_children()
            if children:
                os.kill(children[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_children)
    killer.start()
    for index, judgement in judge_rows(rows, RULES, num_workers=2):
        results[index] = judgement
    stop.set()
    killer.join()
    assert sorted(results) == list(range(16))
    assert sum(j.verdict is Verdict.correct for j in results.values()) >= 15


@pytest.mark.usefixtures("acting")
def test_an_answer_torn_by_a_kill_is_given_again() -> None:
    before = set(multiprocessing_children())
    rows = [Row("acting", response, "1") for response in ["a", "long", *"bcdefg"]]
    results = judge_rows(rows, RULES, num_workers=1)
    first = next(results)
    time.sleep(0.5)  # meanwhile the worker sends its second answer until the pipe is full
    (worker,) = set(multiprocessing_children()) - before
    os.kill(worker, signal.SIGKILL)
    found = dict([first, *results])
    assert sorted(found) == list(range(8))
    assert {j.verdict for j in found.values()} == {Verdict.correct}


def multiprocessing_children() -> list[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in children.split()]


def test_an_abandoned_pool_leaves_no_process_behind() -> None:
    before = set(multiprocessing_children())
    rows = [Row("math", "\\boxed{1}", "1")] * 400
    results = judge_rows(rows, RULES, num_workers=2)
    next(results)
    assert set(multiprocessing_children()) > before
    results.close()
    assert set(multiprocessing_children()) == before
