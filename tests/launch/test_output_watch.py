"""Outputs that a job has written, as against those that lay there before."""

from prime_core.launch.slurm.output_watch import MAX_EARLY_LOOKS, OutputWatch


def test_all_outputs_have_to_be_there(tmp_path):
    watch = OutputWatch([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "a").write_text("")
    assert not watch.has_written()
    (tmp_path / "b").mkdir()
    assert watch.has_written()


def test_an_output_of_before_does_not_count_until_it_is_replaced(tmp_path):
    output = tmp_path / "weights"
    output.mkdir()
    watch = OutputWatch([output])
    assert not watch.has_written()
    (tmp_path / "new").mkdir()
    output.rmdir()
    (tmp_path / "new").rename(output)
    assert watch.has_written()


def test_a_job_without_outputs_shows_nothing():
    assert not OutputWatch([]).has_written()


def test_a_job_that_goes_on_after_its_outputs_asks_for_few_looks(tmp_path):
    watch = OutputWatch([tmp_path / "a"])
    assert not watch.asks_for_a_look()
    (tmp_path / "a").write_text("")
    assert [watch.asks_for_a_look() for _ in range(MAX_EARLY_LOOKS + 2)] == [
        *[True] * MAX_EARLY_LOOKS,
        False,
        False,
    ]
    assert watch.has_written()
