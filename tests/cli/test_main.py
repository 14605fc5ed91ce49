"""The command line: help for everything, one sentence for every error of a user's."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import yaml
from click.testing import CliRunner

from prime_core.cli.help import GROUPS
from prime_core.cli.main import main, sentence
from prime_core.run.stages import STAGES
from prime_core.tools.configure import schema_text
from tests.support.shared_data import ROOT


def prime(*words: str, debug: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `prime` as a person does."""
    command = [sys.executable, "-m", "prime_core.cli.main", *(["--debug"] if debug else []), *words]
    environment = {key: value for key, value in os.environ.items() if key != "RANK"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def refusal(*words: str) -> str:
    """The one line that a failing command prints."""
    done = prime(*words)
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"prime {words[0]}: error: ")
    return line


def test_the_stages_come_first_and_in_the_order_of_the_workflow():
    names = list(main.list_commands(click.Context(main)))
    assert names[: len(STAGES)] == [name.replace("_", "-") for name in STAGES]
    assert {"crate", "configure", "schema"} <= set(names)


def test_help_lists_every_command_in_its_group_and_cuts_nothing():
    done = CliRunner().invoke(main, ["--help"], terminal_width=80)
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "..." not in done.output.partition("\n")[2]  # the usage has its own
    assert [line[:-1] for line in lines if line.endswith(":") and line[0] != " "] == [
        "Options",
        *GROUPS,
    ]
    named = {name for names in GROUPS.values() for name in names}
    assert named == {name for name, one in main.commands.items() if not one.hidden}
    text = " ".join(done.output.split())
    for name in named:
        assert f" {name} {main.commands[name].get_short_help_str(limit=1000)}" in text
    assert "docs/" in text


def test_a_command_without_a_group_is_listed_all_the_same(monkeypatch):
    monkeypatch.setattr("prime_core.cli.help.GROUPS", {"Run": ("run",)})
    done = CliRunner().invoke(main, ["--help"])
    assert "Others:" in done.output
    assert "schema" in done.output


@pytest.mark.parametrize("name", ["", *main.commands])
def test_every_command_has_help_and_so_has_every_option(name):
    done = CliRunner().invoke(main, [*name.split(), "--help"])
    assert done.exit_code == 0
    command = main.commands[name] if name else main
    assert command.help
    assert command.help.splitlines()[0].endswith(".")
    assert " ".join(command.help.split("\n\n")[0].split()) in " ".join(done.output.split())
    for option in command.params:
        assert isinstance(option, click.Argument) or getattr(option, "help", None), option.name


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_refuses_a_folder_that_is_no_run_in_one_sentence(stage, tmp_path):
    name, kind = stage.replace("_", "-"), STAGES[stage]
    words = [name, "--run", str(tmp_path / "nowhere")]
    words += [] if kind.each == "run" else ["--iteration", "1"]
    words += ["--shard", "0"] if kind.shards else []
    words += ["--model", "policy"] if kind.models else []
    words += ["--benchmark", "validation"] if kind.each == "evaluation" else []
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"prime {name}: error: {tmp_path}/nowhere/config.yaml: no such file; ")


def test_an_error_is_one_sentence_on_stderr_naming_the_file():
    line = refusal("sample", "--run", "nowhere", "--iteration", "1", "--shard", "0")
    assert "nowhere/config.yaml: no such file" in line


def test_a_wrong_setting_is_one_sentence_naming_file_and_key(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"results": str(tmp_path), "rollout": {"top_kk": 1}}))
    assert f"{path}: unknown key 'rollout.top_kk'; did you mean 'top_k'?" in refusal(
        "configure", "--configfile", str(path)
    )
    path.write_text(yaml.safe_dump({"results": str(tmp_path)}))
    line = refusal("configure", "--configfile", str(path), "--config", "iterations=-1")
    assert "iterations: " in line
    assert "got -1" in line


