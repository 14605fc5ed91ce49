"""Which sampler is taken: vLLM where it can run, and one sampler for all shards of an iteration."""

import os
import sys
from unittest.mock import patch

import pytest

from prime_core.run.tables import read_json
from prime_core.samplers import SAMPLERS, Sampler, SamplerError
from prime_core.samplers.choice import choose_for_iteration, choose_sampler, refuse_mixture
from tests.support.vllm_cases import save_model_for_vllm
from tests.support.vllm_installed import need_vllm


@pytest.fixture(autouse=True)
def environment():
    """vLLM's variables do not reach other tests."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that the CPU build of vLLM knows; `tiny_model` has heads too narrow for it."""
    return save_model_for_vllm(tmp_path_factory.mktemp("choice") / "model")


def test_auto_takes_vllm_where_it_can_run(model):
    need_vllm()
    assert choose_sampler("auto", model) == "vllm"
    assert choose_sampler("transformers", model) == "transformers"


def test_auto_takes_transformers_for_a_model_that_vllm_cannot_run_and_says_why(tiny_model, capsys):
    need_vllm()
    assert choose_sampler("auto", tiny_model) == "transformers"
    shown = capsys.readouterr()
    assert "since its CPU build has no attention heads of width 8" in shown.err
    assert shown.out == ""
    with pytest.raises(SamplerError, match="'vllm' cannot be used: its CPU build has no"):
        choose_sampler("vllm", tiny_model)


def test_without_vllm_auto_takes_transformers_and_vllm_is_refused(model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert choose_sampler("auto", model) == "transformers"
    assert "since vLLM is not installed (make install-gpu in the project's folder)" in (
        capsys.readouterr().err
    )
    with pytest.raises(SamplerError, match="vLLM is not installed"):
        choose_sampler("vllm", model)


def test_a_third_sampler_is_asked_itself_whether_it_can_run(tiny_model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setitem(SAMPLERS, "third", Sampler("third", lambda model: f"no licence: {model}"))
    with pytest.raises(SamplerError, match=r"^rollout.sampler 'third' cannot be used: no licence:"):
        choose_sampler("third", tiny_model)
    monkeypatch.setitem(SAMPLERS, "third", Sampler("third"))
    assert choose_sampler("third", tiny_model) == "third"
    assert capsys.readouterr().err == ""


def test_auto_takes_the_first_that_can_run_and_says_what_speaks_against_those_before_it(
    tiny_model, monkeypatch, capsys
):
    table = {"a": Sampler("a", lambda _model: "no a"), "b": Sampler("b", lambda _model: "no b")}
    monkeypatch.setattr("prime_core.samplers.choice.SAMPLERS", {**table, "c": Sampler("c")})
    assert choose_sampler("auto", tiny_model) == "c"
    assert capsys.readouterr().err == "rollout.sampler auto: using c, since no a; no b\n"
    monkeypatch.setattr("prime_core.samplers.choice.SAMPLERS", table)
    with pytest.raises(SamplerError, match="auto: no sampler can be used: no a; no b"):
        choose_sampler("auto", tiny_model)


def test_an_iteration_that_another_versions_sampler_began_is_refused(tiny_model, tmp_path):
    record = tmp_path / "sampler.json"
    record.write_text('{"sampler": "third"}')
    with pytest.raises(SamplerError, match=r"not among this version's samplers \(vllm, transf"):
        choose_for_iteration("auto", tiny_model, record, begun=True)


def test_without_gpu_the_official_vllm_is_not_taken(model, monkeypatch):
    need_vllm()
    from vllm.platforms.interface import UnspecifiedPlatform

    monkeypatch.setattr("vllm.platforms._current_platform", UnspecifiedPlatform())
    with pytest.raises(SamplerError, match="no GPU is visible, and this vLLM is not its CPU build"):
        choose_sampler("vllm", model)


def test_the_first_shard_writes_down_what_the_others_follow(model, tmp_path):
    need_vllm()
    record = tmp_path / "sampler.json"
    assert choose_for_iteration("vllm", model, record, begun=False) == "vllm"
    assert read_json(record) == {"sampler": "vllm"}
    assert choose_for_iteration("auto", model, record, begun=False) == "vllm"
    assert choose_for_iteration("auto", model, record, begun=True) == "vllm"


def test_a_changed_setting_counts_from_the_next_iteration_on(model, tmp_path):
    need_vllm()
    record = tmp_path / "sampler.json"
    choose_for_iteration("vllm", model, record, begun=False)
    assert choose_for_iteration("transformers", model, record, begun=True) == "vllm"
    refuse_mixture("vllm", record)


def test_a_changed_setting_counts_at_once_where_nothing_is_sampled_yet(model, tmp_path):
    need_vllm()
    record = tmp_path / "sampler.json"
    choose_for_iteration("vllm", model, record, begun=False)
    assert choose_for_iteration("transformers", model, record, begun=False) == "transformers"
    with pytest.raises(
        SamplerError,
        match=r"sampled with vllm, but the iteration now uses transformers; run it again",
    ):
        refuse_mixture("vllm", record)


@pytest.mark.parametrize("setting", ["auto", "transformers"])
def test_a_shard_that_cannot_use_the_iterations_sampler_is_refused(
    setting, model, tmp_path, monkeypatch
):
    need_vllm()
    record = tmp_path / "sampler.json"
    choose_for_iteration("vllm", model, record, begun=False)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(SamplerError, match="was begun with vllm, which cannot be used here: vLLM"):
        choose_for_iteration(setting, model, record, begun=True)
