"""`prime fetch` with the real hub library against a hub on this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from prime_core.launch.fetch import FetchError, needs, refuse_missing_files
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import parse_settings
from prime_core.storage.hub import incomplete_parts, is_hub_id
from tests.support.hub_server import Hub

NAME = "lab/tiny"
NOT_NEEDED = {
    "pytorch_model.bin",
    "model.gguf",
    "model.fp16.safetensors",
    "consolidated.safetensors",
    "onnx/model.onnx",
    "original/params.json",
    "README.md",
}


@pytest.fixture(scope="module")
def repository(tiny_model, tmp_path_factory):
    """A model as people upload it: weights several times over, and 34 MB of them."""
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    shutil.copytree(tiny_model, folder)
    shutil.rmtree(folder / "training_state", ignore_errors=True)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    second = {"unused": np.random.default_rng(0).random((2048, 2048))}
    save_file(second, folder / "model-00002-of-00002.safetensors")
    index = {f"weight.{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    for name in NOT_NEEDED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("again")
    return folder


@pytest.fixture
def hub(repository):
    """A hub that gives this model."""
    with Hub({NAME: repository, "lab/whole": repository}) as server:
        yield server


def environment(hub_url: str, home: Path, offline: bool = False) -> dict[str, str]:
    own = {"HF_ENDPOINT": hub_url, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    kept = {k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HF_HUB_CACHE")}
    return kept | own | {"HF_HUB_DISABLE_TELEMETRY": "1"}


def command(folder: Path, *options: str, path: str = NAME) -> list[str]:
    """`prime fetch` of a run that begins with this model."""
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump({"model": {"path": path}}))
    return [
        sys.executable,
        "-m",
        "prime_core.cli.main",
        "fetch",
        "--configfile",
        str(config),
        *options,
    ]


def fetch(
    folder: Path, hub_url: str, *options: str, offline: bool = False, path: str = NAME
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *options, path=path),
        env=environment(hub_url, folder / "home", offline),
        capture_output=True,
        text=True,
        timeout=120,
    )


def snapshot(folder: Path, name: str = NAME) -> Path:
    place = folder / "home" / "hub" / f"models--{name.replace('/', '--')}" / "snapshots"
    (found,) = place.iterdir()
    return found


def test_only_the_files_that_a_run_needs_are_fetched(hub, repository, tmp_path):
    done = fetch(tmp_path, hub.url)
    assert done.returncode == 0, done.stderr
    assert not hub.downloads() & NOT_NEEDED
    expected = {p.name for p in repository.iterdir() if p.is_file()} - NOT_NEEDED
    assert {path.name for path in snapshot(tmp_path).iterdir()} == expected
    for path in snapshot(tmp_path).iterdir():
        assert path.read_bytes() == (repository / path.name).read_bytes()
    row = done.stdout.splitlines()[1].split()
    assert row[:2] == ["model.path", NAME]
    assert row[3] == "MB"
    assert row[4] == str(snapshot(tmp_path))
    # Nothing is fetched twice.
    hub.asked.clear()
    assert fetch(tmp_path, hub.url).returncode == 0
    assert hub.downloads() == set()


@pytest.mark.slow
def test_a_job_without_internet_finds_what_was_fetched(hub, tmp_path):
    assert fetch(tmp_path, hub.url).returncode == 0
    away = "http://127.0.0.1:9"
    checked = fetch(tmp_path, away, "--check", offline=True)
    assert checked.returncode == 0, checked.stderr
    program = f"from prime_core.models.load import find_model; print(find_model('{NAME}'))"
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(away, tmp_path / "home", offline=True),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(snapshot(tmp_path))


@pytest.mark.slow
def test_a_job_without_internet_says_at_once_that_nothing_was_fetched(tmp_path):
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump({"model": {"path": NAME}, "results": str(tmp_path)}))
    env = environment("http://127.0.0.1:9", tmp_path / "home", offline=True)
    prime = [sys.executable, "-m", "prime_core.cli.main"]
    subprocess.run(
        [*prime, "configure", "--configfile", str(config)], env=env, check=True, capture_output=True
    )
    build = [*prime, "build", "--run", str(tmp_path / "quickstart")]
    done = subprocess.run(build, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f"prime build: error: {NAME}: not fetched, and nothing may be fetched here (offline): "
        "run `prime fetch` on a machine with internet"
    )


def test_check_says_what_is_missing_and_fetches_nothing(hub, tmp_path):
    done = fetch(tmp_path, hub.url, "--check")
    assert done.returncode == 1
    assert "missing" in done.stdout
    assert f"prime fetch: error: model.path: {NAME}: not fetched" in done.stderr
    assert "run `prime fetch` on a machine with internet" in done.stderr
    assert hub.asked == []


def size_of(path: Path) -> int:
    """Bytes of a file; 0 of one that was renamed meanwhile, being complete."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_a_killed_download_is_seen_and_gone_on_with(hub, repository, tmp_path):
    hub.pause = 0.02  # 34 MB take ten seconds
    process = subprocess.Popen(
        command(tmp_path),
        env=environment(hub.url, tmp_path / "home"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    blobs = tmp_path / "home" / "hub" / "models--lab--tiny" / "blobs"
    deadline = time.monotonic() + 60
    while sum(map(size_of, blobs.glob("*.incomplete"))) < 10_000_000:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    checked = fetch(tmp_path, hub.url, "--check")
    assert checked.returncode == 1
    assert "fetched in part only" in checked.stderr
    hub.pause = 0.0
    hub.asked.clear()
    assert fetch(tmp_path, hub.url).returncode == 0
    # Files that had come whole are not fetched again.
    name = "model-00002-of-00002.safetensors"
    assert hub.downloads() == {name}
    assert (snapshot(tmp_path) / name).read_bytes() == (repository / name).read_bytes()
    assert fetch(tmp_path, hub.url, "--check").returncode == 0


def test_what_killed_downloads_left_is_removed_a_while_later(hub, tmp_path):
    assert fetch(tmp_path, hub.url).returncode == 0
    blobs = tmp_path / "home" / "hub" / "models--lab--tiny" / "blobs"
    old, new = blobs / "0.1.incomplete", blobs / "0.2.incomplete"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert fetch(tmp_path, hub.url).returncode == 0
    assert (old.exists(), new.exists()) == (False, True)


def test_a_connection_that_breaks_off_is_taken_up_again(hub, repository, tmp_path):
    name = "model-00002-of-00002.safetensors"
    hub.drop[name] = 15_000_000  # it is written in pieces of 10 MB
    done = fetch(tmp_path, hub.url)
    assert done.returncode == 0, done.stderr
    begins = [begin for method, file, begin in hub.asked if (method, file) == ("GET", name)]
    assert len(begins) == 2
    assert begins[1] >= 10_000_000
    assert (snapshot(tmp_path) / name).read_bytes() == (repository / name).read_bytes()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("unknown", "the hub has no such model, or it is private"),
        ("private", "log in with `hf auth login`"),
        ("gated", "accept its terms"),
        ("silent", "the hub cannot be reached: check the network"),
        ("offline", "nothing may be fetched here (offline)"),
    ],
)
def test_what_the_hub_does_not_give_is_one_sentence(kind, words, hub, tmp_path):
    if kind == "private":
        hub.private.add(NAME)
    if kind == "gated":
        hub.gated.add(NAME)
    path = "lab/unknown" if kind == "unknown" else NAME
    url = "http://127.0.0.1:9" if kind == "silent" else hub.url
    done = fetch(tmp_path, url, offline=kind == "offline", path=path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"prime fetch: error: model.path: {path}: ")
    assert words in last
    assert "Traceback" not in done.stderr
    if kind == "gated":
        assert f"{hub.url}/{NAME}" in last
        assert "hf auth login" in last


