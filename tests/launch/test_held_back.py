"""Jobs that a limit keeps from being submitted: in order, one at a time, until it lets them."""

from prime_core.launch.slurm.held_back import SECONDS_BETWEEN_TRIES, HeldBack


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_jobs_keep_their_order_and_one_is_tried_at_a_time():
    clock = Clock()
    held = HeldBack(clock)
    assert not held.joins("gpu", 1)
    assert held.refused("gpu", 1, alone=False) == (0, True)
    assert held.joins("gpu", 2)
    assert not held.joins("cpu", 9), "another partition's jobs do not wait for this one's"
    assert held.due(some_job_ended=False) == []
    assert held.due(some_job_ended=True) == [("gpu", 1)]
    assert held.due(some_job_ended=True) == [], "it is being tried"
    assert held.joins("gpu", 3)
    assert held.refused("gpu", 1, alone=False) == (0, False)
    clock.now += SECONDS_BETWEEN_TRIES
    assert held.due(some_job_ended=False) == [("gpu", 1)], "it has its place again"
    assert held.accepted("gpu") == 2
    assert held.accepted("gpu") == 3
    assert held.accepted("gpu") is None
    assert not held.joins("gpu", 4), "nobody waits any more"


def test_refusals_of_a_user_without_other_jobs_are_counted_in_a_row():
    held = HeldBack(Clock())
    counts = []
    for alone in (True, True, False, True):
        counts.append(held.refused("gpu", 1, alone)[0])
        assert held.due(some_job_ended=True) == [("gpu", 1)]
    assert counts == [1, 2, 0, 1]


def test_a_lane_is_spoken_of_once_an_hour():
    clock = Clock()
    held = HeldBack(clock)
    spoken = []
    for _ in range(3):
        spoken.append(held.refused("gpu", 1, alone=False)[1])
        held.due(some_job_ended=True)
        clock.now += 1800
    assert spoken == [True, False, True]


def test_what_waits_is_given_up_with_the_workflow():
    held = HeldBack(Clock())
    held.refused("gpu", 1, alone=False)
    held.joins("gpu", 2)
    held.refused("cpu", 3, alone=False)
    assert held.dropped() == [1, 2, 3]
    assert held.due(some_job_ended=True) == []