QUICKSTART = str(ROOT / "configs" / "quickstart.yaml")
# Every command that takes settings' overrides, up to the override itself.
OVERRIDING = {
    "run": ["-n", "--config"],
    "launch": ["--dry-run", "--configfile", QUICKSTART, "--config"],
    "plan": ["--configfile", QUICKSTART, "--config"],
    "fetch": ["--check", "--configfile", QUICKSTART, "--config"],
    "configure": ["--configfile", QUICKSTART, "--config"],
    "grade": [
        *("--configfile", QUICKSTART, "--benchmark", "validation", "--responses", "none.jsonl"),
        *("--out", "judged.parquet", "--config"),
    ],
}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("policy.eps_clip={", "policy.eps_clip: expected a YAML value, e.g. 0.3"),
        ("policy.eps_clip", "policy.eps_clip: expected KEY=VALUE, e.g. policy.eps_clip=0.3"),
        ("=0.3", "=0.3: expected KEY=VALUE, e.g. policy.eps_clip=0.3"),
        ("policy.=0.3", "policy.=0.3: expected KEY=VALUE, e.g. policy.eps_clip=0.3"),
        ("policy.eps_clp=0.3", "unknown key 'policy.eps_clp'; did you mean 'eps_clip'?"),
        ("policy.eps_clip=wide", "policy.eps_clip: Input should be a valid number"),
        ("policy=0.3", "policy: expected a mapping of settings, got 0.3"),
    ],
)
@pytest.mark.parametrize("name", OVERRIDING)
def test_a_mistyped_override_is_one_sentence_naming_the_key(name, override, told):
    done = CliRunner().invoke(main, [name, *OVERRIDING[name], override])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"prime {name}: error: ")
    assert told in line


def test_debug_shows_the_traceback():
    done = prime("sample", "--run", "nowhere", "--iteration", "1", "--shard", "0", debug=True)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "nowhere/config.yaml: no such file" in done.stderr


def test_an_error_of_ours_shows_its_traceback_and_a_sentence(monkeypatch):
    def broken(_run_dir):
        raise RuntimeError("a rank is lost")

    monkeypatch.setattr("prime_core.cli.stages.stage", lambda _name: SimpleNamespace(run=broken))
    done = CliRunner().invoke(main, ["build", "--run", "x"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert done.stderr.endswith("prime build: error: a rank is lost\n")


def test_configure_opens_a_run_and_stages_find_what_is_missing_in_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"results": str(tmp_path), "run": "mine"}))
    done = prime("configure", "--configfile", str(path), "--config", "iterations=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"configure: {tmp_path}/mine/config.yaml\n"
    written = yaml.safe_load((tmp_path / "mine" / "config.yaml").read_text())
    assert (written["iterations"], written["run"]) == (3, "mine")
    line = refusal("sample", "--run", str(tmp_path / "mine"), "--iteration", "1", "--shard", "0")
    assert f"is not there ({tmp_path}/mine/models/policy-0000): run the stages before" in line
    line = refusal("select", "--run", str(tmp_path / "mine"), "--iteration", "1")
    assert f"{tmp_path}/mine/iterations/0001/rollouts/00.parquet: no such table" in line
    line = refusal("sample", "--run", str(tmp_path / "mine"), "--iteration", "99", "--shard", "0")
    assert f"--iteration 99: {tmp_path}/mine has iterations 1 to 3 (the setting iterations)" in line


def test_a_word_that_is_no_command_is_refused_with_usage():
    done = CliRunner().invoke(main, ["smaple"])
    assert done.exit_code == 2
    assert "No such command 'smaple'" in done.stderr


@pytest.mark.parametrize(
    "words", [["sample", "--run", "x", "--iteration", "0", "--shard", "0"], ["select"]]
)
def test_missing_and_impossible_options_are_refused_with_usage(words):
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "--iteration" in done.stderr or "--run" in done.stderr


def test_schema_prints_the_schema():
    done = CliRunner().invoke(main, ["schema"])
    assert done.exit_code == 0
    assert done.output == schema_text()


def test_a_full_disk_is_a_sentence_with_the_file():
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    error.filename = Path("results/run/metrics/sft.json")
    assert sentence(error) == "results/run/metrics/sft.json: No space left on device"


def test_an_error_without_words_is_named_by_its_kind():
    assert sentence(ValueError()) == "ValueError"
    assert sentence(ValueError("seed -1: expected at least 0")) == "seed -1: expected at least 0"
