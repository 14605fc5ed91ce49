"""A release archive: the project without a history and with nothing beside it."""

import re

import pytest

from tests.support import shared_data
from tests.support.shared_data import ROOT, SHARED, read_jsonl, reference_names, shared
from tests.support.shared_sources import source_of


def names_in_tests() -> set[str]:
    """Files of the folder that tests name, as they stand below it."""
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for call, name in re.findall(
            r'\b(shared|read_jsonl|reference_names)\(\s*"([\w./-]+)"', path.read_text("utf-8")
        ):
            folder = {"read_jsonl": "data/", "reference_names": "reference/"}.get(call, "")
            found.add(f"{folder}{name}")
    return found


def test_whatever_tests_read_has_a_source():
    names = names_in_tests()
    assert len(names) > 20
    assert all(source_of(name) for name in names)
    with pytest.raises(KeyError, match="no line in"):
        source_of("data/unknown.jsonl")


def test_whatever_lies_in_the_folder_has_a_source():
    if not SHARED.exists():
        pytest.skip("the folder shared is absent")
    files = [*(SHARED / "data").glob("*.jsonl*"), *(SHARED / "reference").iterdir()]
    assert all(source_of(path.relative_to(SHARED).as_posix()) for path in files)


def test_without_the_folder_a_test_skips_and_names_file_and_source(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_data, "SHARED", tmp_path)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"data/gsm8k_test.*openai/grade-school-math"):
        read_jsonl("gsm8k_test.jsonl.gz")
    (name,) = reference_names("verl_adv_")
    with pytest.raises(pytest.skip.Exception, match=r"verl_adv_\*.npz.*volcengine/verl"):
        shared(f"reference/{name}.npz")


def test_in_ci_a_missing_file_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_data, "SHARED", tmp_path)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"humaneval.*CI needs"):
        read_jsonl("humaneval.jsonl.gz")
