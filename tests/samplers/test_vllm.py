"""Sampling by vLLM, against transformers and against the model itself, on its CPU build."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from prime_core.models.load import load_model
from prime_core.samplers import Engine, Request, SamplingParams, request_seed
from prime_core.training.batches import Sequences
from prime_core.training.passes import Passes
from prime_core.training.scoring import ragged_logprobs
from tests.samplers.test_samplers import chi_square, next_logprobs
from tests.support.tiny_model import FIRST_BYTE, NUM_TOKENS
from tests.support.vllm_cases import (
    POSITIONS,
    Answer,
    Case,
    answer,
    answers_of_vllm,
    save_model_for_vllm,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("vllm")]

NUM_NEW = 24
PLAIN = SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_response_length=NUM_NEW)
GREEDY = SamplingParams(temperature=0.0, top_p=1.0, top_k=0, max_response_length=NUM_NEW)
CUT = SamplingParams(temperature=0.7, top_p=0.9, top_k=20, max_response_length=NUM_NEW)
NUM_DRAWS = 3000


def requests(num_prompts: int = 12, num_samples: int = 3) -> list[Request]:
    """Several samples of prompts of 1 to 40 tokens, and of one longer than a block of the cache."""
    rng = random.Random(0)
    lengths = [*(rng.randint(1, 40) for _ in range(num_prompts - 1)), 300]
    prompts = [[rng.randrange(FIRST_BYTE, NUM_TOKENS) for _ in range(n)] for n in lengths]
    return [
        Request(prompt, request_seed(0, "sample", 1, f"p{place}", sample))
        for place, prompt in enumerate(prompts)
        for sample in range(num_samples)
    ]


REQUESTS = requests()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model_for_vllm(tmp_path_factory.mktemp("vllm") / "model")


@pytest.fixture(scope="module")
def many_ends(folder, tmp_path_factory):
    """The model with a third of all tokens as ends, and advice for chatting."""
    other = tmp_path_factory.mktemp("ends") / "model"
    shutil.copytree(folder, other)
    path = other / "generation_config.json"
    advice = {"temperature": 0.3, "top_k": 3, "repetition_penalty": 1.5, "max_new_tokens": 2}
    ends = [1, *range(100, 186)]
    config = json.loads(path.read_text()) | advice | {"eos_token_id": ends}
    path.write_text(json.dumps(config))
    return other, set(ends)


@pytest.fixture(scope="module")
def cases(folder, many_ends, tmp_path_factory):
    deep = save_model_for_vllm(
        tmp_path_factory.mktemp("deep") / "model", num_layers=8, max_position=2**20
    )
    endless = SamplingParams(1.0, 1.0, 0, 400_000)
    partial = deep.parent / "responses.jsonl"
    first = SamplingParams(1.0, 1.0, 0, 1)
    return {
        "greedy": Case(folder, REQUESTS, GREEDY),
        "plain": Case(folder, REQUESTS, PLAIN),
        "again": Case(folder, REQUESTS, PLAIN),
        # Of parts of 16 responses two are finished, and some of the third.
        "whole": Case(folder, REQUESTS, PLAIN, Engine(2), partial),
        "rest": Case(folder, REQUESTS, PLAIN, Engine(2), partial, rows=35),
        "odd": Case(folder, REQUESTS[::-1][::2], PLAIN, Engine(4, max_prompt_length=400)),
        "even": Case(folder, REQUESTS[::-1][1::2], PLAIN),
        "two processes": Case(folder, REQUESTS, PLAIN, Engine(64, tensor_parallel_size=2)),
        "cut": Case(folder, REQUESTS, CUT),
        "ends": Case(many_ends[0], REQUESTS, PLAIN),
        "many draws": Case(
            folder, [Request([10, 20, 30], s) for s in range(NUM_DRAWS)], first, Engine(512)
        ),
        "nothing": Case(folder, [], PLAIN),
        "hot": Case(folder, REQUESTS, SamplingParams(2.5, 1.0, 0, 4)),
        "too long": Case(folder, REQUESTS, SamplingParams(1.0, 1.0, 0, POSITIONS)),
        "to the end": Case(folder, REQUESTS, SamplingParams(1.0, 1.0, 0, POSITIONS, True)),
        "three heads": Case(folder, REQUESTS, PLAIN, Engine(64, tensor_parallel_size=3)),
        "no memory": Case(deep, [Request([10], 0)], endless, Engine(1)),
    }


@pytest.fixture(scope="module")
def answered(cases, tmp_path_factory):
    return answers_of_vllm(cases, tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def answers(answered) -> dict[str, Answer]:
    return answered[0]


def tokens(one: Answer) -> list[list[int]]:
    return [response.tokens for response in one.responses]


def assert_same(ours: Answer, others: Answer, tolerance: float) -> None:
    """The same tokens, and log-probabilities within rounding."""
    assert ours.error == others.error == ""
    assert tokens(ours) == tokens(others)
    assert [r.finish_reason for r in ours.responses] == [r.finish_reason for r in others.responses]
    for one, other in zip(ours.responses, others.responses, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=tolerance)


def model_logprobs(folder: Path, one: Answer) -> list[list[float]]:
    """What training computes for the same tokens."""
    sequences = Sequences([r.prompt_tokens for r in REQUESTS], tokens(one))
    passes = Passes(
        8, None, packing=False, chunk_tokens=64, pad_token_id=0, device=torch.device("cpu")
    )
    return ragged_logprobs(load_model(folder, "float32"), sequences, passes)


def test_greedy_is_token_for_token_that_of_transformers(cases, answers):
    expected = answer(cases["greedy"], "transformers")
    assert_same(answers["greedy"], expected, 2e-5)
    assert sum(map(len, tokens(expected))) > 500


def test_reported_log_probabilities_are_those_that_training_computes(folder, answers):
    for one, row in zip(
        answers["plain"].responses, model_logprobs(folder, answers["plain"]), strict=True
    ):
        assert one.logprobs == pytest.approx(row, abs=2e-5)


def test_temperature_top_k_and_top_p_cut_as_those_of_transformers(folder, answers):
    model = load_model(folder, "float32")
    warpers = (TemperatureLogitsWarper(0.7), TopKLogitsWarper(20), TopPLogitsWarper(0.9))
    for request, one in zip(REQUESTS[::5], answers["cut"].responses[::5], strict=True):
        context = torch.tensor([[*request.prompt_tokens, *one.tokens]])
        with torch.no_grad():
            scores = model(input_ids=context).logits[0, len(request.prompt_tokens) - 1 : -1]
        for warper in warpers:
            scores = warper(context, scores)
        expected = scores.log_softmax(1).gather(1, torch.tensor(one.tokens)[:, None])[:, 0]
        assert one.logprobs == pytest.approx(expected.tolist(), abs=5e-5)


def test_first_tokens_are_distributed_as_the_model_says(folder, answers):
    expected = next_logprobs(load_model(folder, "float32"), [10, 20, 30])
    first = [one.tokens[0] for one in answers["many draws"].responses]
    assert chi_square(first, expected.exp()) < 1.25
    assert chi_square(first, (expected / 1.3).softmax(0)) > 1.25


def test_the_same_seeds_repeat_bit_for_bit_and_samples_of_a_prompt_differ(answers):
    assert answers["again"].responses == answers["plain"].responses
    of_a_prompt = [tuple(row) for row in tokens(answers["plain"])[:3]]
    assert len(set(of_a_prompt)) == 3


def test_only_unfinished_parts_are_drawn_again_with_the_same_bits(cases, answers):
    whole, rest = answers["whole"], answers["rest"]
    assert rest.responses == whole.responses
    assert sum(rest.counted) == sum(whole.counted) == len(REQUESTS)
    kept = [line for line in cases["rest"].partial.read_text().split("\n") if line[:1] == "["]
    assert len(kept) == 35 + 4, "the last part is drawn as a whole"
    assert_same(whole, answers["plain"], 2e-5)


def test_shards_order_and_batch_size_do_not_change_what_is_drawn(answers):
    backwards: list = [None] * len(REQUESTS)
    backwards[::2] = answers["odd"].responses
    backwards[1::2] = answers["even"].responses
    assert_same(Answer(backwards[::-1], []), answers["plain"], 2e-5)


def test_tensor_parallel_processes_do_not_change_what_is_drawn(answers):
    assert_same(answers["two processes"], answers["plain"], 2e-5)


def test_any_end_token_ends_a_response_and_advice_for_chatting_changes_nothing(many_ends, answers):
    ended = {"stop": 0, "length": 0}
    for one, plain in zip(answers["ends"].responses, answers["plain"].responses, strict=True):
        ended[one.finish_reason] += 1
        places = [place for place, token in enumerate(plain.tokens) if token in many_ends[1]]
        length = places[0] + 1 if places else len(plain.tokens)
        assert one.tokens == plain.tokens[:length]
        assert one.logprobs == pytest.approx(plain.logprobs[:length], abs=2e-5)
        assert one.finish_reason == ("stop" if places else "length")
    assert ended["stop"] > 10


def test_a_response_without_end_is_cut_at_the_limit(answers):
    cut = [one for one in answers["plain"].responses if one.finish_reason == "length"]
    assert cut
    assert all(len(one.tokens) == NUM_NEW for one in cut)


def test_every_response_is_counted_and_nothing_is_printed(answered):
    answers, printed = answered
    assert sum(answers["plain"].counted) == len(REQUESTS)
    assert sum(answers["many draws"].counted) == NUM_DRAWS
    assert answers["nothing"] == Answer([], [])
    assert printed == ""


def test_a_response_may_end_where_the_models_positions_do(answers):
    lengths = [
        len(request.prompt_tokens) + len(response.tokens)
        for request, response in zip(REQUESTS, answers["to the end"].responses, strict=True)
        if response.finish_reason == "length"
    ]
    assert lengths == [POSITIONS] * len(lengths)
    assert lengths


def test_what_cannot_be_sampled_is_refused_in_one_sentence(answers):
    assert answers["hot"].error == (
        "temperature 2.5: vLLM samples at 0 (greedy) or 0.01 to 2.0; "
        "set rollout.sampler to transformers for others"
    )
    assert "no positions for sequences of 812 tokens; lower max_resp" in answers["too long"].error
    assert answers["three heads"].error == (
        "rollout.tensor_parallel_size 3 does not divide the model's 2 attention heads"
    )


def test_a_model_that_does_not_fit_is_refused_with_what_to_change(answers):
    error = answers["no memory"].error
    assert "no memory for vLLM with sequences of 400001 tokens" in error
    assert "1.53 GiB KV cache is needed" in error
    for key in (
        "rollout.gpu_memory_utilization",
        "rollout.tensor_parallel_size",
        "data.max_prompt_length",
        "max_response_length",
    ):
        assert key in error
    assert "\n" not in error
