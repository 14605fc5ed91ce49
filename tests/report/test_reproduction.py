"""A run beside published figures: the figures themselves, differences, hours, settings."""

import math
import re
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
import yaml

from prime_core.report.reproduction.comparison import compare, reproduction_table
from prime_core.report.reproduction.drawings import published_points
from prime_core.report.reproduction.paper_settings import (
    ABSENT,
    differing,
    paper_config,
    paper_differences,
)
from prime_core.report.reproduction.published import PAPER_CONFIGS, published
from prime_core.report.reproduction.time_to_accuracy import (
    SAMPLED,
    hours_of,
    iteration_costs,
    reached,
)
from prime_core.report.tables.collect import collect
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import load_yaml, parse_settings
from prime_core.settings.reproduction import PublishedRow
from prime_core.stages import report
from tests.support.fake_benchmarks import MOVED, add_benchmark, add_moved
from tests.support.fake_run import make_run
from tests.support.fake_slurm import add_slurm_jobs
from tests.support.shared_data import shared

COLUMNS = ["aime24", "amc", "math500", "minerva", "olympiad", "leetcode", "livecodebench", "mean"]
MAIN_TABLE = {
    ("Eurus-2-7B-SFT", "0"): "eurus2-7b-sft",
    ("Qwen2.5-Math-7B-Instruct", "-"): "qwen2.5-math-7b-instruct",
    ("RLOO, outcome only", "240"): "rloo-240",
    ("PRIME", "240"): "prime-240",
    ("PRIME", "592"): "prime-592",
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A run whose benchmarks are the paper's."""
    run_dir = make_run(tmp_path_factory.mktemp("runs") / "compared", reproduced="prime-592")
    add_moved(run_dir)
    settings = load_yaml(RunFiles(run_dir).config)
    settings["evaluation"]["benchmarks"]["amc"] = {"max_response_length": 3072}
    RunFiles(run_dir).config.write_text(yaml.safe_dump(settings))
    return run_dir


def choose_row(run_dir: Path, **section: object) -> None:
    """Write a section `reproduction` into a run's settings."""
    config = RunFiles(run_dir).config
    config.write_text(yaml.safe_dump(load_yaml(config) | {"reproduction": section}))


def test_the_main_table_is_the_papers():
    found = {}
    for line in shared("ALGORITHM.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if tuple(cells[:2]) in MAIN_TABLE:
            shares = [float(cell) for cell in cells[2:]]
            found[MAIN_TABLE[cells[0], cells[1]]] = dict(zip(COLUMNS, shares, strict=True))
    assert len(found) == len(MAIN_TABLE)
    for name, figures in found.items():
        row = published().rows[name]
        assert row.figures | {"mean": row.mean} == figures, name


def test_means_averages_and_seconds_are_the_papers():
    text = shared("ALGORITHM.md").read_text(encoding="utf-8")
    rows = published().rows
    for words, names in (
        (r"REINFORCE (\S+), (\S+);", ("reinforce-240", "reinforce-prime-240")),
        (r"GRPO (\S+), (\S+);", ("grpo-240", "grpo-prime-240")),
        (r"PPO (\S+), (\S+);", ("ppo-240", "ppo-prime-240")),
        (r"PRM as value model (\S+)\. ", ("prm-as-value-240",)),
        (r"PRM size 3B/7B/14B: ([\d.]+)/([\d.]+)/([\d.]+)\. ", ("prm-3b", "prm-7b", "prm-14b")),
        (r"CE ([\d.]+), DPO ([\d.]+)\. ", ("prm-ce-96", "prm-dpo-96")),
    ):
        expected = re.search(words, text)
        assert expected, words
        assert [rows[name].mean for name in names] == [float(mean) for mean in expected.groups()]
    for words, name in (
        ("SFT", "eurus2-7b-sft"),
        ("RLOO", "rloo-240"),
        ("PRIME@240", "prime-240"),
        ("PRIME@592", "prime-592"),
    ):
        assert f"{words} {rows[name].avg16['aime24']}/{rows[name].avg16['amc']}" in text
    base, grpo, ppo, prime = (
        rows[f"gsm8k-{kind}"].figures["gsm8k"] for kind in ("base", "grpo", "ppo", "prime")
    )
    assert f"base {base}, GRPO {grpo}, PPO {ppo}, PRIME {prime}" in text
    seconds = rows["prime-592"].seconds
    assert seconds is not None
    words = f"sampling {seconds.sampling}, policy {seconds.policy}, PRM {seconds.prm}, other "
    assert f"{words}{seconds.other} (530.7 without PRM)" in text
    without = rows["rloo-240"].seconds
    assert without is not None
    assert sum(without.model_dump().values()) == pytest.approx(530.7)


def test_greedy_figures_are_whole_numbers_of_right_answers():
    known = published()
    odd = set()
    for name, row in known.rows.items():
        for benchmark, percent in row.figures.items():
            greedy = known.benchmarks[benchmark].samples == 1 and not row.own_protocol
            right = percent / 100 * known.benchmarks[benchmark].num_problems
            if greedy and abs(round(right) - right) > 0.0501 / 100 * (
                known.benchmarks[benchmark].num_problems
            ):
                odd.add((name, benchmark))
    assert odd == {("reinforce-prime-240", "amc")}


def test_printed_means_are_those_of_the_figures_but_for_two():
    other = {
        name
        for name, row in published().rows.items()
        if row.mean and abs(sum(row.figures.values()) / len(row.figures) - row.mean) > 0.1
    }
    assert other == {"rloo-240", "prime-592"}


def test_rows_are_those_that_settings_may_name_and_lead_somewhere():
    rows = published().rows
    assert set(get_args(PublishedRow)) == set(rows)
    for row in rows.values():
        assert row.start is None or row.start in rows
        assert row.config is None or (PAPER_CONFIGS / row.config).exists(), row.config
        assert row.figures.keys() | row.avg16.keys() <= published().benchmarks.keys()
    main = published().siblings(rows["prime-592"])
    assert [row.iteration for row in main] == [0, 80, 160, 240, 320, 592]


def test_a_row_without_a_name_in_the_settings_is_refused_by_name():
    with pytest.raises(ValueError, match=r"reproduction\.of: .*got 'prime-593'"):
        parse_settings({"reproduction.of": "prime-593"}, "test")


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("AIME_2024", "aime24"),
        ("aime24_avg16", "aime24"),
        ("math-500", "math500"),
        ("minerva_math", "minerva"),
        ("OlympiadBench", "olympiad"),
        ("validation", None),
        ("math5000", None),
    ],
)
def test_benchmarks_are_known_by_their_usual_names(name, twin):
    assert published().benchmark_of(name) == twin


