"""`prime doctor --gpu`, its work done on the CPU: gloo in NCCL's place, the same calls."""

from typing import Any

import pytest
import torch

from prime_core.doctor import job
from prime_core.doctor.job_check import findings_of, job_findings, rank_environments
from prime_core.doctor.processes import Answer

LOADED = {"name": "load", "device": "the CPU", "dtype": "float32", "seconds": 1.0}


def test_a_model_is_loaded_and_asked(tmp_path):
    told: list[dict[str, Any]] = []

    def tell(name: str, **facts: object) -> None:
        told.append({"name": name} | facts)

    job.sample(tmp_path / "model", tell, "transformers")
    assert [one["name"] for one in told] == ["load", "generate"]
    assert told[1]["responses"] == job.NUM_RESPONSES
    assert 0 < told[1]["tokens"] <= job.NUM_RESPONSES * job.NUM_NEW_TOKENS


def test_a_model_whose_numbers_are_not_finite_is_found_out(tmp_path, monkeypatch):
    save = job.save_small_model

    def save_broken(folder):
        save(folder)
        monkeypatch.setattr(job, "load_model", lambda path, dtype: broken(path, dtype))

    load = job.load_model

    def broken(path, dtype):
        model = load(path, dtype)
        torch.nn.init.constant_(model.model.norm.weight, float("nan"))
        return model

    monkeypatch.setattr(job, "save_small_model", save_broken)
    with pytest.raises(RuntimeError, match="not finite"):
        job.sample(tmp_path / "model", lambda *_, **__: None, "transformers")


@pytest.mark.slow
def test_the_whole_check_runs_on_two_ranks_of_a_cpu():
    found = list(job_findings(0, True, lambda _name, _left: None, sampler="transformers"))
    assert [(one.name, one.state) for one in found] == [
        ("load", "ok"),
        ("generate", "ok"),
        ("all-reduce", "ok"),
        ("optimizer step", "ok"),
    ], found
    assert "over 2 ranks by gloo" in found[2].detail
    assert "DeepSpeed, ZeRO stage 2, float32: gradient norm" in found[3].detail


def test_the_step_that_failed_is_named_and_those_after_it_were_not_tried():
    found = findings_of("train", Answer(problem="RuntimeError: NCCL error"))
    assert [one.state for one in found] == ["wrong", "missing"]
    assert found[0].detail == "RuntimeError: NCCL error"
    assert "NCCL_DEBUG" in found[0].todo
    assert found[1].detail == "not tried, since `all-reduce` failed"
    assert all(one.fails for one in found)
    found = findings_of("sample", Answer([LOADED], "no answer within 300 s"))
    assert [one.state for one in found] == ["ok", "wrong"]
    # Interrupted after its last word: it worked.
    assert findings_of("sample", Answer([LOADED, LOADED | {"name": "generate"} | GENERATED]))[1]


GENERATED = {"sampler": "vllm", "responses": 8, "tokens": 256}


def test_ranks_are_numbered_and_meet_on_loopback():
    first, second = rank_environments(2)
    assert (first["RANK"], second["LOCAL_RANK"]) == ("0", "1")
    assert first["MASTER_ADDR"] == second["MASTER_ADDR"] == "127.0.0.1"
    assert first["MASTER_PORT"] == second["MASTER_PORT"]
