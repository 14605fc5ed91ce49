"""An environment that does not begin is refused before the first job."""

from pathlib import Path

import pytest

from prime_core.launch.fetch import FetchError, refuse_missing_files
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import parse_settings
from tests.support.lake import AGENT

BROKEN = """
class Game:
    def reset(self, seed):
        raise RuntimeError("no board")
"""


def look_for(folder: Path, name: str) -> None:
    """As the workflow does in a dry run."""
    env = {"id": name, "kwargs": {}} if ".py" in name else {"id": name}
    data = AGENT["data"] | {"env": AGENT["data"]["env"] | env}
    settings = parse_settings(AGENT | {"data": data, "results": str(folder)}, "test")
    refuse_missing_files(settings, RunFiles(settings.run_dir), dry_run=True)


def test_one_that_begins_is_not_refused(tmp_path):
    look_for(tmp_path, "FrozenLake-v1")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("IcyPond-v0", "'IcyPond-v0' is not an environment; installed are .*FrozenLake-v1"),
        ("nowhere.py:Game", "there is no such file in "),
        ("broken.py:Game", "no board"),
        ("broken.py:Play", "Play"),
    ],
)
def test_one_that_does_not_begin_is_named_with_its_key(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text(BROKEN)
    with pytest.raises(FetchError, match=rf"^data\.env\.id: .*{words}"):
        look_for(tmp_path, name)


def test_problems_that_are_made_already_need_it_no_more(tmp_path):
    data = AGENT["data"] | {"env": AGENT["data"]["env"] | {"id": "IcyPond-v0"}}
    settings = parse_settings(AGENT | {"data": data, "results": str(tmp_path)}, "test")
    files = RunFiles(settings.run_dir)
    files.train.parent.mkdir(parents=True)
    files.train.touch()
    refuse_missing_files(settings, files, dry_run=True)
