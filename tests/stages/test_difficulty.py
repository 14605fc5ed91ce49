"""The trial of training problems: the band's edges, what is written, and a workflow with it."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from prime_core.data.problems import DataError
from prime_core.run.changes import refused_changes
from prime_core.run.layout import RunFiles
from prime_core.run.state import RunState
from prime_core.run.tables import (
    DIFFICULTY,
    DROPPED,
    PROMPTS,
    TableError,
    read_json,
    read_table,
    write_table,
)
from prime_core.settings.data import Difficulty
from prime_core.settings.reading import parse_settings
from prime_core.stages import band, difficulty
from tests.support.workflow_runs import TINY, run_well

BAND = {"n_samples_per_prompt": 4, "accuracy_lower_bound": 0.25, "accuracy_upper_bound": 0.75}


@pytest.mark.parametrize(
    ("num_correct", "num_judged", "place"),
    [
        (0, 4, "too_hard"),
        (1, 4, "kept"),
        (3, 4, "kept"),
        (4, 4, "too_easy"),
        (1, 5, "too_hard"),
        (2, 2, "too_easy"),
        (0, 0, "no_verdict"),
    ],
)
def test_the_band_holds_its_bounds_and_counts_judged_responses_only(num_correct, num_judged, place):
    tried = SimpleNamespace(num_correct=num_correct, num_judged=num_judged)
    assert band.difficulty_verdict(tried, Difficulty(**BAND)) == place


def candidate(number: int) -> dict:
    return {
        "prompt_id": f"train-{number:06d}",
        "prompt": [{"role": "user", "content": f"problem {number}"}],
        "ability": "math",
        "ground_truth": "1",
        "data_source": "own",
    }


def tried_run(folder, results: list[list[tuple[int, int]]]) -> RunFiles:
    """A run whose candidates were tried: (right, judged) of each problem, by shard."""
    difficulty = BAND | {"num_shards": len(results)}
    raw = {"results": str(folder), "data": {"difficulty": difficulty}}
    state = RunState(parse_settings(raw, "test"))
    state.begin()
    num_shards, number = len(results), sum(map(len, results))
    rows = [candidate(place) for place in range(number)]
    write_table(state.files.candidates, rows, PROMPTS)
    for shard, tried in enumerate(results):
        ids = [row["prompt_id"] for row in rows[shard::num_shards]]
        table = pd.DataFrame(tried, columns=["num_correct", "num_judged"])
        write_table(
            state.files.difficulty(shard),
            table.assign(prompt_id=ids[: len(tried)], response_length=3.0),
            DIFFICULTY,
        )
    return state.files


def test_problems_of_the_band_are_kept_in_order_and_the_others_listed(tmp_path, capsys):
    files = tried_run(tmp_path, [[(0, 4), (2, 4), (1, 4)], [(4, 4), (0, 0), (3, 3)]])
    band.run(files.root)
    kept = read_table(files.train, PROMPTS)
    assert list(kept["prompt_id"]) == ["train-000002", "train-000004"]
    others = read_table(files.too_easy_or_hard, DROPPED)
    assert list(others[["row", "reason", "detail"]].itertuples(index=False, name=None)) == [
        (0, "too_hard", "0 of 4 right"),
        (1, "too_easy", "4 of 4 right"),
        (3, "no_verdict", "0 of 0 right"),
        (5, "too_easy", "3 of 3 right"),
    ]
    figures = read_json(files.setup_metrics("band"))
    assert figures["data/num_train"] == 2
    assert figures["difficulty/accuracy"] == pytest.approx(10 / 19)
    assert "band: 2 of 6 problems with pass rates of 0.25 to 0.75;" in capsys.readouterr().out


def test_a_band_without_problems_and_a_lost_shard_are_refused(tmp_path):
    files = tried_run(tmp_path / "empty", [[(0, 4), (4, 4)]])
    with pytest.raises(DataError, match=r"no pass rate lies between.*1 are too hard, 1 too easy"):
        band.run(files.root)
    assert not files.train.exists()
    files = tried_run(tmp_path / "lost", [[(2, 4)], [(2, 4)]])
    write_table(files.difficulty(1), [], DIFFICULTY)
    with pytest.raises(TableError, match=r"no shard holds 'train-000001'"):
        band.run(files.root)


def test_the_trial_of_a_run_under_way_is_not_changed(tmp_path):
    files = tried_run(tmp_path, [[(2, 4)]])
    old = parse_settings(json.loads(json.dumps(TINY | {"data": {"difficulty": BAND}})), "old")

    def refused(**change: float) -> list[str]:
        new = parse_settings(TINY | {"data": {"difficulty": BAND | change}}, "new")
        return [text.partition(":")[0] for text in refused_changes(old, new, files)]

    assert refused(num_shards=2) == ["data.difficulty.num_shards"]
    assert refused(temperature=0.5) == ["data.difficulty.temperature"]
    assert refused(accuracy_lower_bound=0.0) == []  # it enters with the choice
    write_table(files.train, [candidate(0)], PROMPTS)
    assert refused(accuracy_lower_bound=0.0) == ["data.difficulty.accuracy_lower_bound"]
    assert refused_changes(old, old, files) == []


@pytest.mark.slow
def test_the_workflow_chooses_problems_by_a_trial_however_it_is_cut(tmp_path):
    trial = BAND | {"max_response_length": 24, "num_shards": 2}
    sft = TINY["sft"] | {"num_steps": 60}
    settings = TINY | {"data": TINY["data"] | {"difficulty": trial}, "sft": sft}
    files = RunFiles(tmp_path / "results" / "tiny")
    run_well(tmp_path, "--cores", "1", "results/tiny/data/train.parquet", settings=settings)
    kept, tried = read_table(files.train, PROMPTS), shards(files, 2)
    candidates = read_table(files.candidates, PROMPTS)
    assert len(candidates) == 8
    assert set(tried.index) == set(candidates["prompt_id"])
    assert (tried["num_judged"] == 4).all()
    accuracy = tried["num_correct"] / 4
    assert list(kept["prompt_id"]) == [
        name for name in candidates["prompt_id"] if 0.25 <= accuracy[name] <= 0.75
    ]
    others = read_table(files.too_easy_or_hard, DROPPED)
    assert len(kept) + len(others) == len(candidates)
    files.config.write_text(
        yaml.safe_dump(
            settings | {"data": settings["data"] | {"difficulty": trial | {"num_shards": 1}}}
        )
    )
    difficulty.run(files.root, 0)
    pd.testing.assert_frame_equal(shards(files, 1).sort_index(), tried.sort_index())
    band.run(files.root)
    pd.testing.assert_frame_equal(read_table(files.train, PROMPTS), kept)


def shards(files: RunFiles, num_shards: int) -> pd.DataFrame:
    """What a trial in so many shards found, by problem."""
    tables = [read_table(files.difficulty(shard), DIFFICULTY) for shard in range(num_shards)]
    return pd.concat(tables).set_index("prompt_id")
