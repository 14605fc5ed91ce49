"""The page of made-up runs, finished and cut short."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment

from prime_core.models.build import build_tokenizer
from prime_core.report.drawing.plots import EMPTY
from prime_core.report.figures import FIGURES
from prime_core.report.overlay import overlay
from prime_core.report.page import (
    breakable,
    describe,
    duration_or_dash,
    earlier_starts,
    iteration_rows,
    last_start,
    percent,
)
from prime_core.report.tables.collect import collect
from prime_core.report.tokens import HEAD, TAIL, example_pairs, token_texts
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.tables import EVALUATION, TableError, read_json, write_table
from prime_core.settings.reading import flatten
from prime_core.stages import report
from tests.support.fake_benchmarks import add_benchmark, add_steps
from tests.support.fake_run import make_run
from tests.support.fake_slurm import add_slurm_jobs
from tests.support.shared_data import ROOT

# Of the run, by paths from its page.
FILES = (
    *("metrics.csv", "evaluations.csv", "stages.csv", "cost.csv", "reproduction.csv"),
    *("differing_settings.csv", "plots/", "tensorboard/", "../"),
)
CAPTIONS = ROOT / "workflow" / "report" / "figures.rst"
ATTACK = "<script>alert('no')</script><img src=http://example.org/x onerror=alert(1)>"


def make_finished(folder: Path) -> Path:
    """A finished run that has all there is to show but trees, with its report."""
    run_dir = make_run(folder, adv_estimator="gae", response=ATTACK, reproduced="prime-592")
    add_slurm_jobs(run_dir, iterations=4)
    add_benchmark(run_dir, "math500", 500, {0: 331, 4: 396})
    add_steps(run_dir, {0: 0.2111, 4: 0.3222})
    for iteration in range(1, 5):
        values = {"value_mean": 0.1 * iteration, "steps_mean": 3.0, "token_ratio": 12.5}
        metrics = {f"step_values/{name}": value for name, value in values.items()}
        write_json(RunFiles(run_dir).metrics(iteration, "step_values"), metrics)
    report.run(run_dir)
    return run_dir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its report, and a response that tries to break out of the page."""
    return make_finished(tmp_path_factory.mktemp("runs") / "finished")


def page_of(run_dir: Path) -> str:
    return RunFiles(run_dir).report.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_page_holds_the_prms_f1_beside_what_an_outcome_alone_reaches(finished):
    page = " ".join(page_of(finished).replace("\N{NO-BREAK SPACE}", " ").split())
    assert "21.1 %" in page
    assert "32.2 % <span" in page
    assert '<td class="number">37.8 %</td>' in page
    assert "gsm8k (in sample: the threshold is chosen on it)" in page
    assert "steps" not in set(collect(finished).evaluations["benchmark"])


def test_page_holds_every_figure_with_its_caption(finished):
    page = page_of(finished)
    shown = [figure for figure in FIGURES if not figure.needs_trees]
    for figure in shown:
        assert f'id="figure-{figure.name}"' in page
        assert f'aria-label="{figure.title}"' in page
    assert page.count("<figcaption>") == len(shown)
    assert "no figures yet" not in page


def test_page_needs_no_network_and_runs_no_script(finished):
    elements = Elements(page_of(finished)).found
    assert "script" not in {tag for tag, _ in elements}
    for _, attributes in elements:
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", *FILES))
        assert not any(name.startswith("on") for name in attributes)
    assert "default-src 'none'" in page_of(finished)
    assert "@import" not in page_of(finished)
    assert set(re.findall(r"url\((.)", page_of(finished))) <= {"#"}


def test_ids_are_unique_and_links_lead_somewhere(finished):
    elements = Elements(page_of(finished)).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] or "" for _, attributes in elements if "href" in attributes}
    assert {link for link in links if not link.startswith(FILES)} <= {f"#{name}" for name in ids}


def test_model_text_is_escaped_and_still_readable(finished):
    page = page_of(finished)
    assert ATTACK not in page
    pair = example_pairs(finished)[0]
    for response in pair.responses:
        shown = "".join(piece.text for piece in response.pieces if piece)
        assert shown.startswith(ATTACK)


def test_headline_gives_accuracy_before_and_after_with_intervals(finished):
    before, after = (read_json(RunFiles(finished).evaluation(i, "validation")) for i in (0, 4))
    results = page_of(finished).partition('id="results"')[2].partition("</section>")[0]
    for figures in (before, after):
        for name in ("accuracy", "accuracy_low", "accuracy_high"):
            assert percent(figures[name]) in results


