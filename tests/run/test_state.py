"""A run between its starts: who holds it, which weights stay, what is still to be evaluated."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prime_core.run import provenance
from prime_core.run.layout import RunFiles, unfinished_folder
from prime_core.run.state import RunBusy, RunState
from prime_core.run.tables import read_json
from prime_core.settings.reading import SettingsError, load_settings, parse_settings
from prime_core.settings.run import Settings

HOLDER = """
import sys, time
from prime_core.settings.reading import parse_settings
from prime_core.run.state import RunState
state = RunState(parse_settings({"run": "held", "results": sys.argv[1]}, "test"))
state.begin()
print("holding", flush=True)
time.sleep(600)
"""


def settings_of(results: Path, **changes: object) -> Settings:
    """Settings of a run in a folder; dots in keys are written as two underlines."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return parse_settings({"run": "held", "results": str(results)} | dotted, "test")


def finish_iteration(files: RunFiles, iteration: int, weights: bool = True) -> None:
    """Figures of an iteration's policy, and its weights."""
    files.metrics(iteration, "policy").parent.mkdir(parents=True, exist_ok=True)
    files.metrics(iteration, "policy").write_text("{}")
    for folder in (files.policy(iteration), files.prm(iteration)):
        if weights:
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_text("weights")


def test_begin_writes_settings_and_provenance_down(tmp_path):
    settings = settings_of(tmp_path, seed=5)
    state = RunState(settings)
    assert not state.files.root.exists()
    state.begin()
    assert load_settings(state.files.config) == settings
    (start,) = read_json(state.files.provenance)["starts"]
    assert start["seed"] == 5
    assert {"torch", "transformers", "deepspeed"} <= start["versions"].keys()


def test_every_start_adds_to_the_provenance(tmp_path):
    for iterations in (3, 4):
        state = RunState(settings_of(tmp_path, iterations=iterations))
        state.begin()
        del state
    starts = read_json(RunFiles(tmp_path / "held").provenance)["starts"]
    assert [start["iterations"] for start in starts] == [3, 4]
    assert load_settings(tmp_path / "held" / "config.yaml").iterations == 4


def test_a_change_that_would_alter_finished_work_is_refused_before_anything_is_written(tmp_path):
    state = RunState(settings_of(tmp_path))
    state.begin()
    state.files.base_model.mkdir(parents=True)
    state.files.train.parent.mkdir(parents=True)
    state.files.train.write_text("")
    before = state.files.config.read_bytes()
    with pytest.raises(SettingsError) as caught:
        RunState(settings_of(tmp_path, seed=1))
    message = str(caught.value)
    assert "seed: 0 -> 1" in message
    assert str(tmp_path / "held") in message
    assert "--config run=NAME" in message
    assert state.files.config.read_bytes() == before


def test_a_change_is_refused_that_another_workflow_made_impossible_meanwhile(tmp_path):
    late = RunState(settings_of(tmp_path, seed=1))
    first = RunState(settings_of(tmp_path))
    first.begin()
    first.files.train.parent.mkdir(parents=True)
    first.files.train.write_text("")
    first.give_back()
    with pytest.raises(SettingsError, match="seed: 0 -> 1"):
        late.begin()


def test_a_second_workflow_is_refused_until_the_first_is_gone_even_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(RunBusy, match=rf"running in .*held \(process {holder.pid} on ") as busy:
            RunState(settings_of(tmp_path)).begin()
        assert "\n" not in str(busy.value)
        holder.send_signal(signal.SIGKILL)
    finally:
        holder.kill()
        holder.communicate()
    RunState(settings_of(tmp_path)).begin()


def test_two_runs_do_not_hold_each_other(tmp_path):
    states = [RunState(settings_of(tmp_path, run=name)) for name in ("one", "two")]
    for state in states:
        state.begin()
    assert all(state.files.config.exists() for state in states)


@pytest.mark.parametrize(
    ("iterations", "keep_last", "save_freq", "kept"),
    [
        (10, 2, 4, [0, 4, 8, 9, 10]),
        (10, 1, 0, [10]),
        (3, 9, 0, [0, 1, 2, 3]),
        (0, 2, 16, [0]),
        (12, 2, 5, [0, 5, 10, 11, 12]),
    ],
)
def test_the_last_weights_and_every_nth_stay(iterations, keep_last, save_freq, kept, tmp_path):
    state = RunState(
        settings_of(
            tmp_path,
            iterations=iterations,
            checkpoints__keep_last=keep_last,
            checkpoints__save_freq=save_freq,
        )
    )
    every = range(iterations + 1)
    assert [i for i in every if state.is_kept(i)] == kept
    matched = [i for i in every if re.fullmatch(state.kept_pattern(), f"{i:04d}")]
    assert matched == kept


