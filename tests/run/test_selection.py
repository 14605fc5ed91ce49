"""From judged responses to the batch: whole groups in the order asked, shards without influence."""

from collections.abc import Mapping, Sequence

import pandas as pd
import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.selection import (
    accuracy_histogram,
    filter_groups,
    first_groups,
    group_ids,
    num_groups,
    read_judged,
)
from prime_core.run.tables import OUTCOMES, ROLLOUTS, TableError, write_table
from prime_core.settings.run import Filter

NO_VERDICT = None


Outcomes = Mapping[str, Sequence[float | None]]


def judged(groups: Outcomes, cut: tuple[str, ...] = ()) -> pd.DataFrame:
    """Responses with the given outcomes; groups in `cut` have a truncated last response."""
    rows = [
        {
            "prompt_id": prompt_id,
            "sample": sample,
            "finish_reason": "length" if prompt_id in cut and sample == 0 else "stop",
            "outcome": outcome,
        }
        for prompt_id, outcomes in groups.items()
        for sample, outcome in enumerate(outcomes)
    ]
    return pd.DataFrame(rows).astype({"outcome": "float64"})


def ids(frame: pd.DataFrame) -> list[str]:
    """Prompts in the order of their first response."""
    return list(dict.fromkeys(frame["prompt_id"]))


MIXED: dict[str, Sequence[float | None]] = {
    "easy": [1, 1, 1, 1],
    "middle": [1, 0, 1, 0],
    "hard": [0, 0, 0, 0],
    "edge": [1, 1, 1, 1, 0],
    "just": [1, 0, 0, 0, 0],
}


def test_groups_within_the_bounds_stay_in_the_order_asked():
    kept = filter_groups(judged(MIXED), Filter())
    assert ids(kept) == ["middle", "edge", "just"]
    assert kept["outcome"].tolist() == [1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0]
    assert list(kept.index) == list(range(14))


def test_without_the_accuracy_filter_every_judged_group_stays():
    everything = judged(MIXED)
    kept = filter_groups(everything, Filter(filter_accuracy=False))
    pd.testing.assert_frame_equal(kept, everything)


def test_responses_without_verdict_leave_and_do_not_count():
    groups: Outcomes = {"a": [1, 0, NO_VERDICT], "b": [1, NO_VERDICT, 1]}
    kept = filter_groups(judged(groups), Filter())
    assert ids(kept) == ["a"]
    assert kept["sample"].tolist() == [0, 1]


def test_a_group_with_one_judged_response_leaves_even_without_filter():
    groups: Outcomes = {"a": [1, NO_VERDICT], "b": [NO_VERDICT, NO_VERDICT]}
    assert filter_groups(judged(groups), Filter(filter_accuracy=False)).empty


def test_groups_with_a_truncated_response_leave_only_when_asked():
    groups = judged({"a": [1, 0], "b": [0, 1]}, cut=("a",))
    assert ids(filter_groups(groups, Filter())) == ["a", "b"]
    assert ids(filter_groups(groups, Filter(filter_truncated=True))) == ["b"]


def test_surplus_groups_are_left_out_whole():
    groups = judged({"a": [1, 0], "b": [0, 1, 1], "c": [1, 0]})
    assert ids(first_groups(groups, 2)) == ["a", "b"]
    assert len(first_groups(groups, 2)) == 5
    pd.testing.assert_frame_equal(first_groups(groups, 9), groups)


def test_groups_are_numbered_by_first_appearance():
    groups = judged({"z": [1, 0], "a": [0], "m": [1]})
    assert group_ids(groups).tolist() == [0, 0, 1, 2]
    assert num_groups(groups) == 3


def test_the_histogram_counts_every_judged_prompt_once():
    text = accuracy_histogram(judged(MIXED | {"none": [NO_VERDICT, NO_VERDICT]}))
    assert text == (
        "0: 1, (0, 0.2): 0, [0.2, 0.4): 1, [0.4, 0.6): 1, [0.6, 0.8): 0, [0.8, 1): 1, 1: 1"
    )


def write_shards(files: RunFiles, num_shards: int, iteration: int = 1) -> None:
    """Five prompts of two responses, in contiguous shards."""
    prompts = [f"p{number}" for number in range(5)]
    bounds = [round(5 * shard / num_shards) for shard in range(num_shards + 1)]
    for shard in range(num_shards):
        mine = prompts[bounds[shard] : bounds[shard + 1]]
        keys = [{"prompt_id": p, "sample": sample} for p in mine for sample in (0, 1)]
        rollouts = [
            key
            | {
                "prompt_tokens": [1],
                "response_tokens": [2],
                "sampler_logprobs": [-1.0],
                "text": "2",
                "finish_reason": "stop",
                "policy_iteration": 0,
            }
            for key in keys
        ]
        outcomes = [
            key | {"outcome": float(key["sample"]), "verdict": "right", "extracted": "2"}
            for key in keys
        ]
        write_table(files.rollouts(iteration, shard), rollouts, ROLLOUTS)
        write_table(files.outcomes(iteration, shard), outcomes, OUTCOMES)


@pytest.mark.parametrize("num_shards", [2, 3, 5, 8])
def test_the_number_of_shards_does_not_change_what_is_read(num_shards, tmp_path):
    one, many = RunFiles(tmp_path / "one"), RunFiles(tmp_path / "many")
    write_shards(one, 1)
    write_shards(many, num_shards)
    expected = read_judged(one, 1, [0])
    assert len(expected) == 10
    pd.testing.assert_frame_equal(read_judged(many, 1, range(num_shards)), expected)


def test_outcomes_of_other_responses_are_refused_by_name(tmp_path):
    files = RunFiles(tmp_path)
    write_shards(files, 2)
    files.outcomes(1, 0).write_bytes(files.outcomes(1, 1).read_bytes())
    with pytest.raises(TableError, match=r"outcomes/00\.parquet: its responses are not those of"):
        read_judged(files, 1, [0, 1])


def test_missing_outcomes_are_refused_by_name(tmp_path):
    files = RunFiles(tmp_path)
    write_shards(files, 1)
    files.outcomes(1, 0).unlink()
    with pytest.raises(TableError, match=r"outcomes/00\.parquet: no such table"):
        read_judged(files, 1, [0])
