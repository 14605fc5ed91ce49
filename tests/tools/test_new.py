"""`prime new`: a commented settings file from a template, and the schema line of all of them."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from prime_core.cli.main import main
from prime_core.settings.reading import SettingsError, flatten, load_settings
from prime_core.tools import new
from tests.support.shared_data import ROOT

CONFIGS = [*sorted((ROOT / "configs").glob("*.yaml")), *sorted((ROOT / "configs/paper").glob("*"))]
VALIDATOR = Draft202012Validator(json.loads((ROOT / new.SCHEMA).read_text()))


def schema_of(path: Path) -> Path:
    """The file that the first line of a settings file leads an editor to."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith(new.SCHEMA_MARK), path
    return (path.parent / first.removeprefix(new.SCHEMA_MARK)).resolve()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_editors_find_the_schema_of_each_committed_file_which_obeys_it(path):
    assert schema_of(path) == ROOT / new.SCHEMA
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


def test_the_schema_refuses_a_misspelt_key():
    assert not VALIDATOR.is_valid({"iteratons": 3})


@pytest.mark.parametrize("template", new.short_names())
def test_each_template_becomes_a_run_of_its_own_with_comments_kept(template, tmp_path, capsys):
    path = new.run("mine", template, tmp_path / "deep" / "mine.yaml", "elsewhere")
    assert schema_of(path) == ROOT / new.SCHEMA
    made, source = load_settings(path), new.find_template(template)
    changes = {"run": "mine", "results": "elsewhere"}
    theirs = flatten(load_settings(source).model_dump(mode="json"))
    assert flatten(made.model_dump(mode="json")) == theirs | changes

    def comments(text: str) -> int:
        return text.count("#")

    added = 0 if "\nresults:" in source.read_text() else 1
    assert comments(path.read_text()) == comments(source.read_text()) + added
    assert source.relative_to(ROOT).as_posix() not in path.read_text()
    assert f" --configfile {path}\n" in capsys.readouterr().out


def test_a_run_named_like_a_date_keeps_its_name(tmp_path):
    path = new.run("2026-11-29", "quickstart", tmp_path / "a.yaml", "results")
    assert load_settings(path).run == "2026-11-29"


def test_by_default_it_lies_in_configs_and_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(main, ["new", "mine"])
    assert first.exit_code == 0
    before = (tmp_path / "configs" / "mine.yaml").read_text()
    again = CliRunner().invoke(main, ["new", "mine", "--from", "smollm2"])
    assert again.exit_code == 1
    assert "configs/mine.yaml exists already: choose another name" in again.output
    assert (tmp_path / "configs" / "mine.yaml").read_text() == before


@pytest.mark.parametrize("name", ["a b", "a/b", ".a", "", "é"])
def test_a_name_that_is_no_folder_is_refused_in_words(name, tmp_path):
    with pytest.raises(SettingsError, match="letters, digits"):
        new.run(name, "quickstart", tmp_path / "a.yaml", "results")
    assert not list(tmp_path.iterdir())


def test_an_unknown_template_lists_the_known(tmp_path):
    with pytest.raises(SettingsError, match=r"expected one of .*quickstart, smollm2, paper/eurus2"):
        new.run("mine", "quickstrat", tmp_path / "a.yaml", "results")
    with pytest.raises(SettingsError, match="benchmarks: no such template"):
        new.run("mine", "benchmarks", tmp_path / "a.yaml", "results")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: [", "not readable as YAML"),
        ("iteratons: 3\n", "did you mean 'iterations'"),
        ("{run: old, iterations: 3}\n", "expected one key a line"),
    ],
)
def test_a_template_of_ones_own_that_is_wrong_is_named(text, words, tmp_path):
    source = tmp_path / "own.yaml"
    source.write_text(text)
    with pytest.raises(SettingsError, match=words) as refused:
        new.run("mine", str(source), tmp_path / "mine.yaml", "results")
    assert str(source) in str(refused.value)
    assert not (tmp_path / "mine.yaml").exists()


def test_a_template_of_ones_own_without_a_name_gets_one_below_its_opening_comment(tmp_path):
    source = tmp_path / "own.yaml"
    source.write_text("# My run.\n\niterations: 3  # few\n")
    path = new.run("mine", str(source), tmp_path / "mine.yaml", "results")
    assert path.read_text().splitlines()[1:] == [
        "# My run.",
        "",
        "run: mine",
        "results: results  # folder of all runs",
        "iterations: 3  # few",
    ]


def test_without_a_checkout_it_says_where_templates_are(tmp_path, monkeypatch):
    monkeypatch.setattr(new, "TEMPLATES", tmp_path / "none")
    with pytest.raises(
        SettingsError, match="templates are in configs/ of the project's repository"
    ):
        new.run("mine", "quickstart", tmp_path / "a.yaml", "results")
    monkeypatch.setattr(new, "REPOSITORY", tmp_path)
    source = ROOT / "configs" / "quickstart.yaml"
    path = new.run("mine", str(source), tmp_path / "a.yaml", "results")
    assert new.SCHEMA_MARK not in path.read_text()  # there is no schema to point to