def test_differences_have_the_intervals_of_both_and_are_read_by_them(compared):
    found = compare(collect(compared))
    by_twin = {one.twin: one for one in found.comparisons}
    assert by_twin.keys() == {"aime24", "amc", "math500", "minerva", "olympiad", "leetcode"}
    table = reproduction_table(found).set_index("published_benchmark")
    assert table["reading"].to_dict() == {
        "aime24": "within error",
        "amc": "above",
        "math500": "within error",
        "minerva": "below",
        "olympiad": "within error",
        "leetcode": "within error",
    }
    amc = by_twin["amc"]
    assert (amc.iteration, amc.num_problems, amc.own.mean) == (4, 83, pytest.approx(79 / 83))
    assert (amc.start, amc.published_start) == (pytest.approx(25 / 83), pytest.approx(0.301))
    assert amc.published.low < 0.578 < amc.published.high
    assert amc.notes == ("iteration 4, published: 592", "3072 tokens at most, published: 4096")
    assert found.summary == (
        "Of 6 figures: 4 within error of the published one, 1 above it, 1 below it. The "
        "mean over 6 of 7 benchmarks is not distinguishable from the published mean (a difference "
        "below about 4.7 points would not show)."
    )
    assert found.named


def test_the_mean_is_over_what_both_have(compared):
    means = compare(collect(compared)).means
    assert means is not None
    assert (means.num_benchmarks, means.of) == (6, 7)
    own = [right[4] / num_problems for num_problems, right in MOVED.values()]
    assert means.own.mean == pytest.approx(sum(own) / 6)
    six = {k: v for k, v in published().rows["prime-592"].figures.items() if k != "livecodebench"}
    assert means.published.mean == pytest.approx(sum(six.values()) / 600)


def test_a_named_row_is_compared_at_its_own_iteration(tmp_path):
    run_dir = make_run(tmp_path / "run", reproduced="prime-592")
    add_benchmark(run_dir, "math500", 500, {0: 330, 240: 391, 256: 400})
    choose_row(run_dir, of="prime-240")
    found = compare(collect(run_dir))
    assert (found.name, found.named) == ("prime-240", True)
    [one] = found.comparisons
    assert (one.iteration, one.own.mean) == (240, pytest.approx(0.782))
    assert one.difference.mean == pytest.approx(0, abs=1e-9)
    assert found.means is None


