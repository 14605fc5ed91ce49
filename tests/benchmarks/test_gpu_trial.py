"""The GPU trial in small: every part on the CPU, and the plan that takes what it measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_trial import __main__ as command
from benchmarks.gpu_trial.assumptions import measured_assumptions
from benchmarks.gpu_trial.parts import NEEDS_NO_MODEL, PARTS
from benchmarks.gpu_trial.trial import (
    SMALL_WORK,
    TINY,
    TooSmall,
    Trial,
    Work,
    fitting_size,
    read_trial,
)
from prime_core.planning.measured import MeasuredValues, read_measured

# What is left of PARTS needs a process of its own (fork), a long start (vllm), or a first start.
HERE = [name for name in PARTS if name not in ("start", "build", "fork", "vllm")]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The tiny model, written as the part `build` does."""
    folder = tmp_path_factory.mktemp("trial")
    Trial(str(folder), TINY, "processors", 0.0, 1, "float32", SMALL_WORK).write()
    found = read_trial(folder)
    assert PARTS["build"].run(found)["num_parameters"] == 139_840
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("one_rank")
def test_every_part_runs_on_a_cpu_and_the_plan_takes_what_they_measured(trial, tmp_path):
    found = {name: PARTS[name].run(trial) for name in HERE}
    for name in ("policy-zero1", "policy-zero2", "policy-zero3", "policy-offloaded", "prm-zero2"):
        assert found[name]["step_s"] > 0
        assert 0 < found[name]["mfu"] < 1
    assert found["offload-reload"]["same"] is True
    assert 0 < found["bf16-gradient"]["relative_error"] < 0.05  # bfloat16 has 8 bits
    assert found["score"]["seconds"] < found["policy-zero2"]["old_logprobs_s"] * 20
    values, _notes = measured_assumptions(trial, found)
    assert values.keys() >= {"training_mfu", "bandwidth_share", "step_ms", "disk_gb_per_s"}
    assert values.keys() <= MeasuredValues.model_fields.keys()
    report = command.as_report(
        trial, {name: one | {"wall_s": 1.0} for name, one in found.items()}, "x"
    )
    path = tmp_path / "gpu-trial.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    assert read_measured(path).values == values
    assert all(name in "\n".join(command.lines_of(report)) for name in HERE)


@pytest.mark.slow
def test_parts_are_processes_and_one_that_cannot_run_is_a_line_with_its_reason(
    trial, tmp_path, capsys
):
    out = tmp_path / "out.json"
    words = ["--size", "tiny", "--folder", str(tmp_path), "--out", str(out), "--parts"]
    command.main([*words, "fork", "score"])
    parts = json.loads(out.read_text())["parts"]
    assert parts["fork"]["first_child_s"] > 0
    assert parts["score"]["left_out"] == "there is no model (part build)"
    assert "left_out: there is no model" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [out]  # its folder is gone
    assert command.run_part(trial, "score", 0.3) == {"failed": "no answer within 0 s"}


def test_parts_that_need_no_model_are_parts():
    assert set(NEEDS_NO_MODEL) < set(PARTS)


@pytest.mark.parametrize(
    ("memory_gib", "num_ranks", "size"),
    [(139, 1, "3b"), (79, 1, "3b"), (39.5, 1, "1.5b"), (79, 8, "7b"), (23.5, 1, "0.5b")],
)
def test_the_model_is_as_large_as_the_gpus_can_train(memory_gib, num_ranks, size):
    assert fitting_size(memory_gib, "bfloat16", num_ranks, Work()) == size


def test_gpus_without_room_for_the_smallest_model_are_refused_in_words():
    with pytest.raises(TooSmall, match=r"1 x 8.0 GiB are too little to train 0.5B parameters"):
        fitting_size(8, "bfloat16", 1, Work())


def on_an_a100(size: str = "1.5b") -> Trial:
    return Trial("", size, "a100", 79.0, 2, "bfloat16", Work())


def point(step_s: float, num_bytes: float) -> dict[str, float]:
    return {"step_s": step_s, "bytes": num_bytes}


def test_bandwidth_and_overhead_are_those_of_the_plans_formula():
    # 0.4 of 2,039 GB/s and 5 ms.
    steps = [point(num / (0.4 * 2039e9) + 0.005, num) for num in (3e9, 20e9)]
    values, _ = measured_assumptions(on_an_a100(), {"vllm": {"points": steps, "engine_s": 41.0}})
    assert values == pytest.approx({"bandwidth_share": 0.4, "step_ms": 5.0, "engine_s": 41.0})


def test_a_trainer_moves_as_fast_as_it_was_measured():
    found = {"freed_gib": 10.0, "offload_s": 4.0, "reload_s": 1.0}
    values, _ = measured_assumptions(on_an_a100(), {"offload-reload": found})
    assert values == pytest.approx({"offload_gbs": 2.68435456, "reload_gbs": 10.73741824})
    nothing = {"freed_gib": None, "offload_s": 4.0, "reload_s": 1.0}
    assert measured_assumptions(on_an_a100(), {"offload-reload": nothing})[0] == {}


def test_points_that_no_such_line_joins_are_said_so():
    steps = [point(0.01, 3e9), point(0.008, 20e9)]
    values, notes = measured_assumptions(on_an_a100(), {"transformers": {"points": steps}})
    assert values["step_ms"] == 0
    assert values["bandwidth_share"] == pytest.approx(23e9 / 0.018 / 2039e9)
    assert any("its two points are on no line" in note for note in notes)


def test_training_mfu_weighs_every_flop_of_all_updates_the_same():
    rate = 2 * 312e12
    updates: dict[str, dict[str, Any]] = {
        "policy-zero2": {"mfu": 0.5, "flops": rate, "step_s": 2.0},
        "prm-zero2": {"mfu": 0.25, "flops": rate, "step_s": 4.0},
        "policy-zero3": {"failed": "out of memory"},
        "policy-offloaded": {"step_s": 5.0},
    }
    values, _ = measured_assumptions(on_an_a100(), updates)
    assert values["training_mfu"] == pytest.approx(1 / 3)
    parameters = on_an_a100().shape.num_parameters
    assert values["offload_ns"] == pytest.approx(3e9 * 2 / parameters)


def test_a_share_above_one_is_taken_as_one_and_said():
    values, notes = measured_assumptions(
        on_an_a100(), {"prm-zero1": {"mfu": 2.0, "flops": 4 * 312e12, "step_s": 1.0}}
    )
    assert values["training_mfu"] == 1
    assert notes == [
        "training_mfu was 2.00, above what the plan's table gives this GPU: taken as 1"
    ]


def test_no_gpu_is_no_reason_to_guess(tmp_path: Path):
    with pytest.raises(SystemExit, match="torch sees no GPU; --size tiny"):
        command.make_trial(command.parse([]), [], str(tmp_path))


def test_a_gpu_that_the_plan_does_not_know_is_refused_until_one_like_it_is_named(tmp_path: Path):
    gpus = [{"name": "NVIDIA Something New", "capability": [9, 0], "bytes": 79 << 30}]
    with pytest.raises(SystemExit, match=r"unknown GPU; expected one of .*; --gpu TYPE"):
        command.make_trial(command.parse([]), gpus, str(tmp_path))
    found = command.make_trial(command.parse(["--gpu", "h100"]), gpus, str(tmp_path))
    assert (found.gpu, found.size, found.dtype, found.num_ranks) == ("h100", "3b", "bfloat16", 1)
