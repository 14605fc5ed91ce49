"""What states of Slurm jobs mean: one answer after the other, with a clock of our own."""

import pytest

from prime_core.launch.slurm.verdicts import DONE, FAILED, WAIT, Verdicts


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def judge(verdicts: Verdicts, state: str | None, written: bool = False):
    """The verdict on job 7."""
    return verdicts.judge("7", state, lambda: written)


@pytest.mark.parametrize(
    "state", ["PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "COMPLETING", "CONFIGURING", "NEW"]
)
def test_a_job_that_goes_on_is_waited_for(state):
    assert judge(Verdicts(), state) == WAIT


def test_a_completed_job_is_done():
    assert judge(Verdicts(), "COMPLETED") == DONE


def test_a_job_in_its_epilogue_is_done_when_its_outputs_are_there():
    assert judge(Verdicts(), "COMPLETING", written=True) == DONE
    assert judge(Verdicts(), "RUNNING", written=True) == WAIT


@pytest.mark.parametrize("state", sorted(FAILED))
def test_a_failed_job_is_told_by_its_state(state):
    verdict = judge(Verdicts(), state)
    assert (verdict.kind, verdict.why) == ("failed", f"Slurm job 7 ended in state {state}.")


@pytest.mark.parametrize("state", ["CANCELLED by 0", "CANCELLED by 1000", "CANCELLED+"])
def test_saccts_spelling_of_cancelled_counts(state):
    assert judge(Verdicts(), state).why == "Slurm job 7 ended in state CANCELLED."


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", "BOOT_FAIL"])
def test_an_interrupted_job_has_a_minute_to_be_requeued(state):
    clock = Clock()
    verdicts = Verdicts(clock)
    assert judge(verdicts, state) == WAIT
    clock.now += 59
    assert judge(verdicts, state) == WAIT
    assert judge(verdicts, "PENDING") == WAIT
    clock.now += 59
    assert judge(verdicts, state) == WAIT
    clock.now += 61
    verdict = judge(verdicts, state)
    assert verdict.kind == "interrupted"
    assert verdict.why.startswith(f"Slurm job 7 ended in state {state}: it")


def test_an_interrupted_job_that_slurm_forgets_is_still_an_interrupted_one():
    clock = Clock()
    verdicts = Verdicts(clock)
    assert judge(verdicts, "PREEMPTED") == WAIT
    for _ in range(2):
        assert judge(verdicts, None) == WAIT
        clock.now += 10
    assert judge(verdicts, None).kind == "interrupted"


@pytest.mark.parametrize(
    ("written", "kind"),
    [(True, "done"), (False, "failed")],
)
def test_a_forgotten_job_is_judged_by_its_outputs_after_three_answers_without_it(written, kind):
    clock = Clock()
    verdicts = Verdicts(clock)
    for _ in range(2):
        assert judge(verdicts, None, written) == WAIT
        clock.now += 10
    assert judge(verdicts, None, written).kind == kind


def test_answers_in_quick_succession_do_not_make_a_job_forgotten():
    clock = Clock()
    verdicts = Verdicts(clock)
    for _ in range(7):
        assert judge(verdicts, None) == WAIT
        clock.now += 2
    assert judge(verdicts, "RUNNING") == WAIT  # and one with it starts the count anew
    clock.now += 10
    assert judge(verdicts, None) == WAIT


def test_jobs_are_judged_one_by_one():
    clock = Clock()
    verdicts = Verdicts(clock)
    for _ in range(3):
        assert verdicts.judge("8", "RUNNING", lambda: False) == WAIT
        last = verdicts.judge("9", None, lambda: False)
        clock.now += 10
    assert last.why == "Slurm no longer knows job 9, and some of its outputs are missing."
