"""What people mistype, forget or try in the wrong place: one sentence, never a traceback.

Plain Snakemake where the workflow can answer, `prime run` where Snakemake reads something before.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from prime_core.run.state import RunState
from prime_core.settings.reading import parse_settings
from tests.support.shared_data import ROOT
from tests.support.snakemake_commands import outputs
from tests.support.workflow_runs import TINY

SNAKEFILE = ("--snakefile", str(ROOT / "Snakefile"), "--cores", "1")
CONFIGFILE = ("--configfile", "settings.yaml")
# Arguments of plain Snakemake, and what it must say.
MISTAKES = {
    "typo in a key": (
        ("-n", *SNAKEFILE, "--config", "iteratons=3"),
        "and --config: unknown key 'iteratons'; did you mean 'iterations'?",
    ),
    "a key twice": (
        ("-n", *SNAKEFILE, "--configfile", "twice.yaml"),
        "twice.yaml: not readable as YAML, line 3, column 1: 'run' stands here again, after line 1",
    ),
    "a wrong type and a negative number": (
        ("-n", *SNAKEFILE, "--config", "iterations=many", "policy={eps_clip: -0.2}"),
        "policy.eps_clip: Input should be greater than 0, got '-0.2'",
    ),
    "a name with a space": (
        ("-n", *SNAKEFILE, *CONFIGFILE, "--config", "run=a b"),
        "run: expected letters, digits, '.', '_' and '-', beginning with a letter or a digit",
    ),
    "results is a file": (
        ("-n", *SNAKEFILE, *CONFIGFILE, "--config", "results=a_file"),
        "a_file: is a file; expected a folder",
    ),
    "results is a file, for a run": (
        (*SNAKEFILE, *CONFIGFILE, "--config", "results=a_file"),
        "a_file: is a file; expected a folder",
    ),
    "no such model": (
        ("-n", *SNAKEFILE, *CONFIGFILE, "--config", "model={path: /nonexistent}", "run=new"),
        "model.path: /nonexistent: no such folder; expected a Hugging Face model",
    ),
    "no such table": (
        (
            *(*SNAKEFILE, *CONFIGFILE, "--config", "run=new", "sft={enabled: false}"),
            "data={source: files, train: no.jsonl, num_validation: 2}",
        ),
        "data.train: no.jsonl: No such file",
    ),
    "no such benchmark": (
        (
            *SNAKEFILE,
            *CONFIGFILE,
            "--config",
            "run=new",
            "evaluation={benchmarks: {a: {file: b.jsonl}}}",
        ),
        "evaluation.benchmarks.a.file: b.jsonl: No such file",
    ),
    "no such table of stages": (
        ("-n", *SNAKEFILE, *CONFIGFILE, "--config", "stage_resources=/no.yaml"),
        "/no.yaml: no such file (stage_resources)",
    ),
    "a change of finished work": (
        ("-n", *SNAKEFILE, *CONFIGFILE, "--config", "seed=5"),
        "holds finished work that these settings would change: seed: 0 -> 5",
    ),
    "a second start": (
        (*SNAKEFILE, *CONFIGFILE),
        "another workflow is running in results/tiny (process ",
    ),
    "no such origin": (
        ("-n", *SNAKEFILE, *CONFIGFILE, "--config", "init_from=other@3", "run=new", "iterations=4"),
        "other holds no run (config.yaml is missing); run it first",
    ),
}

ELSEWHERE = "without any settings"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with settings, a run that has begun, and a file where a folder should be."""
    place: Path = tmp_path_factory.mktemp("mistakes")
    (place / "settings.yaml").write_text(yaml.safe_dump(TINY))
    (place / "a_file").write_text("")
    (place / "twice.yaml").write_text("run: a\nseed: 1\nrun: b\n")
    state = RunState(parse_settings(TINY | {"results": str(place / "results")}, "test"))
    state.begin()
    state.files.base_model.mkdir(parents=True)
    return place


@pytest.fixture(scope="module")
def said(folder) -> dict[str, tuple[int, str]]:
    """Exit status and output of each mistake, while the run is held; last of one that is none."""
    state = RunState(parse_settings(TINY | {"results": str(folder / "results")}, "test"))
    state.hold()
    commands = [(folder, arguments) for arguments, _ in MISTAKES.values()]
    found = outputs([*commands, (folder, ["-n", *SNAKEFILE])])
    state.give_back()
    return dict(zip([*MISTAKES, ELSEWHERE], found, strict=True))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_workflow_answers_a_mistake_in_one_sentence(mistake, said):
    status, text = said[mistake]
    assert status == 1
    assert MISTAKES[mistake][1] in text
    assert "Traceback" not in text
    # Snakemake's frames: `File "...", line 44, in <module>`.
    assert '", line ' not in text
    # What it prints of itself, then the sentence.
    assert len(text.splitlines()) <= 5


def test_from_another_folder_the_snakefile_has_its_default_settings(said):
    status, text = said[ELSEWHERE]
    assert status == 0
    assert "total " in text


def test_a_read_only_folder_is_one_sentence(tmp_path):
    # Where root may write everywhere, only a file system can refuse it.
    start = f"{sys.executable} -m snakemake -n {' '.join(SNAKEFILE)} -d {tmp_path}"
    shell = f"mount -t tmpfs -o ro none {tmp_path} && exec {start}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", shell], capture_output=True, text=True)
    text = done.stdout + done.stderr
    if "mount:" in text or "unshare:" in text:
        pytest.skip("no mount namespaces here")
    assert done.returncode == 1
    assert f"{tmp_path}: Read-only file system" in text
    assert "Traceback" not in text
