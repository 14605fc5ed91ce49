"""The stage `branch`; runs that go on from another, with the same bits where nothing changed."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from prime_core.run.atomic import write_text
from prime_core.run.branching import BranchError
from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, read_json, read_table
from prime_core.settings.reading import dump_settings
from prime_core.stages import branch
from prime_core.storage.state_memory import MARK
from tests.run.test_branching import SURPLUS, branch_of, origin_at
from tests.support.warm import warm
from tests.support.workflow_runs import TINY, digests, environment, modified, run_well

WEIGHTS, MOMENTS = "model.safetensors", "training_state/state/moments.pt"


def weight_of(folder: Path) -> float:
    """A number of a folder's own."""
    return float(sum(str(folder).encode()))


def weight_in(folder: Path) -> float:
    """The number in a folder's weights."""
    return load_file(folder / WEIGHTS)["a"].item()


def origin_with_weights(root: Path) -> RunFiles:
    """A run with a file in each folder; reference and first PRM are links, as `sft` makes them."""
    files = origin_at(root)
    elsewhere = root.parent / "hub" / "config.json"
    write_text(elsewhere, "of the hub's")
    for folder in (files.base_model, files.policy(0), files.policy(2), files.prm(2)):
        save_file({"a": torch.tensor([weight_of(folder)])}, folder / WEIGHTS)
        (folder / "config.json").symlink_to(elsewhere)
        (folder / ".snakemake_timestamp").touch()
    for folder in (files.policy(2), files.prm(2)):
        write_text(folder / MOMENTS, str(folder))
    for folder in (files.reference, files.prm(0)):
        for name in (WEIGHTS, "config.json"):
            (folder / name).symlink_to((files.policy(0) / name).resolve())
    return files


def taken(root: Path, **changes: object) -> RunFiles:
    """A branch at the origin's second iteration, made by the stage."""
    settings, files = branch_of(root, "a@2", **changes)
    write_text(files.config, dump_settings(settings))
    branch.run(files.root)
    return files


def test_a_branch_needs_nothing_of_its_origin_any_more(tmp_path):
    there = origin_with_weights(tmp_path / "a")
    ours = taken(there.root)
    shutil.rmtree(there.root)
    for folder, theirs in ((ours.policy(2), there.policy(2)), (ours.prm(2), there.prm(2))):
        assert weight_in(folder) == weight_of(theirs)
        assert (folder / MOMENTS).read_text() == str(theirs)
    for folder in (ours.policy(0), ours.reference, ours.prm(0)):
        assert weight_in(folder) == weight_of(there.policy(0))
        assert (folder / "config.json").read_text() == "of the hub's"
    assert weight_in(ours.base_model) == weight_of(there.base_model)
    assert ours.train.read_text() == "train"


def test_weights_are_stored_once_tables_are_copied_and_links_stay_links(tmp_path):
    there = origin_with_weights(tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in there.root.rglob("*") if path.is_file()}
    ours = taken(there.root)
    for folder, theirs in ((ours.policy(2), there.policy(2)), (ours.prm(2), there.prm(2))):
        assert (folder / WEIGHTS).samefile(theirs / WEIGHTS)
    assert not ours.train.samefile(there.train)
    assert (ours.reference / WEIGHTS).readlink() == ours.policy(0) / WEIGHTS
    assert not any(path.name == ".snakemake_timestamp" for path in ours.root.rglob("*"))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    figures = read_json(ours.setup_metrics("branch"))
    assert figures["branch/iteration"] == 2
    assert figures["branch/bytes_linked"] > 0
    assert figures["branch/bytes_copied"] == 0


