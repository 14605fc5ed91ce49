"""The whole workflow: it runs, goes on, grows, refuses, and survives being killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.planned_files import assert_files_as_planned
from tests.support.warm import warm
from tests.support.workflow_runs import TINY, command, digests, environment, modified, run, run_well

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and the seconds that it took after the supervised warm-up."""
    folder = tmp_path_factory.mktemp("finished")
    run_well(folder, "--until", "sft")
    start = time.monotonic()
    run_well(folder)
    return folder, time.monotonic() - start


def copy_of(finished, tmp_path):
    """The finished run in a folder of its own, times of files kept."""
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder, symlinks=True)
    return folder


def warmed_up(finished, tmp_path):
    """A copy of the run as it was after the supervised warm-up."""
    folder = copy_of(finished, tmp_path)
    for made_later in ("iterations", "evaluations", "report"):
        shutil.rmtree(folder / "results" / "tiny" / made_later)
    return folder


def redone(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Files that were there before and were written again, the report apart."""
    written = {name for name, when in before.items() if after.get(name, when) != when}
    return {name for name in written if not name.startswith("report/")}


def test_a_run_leaves_its_tables_weights_and_report(finished):
    root = finished[0] / "results" / "tiny"
    for name in (
        "config.yaml",
        "provenance.json",
        "data/train.parquet",
        "iterations/0001/rollouts/00.parquet",
        "iterations/0001/outcomes/01.parquet",
        "iterations/0002/batch.parquet",
        "iterations/0002/rewards.parquet",
        "evaluations/0000/validation.json",
        "evaluations/0002/validation.parquet",
        "report/report.html",
    ):
        assert (root / name).exists(), name


def test_final_weights_load_with_transformers(finished):
    policy = finished[0] / "results" / "tiny" / "iterations" / "0002" / "policy"
    model = AutoModelForCausalLM.from_pretrained(policy)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokens = tokenizer("1+2=?", return_tensors="pt")["input_ids"]
    generated = model.generate(tokens, max_new_tokens=4)  # type: ignore[operator, misc]
    assert len(generated[0]) > tokens.shape[1]


def test_a_run_leaves_the_files_that_were_planned(finished):
    assert_files_as_planned(finished[0] / "results" / "tiny")


def test_weights_of_old_iterations_go_away_and_tables_stay(finished):
    iterations = finished[0] / "results" / "tiny" / "iterations"
    assert not (iterations / "0001" / "policy").exists()
    assert not (iterations / "0001" / "prm").exists()
    assert (iterations / "0001" / "batch.parquet").exists()


def test_a_finished_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in run_well(finished[0], "--quiet", "rules")


def test_more_iterations_redo_no_finished_work(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    root = folder / "results" / "tiny"
    before = modified(root)
    run_well(folder, settings=TINY | {"iterations": 3})
    after = modified(root)
    assert (root / "iterations" / "0003" / "policy").exists()
    assert redone(before, after) == set()


def test_another_benchmark_and_other_shards_redo_no_finished_work(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    root = folder / "results" / "tiny"
    before = modified(root)
    greedy = {"n_samples_per_prompt": 1, "max_response_length": 24}
    evaluation = TINY["evaluation"] | {
        "benchmarks": TINY["evaluation"]["benchmarks"] | {"greedy": greedy}
    }
    settings = TINY | {
        "evaluation": evaluation,
        "rollout": TINY["rollout"] | {"num_shards": 3},
    }
    run_well(folder, settings=settings)
    after = modified(root)
    assert (root / "evaluations" / "0002" / "greedy.json").exists()
    assert redone(before, after) == set()


def test_no_damaged_file_is_read_in_silence(finished):
    (folder, _), command = finished, [sys.executable, "-m", "benchmarks.corruption"]
    done = subprocess.run(
        warm([*command, str(folder / "results" / "tiny")]),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    words = {tuple(line.split()[:2]) for line in done.stdout.splitlines()}
    assert {("emptied", "named"), ("truncated", "named"), ("swapped", "named")} <= words
    assert ("flipped", "named") in words
    assert "silent" not in done.stdout


def test_a_deleted_table_is_rebuilt_with_what_depends_on_it(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    root = folder / "results" / "tiny"
    before, expected = modified(root), digests(root)
    (root / "evaluations" / "0002" / "validation.json").unlink()
    run_well(folder)
    after = modified(root)
    assert digests(root) == expected
    assert redone(before, after) == {
        "evaluations/0002/validation.json",
        "evaluations/0002/validation.parquet",
    }


def test_a_changed_setting_is_refused_before_any_job(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    changed = TINY | {"policy": TINY["policy"] | {"eps_clip": 0.3}}
    before = modified(folder / "results" / "tiny")
    done = run(folder, settings=changed)
    assert done.returncode != 0
    assert "policy.eps_clip: 0.2 -> 0.3" in done.stdout + done.stderr
    assert modified(folder / "results" / "tiny") == before


def test_the_number_of_shards_changes_no_table(finished, tmp_path):
    folder = warmed_up(finished, tmp_path)
    settings = dict(TINY, iterations=1, rollout=TINY["rollout"] | {"num_shards": 3})
    run_well(folder, settings=settings)
    batches = [
        run_folder / "results/tiny/iterations/0001/batch.parquet"
        for run_folder in (finished[0], folder)
    ]
    assert pd.read_parquet(batches[0]).equals(pd.read_parquet(batches[1]))


def kill_everything(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_snakemake_alone(process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGKILL)


def kill_one_stage(process: subprocess.Popen) -> None:
    """A stage's own process, if one runs: Snakemake then ends with an error by itself."""
    stages = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if any("prime" in word for word in child.cmdline())
    ]
    if stages:
        random.choice(stages).kill()
    else:
        kill_everything(process)


