"""Trees from a real model: what is shared, where they fork, and that the seed alone decides."""

import math

import pandas as pd
import pytest

from prime_core.models.load import load_tokenizer
from prime_core.samplers import SamplingParams
from prime_core.samplers.ask import ask
from prime_core.samplers.forks import Leaf, Place, at_steps, least_likely
from prime_core.samplers.trees import ask_trees
from prime_core.settings.reading import parse_settings
from prime_core.settings.rollout import Tree

LONGEST = 12
PARAMS = SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_response_length=LONGEST)
PROMPTS = pd.DataFrame(
    {
        "prompt_id": ["a", "b", "c"],
        "prompt": [[{"role": "user", "content": f"{n}+1=?"}] for n in (1, 20, 300)],
    }
)


def settings(batch_size: int):
    return parse_settings({"rollout.sampler_batch_size": batch_size}, "test")


def trees(folder, tmp_path, tree: Tree, prompts=PROMPTS, batch_size: int = 64):
    return ask_trees(
        sampler="transformers",
        model_path=folder,
        prompts=prompts,
        iteration=1,
        tree=tree,
        params=PARAMS,
        settings=settings(batch_size),
        progress=lambda _: None,
        output=tmp_path / "00.parquet",
    )


def chains(folder, number: int):
    return ask(
        sampler="transformers",
        model_path=folder,
        prompts=PROMPTS,
        purpose="sample",
        iteration=1,
        n_samples_per_prompt=number,
        params=PARAMS,
        settings=settings(64),
        progress=lambda _: None,
        output=None,
    )


def by_prompt(rows) -> dict[str, list[dict]]:
    return {name: [row for row in rows if row["prompt_id"] == name] for name in "abc"}


@pytest.fixture
def _steps(monkeypatch):
    """A third of the tokens end a step: the tiny model hardly ever draws a blank line."""
    from prime_core.samplers import forks

    def ends(pieces):
        return [sum(map(ord, piece)) % 3 == 0 for piece in pieces]

    monkeypatch.setattr(forks, "step_ends", ends)


@pytest.mark.usefixtures("_steps")
@pytest.mark.parametrize(
    "tree", [Tree(m=2, n=2, l=2, t=1), Tree(kind="random", m=2, n=2, l=1, t=2)], ids=["ep", "steps"]
)
def test_continuations_share_what_stands_before_their_fork(tree, tiny_model, tmp_path):
    rows = trees(tiny_model, tmp_path, tree)
    tokenizer = load_tokenizer(tiny_model)
    expected = by_prompt(chains(tiny_model, tree.m))
    forked = 0
    for name, found in by_prompt(rows).items():
        assert [row["sample"] for row in found] == list(range(tree.num_leaves))
        for row in found:
            parent, fork = row["parent"], row["fork"]
            assert len(row["response_tokens"]) == len(row["sampler_logprobs"]) <= LONGEST
            assert row["text"] == tokenizer.decode(row["response_tokens"], skip_special_tokens=True)
            assert (row["finish_reason"] == "stop") == (
                row["response_tokens"][-1] == tokenizer.eos_token_id
            )
            if parent < 0:
                assert fork == 0
                continue
            forked += 1
            other = found[parent]
            assert other["fork"] < fork < len(other["response_tokens"])
            assert parent < row["sample"]
            for column in ("response_tokens", "sampler_logprobs"):
                assert row[column][:fork] == other[column][:fork]
        for row, chain in zip(found, expected[name], strict=False):
            assert row == chain | {"parent": -1, "fork": 0}, "chains are those without trees"
    assert forked > len(rows) / 3
    # Continuations of one place have seeds of their own.
    own = [(r["parent"], r["fork"], *r["response_tokens"][r["fork"] :]) for r in rows]
    assert len({*own}) > 0.8 * len(own)


