"""The report's tables and TensorBoard events, against the figures that they are made of."""

import json
import struct

import pandas as pd
import pytest
from tensorboardX.proto.event_pb2 import Event

from prime_core.report.tables.collect import combine_shards
from prime_core.report.tables.seconds import stage_seconds
from prime_core.run.layout import RunFiles
from prime_core.run.tables import read_json
from prime_core.stages import report
from tests.support.fake_run import make_run, write_benchmark


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its report."""
    run_dir = make_run(tmp_path_factory.mktemp("runs") / "finished")
    report.run(run_dir)
    return run_dir


def test_metrics_csv_holds_the_figures_of_every_iteration(finished):
    table = pd.read_csv(finished / "report" / "metrics.csv").set_index("iteration")
    assert list(table.index) == [1, 2, 3, 4]
    for iteration in table.index:
        for stage in ("select", "score", "prm", "policy"):
            for key, value in read_json(RunFiles(finished).metrics(iteration, stage)).items():
                column = key.replace("timing_s/", f"timing_s/{stage}_")
                assert table.loc[iteration, column] == pytest.approx(value)
    assert (table["rollout/accuracy_low"] < table["rollout/accuracy"]).all()
    assert (table["rollout/accuracy"] < table["rollout/accuracy_high"]).all()


def test_events_equal_the_csv(finished):
    [path] = (finished / "report" / "tensorboard").iterdir()
    events: dict[tuple, float] = {}
    times: dict[tuple, float] = {}
    texts: set[str] = set()
    content = path.read_bytes()
    while content:  # records: length, its check sum, an event, its check sum
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        events |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        times |= {(value.tag, event.step): event.wall_time for value in event.summary.value}
        texts |= {
            str(value.tensor.string_val[0])
            for value in event.summary.value
            if value.tensor.string_val
        }
        content = content[16 + length :]
    table = pd.read_csv(finished / "report" / "metrics.csv")
    for row in table.drop(columns="finished").to_dict("records"):
        for name in row.keys() - {"iteration", "process/ended_at"}:
            # The time of the iteration's end, not that at which the events were written.
            assert times[name, row["iteration"]] == pytest.approx(row["process/ended_at"])
            assert events[name, row["iteration"]] == pytest.approx(row[name], rel=1e-6)
    for row in pd.read_csv(finished / "report" / "evaluations.csv").to_dict("records"):
        assert events["evaluation/validation/accuracy", row["iteration"]] == pytest.approx(
            row["accuracy"]
        )
    assert {"response/correct/text_summary", "response/incorrect/text_summary"} <= {
        tag for tag, _ in events
    }
    assert any("outcome 1" in text for text in texts)
    assert "_hparams_/experiment" in {tag for tag, _ in events}


def test_shards_are_combined_by_adding_counts_and_weighing_means():
    shards = [
        {"verify/num_responses": 11, "verify/no_verdict": 1, "verify/accuracy": 0.5},
        {"verify/num_responses": 30, "verify/no_verdict": 0, "verify/accuracy": 0.9},
    ]
    timed = [shard | {"timing_s/verify": 2.0, "verify/right": 4} for shard in shards]
    assert combine_shards("verify", timed) == pytest.approx(
        {
            "verify/num_responses": 41,
            "verify/no_verdict": 1,
            "verify/accuracy": (10 * 0.5 + 30 * 0.9) / 40,
            "timing_s/verify_verify": 4.0,
            "verify/right": 8,
        }
    )


def test_seconds_are_added_over_shards_and_startup_is_what_the_stage_did_not_count(tmp_path):
    for shard, (process, work) in {"00": (10.0, 6.0), "01": (12.0, 7.0)}.items():
        write_benchmark(tmp_path / f"benchmarks/iterations/0003/sample-{shard}.tsv", process)
        metrics = tmp_path / f"iterations/0003/metrics/sample-{shard}.json"
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.write_text(json.dumps({"timing_s/load": 1.0, "timing_s/generate": work}))
    [row] = stage_seconds(tmp_path).to_dict("records")
    assert row == {
        "iteration": 3,
        "stage": "sample",
        "num_jobs": 2,
        "seconds": 22.0,
        "startup_seconds": 9.0,
        "longest_seconds": 12.0,
        "max_rss_mb": 612.4,
    }
