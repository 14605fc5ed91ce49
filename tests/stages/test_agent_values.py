"""Values of an episode's turns: by continuing it, and by counting visits of its states."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.state import RunState
from prime_core.run.tables import BATCH, CONTINUATIONS, STEP_VALUES, read_json, read_table
from prime_core.settings.reading import dump_settings, load_yaml, parse_settings
from prime_core.stages import (
    build,
    continuations,
    policy,
    prepare,
    sample,
    select,
    sft,
    step_values,
    verify,
)
from prime_core.training.learning_batch import read_batch
from prime_core.training.turn_texts import turn_texts
from tests.support.shared_data import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_rank")]
pytest.importorskip("gymnasium")

MONTE_CARLO: dict[str, Any] = {
    "policy": {"adv_estimator": "gae", "gae_level": "step", "gae_lambda": 0.0}
    | {"ppo_mini_batch_size": 16, "micro_batch_size": 16, "max_mismatch_kl": None},
    "value": {"source": "monte_carlo", "n_continuations": 2, "max_steps": 3},
    "prm.prm_update": "none",
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> RunFiles:
    """The lake's first batch, of a policy that can barely walk."""
    from tests.support.one_rank import as_one_rank

    settings = load_yaml(ROOT / "configs" / "agents" / "frozen_lake.yaml")
    settings["sft"] |= {"num_steps": 60}
    settings["data"]["env"] |= {"num_train": 8, "num_validation": 1, "num_demonstrations": 50}
    settings["rollout"] |= {"rollout_batch_size": 4, "n_samples_per_prompt": 4, "num_shards": 1}
    settings["filter"] = {"filter_accuracy": False}
    settings |= {"results": str(tmp_path_factory.mktemp("lake")), **MONTE_CARLO}
    settings.pop("prm")
    run = RunState(parse_settings(settings, "test"))
    run.begin()
    with as_one_rank():
        for stage in (build, prepare, sft):
            stage.run(run.files.root)
        sample.run(run.files.root, 1, 0)
        verify.run(run.files.root, 1, 0)
        select.run(run.files.root, 1)
    return run.files


def copy_of(files: RunFiles, folder: Path, **changes: Any) -> RunFiles:
    """A copy of the run with changed settings."""
    copy = RunFiles(folder / files.root.name)
    shutil.copytree(files.root, copy.root, symlinks=True)
    settings = load_yaml(copy.config)
    for section, values in changes.items():
        settings[section] |= values
    copy.config.write_text(dump_settings(parse_settings(settings, "test")))
    return copy


def test_an_episode_goes_on_from_each_of_its_turns(judged, tmp_path):
    files = copy_of(judged, tmp_path)
    continuations.run(files.root, 1, 0)
    rows = read_table(files.continuations(1, 0), CONTINUATIONS)
    batch, said = read_batch(files, 1), turn_texts(read_batch(files, 1), files.policy(0))
    keys = list(zip(batch.rows["prompt_id"], batch.rows["sample"], strict=True))
    assert rows["step"].max() == 2
    row: Any  # a namedtuple, of types that pandas does not know
    for row in rows.itertuples():
        place = keys.index((row.prompt_id, row.sample))
        episode = json.loads(row.text)
        assert episode["actions"][: row.step] == said[place][: row.step]
        seen = list(batch.rows["states"].iloc[place])[: row.step + 1]
        assert episode["states"][: row.step + 1] == seen
        assert len(episode["actions"]) > row.step
        assert row.num_tokens > 0
    step_values.run(files.root, 1)
    values = read_table(files.step_values(1), STEP_VALUES)
    assert read_json(files.metrics(1, "step_values"))["step_values/num_no_verdict"] == 0
    for known, ends in zip(values["values"], values["step_ends"], strict=True):
        assert len(known) == len(ends)
        assert all(0 <= value <= 1 for value in known[:3])
        assert pd.isna(known[3:]).all()
        assert all(a < b for a, b in pairwise(ends))
    policy.run(files.root, 1)
    # Again, in two shards: the same episodes.
    again = copy_of(judged, tmp_path / "again", rollout={"num_shards": 2})
    again.shard_count(1).write_text("2")
    for shard in (0, 1):
        continuations.run(again.root, 1, shard)
    parts = [read_table(again.continuations(1, shard), CONTINUATIONS) for shard in (0, 1)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), rows)


def test_turns_are_compared_by_the_visits_of_their_states(judged, tmp_path):
    files = copy_of(judged, tmp_path, value={"source": "visits"})
    assert {"states", "response_mask"} <= {*read_table(files.batch(1), BATCH).columns}
    policy.run(files.root, 1)
    figures = read_json(files.metrics(1, "policy"))
    assert figures["visits/repeated_state_share"] > 0.5
    assert figures["advantage/std"] == pytest.approx(1, abs=1e-3)