def test_a_run_killed_three_times_ends_with_the_same_bits(finished, tmp_path):
    """The same command four times: killed in three ways at random moments, then to its end."""
    _, seconds = finished
    folder = warmed_up(finished, tmp_path)
    for kill in (kill_everything, kill_snakemake_alone, kill_one_stage):
        delay = random.uniform(0.1, 0.5) * seconds
        print(f"{kill.__name__} after {delay:.2f} of {seconds:.2f} s")
        process = subprocess.Popen(
            command(folder),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(delay)
        if process.poll() is None:
            kill(process)
        process.wait(timeout=300)
    run_well(folder)
    assert digests(folder / "results" / "tiny") == digests(finished[0] / "results" / "tiny")


def test_two_workflows_on_one_run_refuse_each_other(finished, tmp_path):
    folder = warmed_up(finished, tmp_path)
    first = subprocess.Popen(
        command(folder),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    place = folder / "results" / "tiny" / ".locks" / "workflow"
    deadline = time.monotonic() + 60
    while f'"pid": {first.pid},' not in (place.read_text() if place.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    second = run(folder)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert second.returncode != 0
    assert "another workflow is running" in second.stdout + second.stderr


def test_all_groups_filtered_out_stops_with_the_histogram(finished, tmp_path):
    folder = warmed_up(finished, tmp_path)
    settings = TINY | {
        "filter": {"accuracy_lower_bound": 0.4999, "accuracy_upper_bound": 0.4999},
    }
    done = run(folder, settings=settings)
    assert done.returncode != 0
    assert "prompts by mean outcome: 0: " in done.stdout + done.stderr
    assert not (folder / "results" / "tiny" / "iterations" / "0001" / "batch.parquet").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {
            "prm": {"prm_update": "before", "prm_reference": "policy", "lora": {"rank": 4}},
            "policy": {"lora": {"rank": 4}},
        },
        {"rollout": {"refill_rounds": 1, "num_shards": 1}, "filter": {"filter_accuracy": True}},
    ],
    ids=["update before scoring, policy as reference, adapters", "refill"],
)
def test_other_orders_of_the_graph_run(finished, tmp_path, changes):
    folder = warmed_up(finished, tmp_path)
    settings = dict(TINY, iterations=1)
    for section, values in changes.items():
        settings[section] = settings.get(section, {}) | values
    if "filter" in changes:
        settings["filter"] = {"accuracy_lower_bound": 0.01, "accuracy_upper_bound": 0.99}
    run_well(folder, settings=settings)
    iteration = folder / "results" / "tiny" / "iterations" / "0001"
    assert (iteration / "policy" / "model.safetensors").exists()


def test_dry_run_touches_nothing(tmp_path):
    done = run(tmp_path / "dry", "--dry-run")
    assert done.returncode == 0
    assert not (tmp_path / "dry" / "results").exists()


def test_a_misspelt_key_is_refused_by_name(tmp_path):
    done = run(tmp_path, settings=TINY | {"iteratons": 3})
    assert done.returncode != 0
    assert ".yaml: unknown key 'iteratons'; did you mean 'iterations'?" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("policy={eps_clp: 0.3}", "unknown key 'policy.eps_clp'; did you mean 'eps_clip'?"),
        ("policy={eps_clip: {", "policy: expected a mapping of settings, got '{eps_clip: {'"),
    ],
)
def test_plain_snakemakes_overrides_are_refused_by_name(tmp_path, override, told):
    done = run(tmp_path, "-n", "--config", override)
    assert done.returncode == 1
    assert f"settings.yaml and --config: {told}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_absent_model_folder_is_refused_by_name(tmp_path):
    absent = Path("no") / "such" / "model"
    done = run(tmp_path, settings=TINY | {"model": {"path": str(absent)}})
    assert done.returncode != 0
    assert f"{absent}: no such folder" in done.stdout + done.stderr