def test_the_patterns_of_kept_and_other_iterations_divide_all_of_them(tmp_path):
    state = RunState(settings_of(tmp_path, iterations=10_020, checkpoints__save_freq=1000))
    pattern = state.kept_pattern()
    for iteration in (999, 1000, 1001, 9999, 10_000, 10_001, 10_017, 10_019):
        path = f"iterations/{iteration:04d}/policy"
        kept = bool(re.fullmatch(f"iterations/(?P<iteration>{pattern})/policy", path))
        other = bool(re.fullmatch(rf"iterations/(?P<iteration>(?!{pattern})\d+)/policy", path))
        assert (kept, other) == (state.is_kept(iteration), not state.is_kept(iteration)), path


def test_evaluations_are_due_every_nth_iteration_first_and_last(tmp_path):
    benchmarks: dict[str, dict] = {"a": {}, "b": {}}
    settings = settings_of(
        tmp_path, iterations=7, evaluation__every=3, evaluation__benchmarks=benchmarks
    )
    due = RunState(settings).evaluations()
    assert due == [(i, name) for i in (0, 3, 6, 7) for name in ("a", "b")]


def test_an_evaluation_is_left_out_where_the_weights_are_gone(tmp_path, capsys):
    settings = settings_of(
        tmp_path, iterations=4, evaluation__every=1, evaluation__benchmarks={"a": {}, "b": {}}
    )
    files = RunFiles(settings.run_dir)
    finish_iteration(files, 1, weights=False)
    finish_iteration(files, 2, weights=True)
    done = files.evaluation(1, "a")
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    due = RunState(settings).evaluations()
    assert (1, "a") in due
    assert (1, "b") not in due
    assert {i for i, name in due if name == "b"} == {0, 2, 3, 4}
    assert capsys.readouterr().err == (
        "no evaluation of 'b' at iteration 1: its weights are gone (checkpoints.save_freq)\n"
    )


def test_an_evaluation_that_the_prm_scores_needs_its_weights_too(tmp_path):
    scored = {"n_samples_per_prompt": 2, "scorer": "prm"}
    settings = settings_of(
        tmp_path,
        iterations=2,
        evaluation__every=1,
        evaluation__benchmarks={"plain": {}, "scored": scored},
    )
    files = RunFiles(settings.run_dir)
    finish_iteration(files, 1)
    files.reference.mkdir(parents=True)
    assert (1, "scored") in RunState(settings).evaluations()
    shutil.rmtree(files.prm(1))
    due = RunState(settings).evaluations()
    assert (1, "plain") in due
    assert (1, "scored") not in due


def test_the_end_removes_weights_that_are_neither_kept_nor_needed(tmp_path):
    settings = settings_of(
        tmp_path, iterations=6, checkpoints__keep_last=1, checkpoints__save_freq=2
    )
    files = RunFiles(settings.run_dir)
    for iteration in range(1, 6):
        finish_iteration(files, iteration)
    RunState(settings).end()
    left = [i for i in range(1, 7) if files.policy(i).exists()]
    assert left == [2, 4, 5]  # the sixth iteration still needs the fifth
    assert [i for i in range(1, 7) if files.prm(i).exists()] == left
    assert all(files.metrics(i, "policy").exists() for i in range(1, 6))


def test_the_end_removes_what_stopped_and_killed_stages_left_of_finished_outputs(tmp_path):
    settings = settings_of(tmp_path, iterations=3, checkpoints__keep_last=3)
    files = RunFiles(settings.run_dir)
    finish_iteration(files, 1)
    files.setup_metrics("sft").parent.mkdir(parents=True)
    files.setup_metrics("sft").write_text("{}")
    done, open_ = (unfinished_folder(files.policy(i)) for i in (1, 2))
    for folder in (done, open_, unfinished_folder(files.policy(0)), files.policy(1) / ".a.tmp"):
        folder.mkdir(parents=True)
        (folder / "about.json").write_text("{}")
    rollouts = files.rollouts(1, 0)
    rollouts.parent.mkdir(parents=True)
    (rollouts.parent / ".00.parquet.x.tmp").write_text("half")
    RunState(settings).end()
    assert not done.exists()
    assert not unfinished_folder(files.policy(0)).exists()
    assert open_.exists()  # of an iteration beyond those that were asked for now
    assert list(rollouts.parent.iterdir()) == []
    assert [path.name for path in files.policy(1).iterdir()] == ["model.safetensors"]


def test_a_git_that_does_not_answer_leaves_open_whether_files_have_changed(monkeypatch):
    known = provenance.code_commit()
    if not known:
        pytest.skip("no git checkout")
    assert isinstance(known["git_dirty"], bool)
    run = subprocess.run

    def slow(command, **options):
        if "status" in command:
            raise subprocess.TimeoutExpired(command, 10)
        return run(command, **options)

    monkeypatch.setattr(provenance.subprocess, "run", slow)
    assert provenance.code_commit() == {"git_commit": known["git_commit"]}