def test_another_disk_gets_copies(tmp_path):
    def refuse(_source: Path, _place: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    source, place = tmp_path / "source", tmp_path / "place"
    source.write_text("weights")
    assert not branch.link_or_copy(source, place, refuse)
    assert place.read_text() == "weights"
    assert not place.samefile(source)


def test_groups_left_over_are_none_where_the_origin_keeps_none(tmp_path):
    ours = taken(origin_with_weights(tmp_path / "a").root, **SURPLUS)
    assert read_table(ours.surplus(2), BATCH).empty


@pytest.mark.parametrize("removed", ["", WEIGHTS, "training_state"])
def test_weights_that_are_being_removed_are_refused_by_name(tmp_path, monkeypatch, removed):
    there = origin_with_weights(tmp_path / "a")
    linked = branch.link_or_copy

    def link_late(source: Path, place: Path) -> bool:
        gone = there.prm(2) / removed  # the origin goes on
        if gone.is_dir():
            shutil.rmtree(gone)
        else:
            gone.unlink(missing_ok=True)
        return linked(source, place)

    monkeypatch.setattr(branch, "link_or_copy", link_late)
    with pytest.raises(BranchError, match=rf"a part of {there.prm(2)} went away meanwhile"):
        taken(there.root)
    ours = RunFiles(there.root.with_name("branch"))
    assert not ours.prm(2).exists()
    assert not ours.setup_metrics("branch").exists()


def test_a_state_that_is_still_in_memory_is_waited_for(tmp_path):
    there = origin_with_weights(tmp_path / "a")
    shutil.rmtree(there.policy(2) / "training_state")
    (there.policy(2) / MARK).write_text("node1\n")
    with pytest.raises(BranchError, match="policy: its training state is not on disk yet"):
        taken(there.root)
    assert not RunFiles(there.root.with_name("branch")).policy(2).exists()


def test_a_run_of_its_own_has_nothing_to_take_over(tmp_path):
    files = origin_at(tmp_path / "a")
    with pytest.raises(BranchError, match="init_from is null"):
        branch.run(files.root)


ORIGIN = TINY | {
    "run": "origin",
    "sft": TINY["sft"] | {"num_steps": 60},
    "rollout": TINY["rollout"] | {"num_shards": 1},
    "prm": TINY["prm"] | {"lora": {"rank": 4}},
    "checkpoints": {"keep_last": 2, "save_freq": 0},
}
# All of the origin's stages in one process, which imports its libraries once.
ONE_PROCESS = """
import sys
from pathlib import Path
from prime_core.stages import build, evaluate, policy, prepare, prm, sample, score, select, sft
from prime_core.stages import verify
from prime_core.tools import configure
configure.run(Path(sys.argv[1]), ())
run = Path("results/origin")
for stage in (build, prepare, sft):
    stage.run(run)
evaluate.run(run, 0, "validation")
for iteration in (1, 2):
    sample.run(run, iteration, 0)
    verify.run(run, iteration, 0)
    for stage in (select, score, prm, policy):
        stage.run(run, iteration)
evaluate.run(run, 2, "validation")
"""


def run_origin(folder: Path) -> None:
    """Run ORIGIN in a folder, but for its report."""
    config = folder / "origin.yaml"
    config.write_text(yaml.safe_dump(ORIGIN))
    stages = warm([sys.executable, "-c", ONE_PROCESS, str(config)])
    subprocess.run(stages, cwd=folder, env=environment(), check=True, timeout=300)


@pytest.mark.slow
def test_a_branch_ends_with_the_bits_of_its_origin_and_leaves_it_alone(tmp_path):
    """A branch at 1 of a run of two iterations; then one at 0, with another PRM."""
    run_origin(tmp_path)
    there = RunFiles(tmp_path / "results" / "origin")
    times = modified(there.root)
    later = ORIGIN | {"run": "later", "init_from": "origin@1"}
    run_well(tmp_path, settings=later)
    ours = RunFiles(tmp_path / "results" / "later")
    theirs, own = digests(there.root), digests(ours.root)
    new = {name for name in theirs if name.startswith(("iterations/0002", "evaluations/0002"))}
    assert len(new) >= 8
    assert {name: own.get(name) for name in new} == {name: theirs[name] for name in new}
    assert not (ours.iteration(1) / "batch.parquet").exists()
    assert not ours.setup_metrics("sft").exists()
    assert read_json(ours.provenance)["origin"]["run"] == str(there.root)
    assert "iteration 1 of the run origin" in ours.report.read_text(encoding="utf-8")
    assert "Nothing to be done" in run_well(tmp_path, "-n", settings=later)
    start = {"run": "start", "init_from": "origin@0", "prm": {"prm_update": "none"}}
    evaluation = "results/start/evaluations/0000/validation.json"
    run_well(tmp_path, "--", evaluation, settings=ORIGIN | start)
    shared = digests(tmp_path / "results" / "start")
    assert set(shared) >= {"evaluations/0000/validation.parquet", "data/train.parquet"}
    assert shared == {name: theirs[name] for name in shared}
    assert modified(there.root) == times