def test_tokens_carry_the_rewards_of_the_table(finished):
    pair = example_pairs(finished)[-1]
    rewards = pd.read_parquet(RunFiles(finished).rewards(4))["implicit_reward"]
    assert pair.iteration == 4
    assert [response.outcome for response in pair.responses] == [1, 0]
    for response, expected in zip(pair.responses, rewards, strict=True):
        assert [piece.reward for piece in response.pieces if piece] == pytest.approx(list(expected))
        assert response.summed_reward == pytest.approx(float(expected.sum()), abs=1e-5)
    strengths = [
        piece.strength for response in pair.responses for piece in response.pieces if piece
    ]
    assert max(strengths) == pytest.approx(1)
    assert pair.scale == pytest.approx(max(np.abs(row).max() for row in rewards))


def test_iterations_without_any_reward_are_passed_over(finished):
    assert [pair.iteration for pair in example_pairs(finished)] == [2, 3, 4]


def test_long_responses_show_their_beginning_and_their_end(tmp_path):
    run_dir = make_run(tmp_path / "long", iterations=2, response="x" * 2 * (HEAD + TAIL))
    pieces = example_pairs(run_dir)[0].responses[0].pieces
    assert [len(pieces), pieces[HEAD]] == [HEAD + 1 + TAIL, None]
    last = pieces[-1]
    assert last is not None
    assert last.text == "<|end|>"
    assert last.position > 2 * (HEAD + TAIL)


def test_a_character_of_several_tokens_appears_once_whole():
    tokenizer = build_tokenizer()
    tokens = tokenizer.encode("aπ中", add_special_tokens=False)
    assert token_texts(tokenizer, tokens) == ["a", "", "π", "", "", "中"]
    broken = token_texts(tokenizer, [tokens[1]] * 6)
    assert len(broken) == 6
    assert "�" in "".join(broken)


def test_a_run_that_has_just_begun_has_a_page_that_says_so(tmp_path):
    run_dir = make_run(tmp_path / "begun", iterations=0, evaluated=())
    shutil.rmtree(run_dir / "benchmarks")
    shutil.rmtree(run_dir / "metrics")
    RunFiles(run_dir).provenance.unlink()
    report.run(run_dir)
    page = page_of(run_dir)
    assert page.count("no figures yet") == sum(
        not (one.needs_slurm or one.needs_values or one.needs_trees or one.needs_steps)
        and not one.needs_continuations
        and one.section != "Reproduction"
        for one in FIGURES
    )
    for words in ("provenance.json is absent", "No evaluation", "No stage has recorded"):
        assert words in page


def test_an_unfinished_run_without_prm_shows_what_there_is(tmp_path):
    run_dir = make_run(
        tmp_path / "half",
        iterations=2,
        planned=16,
        evaluated=(0,),
        prm_update="none",
        benchmarks=False,
    )
    RunFiles(run_dir).metrics(2, "policy").unlink()
    report.run(run_dir)
    page = page_of(run_dir)
    assert "this page shows 1 of 16 iterations, and figures of 1 that have begun" in page
    assert "last evaluation so far is that of iteration 0" in page
    assert "outcome rewards only" in page
    assert "benchmark files are absent" in page
    shown = {figure.name for figure in FIGURES if f'id="figure-{figure.name}"' in page}
    assert shown == {
        figure.name
        for figure in FIGURES
        if not (figure.needs_prm or figure.needs_values or figure.needs_trees or figure.needs_slurm)
        and not figure.needs_continuations
        and figure.section != "Reproduction"
    }
    # Figures without anything to draw are no files: an empty canvas would pass for a result.
    plots = list((run_dir / "report" / "plots").iterdir())
    assert {"accuracy-training", "filter"} <= {plot.stem for plot in plots}
    assert not [plot for plot in plots if EMPTY in plot.read_text()]


def test_an_interrupted_report_leaves_the_last_one_whole(tmp_path, monkeypatch):
    run_dir = make_run(tmp_path / "interrupted", iterations=1)
    report.run(run_dir)
    before = {
        path: path.read_bytes() for path in (run_dir / "report").rglob("*.*") if path.is_file()
    }

    def interrupt(folder, *_):
        (folder / "events.half").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_events", interrupt)
    with pytest.raises(KeyboardInterrupt):
        report.run(run_dir)
    after = {
        path: path.read_bytes() for path in (run_dir / "report").rglob("*.*") if path.is_file()
    }
    assert after == before


def test_a_damaged_file_is_named(tmp_path):
    run_dir = make_run(tmp_path / "damaged", iterations=1)
    RunFiles(run_dir).metrics(1, "prm").write_text('{"prm/loss": 0.6')
    with pytest.raises(TableError, match=r"0001/metrics/prm\.json: not readable"):
        report.run(run_dir)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(TableError, match=r"nowhere/config\.yaml: no such file"):
        report.run(tmp_path / "nowhere")


def test_settings_that_differ_from_their_defaults_are_marked(finished):
    changed = re.findall(r'<tr class="changed"><th scope="row">([^<]+)', page_of(finished))
    assert set(changed) == {
        "iterations",
        "policy.",
        "reproduction.",
    }  # policy.<wbr>adv_<wbr>estimator
    assert breakable("a.b_<c>") == "a.<wbr>b_<wbr>&lt;c&gt;"
    assert describe("prm.beta").startswith("Scale of the implicit reward")
    assert describe("evaluation.benchmarks.validation.temperature") == ""


