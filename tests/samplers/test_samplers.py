"""Sampling: each response has its own random numbers, and says what it was drawn with."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from prime_core.models.load import load_model, save_model
from prime_core.samplers import (
    Engine,
    FinishedResponses,
    Request,
    SamplerError,
    SamplingParams,
    load_sampler,
    request_seed,
)
from prime_core.samplers.ask import ask
from prime_core.settings.run import Settings
from prime_core.training.batches import Sequences
from prime_core.training.passes import Passes
from prime_core.training.scoring import ragged_logprobs
from tests.support.tiny_model import ragged_sequences, save_tiny_model, tiny

PASSES = Passes(
    12, None, packing=False, chunk_tokens=64, pad_token_id=0, device=torch.device("cpu")
)
PARAMS = SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_response_length=6)
REQUESTS = [
    Request(prompt, request_seed(0, "sample", 1, f"p{place}", 0))
    for place, prompt in enumerate(ragged_sequences(12).prompts)
]


def draw(folder, requests=REQUESTS, params=PARAMS, batch_size=64):
    return load_sampler("transformers")(
        *(folder, "float32", requests, params, Engine(batch_size)),
        *(lambda _count: None, FinishedResponses(None, "")),
    )


def changed(params: SamplingParams, **values) -> SamplingParams:
    return SamplingParams(**(vars(params) | values))


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, "float32")


@pytest.fixture(scope="module")
def expected(tiny_model):
    return draw(tiny_model)


@pytest.fixture(scope="module")
def many_eos(tmp_path_factory):
    """A model that ends a response at any place with a probability of a third."""
    folder = save_tiny_model(tmp_path_factory.mktemp("eos") / "model")
    model, tokenizer = tiny()
    model.config.tie_word_embeddings = False
    head = torch.nn.Linear(16, len(tokenizer), bias=False)
    torch.nn.init.zeros_(head.weight)
    model.lm_head = head
    model.save_pretrained(folder)
    config = json.loads((folder / "generation_config.json").read_text())
    ends = [tokenizer.eos_token_id, *range(100, 186)]
    (folder / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": ends}))
    return folder, set(ends)


def next_logprobs(model, context: list[int]) -> torch.Tensor:
    """Log-probabilities of the next token, in float64."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([context])).logits[0, -1].double().log_softmax(0)


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_the_batch_size_does_not_change_what_is_drawn(tiny_model, expected, batch_size):
    again = draw(tiny_model, batch_size=batch_size)
    assert [one.tokens for one in again] == [one.tokens for one in expected]
    for one, other in zip(again, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_neither_order_nor_company_of_requests_changes_what_is_drawn(tiny_model, expected):
    order = [7, 3, 11, 0]
    some = draw(tiny_model, [REQUESTS[place] for place in order], batch_size=3)
    assert [one.tokens for one in some] == [expected[place].tokens for place in order]


def test_the_same_seed_repeats_bit_for_bit_and_another_draws_anew(tiny_model, expected):
    assert draw(tiny_model) == expected
    others = [Request(one.prompt_tokens, one.seed + 1) for one in REQUESTS]
    different = [
        a.tokens != b.tokens for a, b in zip(draw(tiny_model, others), expected, strict=True)
    ]
    assert sum(different) > 8


def test_progress_counts_every_request(tiny_model):
    counted: list[int] = []
    how = (tiny_model, "float32", REQUESTS, PARAMS, Engine(5))
    load_sampler("transformers")(*how, counted.append, FinishedResponses(None, ""))
    assert counted == [5, 5, 2]


def test_greedy_takes_the_most_probable_token_of_the_whole_context(tiny_model, model):
    for request, one in zip(
        REQUESTS, draw(tiny_model, params=changed(PARAMS, temperature=0)), strict=True
    ):
        context = list(request.prompt_tokens)
        for token in one.tokens:
            assert token == int(next_logprobs(model, context).argmax())
            context.append(token)


def test_the_best_of_one_is_greedy(tiny_model):
    greedy = draw(tiny_model, params=changed(PARAMS, temperature=0))
    top_1 = draw(tiny_model, params=changed(PARAMS, top_k=1))
    tiny_p = draw(tiny_model, params=changed(PARAMS, top_p=1e-6))
    for ones in (top_1, tiny_p):
        assert [one.tokens for one in ones] == [one.tokens for one in greedy]
        assert all(value == 0 for one in ones for value in one.logprobs)


def test_greedy_leaves_top_k_and_top_p_out(tiny_model):
    greedy = draw(tiny_model, params=changed(PARAMS, temperature=0))
    assert draw(tiny_model, params=changed(PARAMS, temperature=0, top_k=2, top_p=0.5)) == greedy
    assert all(value < 0 for one in greedy for value in one.logprobs)


def test_a_model_that_predicts_no_numbers_is_refused(tmp_path):
    broken, tokenizer = tiny()
    torch.nn.init.constant_(broken.model.norm.weight, torch.nan)
    save_model(broken, tokenizer, tmp_path)
    prompts = pd.DataFrame({"prompt_id": ["a"], "prompt": [[{"role": "user", "content": "1+1=?"}]]})
    with pytest.raises(SamplerError, match="transformers returned log-probabilities that are NaN"):
        ask(
            sampler="transformers",
            model_path=tmp_path,
            prompts=prompts,
            purpose="sample",
            iteration=1,
            n_samples_per_prompt=2,
            params=PARAMS,
            settings=Settings(),
            progress=lambda _count: None,
            output=tmp_path / "rollouts" / "00.parquet",
        )
    # Not kept either: the next try draws anew.
    (partial,) = (tmp_path / "rollouts" / ".partial").iterdir()
    assert len(partial.read_text().split()) == 2, "a fingerprint and nothing else"


def test_first_tokens_are_distributed_as_the_model_says(tiny_model, model):
    prompt, num_draws = [10, 20, 30], 4000
    requests = [Request(prompt, seed) for seed in range(num_draws)]
    params = changed(PARAMS, max_response_length=1)
    first = [one.tokens[0] for one in draw(tiny_model, requests, params, batch_size=1000)]
    assert chi_square(first, next_logprobs(model, prompt).exp()) < 1.25
    wrong = (next_logprobs(model, prompt) / 1.3).softmax(0)
    assert chi_square(first, wrong) > 1.25  # the bound tells distributions apart


def test_temperature_flattens_the_distribution_as_it_should(tiny_model, model):
    prompt, num_draws = [10, 20, 30], 4000
    requests = [Request(prompt, seed) for seed in range(num_draws)]
    params = changed(PARAMS, max_response_length=1, temperature=2.0)
    first = [one.tokens[0] for one in draw(tiny_model, requests, params, batch_size=1000)]
    assert chi_square(first, (next_logprobs(model, prompt) / 2).softmax(0)) < 1.25


def chi_square(tokens: list[int], probabilities: torch.Tensor) -> float:
    """sum_v (observed - expected)^2 / expected, over the tokens' degrees of freedom.

    Tokens expected fewer than five times are one class.
    """
    expected = probabilities.numpy() * len(tokens)
    observed = np.bincount(tokens, minlength=len(expected)).astype(float)
    frequent = expected >= 5
    parts = [
        np.append(counts[frequent], counts[~frequent].sum()) for counts in (observed, expected)
    ]
    return float(((parts[0] - parts[1]) ** 2 / parts[1]).sum() / (len(parts[0]) - 1))


def test_reported_log_probabilities_are_the_models(model, expected):
    sequences = Sequences(
        [request.prompt_tokens for request in REQUESTS], [one.tokens for one in expected]
    )
    rows = ragged_logprobs(model, sequences, PASSES)
    for one, row in zip(expected, rows, strict=True):
        assert one.logprobs == pytest.approx(row, abs=1e-5)


def test_log_probabilities_at_a_temperature_are_those_of_the_flattened_model(tiny_model, model):
    ones = draw(tiny_model, params=changed(PARAMS, temperature=0.5))
    sequences = Sequences(
        [request.prompt_tokens for request in REQUESTS], [one.tokens for one in ones]
    )
    rows = ragged_logprobs(model, sequences, PASSES, temperature=0.5)
    for one, row in zip(ones, rows, strict=True):
        assert one.logprobs == pytest.approx(row, abs=1e-5)


def test_an_end_token_ends_a_response_and_belongs_to_it(many_eos):
    folder, ends = many_eos
    ones = draw(folder, [Request([10], seed) for seed in range(40)])
    assert {one.finish_reason for one in ones} == {"stop", "length"}
    for one in ones:
        assert len(one.tokens) == len(one.logprobs) <= 6
        assert not ends & set(one.tokens[:-1])
        assert (one.tokens[-1] in ends) == (one.finish_reason == "stop")
    assert {len(one.tokens) for one in ones if one.finish_reason == "stop"} >= {1, 2, 3}


def test_a_response_without_end_is_cut_at_the_limit(tiny_model, expected):
    cut = [one for one in expected if one.finish_reason == "length"]
    assert len(cut) > 8
    assert all(len(one.tokens) == 6 for one in cut)
    longer = draw(tiny_model, params=changed(PARAMS, max_response_length=9))
    assert [one.tokens[:6] for one in longer] == [one.tokens for one in expected]


def test_a_response_may_end_where_the_models_positions_do(tiny_model, expected):
    params = changed(PARAMS, max_response_length=10_000, ends_with_positions=True)
    positions = load_model(tiny_model, "float32").config.max_position_embeddings
    few = draw(tiny_model, REQUESTS[:3], params)
    assert [one.tokens[:6] for one in few] == [one.tokens for one in expected[:3]]
    for request, one in zip(REQUESTS, few, strict=False):
        whole = len(request.prompt_tokens) + len(one.tokens)
        assert whole == positions if one.finish_reason == "length" else whole <= positions
    with pytest.raises(SamplerError, match=rf"a prompt of {positions} tokens leaves no room"):
        draw(tiny_model, [Request([10] * positions, 0)], params)


def test_what_a_model_recommends_for_chatting_does_not_change_what_is_drawn(
    tiny_model, expected, tmp_path
):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    path = folder / "generation_config.json"
    advice = {
        "do_sample": True,
        "temperature": 0.3,
        "top_p": 0.5,
        "top_k": 3,
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 1,
        "min_new_tokens": 2,
        "max_length": 9,
        "suppress_tokens": [expected[0].tokens[0]],
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | advice))
    ones = draw(folder)
    assert [one.tokens for one in ones] == [one.tokens for one in expected]
    for one, other in zip(ones, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-6)


def test_seeds_belong_to_prompt_sample_iteration_and_purpose():
    seeds = {
        request_seed(seed, purpose, iteration, prompt, sample)
        for seed in (0, 1)
        for purpose in ("sample", "evaluate")
        for iteration in (1, 2)
        for prompt in ("a", "b")
        for sample in (0, 1)
    }
    assert len(seeds) == 32
