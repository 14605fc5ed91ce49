"""What people mistype at `prime`: one sentence, never a traceback, and never another's default."""

import os
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from prime_core.cli.main import main
from prime_core.launch.arguments import from_anywhere, split_overrides
from tests.support.shared_data import ROOT


def said(*words: str) -> tuple[int, str]:
    """Exit status and everything that a command prints."""
    done = CliRunner().invoke(main, list(words))
    assert "Traceback" not in done.output
    return done.exit_code, done.output


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder that is no checkout, with broken settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("run: mine\nseed: [1\n")
    return tmp_path


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run -n --configfile no.yaml", "no.yaml: no such file; expected a run's settings (YAML)"),
        ("run -n --configfile bad.yaml", "bad.yaml: not readable as YAML, line 3, column 1: "),
        ("run -n ablations --configfile bad.yaml", "bad.yaml: not readable as YAML, line 3"),
        ("run -n --config policy.eps_clp=0.3", "'policy.eps_clp'; did you mean 'eps_clip'?"),
        ("run -n --config=iterations=-1 all", "iterations: Input should be greater than or equal"),
        ("launch --dry-run --configfile no.yaml", "no.yaml: no such file"),
        ("launch --dry-run --gpus 4", "--gpus: no such option, neither of this command nor of"),
        ("plan --configfile bad.yaml", "bad.yaml: not readable as YAML, line 3"),
        ("plan --gpu rtx9999", "--gpu rtx9999: unknown GPU; expected one of v100, "),
        ("plan --gpu-memory 40", "--gpu-memory: no such option, neither of this command nor of"),
        ("plan --model-size 9x", "--model-size 9x: unknown; expected one of "),
        ("fetch --chek", "--chek: no such option, neither of this command nor of Snakemake"),
        ("status --configfile no.yaml", "no.yaml: no such file"),
        ("configure --configfile bad.yaml", "bad.yaml: not readable as YAML, line 3"),
        ("report --run nope", "nope/config.yaml: no such file; expected the folder of a run"),
    ],
)
def test_a_mistake_is_one_sentence(words, told):
    status, text = said(*words.split())
    assert status == 1
    (line,) = text.splitlines()
    assert line.startswith(f"prime {words.split()[0]}: error: ")
    assert told in line


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("smaple", "No such command 'smaple'. Did you mean"),
        ("verify --text x", "--gold missing beside --text"),
        ("verify --run x --shard 1", "--iteration missing beside --run"),
        ("verify --rows x", "--out missing beside --rows"),
        ("verify --text x --gold 1 --rows y", "expected --run, --iteration and --shard; or --text"),
        ("status --run nope", "Directory 'nope' does not exist"),
        ("grade --benchmark a --responses b --out c.parquet", "either --configfile or --run"),
    ],
)
def test_a_wrong_use_says_which_option_is_meant(words, told):
    status, text = said(*words.split())
    assert status == 2
    assert told in text


@pytest.mark.parametrize("name", ["status", "logs", "cancel"])
def test_with_a_run_named_no_settings_are_needed(name, elsewhere):
    run = elsewhere / "results" / "mine"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump({"run": "mine", "results": "results"}))
    _, text = said(name, "--run", str(run))
    assert "configs/quickstart.yaml" not in text
    assert "--configfile" not in text


def test_errors_stand_once_and_on_standard_error_alone(tmp_path):
    command = [sys.executable, "-m", "prime_core.cli.main", "plan", "--configfile", "no"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error():
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "prime_core.cli.main", "schema"]
    child = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    os.close(reading)
    assert child.communicate()[1] == b""
    assert child.returncode == 141  # 128 + SIGPIPE, as of any program in a pipe


def test_a_joined_override_leaves_targets_alone():
    assert split_overrides(["--config=a=1", "all"]) == (["all"], ["a=1"])
    assert split_overrides(["--config=a=1", "b=2", "all", "-n"]) == (["all", "-n"], ["a=1", "b=2"])
    # As Snakemake reads it: any number of values, of which this one is none.
    assert split_overrides(["--config", "a=1", "all"]) == ([], ["a=1", "all"])


def test_prime_run_finds_the_checkout_from_any_folder(elsewhere):
    snakefile = ["--snakefile", str(ROOT / "Snakefile")]
    assert from_anywhere(["-n"]) == [*snakefile, "-n"]
    there = str(ROOT / "slurm")
    assert from_anywhere(["--profile", "slurm", "-n"]) == [*snakefile, "--profile", there, "-n"]
    assert from_anywhere(["--profile=slurm"]) == [*snakefile, f"--profile={there}"]
    assert from_anywhere(["-s", "Mine", "--profile", "mine"]) == ["-s", "Mine", "--profile", "mine"]
    (elsewhere / "Snakefile").write_text("")
    (elsewhere / "slurm").mkdir()
    assert from_anywhere(["--profile", "slurm"]) == ["--profile", "slurm"]