def test_provenance_of_the_last_start_comes_first():
    provenance = flatten({"task": 1, "starts": [{"host": "a"}, {"host": "b"}, {"host": "c"}]})
    assert last_start(provenance) == {"task": 1, "host": "c"}
    assert earlier_starts(provenance) == {"starts.1.host": "a", "starts.2.host": "b"}
    assert earlier_starts({}) == {}


def test_captions_of_snakemakes_report_are_the_pages():
    template = Environment().from_string(CAPTIONS.read_text(encoding="utf-8"))
    for figure in FIGURES:
        snakemake = SimpleNamespace(wildcards=SimpleNamespace(figure=figure.name))
        text = template.render(snakemake=snakemake).strip()
        assert text == f"**{figure.title}.** {figure.caption}"


def test_the_same_run_gives_the_same_plots(finished, tmp_path):
    again = make_finished(tmp_path / "finished")
    for path in (finished / "report" / "plots").iterdir():
        assert path.read_bytes() == (again / "report" / "plots" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.16, "8.2 s"), (11520, "3 h 12 min"), (float("nan"), "–")],
)
def test_a_missing_duration_is_a_dash(seconds, text):
    assert duration_or_dash(seconds) == text


def test_whatever_a_reader_cannot_point_at_can_be_reached_and_read(finished):
    """Tables that scroll and tokens with rewards, by keyboard and touch."""
    elements = Elements(page_of(finished)).found
    scrolling = [found for tag, found in elements if found.get("class") == "scroll"]
    assert len(scrolling) > 5
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in scrolling)
    tokens = [found for tag, found in elements if tag == "i" and "title" in found]
    assert len(tokens) > 20
    assert all(one["tabindex"] == "0" for one in tokens)
    css = (ROOT / "prime_core/report/templates/report.css").read_text(encoding="utf-8")
    assert "i[title]:focus::after" in css
    skips = [found["href"] for _, found in elements if found.get("class") == "skip"]
    ids = {found.get("id") for _, found in elements}
    assert len(skips) == 3
    assert {skip[1:] for skip in skips if skip} <= ids


def test_the_contents_lead_to_every_section(finished):
    elements = Elements(page_of(finished)).found
    sections = [found["id"] for tag, found in elements if tag == "section"]
    links = [found.get("href") for tag, found in elements if tag == "a"]
    assert {f"#{section}" for section in sections if section != "data"} <= {*links}


def test_each_iteration_has_a_row_with_its_end_and_its_figures(finished):
    run = collect(finished)
    rows = iteration_rows(run.iterations)
    assert [row["Iteration"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0]["Sampled"] == percent(run.iterations["rollout/accuracy"][0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", rows[0]["Ended (UTC)"])
    assert 'id="table-iterations"' in page_of(finished)


def test_files_are_links_to_what_is_there(finished):
    page = page_of(finished)
    section = page[page.index('<section id="files">') :]
    links = re.findall(r'href="([^"]+)"', section)
    assert "metrics.csv" in links
    missing = [one for one in links if not (finished / "report" / one).exists()]
    assert missing == ["../logs/"]  # a made-up run has none


def test_a_run_that_reproduces_nothing_is_compared_with_nothing(tmp_path):
    run_dir = make_run(tmp_path / "run", iterations=1, planned=1, evaluated=(0, 1))
    report.run(run_dir, record=False)
    page = page_of(run_dir)
    assert "Reproduction" not in page
    assert "Eurus" not in page[: page.index('<section id="settings">')]


def test_runs_are_laid_over_each_other_with_what_differs(tmp_path):
    one = make_run(tmp_path / "prime", iterations=3)
    other = make_run(tmp_path / "rloo", iterations=2, prm_update="none")
    for number, run_dir in enumerate((one, other)):
        rows = [
            {
                "prompt_id": f"p{i}",
                "sample": 0,
                "text": "",
                "finish_reason": "stop",
                "response_length": 1,
                "outcome": float(i % 3 > number),
                "verdict": "correct" if i % 3 > number else "wrong",
                "extracted": None,
            }
            for i in range(60)
        ]
        write_table(
            RunFiles(run_dir).evaluation(4, "validation").with_suffix(".parquet"), rows, EVALUATION
        )
    page = overlay([one, other])
    assert "<h1>prime, rloo</h1>" in page
    assert "-33.3" in page  # paired by problem: two thirds right, and one third
    assert 'id="figure-accuracy-0"' in page
    assert 'id="figure-prm-ranking_accuracy"' in page
    assert "prm.<wbr>prm_<wbr>update" in page
    with pytest.raises(TableError, match="nowhere: expected the folder of a run"):
        overlay([one, tmp_path / "nowhere"])
