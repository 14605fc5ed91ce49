"""A judge behind vLLM's own OpenAI-compatible server: the verdicts of the same model by path."""

from collections import Counter

import pytest

from prime_core.samplers.replying import replies_of
from prime_core.settings.reading import parse_settings
from prime_core.verifiers.judge.judging import judge_rows
from prime_core.verifiers.pool import Row
from prime_core.verifiers.resumable import judge_all
from prime_core.verifiers.verdict import Verdict
from tests.support.vllm_cases import POSITIONS, save_model_for_vllm
from tests.support.vllm_server import vllm_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("vllm")]

ROWS = [Row("judge", f"answer {n}", str(n), f"question {n % 5}") for n in range(20)]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A model's folder and the address of its server."""
    folder = tmp_path_factory.mktemp("served")
    model = save_model_for_vllm(folder / "model")
    with vllm_server(model, "judge", folder / "log", "--max-model-len", str(POSITIONS)) as url:
        yield model, url


@pytest.fixture
def chosen(tmp_path):
    """Settings of a judge; what random bytes hold here and there are its choices."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{question} {reference} {response}")

    def settings(**judge):
        usual = {"prompt": str(prompt), "choices": ["a", "b"], "max_tokens": 200}
        values = {"verification.judge": usual | judge, "rollout.sampler": "transformers"}
        return parse_settings(values, "test")

    return settings


def test_the_server_and_the_folder_give_the_same_verdicts(served, chosen):
    model, url = served
    by_server = chosen(base_url=url, model="judge").verification
    by_path = chosen(path=str(model))
    asked = judge_all(ROWS, by_server, None, "judging")
    replies = replies_of(by_path, None)
    drawn = judge_all(ROWS, by_path.verification, None, "judging", replies)
    assert [(one.verdict, one.detail) for one in asked] == [
        (one.verdict, one.detail) for one in drawn
    ]
    assert {one.verdict for one in asked} <= {Verdict.correct, Verdict.wrong, Verdict.no_verdict}
    assert len(Counter(one.verdict for one in asked)) > 1


def test_several_replies_repeat_with_their_seeds(served, chosen):
    rules = chosen(base_url=served[1], model="judge", n_samples=3, temperature=1.0).verification
    one, other = (judge_all(ROWS[:4], rules, None, "judging") for _ in range(2))
    assert [found.detail for found in one] == [found.detail for found in other]


def test_a_name_that_it_does_not_serve_is_no_verdict(served, chosen):
    judge = chosen(base_url=served[1], model="another").verification.judge
    ((_, found),) = judge_rows(ROWS[:1], judge)
    assert (found.verdict, found.outcome) == (Verdict.no_verdict, None)
    assert "status 404" in found.detail
