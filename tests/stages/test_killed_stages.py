"""Stages without checkpoints, killed after every batch: each batch is computed once, same bits."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.records import RECORD
from prime_core.run.tables import ROLLOUTS, read_table
from prime_core.runtime.content_digest import content_digest
from prime_core.runtime.partial_rows import PartialRows
from prime_core.stages import (
    continuations,
    evaluate,
    policy,
    prm,
    report,
    sample,
    score,
    select,
    step_values,
    verify,
)
from tests.support.interrupted_stages import QUICK, change_settings, finished_run

pytestmark = pytest.mark.slow

SCORED = {"scorer": "prm", "num_problems": 20, "n_samples_per_prompt": 2, "temperature": 1.0}


class Killed(BaseException):
    """As if the process had ended here."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A run after its first iteration, with several batches to each stage."""
    files = finished_run(tmp_path_factory.mktemp("finished") / "run", **QUICK)
    change_settings(
        files,
        rollout={"sampler_batch_size": 16},
        prm={"micro_batch_size": 4},
        evaluation={"benchmarks": {"validation": SCORED}},
        value={"n_continuations": 24},
    )
    continuations.run(files.root, 1, 0)
    return files


@contextmanager
def dying(keeps: list[str]) -> Iterator[None]:
    """Within, a process dies as soon as it has kept a batch; `keeps` has the file's name."""
    original = PartialRows.keep

    def keep(self: PartialRows, rows: dict[int, list], *, at_once: bool = False) -> None:
        original(self, rows, at_once=at_once)
        assert self.path is not None
        keeps.append(self.path.name)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartialRows, "keep", keep)
        yield


def until_it_ends(stage: Callable[[], None]) -> list[str]:
    """Start a stage again and again, each time killed after one more batch; their files."""
    keeps: list[str] = []
    while True:
        try:
            with dying(keeps):
                stage()
        except Killed:
            continue
        return keeps


STAGES: dict[str, tuple[Callable[[Path], None], Callable[[RunFiles], Path], set[str]]] = {
    "sample": (
        lambda run: sample.run(run, 1, 0),
        lambda files: files.rollouts(1, 0),
        {"00+responses.jsonl"},
    ),
    "score": (
        lambda run: score.run(run, 1),
        lambda files: files.rewards(1),
        {"rewards+reference.jsonl", "rewards+prm.jsonl"},
    ),
    "continuations": (
        lambda run: continuations.run(run, 1, 0),
        lambda files: files.continuations(1, 0),
        {"00+responses.jsonl"},
    ),
    "step_values": (
        lambda run: step_values.run(run, 1),
        lambda files: files.step_values(1),
        {"step_values+verdicts.jsonl"},
    ),
    "evaluate": (
        lambda run: evaluate.run(run, 1, "validation"),
        lambda files: files.evaluation(1, "validation").with_suffix(".parquet"),
        {
            "validation+responses.jsonl",
            "validation+verdicts.jsonl",
            "validation+prm.jsonl",
        },
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_only_the_rest_is_computed_again_and_the_bits_are_the_same(
    name: str, finished: RunFiles, tmp_path: Path
) -> None:
    stage, table, expected_files = STAGES[name]
    calm, killed = (RunFiles(tmp_path / name / "run") for name in ("calm", "killed"))
    for files in (calm, killed):
        shutil.copytree(finished.root, files.root, symlinks=True)
        table(files).unlink(missing_ok=True)
    stage(calm.root)
    keeps = until_it_ends(lambda: stage(killed.root))
    assert expected_files <= set(keeps)
    assert len(keeps) > 2 * len(expected_files)
    assert table(killed).read_bytes() == table(calm).read_bytes()
    assert not list(table(killed).parent.glob(".partial/*")), "kept until the table is there"
    # Each start has added a batch of its own: none was computed twice.
    computed: list[str] = []
    with counted(computed):
        table(calm).unlink()
        stage(calm.root)
    assert sorted(keeps) == sorted(computed)


@contextmanager
def counted(keeps: list[str]) -> Iterator[None]:
    """Within, `keeps` has the file's name of each batch that is kept."""
    original = PartialRows.keep

    def keep(self: PartialRows, rows: dict[int, list], *, at_once: bool = False) -> None:
        original(self, rows, at_once=at_once)
        assert self.path is not None
        keeps.append(self.path.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartialRows, "keep", keep)
        yield


TREES = {"tree": {"m": 2, "n": 1, "l": 2, "t": 1}, "sampler_batch_size": 5}


def iterations(files: RunFiles, sampling: Callable[[Callable[[], None]], object]) -> None:
    """Two iterations, stage by stage, the sampling of each as `sampling` does it."""
    for iteration in (1, 2):
        sampling(lambda iteration=iteration: sample.run(files.root, iteration, 0))  # type: ignore[misc]
        verify.run(files.root, iteration, 0)
        for stage in (select, score, prm, policy):
            stage.run(files.root, iteration)


@pytest.mark.usefixtures("one_rank")
def test_a_run_that_is_killed_in_its_trees_has_the_bits_of_one_that_is_not(
    finished: RunFiles, tmp_path: Path
) -> None:
    calm, killed = (RunFiles(tmp_path / name / "run") for name in ("calm", "killed"))
    for files in (calm, killed):
        shutil.copytree(finished.root, files.root, symlinks=True)
        shutil.rmtree(files.iteration(1))
        learning = {"ppo_epochs": 1, "adv_estimator": "treerl"}
        change_settings(files, rollout=TREES, policy=learning, prm={"epochs": 1})
    iterations(calm, lambda stage: stage())
    keeps: list[str] = []
    iterations(killed, lambda stage: keeps.extend(until_it_ends(stage)))
    # 6 prompts: 12 chains, and two rounds of 12 continuations, 5 at a time, in each iteration.
    assert sorted(keeps) == sorted(f"00+responses-{n}.jsonl" for n in (0, 1, 2) for _ in range(6))
    for iteration in (1, 2):
        for path in (killed.rollouts(iteration, 0), killed.batch(iteration)):
            other = calm.root / path.relative_to(killed.root)
            assert path.read_bytes() == other.read_bytes(), path
        assert (killed.weights("policy", iteration) / "model.safetensors").read_bytes() == (
            calm.weights("policy", iteration) / "model.safetensors"
        ).read_bytes()
    rows = read_table(killed.rollouts(2, 0), ROLLOUTS)
    assert rows["parent"].ge(0).sum() > 12
    report.run(killed.root)
    assert 'id="figure-trees"' in (killed.root / "report" / "report.html").read_text()


def test_other_weights_begin_anew(finished: RunFiles, tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "run")
    shutil.copytree(finished.root, files.root, symlinks=True)
    keeps: list[str] = []
    with pytest.raises(Killed), dying(keeps):
        sample.run(files.root, 1, 0)
    weights = files.policy(0) / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.unlink()
    weights.write_bytes(changed)
    # As whoever wrote other weights there would: a folder that is not whole is refused.
    record = weights.with_name(RECORD)
    known = json.loads(record.read_text())
    known["files"][weights.name] = content_digest([weights])
    record.unlink()
    record.write_text(json.dumps(known))
    again: list[str] = []
    with counted(again):
        sample.run(files.root, 1, 0)
    with counted(keeps):
        sample.run(files.root, 1, 0)
    assert len(again) == len(keeps) - 1, "the batch of the other weights was drawn anew"