def test_published_iterations_are_drawn_as_far_as_the_run_has_come(tmp_path):
    run_dir = make_run(tmp_path / "run", reproduced="prime-592")
    add_benchmark(run_dir, "math500", 500, {0: 330, 240: 391})
    choose_row(run_dir, of="prime-240")
    found = compare(collect(run_dir))
    points = published_points(found.comparisons[0], found, last=240)
    assert points == pytest.approx({0: 0.662, 80: 0.682, 160: 0.720, 240: 0.782})


def test_several_samples_are_compared_with_the_published_average(tmp_path):
    run_dir = make_run(tmp_path / "run", reproduced="prime-592")
    for name, samples in (("aime24", 1), ("aime24_avg16", 16)):
        figures = {"n_samples_per_prompt": samples, "temperature": 0.3 if samples > 1 else 0.0}
        add_benchmark(run_dir, name, 30, {592: 7}, **figures)
    add_benchmark(run_dir, "amc", 83, {592: 48})
    greedy, averaged = (
        one for one in compare(collect(run_dir)).comparisons if one.twin == "aime24"
    )
    assert (greedy.published.mean, averaged.published.mean) == pytest.approx((0.267, 0.242))
    assert averaged.notes == greedy.notes
    means = compare(collect(run_dir)).means
    assert means is not None
    assert means.num_benchmarks == 2  # AIME counts once, as the row has it


def test_what_was_measured_otherwise_is_said(tmp_path):
    run_dir = make_run(tmp_path / "run", reproduced="prime-592")
    add_benchmark(run_dir, "gsm8k", 200, {8: 100}, n_samples_per_prompt=4, temperature=1.0)
    choose_row(run_dir, of="gsm8k-prime")
    [one] = compare(collect(run_dir)).comparisons
    assert one.notes == (
        "200 problems, published: 1319",
        "4 samples per problem, published: 1",
        "1 temperature, published: 0",
    )


def test_means_that_the_paper_prints_otherwise_are_named(compared):
    [note] = compare(collect(compared)).notes
    assert note.startswith("The paper prints 43.9 as the row's mean")
    assert note.endswith("is 43.8.")


def test_a_run_without_a_twin_says_so_and_shows_the_rest(tmp_path):
    run_dir = make_run(tmp_path / "run", reproduced="prime-592")
    report.run(run_dir)
    page = RunFiles(run_dir).report.read_text(encoding="utf-8")
    section = page.partition('<section id="reproduction">')[2].partition("</section>")[0]
    text = " ".join(re.sub(r"<svg.*?</svg>|<[^>]*>", " ", section, flags=re.DOTALL).split())
    assert "None of the run's benchmarks (validation) has a figure in that row" in text
    assert 'id="figure-published"' not in section
    assert 'id="figure-accuracy-hours"' in section
    assert "settings differ" in text
    assert pd.read_csv(run_dir / "report" / "reproduction.csv").empty


def test_the_page_shows_every_twin(compared):
    report.run(compared)
    page = RunFiles(compared).report.read_text(encoding="utf-8")
    section = page.partition('<section id="reproduction">')[2].partition("</section>")[0]
    assert 'id="figure-published"' in section
    for title in ("AIME 2024", "AMC", "MATH-500", "Minerva Math", "OlympiadBench", "LeetCode"):
        assert f'<th scope="row">{title}</th>' in section
    table = pd.read_csv(compared / "report" / "reproduction.csv")
    assert list(table["published_benchmark"]) == [
        one.twin for one in compare(collect(compared)).comparisons
    ]


def test_accuracies_are_reached_at_the_first_iteration_that_shows_them(compared):
    run = collect(compared)
    hours = hours_of(run)
    rows = reached(run, compare(run), hours)
    [half] = [row for row in rows if row.benchmark == "math500" and row.target == 0.7]
    # 331, 360, 396 of 500 at 0, 2, 4: 70 % may be 66.2 %, is 72 %, and is less than 75.4 % for sure
    assert (half.earliest, half.iteration, half.certain) == (0, 2, 4)
    assert half.hours == pytest.approx(hours.until(2))
    [theirs] = [row for row in rows if row.benchmark == "math500" and row.published]
    assert (theirs.target, theirs.iteration) == (pytest.approx(0.792), 4)
    [missed] = [row for row in rows if row.benchmark == "minerva_math" and row.published]
    assert (missed.iteration, missed.hours, missed.certain) == (None, None, None)


