"""Measured tables and images say how they were made, and `make figures` finds the old ones."""

import re
import subprocess

import pytest

from benchmarks.figures import TODAY, changes_since, figures, report
from tests.support.shared_data import ROOT

ALL = figures()


@pytest.mark.parametrize("figure", ALL, ids=lambda figure: figure.name)
def test_a_figure_stands_where_it_says_with_how_it_was_made_beside_it(figure):
    text = (ROOT / figure.file).read_text(encoding="utf-8")
    assert text.count(figure.begins) == 1
    if figure.commit != TODAY:
        assert figure.origin in text
    assert figure.image is None or (ROOT / figure.image).exists()
    for path in figure.depends:
        assert list(ROOT.glob(path)), path


def test_every_image_of_the_documentation_is_among_them():
    shown = {path for file in ("README.md", *ROOT.glob("docs/*.md")) for path in images_of(file)}
    assert shown == {figure.image for figure in ALL if figure.image}


def images_of(file) -> set[str]:
    path = ROOT / file
    named = re.findall(r"!\[[^]]*\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    return {(path.parent / one).resolve().relative_to(ROOT).as_posix() for one in named}


@pytest.fixture
def repository(tmp_path):
    """A repository with one figure, made at its first commit."""

    def git(*words):
        who = ["-c", "user.name=n", "-c", "user.email=e"]
        command = ["git", "-C", str(tmp_path), *who, *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "docs").mkdir()
    for name in ("loss.py", "else.py"):
        (tmp_path / name).write_text("1\n")
    git("add", ".")
    git("commit", "-q", "-m", "Measure it")
    table = "figures:\n  one: {file: README.md, begins: x, command: measure, seeds: 3, "
    made = git("rev-parse", "--short", "HEAD")
    table += f"commit: '{made}', depends: [[loss.py]]}}\n"
    (tmp_path / "docs" / "figures.yaml").write_text(table)
    return tmp_path, git


def test_a_figure_is_old_once_what_it_depends_on_has_changed(repository):
    folder, git = repository
    assert list(report(folder)) == ["0 of 1 figures are older than what they depend on"]
    (figure,) = figures(folder)
    (folder / "else.py").write_text("2\n")
    git("commit", "-q", "-am", "Change what it does not depend on")
    assert changes_since(figure, folder) == []
    (folder / "loss.py").write_text("2\n")
    assert changes_since(figure, folder) == ["loss.py"]
    git("commit", "-q", "-am", "Change the loss")
    first, last = report(folder)
    assert "README.md (one): made at" in first
    assert "1 changes since, the last: " in first
    assert first.endswith("Change the loss; again: measure")
    assert last == "1 of 1 figures are older than what they depend on"


def test_a_commit_that_is_not_there_is_said(repository):
    folder, _ = repository
    path = folder / "docs" / "figures.yaml"
    path.write_text(re.sub("commit: '[^']*'", "commit: '1234567'", path.read_text()))
    assert next(report(folder)) == "one: this checkout has no commit 1234567"
