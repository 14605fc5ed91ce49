"""A judge that the stage samples from itself (verification.judge.path), in the stage `verify`."""

import json
from pathlib import Path

import pytest

from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.load import ModelError, save_model
from prime_core.run.tables import OUTCOMES, read_table
from prime_core.samplers import draw
from prime_core.samplers.replying import replies_of
from prime_core.stages import verify
from prime_core.verifiers.judge.judging import seed_of
from prime_core.verifiers.judge.replies import named_choice
from tests.stages.test_verify import make_run

NUM_ROWS = 48


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Path:
    """A model that writes random bytes: some of them are a choice by itself."""
    folder = tmp_path_factory.mktemp("judge") / "model"
    folder.mkdir()
    tokenizer = build_tokenizer()
    sizes = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16}
    model = build_model(tokenizer, **sizes, max_position=160, initializer_range=0.02, seed=0)
    save_model(model, tokenizer, folder)
    return folder


def settings_of(judge: Path, folder: Path, **changes):
    prompt = folder / "prompt.txt"
    prompt.write_text("{question} {reference} {response}")
    chosen = {"path": str(judge), "prompt": str(prompt), "abilities": ["math"], "max_tokens": 60}
    chosen |= {"choices": ["7", "3"], "temperature": 1.0, "compare_share": 1.0} | changes
    return {
        "verification.judge": chosen,
        "verification.max_no_verdict_share": 1.0,
        "rollout.sampler": "transformers",
        "rollout.sampler_batch_size": 4,
    }


def run_settings(judge: Path, folder: Path):
    files = make_run(folder / "run", 1, **settings_of(judge, folder))
    return verify.open_run(files.root)[0]


def test_its_outcomes_are_those_of_its_replies_and_stand_in_the_table(judge, tmp_path, monkeypatch):
    changes = settings_of(judge, tmp_path)
    files = make_run(tmp_path / "run", NUM_ROWS, **changes)
    asked: list[tuple[str, int]] = []
    replies: list[str | None] = []

    def watched(settings, output):
        inner = replies_of(settings, output)
        assert inner is not None

        def answer(judge, prompts):
            asked.extend(prompts)
            replies.extend(inner(judge, prompts))
            return replies

        return answer

    monkeypatch.setattr(verify, "replies_of", watched)
    verify.run(files.root, 1, 0)
    outcomes = read_table(files.outcomes(1, 0), OUTCOMES)
    assert [seed for _, seed in asked] == [seed_of(text, 0) for text, _ in asked]
    named = [None if reply is None else named_choice(reply, ("7", "3")) for reply in replies]
    assert {"7", "3"} <= set(named)
    expected = [{"7": "correct", "3": "wrong", None: "no_verdict"}[one] for one in named]
    assert sorted(outcomes["verdict"]) == sorted(expected)
    assert outcomes["outcome"].isna().sum() == named.count(None)
    metrics = json.loads(files.metrics(1, "verify-00").read_text())
    assert metrics["verify/judge_num_compared"] == len(named) - named.count(None)
    assert not list(files.outcomes(1, 0).parent.rglob("*.jsonl"))  # what was kept is gone


def test_a_killed_job_draws_only_the_replies_that_it_had_not_finished(judge, tmp_path, monkeypatch):
    settings, _ = verify.open_run(
        make_run(tmp_path / "run", 1, **settings_of(judge, tmp_path)).root
    )
    output = tmp_path / "00.parquet"
    answer = replies_of(settings, output)
    assert answer is not None
    assert settings.verification.judge is not None
    asked = [(f"question {n}", n) for n in range(10)]
    before = answer(settings.verification.judge, asked)
    kept = tmp_path / ".partial" / "00+replies.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:6]))  # a fingerprint, then one batch of four and half of another
    counted: list[int] = []
    original = draw.load_sampler("transformers")

    def sampler(_name):
        def sample(*arguments):
            *how, progress, finished = arguments
            counted.append(len(finished.rows))
            return original(*how, progress, finished)

        return sample

    monkeypatch.setattr(draw, "load_sampler", sampler)
    assert answer(settings.verification.judge, asked) == before
    assert 4 <= counted[0] < 10


def test_a_prompt_without_room_for_a_reply_has_none(judge, tmp_path):
    settings, _ = verify.open_run(
        make_run(tmp_path / "run", 1, **settings_of(judge, tmp_path)).root
    )
    answer = replies_of(settings, None)
    assert answer is not None
    assert settings.verification.judge is not None
    long, short = answer(settings.verification.judge, [("x" * 150, 1), ("x", 2)])
    assert long is None
    assert isinstance(short, str)


def test_a_judge_that_is_not_there_is_named_and_rules_need_none(tmp_path):
    missing = settings_of(tmp_path / "nowhere", tmp_path)
    with pytest.raises(ModelError, match=r"nowhere.*no such folder"):
        verify.run(make_run(tmp_path / "run", 1, **missing).root, 1, 0)
    settings, _ = verify.open_run(make_run(tmp_path / "rules", 1).root)
    assert replies_of(settings, None) is None