def test_eptree_forks_where_the_chain_was_least_likely(tiny_model, tmp_path):
    rows = by_prompt(trees(tiny_model, tmp_path, Tree(m=2, n=2, l=1, t=2)))
    for found in rows.values():
        for chain in found[:2]:
            forks = [row["fork"] for row in found if row["parent"] == chain["sample"]]
            logprobs = chain["sampler_logprobs"][1:]
            least = sorted(range(len(logprobs)), key=lambda index: (logprobs[index], index))[:2]
            assert sorted({*forks}) == sorted(index + 1 for index in least)


def test_log_probabilities_of_a_continuation_are_those_of_its_whole_context(tiny_model, tmp_path):
    import torch

    from prime_core.models.load import load_model

    model = load_model(tiny_model, "float32")
    rows = [row for row in trees(tiny_model, tmp_path, Tree(m=2, n=1, l=1, t=2)) if row["fork"]]
    for row in rows[:4]:
        prompt, response = row["prompt_tokens"], row["response_tokens"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
        logprobs = logits.log_softmax(1)[len(prompt) - 1 : -1]
        found = logprobs.gather(1, torch.tensor(response)[:, None])[:, 0]
        assert row["sampler_logprobs"] == pytest.approx(found.tolist(), abs=1e-4)


def test_neither_shards_nor_batches_change_a_tree(tiny_model, tmp_path):
    tree = Tree(m=2, n=1, l=2, t=1)
    expected = by_prompt(trees(tiny_model, tmp_path / "all", tree))
    some = trees(tiny_model, tmp_path / "some", tree, PROMPTS.iloc[[2, 0]], batch_size=3)
    columns = ("response_tokens", "parent", "fork")
    for name in "ac":
        found = [[row[column] for column in columns] for row in some if row["prompt_id"] == name]
        assert found == [[row[column] for column in columns] for row in expected[name]]


def test_candidates_are_no_first_tokens_and_stand_before_the_answer():
    def leaf(text: list[str], logprobs: list[float], sample: int = 0, fork: int = 0) -> Leaf:
        return Leaf(sample, fork, text, logprobs)

    chain = leaf(["a", "b", "the Ans", "wer", " is", "7"], [-9.0, -1.0, -2.0, -3.0, -8.0, -9.0])
    branch = leaf(["a", "b", "c", "d"], [-9.0, -1.0, -7.0, -2.0], sample=1, fork=2)
    found = least_likely([chain, branch], 9, ())
    # Of equals the earlier response first; -9, -7 and all behind "answer" are left out.
    assert found == [Place(0, 3), Place(0, 2), Place(1, 3), Place(0, 1)]
    assert least_likely([chain, branch], 2, ()) == found[:2]
    assert least_likely([leaf(["x"], [-1.0])], 2, ()) == []


def test_steps_are_drawn_without_replacement_by_the_seed_alone():
    text = "one\n\ntwo\n\nthree\n\nfour"
    pieces = [*text]
    chain = Leaf(0, 0, pieces, [-1.0] * len(pieces))
    branch = Leaf(1, 6, pieces, [-1.0] * len(pieces))
    ends = [5, 10, 17]
    every = {Place(0, end) for end in ends} | {Place(1, end) for end in ends[1:]}
    assert {*at_steps([chain, branch], 9, (0, "x"))} == every
    draws = [at_steps([chain, branch], 2, (0, "x", number)) for number in range(20)]
    assert draws == [at_steps([chain, branch], 2, (0, "x", number)) for number in range(20)]
    assert {place for draw in draws for place in draw} == every
    assert all(len({*draw}) == 2 for draw in draws)


def test_a_tree_without_a_candidate_is_given_chains(tiny_model, tmp_path):
    rows = trees(tiny_model, tmp_path, Tree(kind="random", m=1, n=2, l=1, t=1))  # no blank line
    assert {row["parent"] for row in rows} == {-1}
    again = by_prompt(chains(tiny_model, 3))
    for name, found in by_prompt(rows).items():
        assert [row["response_tokens"] for row in found] == [
            row["response_tokens"] for row in again[name]
        ]
        assert all(math.isfinite(value) for row in found for value in row["sampler_logprobs"])
