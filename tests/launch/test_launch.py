"""What `prime launch` would submit, and what it refuses; nothing here needs Slurm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from prime_core.launch.arguments import asked_settings
from prime_core.launch.site.allocation import (
    ALLOCATION_FILE,
    Allocation,
    load_allocation,
)
from prime_core.launch.site.site import Pool, Site
from prime_core.launch.snakemake_command import translated
from prime_core.run.atomic import write_json
from prime_core.run.job_records import controller_name, slurm_name
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import SettingsError
from tests.support.fake_run import make_run
from tests.support.shared_data import ROOT
from tests.support.snakemake_commands import outputs
from tests.support.workflow_runs import TINY


def test_a_run_whose_model_is_not_there_is_not_submitted(tmp_path: Path):
    absent = tmp_path / "settings.yaml"
    absent.write_text(yaml.safe_dump(TINY | {"model": {"path": "nobody/no-such-model"}}))
    done = launch("--configfile", str(absent))
    assert done.returncode == 1
    assert "model.path" in done.stderr
    assert "prime fetch" in done.stderr


WHAT_THE_WORKFLOW_REFUSES = (
    ["model.path=./nowhere"],
    ["model.path=configs"],
    ["model.path=nowhere.gguf"],
    ["prm.reference_path=./nowhere"],
    ["stage_resources=none.yaml"],
    ["results=README.md/results"],
)


def test_what_the_workflow_refuses_is_not_submitted_and_in_the_same_words():
    asked = [f"run=never-{number}" for number, _ in enumerate(WHAT_THE_WORKFLOW_REFUSES)]
    pairs = list(zip(asked, WHAT_THE_WORKFLOW_REFUSES, strict=True))
    commands = [(ROOT, ["-n", *translated(["--config", run, *words])]) for run, words in pairs]
    for (run, words), (status, output) in zip(pairs, outputs(commands), strict=True):
        sentence = output.strip().splitlines()[-1]
        # Also where jobs may fetch what is missing: nobody can fetch these.
        done = launch("--config", run, *words, HF_HUB_OFFLINE="0")
        assert (status, done.returncode) == (1, 1), (words, output, done.stderr)
        assert sentence in done.stderr, words


def test_models_and_stages_are_refused_wherever_the_run_is(tmp_path):
    absent = ["--config", "run=never", "model.path=configs"]
    for folder in (tmp_path, tmp_path / "not-yet"):  # both without `configs`
        done = launch("--directory", str(folder), *absent)
        assert done.returncode == 1
        assert "model.path: configs: " in done.stderr
    done = launch("--set-resources", "polisy:mem_mb=1")
    assert (done.returncode, "polisy: no such stage" in done.stderr) == (1, True)


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def launch(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prime_core.cli.main", "launch", "--dry-run", *words],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )


def test_settings_are_those_that_snakemake_would_see(settings_file, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("policy: {eps_clip: 0.3}\n")
    words = ["--configfile", str(settings_file), str(more), "--cores", "2"]
    overrides = ["--config", 'policy={"ppo_epochs": 2}', "iterations=5"]
    settings = asked_settings([*words, "--directory", str(tmp_path), "some_target", *overrides])
    assert settings.iterations == 5
    assert (settings.policy.eps_clip, settings.policy.ppo_epochs) == (0.3, 2)
    assert settings.policy.micro_batch_size == 12
    assert settings.run_dir == tmp_path / "results" / "tiny"


def test_without_a_file_the_quickstart_is_meant():
    assert asked_settings([]).run_dir == Path("results/quickstart")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--configfile=nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--config", "policy.eps=1"], "unknown key 'policy.eps'"),
        (["-C", "iterations"], "expected KEY=VALUE"),
        (["--config", "iterations=[1"], r"--config iterations: expected a YAML value"),
        (["--config=policy.eps=1"], "unknown key 'policy.eps'"),
    ],
)
def test_wrong_arguments_are_refused_by_name(words, message):
    with pytest.raises(SettingsError, match=message):
        asked_settings(words)


def test_a_controllers_name_is_not_that_of_its_jobs():
    run = Path("results/quickstart")
    assert controller_name(run) != slurm_name(run)
    assert controller_name(run).startswith(slurm_name(run))


NODE = Site(
    cpu=Pool(partition="cpu"),
    gpu=Pool(partition="gpu", gpus_per_node=4, max_cpus=32, max_mem_mb=64 * 1024, max_minutes=600),
)


def allocation(site: Site = NODE, **given: float) -> Allocation:
    return load_allocation(ROOT / ALLOCATION_FILE, given, site)


def test_the_allocation_is_a_node_as_the_site_describes_it():
    whole = allocation()
    assert (whole.gpus, whole.cpus_per_task, whole.mem_gb, whole.minutes) == (4, 32, 64, 600)
    assert whole.fast_storage_gb == 8
    assert whole.pool.partition == "gpu"


def test_of_fewer_gpus_it_takes_as_small_a_share_of_the_rest():
    quarter = allocation(gpus_per_node=1, nodes=2, minutes=90)
    assert (quarter.gpus, quarter.cpus_per_task, quarter.mem_gb) == (2, 8, 16)
    assert quarter.minutes == 90


def test_without_a_sites_file_it_is_small_and_has_no_gpus():
    unknown = allocation(Site())
    assert (unknown.gpus, unknown.cpus_per_task, unknown.mem_gb) == (0, 4, 16)
    assert unknown.minutes == 1440
    assert allocation(gpus_per_node=0).pool.partition == "cpu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": 5}, "reserve_minutes 10 leaves nothing of 5 minutes"),
        ({"minutes": 601}, r"minutes 601 is more than partition gpu allows \(600\)"),
        ({"gpus_per_node": 8}, "gpus_per_node 8 is more than"),
        ({"mem_gb": 65}, "mem_gb 65 is more than"),
        ({"fast_storage_gb": 64}, "fast_storage_gb 64 leaves nothing of mem_gb 64"),
        ({"gpus": 2}, "gpus: Extra inputs"),
        ({"nodes": 0}, "nodes: Input should be greater"),
    ],
)
def test_an_impossible_allocation_is_refused_by_file_and_key(change, message):
    with pytest.raises(SettingsError, match=f"allocation.yaml: {message}"):
        allocation(**change)


def test_a_dry_run_shows_the_job_and_the_command(settings_file, tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("controller: {partition: serial, account: prime, max_minutes: 720}\n")
    words = ["--configfile", str(settings_file), "--config", "policy.eps_clip=0.1"]
    done = launch(*words, "--directory", str(tmp_path), PRIME_SITE=str(site))
    assert done.returncode == 0, done.stderr
    for option in ("partition=serial", "account=prime", "time=720", "requeue", "cpus-per-task=1"):
        assert f"    --{option}\n" in done.stdout
    assert "_controller\n" in done.stdout
    assert "-m snakemake --profile slurm" in done.stdout
    assert 'policy={"eps_clip": 0.1}' in done.stdout
    assert not (tmp_path / "results").exists()


def test_a_dry_run_of_an_allocation_shows_gpus_and_its_signal(settings_file, tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("gpu: {partition: accel, gpu_model: a100, gpus_per_node: 4}\n")
    words = ["--profile", "allocation", "--gpus-per-node", "4", "--minutes", "120", "--configfile"]
    done = launch(*words, str(settings_file), PRIME_SITE=str(site))
    assert done.returncode == 0, done.stderr
    for option in ("partition=accel", "gres=gpu:a100:4", "time=120", "signal=USR2@600"):
        assert f"    --{option}\n" in done.stdout


def test_a_sites_memory_and_own_options_hold_for_controller_and_allocation(settings_file, tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text(
        "controller: {memory: none, extra: [--reservation=course, --exclusive]}\n"
        "gpu:\n"
        "  - {partition: small, gpus_per_node: 2}\n"
        "  - {partition: large, gpus_per_node: 8, memory: cpu, max_cpus: 16, max_mem_mb: 32000}\n"
    )
    words = ["--configfile", str(settings_file)]
    done = launch(*words, PRIME_SITE=str(site))
    assert done.returncode == 0, done.stderr
    assert "    --reservation=course\n    --exclusive\n" in done.stdout
    assert "--mem" not in done.stdout
    words += ["--profile", "allocation", "--gpus-per-node", "4"]
    done = launch(*words, PRIME_SITE=str(site))
    assert done.returncode == 0, done.stderr
    # Half of the node's GPUs, processors and memory, in the only pool that has as many.
    for option in ("partition=large", "gres=gpu:4", "cpus-per-task=8", "mem-per-cpu=2000M"):
        assert f"    --{option}\n" in done.stdout
    site.write_text(site.read_text().replace("max_cpus: 16", "whole_nodes: true"))
    assert (
        "memory: cpu with whole_nodes needs max_cpus" in launch(*words, PRIME_SITE=str(site)).stderr
    )
    site.write_text(site.read_text().replace("whole_nodes: true", "max_cpus: 16"))
    refused = launch(*words[:-1], "16", PRIME_SITE=str(site))
    assert "gpus_per_node 16 is more than partition small allows (2)" in refused.stderr


def test_a_way_that_would_be_much_quicker_is_named(settings_file):
    words = ["--configfile", str(settings_file), "--config"]
    better = "much quicker by the plan: prime launch --profile allocation, about "
    # Of a small model starting is all, and in an allocation stages are forked.
    assert better in launch(*words, "iterations=5").stderr
    inside = launch("--profile", "allocation", *words, "iterations=5")
    assert (inside.returncode, inside.stderr) == (0, "")
    # A kind of model that cannot be planned is launched without a word.
    other = launch(*words, "iterations=5", "model.path=mixtral", HF_HUB_OFFLINE="0")
    assert (other.returncode, other.stderr) == (0, "")


def test_settings_that_would_change_finished_work_are_refused_before_submission(tmp_path):
    files = RunFiles(make_run(tmp_path / "results" / "old"))
    write_json(files.shard_count(1), 2)
    words = ["--directory", str(tmp_path), "--configfile", str(files.config)]
    done = launch(*words, "--config", "rollout.temperature=0.5")
    assert done.returncode == 1
    assert "finished work that these settings would change: rollout.temperature" in done.stderr
