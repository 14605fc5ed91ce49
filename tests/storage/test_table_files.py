"""Where tables lie: files, patterns, folders, and data sets of a hub on this machine."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from prime_core.storage.hub import HubError
from prime_core.storage.table_files import (
    TableFilesError,
    choose_tables,
    find_tables,
    hub_parts,
    is_on_hub,
)
from tests.launch.test_fetch import environment
from tests.support.hub_server import Hub

GSM8K = [
    "README.md",
    "main/test-00000-of-00001.parquet",
    "main/train-00000-of-00001.parquet",
    "socratic/test-00000-of-00001.parquet",
    "socratic/train-00000-of-00001.parquet",
]
EURUS = [".gitattributes", "README.md", "train.parquet", "validation.parquet"]


@pytest.mark.parametrize(
    ("names", "split", "chosen"),
    [
        (EURUS, "train", ["train.parquet"]),
        (EURUS, "validation", ["validation.parquet"]),
        (EURUS, "benchmark", ["validation.parquet"]),
        (["0000.parquet", "README.md"], "sft", ["0000.parquet"]),
        (["default/train/0000.parquet", "x/y.txt"], "train", ["default/train/0000.parquet"]),
        (["a/train.jsonl", "a/train.parquet"], "train", ["a/train.parquet"]),
        (["test.jsonl.gz", "train.json"], "validation", ["test.jsonl.gz"]),
        (["retrained.parquet", "train.parquet"], "train", ["train.parquet"]),
        (
            ["train-00001-of-00002.parquet", "train-00000-of-00002.parquet"],
            "train",
            ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        ),
    ],
)
def test_the_tables_of_a_split_are_chosen_by_their_names(names, split, chosen):
    assert choose_tables(names, "", split, "o/n") == chosen


@pytest.mark.parametrize(
    ("names", "pattern", "split", "message"),
    [
        (GSM8K, "", "train", r"several folders \(main, socratic\).*hf://datasets/o/n/main/\*"),
        (["train.parquet"], "", "validation", "no table with 'validation' .* train.parquet"),
        (["test.parquet"], "", "train", "no table with 'train' in its name; its tables: test"),
        (["0000.parquet"], "", "validation", "no table with 'validation'"),
        (["README.md"], "", "train", "its tables: none"),
        (GSM8K, "main/dev-*", "train", "no table 'main/dev-.'; its tables: main/test-"),
        (["train-00001-of-00003.parquet"], "", "train", "1 of the 3 parts of train-00001"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_what_there_is(names, pattern, split, message):
    with pytest.raises(TableFilesError, match=f"o/n: .*{message}"):
        choose_tables(names, pattern, split, "o/n")


def test_a_pattern_names_tables_of_one_folder():
    assert choose_tables(GSM8K, "main/train-*.parquet", "sft", "o/n") == [GSM8K[2]]


@pytest.mark.parametrize(
    ("place", "on_hub"),
    [
        ("openai/gsm8k", True),
        ("openai/gsm8k@e53f048", True),
        ("openai/gsm8k@refs/convert/parquet", True),
        ("openai/gsm8k@refs/pr/3", True),
        ("openai/gsm8k@my%2Fbranch", True),
        ("hf://datasets/openai/gsm8k/main/train-*.parquet", True),
        ("data/train.parquet", False),
        ("data/train-*.parquet", False),
        ("../data/train", False),
        ("/data/train", False),
        ("train", False),
        ("a/b/c", False),
    ],
)
def test_what_can_only_be_of_the_hub_is_of_the_hub(place, on_hub):
    assert is_on_hub(place) == on_hub


@pytest.mark.parametrize(
    ("place", "parts"),
    [
        ("openai/gsm8k", ("openai/gsm8k", None, "")),
        ("hf://datasets/openai/gsm8k@v1/main/*.parquet", ("openai/gsm8k", "v1", "main/*.parquet")),
        (
            "hf://datasets/openai/gsm8k@refs/convert/parquet/main/train/0.parquet",
            ("openai/gsm8k", "refs/convert/parquet", "main/train/0.parquet"),
        ),
        ("openai/gsm8k@refs/pr/3", ("openai/gsm8k", "refs/pr/3", "")),
        ("hf://datasets/a/b@my%2Fbranch/c.parquet", ("a/b", "my/branch", "c.parquet")),
    ],
)
def test_a_revision_of_the_hub_may_hold_slashes(place, parts):
    assert hub_parts(place) == parts


def test_half_a_name_of_the_hub_is_refused():
    with pytest.raises(TableFilesError, match="expected hf://datasets/owner/name"):
        hub_parts("hf://datasets/openai")


def test_files_patterns_and_folders_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data/own/train-1.jsonl", "data/own/train-2.jsonl", "data/own/test.jsonl"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("{}\n")
    both = [Path("data/own/train-1.jsonl"), Path("data/own/train-2.jsonl")]
    assert find_tables("data/own/train-*.jsonl", "train") == both
    assert find_tables(str(tmp_path / "data/*/train-*"), "x") == [tmp_path / one for one in both]
    assert find_tables("data/own", "train") == both
    assert find_tables("data/own", "benchmark") == [Path("data/own/test.jsonl")]
    assert find_tables("nowhere.parquet", "train") == [Path("nowhere.parquet")]
    with pytest.raises(TableFilesError, match=r"data/none-\*: no table has such a name"):
        find_tables("data/none-*", "train")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub with a data set as people upload it."""
    folder = tmp_path_factory.mktemp("datasets") / "sums"
    (folder / "data").mkdir(parents=True)
    rows = pd.DataFrame({"problem": ["1+1=?", "2+2=?"], "answer": ["2", "4"]})
    rows.to_parquet(folder / "data/train-00000-of-00002.parquet")
    rows[::-1].to_parquet(folder / "data/train-00001-of-00002.parquet")
    text = "".join(json.dumps(row) + "\n" for row in rows.to_dict("records"))
    (folder / "data/test.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "README.md").write_text("Sums.")
    with Hub({"lab/sums": folder}) as server:
        yield server


ASK = """
import sys
from prime_core.storage.table_files import find_tables
try:
    print(*find_tables(sys.argv[1], sys.argv[2]), sep="\\n")
except ValueError as error:
    print(type(error).__name__, error)
"""


def ask(hub: Hub, home: Path, place: str, split: str, offline: bool = False) -> list[str]:
    """Paths that another process finds: the hub's library reads its environment once."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, place, split],
        env=environment(hub.url, home, offline),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_tables_of_the_hub_are_fetched_once_and_found_without_it(hub, tmp_path):
    hub.asked.clear()
    found = ask(hub, tmp_path, "lab/sums", "train")
    assert [Path(path).name for path in found] == [
        f"train-0000{n}-of-00002.parquet" for n in range(2)
    ]
    assert len(pd.concat(map(pd.read_parquet, found))) == 4
    assert hub.downloads() == {f"data/train-0000{n}-of-00002.parquet" for n in range(2)}
    assert ask(hub, tmp_path, "lab/sums", "train", offline=True) == found
    pattern = "hf://datasets/lab/sums@main/data/train-*.parquet"
    assert ask(hub, tmp_path, pattern, "sft", offline=True) == found
    (refused,) = ask(hub, tmp_path, "lab/sums", "validation", offline=True)
    assert refused.startswith("TableFilesError lab/sums: no table with 'validation' in its name")


def test_what_the_hub_does_not_give_is_said_in_a_sentence(hub, tmp_path):
    (absent,) = ask(hub, tmp_path, "lab/nothing", "train")
    assert absent.startswith("HubError lab/nothing: the hub has no such data set, or it is private")
    (unfetched,) = ask(hub, tmp_path, "lab/sums", "train", offline=True)
    assert unfetched.startswith("HubError lab/sums: not fetched, and nothing may be fetched here")
    assert issubclass(HubError, ValueError)


def test_prime_fetch_fetches_data_sets_and_shows_them(hub, tmp_path):
    config = tmp_path / "settings.yaml"
    data: dict[str, Any] = {"source": "files", "train": "lab/sums", "validation": "lab/sums"}
    data |= {"sources": {"more": {"file": "lab/sums"}}}
    config.write_text(yaml.safe_dump({"data": data, "sft": {"enabled": False}}))
    command = [sys.executable, "-m", "prime_core.cli.main", "fetch", "--configfile", str(config)]
    given: dict[str, Any] = {
        "env": environment(hub.url, tmp_path / "home"),
        "capture_output": True,
        "text": True,
    }
    before = subprocess.run([*command, "--check"], timeout=120, **given)
    assert before.returncode == 1
    assert "data.train: lab/sums: not fetched" in before.stderr
    done = subprocess.run(command, timeout=120, **given)
    assert done.returncode == 0, done.stderr
    for key in ("data.train", "data.validation", "data.sources.more.file"):
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"{key} "))
        assert "lab/sums" in line
        assert "missing" not in line
    again = subprocess.run([*command, "--check"], timeout=120, **given)
    assert again.returncode == 0, again.stderr