def test_responses_show_the_policy_before_the_iterations_update(compared):
    run = collect(compared)
    hours = hours_of(run)
    sampled = [row for row in reached(run, compare(run), hours) if row.benchmark == SAMPLED]
    assert sampled
    for row in sampled:
        assert row.iteration is not None
        assert row.hours == pytest.approx(hours.until(row.iteration - 1))


def test_wanted_accuracies_take_the_place_of_the_usual_ones(tmp_path):
    run_dir = make_run(tmp_path / "run", reproduced="prime-592")
    choose_row(run_dir, accuracies=[0.55, 0.99])
    run = collect(run_dir)
    rows = [r for r in reached(run, compare(run), hours_of(run)) if r.benchmark == "validation"]
    assert [(row.target, row.iteration) for row in rows] == [(0.55, 4), (0.99, None)]


def test_hours_are_of_jobs_without_slurm_and_of_gpus_with_it(tmp_path):
    run_dir = make_run(tmp_path / "run", reproduced="prime-592")
    run = collect(run_dir)
    hours = hours_of(run)
    own = run.stages[(run.stages["iteration"] > 0) & (run.stages["stage"] != "evaluate")]
    assert hours.unit == "time of jobs"
    assert hours.until(4) == pytest.approx(own["seconds"].sum() / 3600)
    assert hours.until(0) == 0
    add_slurm_jobs(run_dir, iterations=4)
    run = collect(run_dir)
    hours = hours_of(run)
    cost = run.cost.table
    counted = cost[(cost["iteration"] > 0) & (cost["stage"] != "evaluate")]
    assert hours.unit == "GPU-hours"
    assert hours.until(4) == pytest.approx(counted["gpu_hours"].sum())


def test_hours_that_slurm_counted_of_a_part_only_are_not_used(tmp_path):
    run_dir = make_run(tmp_path / "run", reproduced="prime-592")
    add_slurm_jobs(run_dir, iterations=2)
    assert hours_of(collect(run_dir)).unit == "time of jobs"


def test_costs_of_an_iteration_add_up_and_stand_beside_the_published_ones(compared):
    run = collect(compared)
    hours, row = hours_of(run), published().rows["prime-592"]
    *parts, whole = iteration_costs(run, hours, row.seconds)
    assert whole["hours"] == pytest.approx(hours.until(4) / 4)
    assert whole["published_hours"] == pytest.approx(8 * 680.3 / 3600)
    for key in ("hours", "published_hours", "share", "published_share"):
        assert math.fsum(part[key] for part in parts) == pytest.approx(whole[key])
    assert all(part["published_hours"] is None for part in iteration_costs(run, hours, None))


def test_settings_are_compared_key_by_key_and_sections_as_one():
    first = {"a": {"b": 1, "c": [1, 2]}, "lora": None, "only": 3, "same": {"x": 1.0}}
    second = {"a": {"b": 2, "c": [1, 2]}, "lora": {"rank": 4}, "same": {"x": 1}, "new": False}
    assert list(differing(first, second)) == [
        ("a.b", 1, 2),
        ("lora", None, {"rank": 4}),
        ("only", 3, ABSENT),
        ("new", ABSENT, False),
    ]
    assert list(differing(first, first)) == []


def test_every_differing_setting_is_listed_with_whether_it_may_change():
    config = paper_config(published().rows["prime-592"])
    assert config is not None
    assert config.name == "eurus2_7b_prime.yaml"
    own = parse_settings(load_yaml(config), "test").model_dump(mode="json")
    assert paper_differences(own, config) == []
    own["prm"] |= {"beta": 0.1, "micro_batch_size": 4}
    own |= {"run": "mine", "reproduction": {"of": None, "accuracies": []}}
    rows = paper_differences(own, config)
    assert [(r.key, r.paper, r.own, r.changeable) for r in rows] == [
        ("prm.beta", 0.05, 0.1, False),
        ("prm.micro_batch_size", 1, 4, True),
    ]


def test_published_intervals_are_those_of_so_many_right_answers():
    known = published()
    figure = known.figure(known.rows["prime-592"], "aime24", samples=1)
    assert figure is not None
    found = figure.estimate
    assert (found.mean, found.low, found.high) == pytest.approx((0.267, 0.142, 0.4448), abs=5e-4)
