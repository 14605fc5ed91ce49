"""A transformers model that stays for the next stage."""

import pytest

from prime_core.runtime import kept
from prime_core.samplers import Engine, Request, SamplingParams, load_sampler
from prime_core.samplers.finished import FinishedResponses
from prime_core.samplers.transformers_generate import KeptModel
from tests.support.tiny_model import save_tiny_model

PARAMS = SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_response_length=8)
REQUESTS = [Request([10, 20, 30], seed) for seed in range(4)]


@pytest.fixture
def keeping(tmp_path, monkeypatch):
    """As in a process that runs many stages."""
    monkeypatch.setattr(kept, "_kept", kept._Kept())
    kept.begin(tmp_path / "ranks")


def sample(folder):
    done = load_sampler("transformers")(
        folder,
        "float32",
        REQUESTS,
        PARAMS,
        Engine(4),
        lambda _count: None,
        FinishedResponses(None, ""),
    )
    kept.rest()
    held = kept._kept.engine
    assert isinstance(held, KeptModel)
    return done, held.model


@pytest.mark.usefixtures("keeping")
def test_it_is_used_again_for_its_own_weights_alone(tmp_path, capsys):
    one, two = (save_tiny_model(tmp_path / str(seed), seed) for seed in (1, 2))
    first, model = sample(one)
    again, same = sample(one)
    assert again == first
    assert same is model
    assert "sampling from the kept model" in capsys.readouterr().err
    other, new = sample(two)
    assert other != first
    assert new is not model
    # The same folder with other weights is another one.
    save_tiny_model(one, 3)
    assert sample(one)[0] not in (first, other)


@pytest.mark.usefixtures("keeping")
def test_another_samplers_engine_means_a_fresh_process(tmp_path):
    class Other:
        def rest(self) -> None:
            """Nothing to leave."""

        def end(self) -> None:
            """Nothing to free."""

    kept.keep(Other())
    with pytest.raises(kept.Unfit, match="another sampler's"):
        sample(save_tiny_model(tmp_path))


def test_a_stage_may_keep_it_for_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kept, "_kept", kept._Kept())
    folder = save_tiny_model(tmp_path / "model")
    with kept.meanwhile():
        first, model = sample(folder)
        again, same = sample(folder)
        assert (again, same is model) == (first, True)
        with kept.meanwhile():
            assert sample(folder)[1] is model
        assert kept.keeps()
        assert kept._kept.engine is not None
    assert not kept.keeps()
    assert kept._kept.engine is None
    assert capsys.readouterr().err == ""


def test_an_ordinary_process_keeps_nothing(tmp_path):
    load_sampler("transformers")(
        save_tiny_model(tmp_path),
        "float32",
        REQUESTS,
        PARAMS,
        Engine(4),
        lambda _count: None,
        FinishedResponses(None, ""),
    )
    assert kept.take() is None
