"""Probes of `prime doctor`: in order, in time, and whatever happens in them a line."""

import threading
import time

from prime_core.doctor.finding import Finding, Probe, examine


def test_findings_come_in_the_probes_order_whoever_answers_first():
    second = threading.Event()

    def first() -> Finding:
        assert second.wait(5)
        return Finding("first", "ok", "")

    def other() -> list[Finding]:
        second.set()
        return [Finding("second", "ok", ""), Finding("third", "missing", "")]

    probes = [Probe("first", first), Probe("second", other)]
    assert [one.name for one in examine(probes)] == ["first", "second", "third"]


def test_an_exception_is_a_line_and_the_others_answer():
    def broken() -> Finding:
        raise RuntimeError("no home\nand more")

    found = list(examine([Probe("a", broken), Probe("b", lambda: Finding("b", "ok", ""))]))
    assert found[0] == Finding("a", "wrong", "could not be examined: RuntimeError: no home")
    assert found[1].state == "ok"


def test_a_probe_that_hangs_is_a_line_after_its_time():
    waited = []
    began = time.monotonic()
    found = list(
        examine(
            [Probe("disk", lambda: time.sleep(30) or [], 0.5)],  # type: ignore[func-returns-value]
            lambda name, left: waited.append((name, left)),
        )
    )
    assert found == [Finding("disk", "wrong", "no answer within 0 s")]
    assert time.monotonic() - began < 5
    assert waited[0][0] == "disk"
    assert 0 < waited[0][1] <= 0.5


def test_what_is_missing_fails_only_where_it_is_needed():
    assert Finding("a", "missing", "").fails
    assert not Finding("a", "missing", "", needed=False).fails
    assert Finding("a", "wrong", "", needed=False).fails
    assert not Finding("a", "ok", "").fails
