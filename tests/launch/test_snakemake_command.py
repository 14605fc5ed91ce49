"""`prime run`: dotted overrides for Snakemake."""

import pytest
from snakemake.common.workdir_handler import WorkdirHandler

from prime_core.launch.arguments import as_snakemake_reads
from prime_core.launch.snakemake_command import translated
from prime_core.settings.reading import SettingsError, parse_settings


def test_arguments_without_overrides_pass_through():
    assert translated(["-n", "--cores", "2"]) == ["-n", "--cores", "2"]


def test_dotted_overrides_become_nested_ones():
    given = [
        "-n",
        "--config",
        "policy.eps_clip=0.3",
        "run=a",
        "policy.whiten=false",
        "--cores",
        "2",
    ]
    assert translated(given) == [
        *("-n", "--cores", "2", "--config"),
        *('run="a"', 'policy={"eps_clip": 0.3, "whiten": false}'),
    ]


def test_several_config_options_are_one():
    assert translated(["--config", "seed=1", "-n", "-C", "run=b"]) == [
        *("-n", "--config", "seed=1", 'run="b"'),
    ]


def test_an_override_may_be_joined_to_its_option():
    assert translated(["--config=policy.eps_clip=0.3", "--cores=2"]) == [
        *("--cores=2", "--config", 'policy={"eps_clip": 0.3}'),
    ]


def test_an_override_without_a_value_is_refused_by_name():
    with pytest.raises(SettingsError, match=r"--config seed: expected KEY=VALUE"):
        translated(["--config", "seed"])


def test_null_inside_a_nested_override_arrives_as_text_and_means_none():
    assert parse_settings({"model": {"path": "null"}}, "settings").model.path is None


def test_a_profile_is_looked_for_where_the_command_was_typed(tmp_path, monkeypatch):
    profile = tmp_path / "typed" / "site"
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text("executor: slurm\n")
    monkeypatch.chdir(tmp_path / "typed")
    command = ["--profile", "site", "--jobs", "1", "--directory", str(tmp_path / "run")]
    handler = WorkdirHandler(tmp_path / "run")
    handler.change_to()  # as Snakemake does for --directory, before it reads the Snakefile
    try:
        assert as_snakemake_reads(command).executor == "slurm"
    finally:
        handler.change_back()
        handler.olddir = None
