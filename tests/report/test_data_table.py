"""The report's table of data, from figures of the stages that prepare them."""

from prime_core.report.tables.data_table import data_rows, not_compared, read_data_figures
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles

PREPARED = {
    "data/num_train": 5000,
    "data/num_train/math": 4000,
    "data/num_train/code": 1000,
    "data/num_validation": 10,
    "data/num_validation/math": 10,
    "data/num_demonstrations": 0,
    "data/num_train_in_benchmark": 3,
    "data/num_in_benchmark/math500": 3,
    "data/num_in_benchmark/aime": 0,
    "data/num_train_malformed": 2,
    "data/num_demonstrations_malformed": 7,
    "timing_s/prepare": 1.5,
}


def lines(figures: dict[str, float]) -> list[tuple[str, float, str]]:
    return [(row["what"], row["number"], row["detail"]) for row in data_rows(figures)]


def test_what_there_is_stands_before_what_was_left_out_and_zeros_nowhere():
    assert lines(PREPARED) == [
        ("training problems", 5000, "math 4,000, code 1,000"),
        ("held-out problems", 10, ""),
        ("left out: training problems malformed", 2, ""),
        ("left out: training problems that occur in a benchmark", 3, "math500 3"),
        ("left out: demonstrations", 7, ""),
    ]
    assert lines({}) == []


def test_figures_of_the_band_take_the_place_of_those_before_it(tmp_path):
    files = RunFiles(tmp_path)
    assert read_data_figures(files) == {}
    write_json(files.setup_metrics("prepare"), PREPARED)
    write_json(files.setup_metrics("band"), {"data/num_train": 40, "data/num_train_too_easy": 4960})
    assert lines(read_data_figures(files))[0] == ("training problems", 40, "")
    easy = ("left out: training problems too easy for the start model", 4960, "")
    assert easy in lines(read_data_figures(files))


def test_benchmarks_that_came_after_the_data_are_named():
    settings = {
        "data.source": "files",
        "evaluation.benchmarks.math500.file": "a.jsonl",
        "evaluation.benchmarks.later.file": "b.jsonl",
        "evaluation.benchmarks.held_out.file": "validation",
    }
    assert not_compared(PREPARED, settings) == ["later"]
    assert not_compared({}, settings) == []
    assert not_compared(PREPARED, settings | {"data.source": "arithmetic"}) == []