def test_a_group_may_share_another_cache(hub, tmp_path):
    shared = tmp_path / "shared"
    done = fetch(tmp_path, hub.url, "--to", str(shared), path="lab/whole")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"For jobs to find it: export HF_HUB_CACHE={shared}"
    assert (shared / "models--lab--whole").is_dir()
    assert not (tmp_path / "home" / "hub").exists()
    assert fetch(tmp_path, hub.url, "--check", path="lab/whole").returncode == 1
    options = ("--check", "--to", str(shared))
    assert fetch(tmp_path, hub.url, *options, path="lab/whole").returncode == 0


def test_a_model_without_safetensors_is_fetched_as_it_is(tiny_model, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with Hub({"lab/old": folder}) as server:
        done = fetch(tmp_path, server.url, path="lab/old")
    assert done.returncode == 0, done.stderr
    assert (snapshot(tmp_path, "lab/old") / "pytorch_model.bin").exists()


def test_the_quickstart_needs_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "prime_core.cli.main", "fetch", "--check"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("nothing to fetch")


def test_everything_that_settings_name_is_looked_for(tmp_path):
    raw = {
        "model.path": str(tmp_path / "model"),
        "prm.path": "lab/prm",
        "data.source": "files",
        "data.train": "train.parquet",
        "data.validation": "validation.jsonl",
        "data.sft": "sft.jsonl",
        "evaluation.benchmarks": {"aime": {"file": "aime.parquet"}, "held-out": {}},
        "verification.judge": {"path": "lab/judge", "prompt": "p.txt"},
    }
    found = {need.key: need.is_on_hub for need in needs(parse_settings(raw, "test"))}
    assert found == {
        "model.path": False,
        "prm.path": True,
        "verification.judge.path": True,
        "data.train": False,
        "data.validation": False,
        "data.sft": False,
        "evaluation.benchmarks.aime.file": False,
    }
    assert set(dict.fromkeys(found)) - {
        need.key for need in needs(parse_settings(raw | {"prm.prm_update": "none"}, "test"))
    } == {"prm.path"}


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Settings of a run that reads tables, all of them in order."""
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame({"prompt": ["1+1=?"], "ground_truth": ["2"]})
    rows.to_parquet("train.parquet")
    rows.to_json("validation.jsonl", orient="records", lines=True)
    rows.to_json("test.jsonl.gz", orient="records", lines=True, compression="gzip")
    raw = {
        "sft.enabled": False,
        "data.source": "files",
        "data.train": "train.parquet",
        "data.validation": "validation.jsonl",
        "evaluation.benchmarks": {"test": {"file": "test.jsonl.gz"}},
    }
    return parse_settings(raw, "test")


def test_tables_in_order_are_not_missing(tables):
    refuse_missing_files(tables, RunFiles(tables.run_dir), dry_run=False)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("train.parquet", None, "data.train: train.parquet: No such file or directory"),
        ("train.parquet", b"PAR1 cut sh", "data.train: train.parquet: not a complete parquet file"),
        (
            "train.parquet",
            b"version https://git-lfs.github.com/spec/v1\n",
            "data.train: train.parquet: only a Git LFS pointer; run `git lfs pull`",
        ),
        (
            "validation.jsonl",
            b"<html>",
            "data.validation: validation.jsonl: not a table of JSON lines",
        ),
        ("validation.jsonl", b"", "data.validation: validation.jsonl: not a table of JSON lines"),
        (
            "test.jsonl.gz",
            b"\x1f\x8bbroken",
            "evaluation.benchmarks.test.file: test.jsonl.gz: not a table of JSON lines",
        ),
    ],
)
def test_tables_that_a_job_could_not_read_are_named(name, content, problem, tables):
    if content is None:
        Path(name).unlink()
    else:
        Path(name).write_bytes(content)
    with pytest.raises(FetchError) as refused:
        refuse_missing_files(tables, RunFiles(tables.run_dir), dry_run=False)
    assert str(refused.value) == problem


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("config.json", "config.json is missing"),
        ("model-00002-of-00002.safetensors", "model-00002-of-00002.safetensors is missing"),
        ("tokenizer.json", "the tokenizer is missing"),
    ],
)
def test_a_folder_that_lacks_a_file_is_found_out(file, problem, repository, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(repository, folder)
    assert incomplete_parts(folder, needs_tokenizer=True) == []
    (folder / file).unlink()
    assert incomplete_parts(folder, needs_tokenizer=True) == [problem]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_weights_that_are_cut_short_are_found_out(share, tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(share * len(content))])
    [problem] = incomplete_parts(folder)
    assert problem.startswith("model.safetensors is ")
    (folder / "model.safetensors").unlink()
    assert incomplete_parts(folder) == ["the weights (model.safetensors) are missing"]


def test_ids_of_the_hub_are_told_from_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lab/local").mkdir(parents=True)
    ids = ["lab/tiny", "gpt2", "lab/local", "./lab/tiny", "/lab/tiny", "a/b/c", "~/model"]
    assert [is_hub_id(name) for name in ids] == [True, True, *[False] * 5]
