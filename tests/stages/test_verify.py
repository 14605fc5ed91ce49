"""The stage `verify`: outcomes of a shard, killed and resumed."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from prime_core.run.layout import RunFiles
from prime_core.run.tables import OUTCOMES, PROMPTS, ROLLOUTS, TableError, read_table, write_table
from prime_core.settings.reading import parse_settings
from prime_core.settings.verification import Verification
from prime_core.stages import verify
from prime_core.verifiers import VERIFIERS
from prime_core.verifiers.pool import Row
from prime_core.verifiers.resumable import VerifiedRows, VerifierBroken
from prime_core.verifiers.verdict import Judgement, Verdict
from tests.support.judge_server import judge_server

STAGE = "from pathlib import Path; import sys; from prime_core.stages import verify; "
STAGE += "verify.run(Path(sys.argv[1]), 1, 0)"


def response(index: int) -> str:
    """Right, wrong, missing, textual and algebraic answers in turn."""
    number = index % 50
    return [
        f"\\boxed{{{number}}}",
        f"\\boxed{{{number + 1}}}",
        "I do not know",
        f"\\boxed{{\\frac{{{2 * number}}}{{2}}}}",
        f"\\boxed{{x={number}}} \U0001f600",
        f"\\boxed{{\\text{{word {number}}}}}",
    ][index % 6]


def make_run(root: Path, num_rows: int, **changes) -> RunFiles:
    files = RunFiles(root)
    settings = parse_settings({"run": root.name, **changes}, "test").model_dump(mode="json")
    root.mkdir(parents=True, exist_ok=True)
    files.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    prompts = [
        {
            "prompt_id": f"p{i}",
            "prompt": [{"role": "user", "content": "?"}],
            "ability": "math",
            "ground_truth": str(i),
            "data_source": "test",
        }
        for i in range(50)
    ]
    write_table(files.train, prompts, PROMPTS)
    rollouts = [
        {
            "prompt_id": f"p{i % 50}",
            "sample": i // 50,
            "prompt_tokens": [1],
            "response_tokens": [1, 2],
            "sampler_logprobs": [0.0, 0.0],
            "text": response(i),
            "finish_reason": "stop",
            "policy_iteration": 0,
        }
        for i in range(num_rows)
    ]
    write_table(files.rollouts(1, 0), rollouts, ROLLOUTS)
    return files


def test_outcomes_stand_beside_their_rollouts(tmp_path: Path) -> None:
    files = make_run(tmp_path / "run", 120)
    verify.run(files.root, 1, 0)
    outcomes = read_table(files.outcomes(1, 0), OUTCOMES)
    rollouts = read_table(files.rollouts(1, 0), ROLLOUTS)
    assert list(outcomes["prompt_id"]) == list(rollouts["prompt_id"])
    assert list(outcomes["sample"]) == list(rollouts["sample"])
    assert list(outcomes["outcome"][:6]) == [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    assert outcomes["verdict"][2] == "no_answer"
    assert pd.isna(outcomes["extracted"][2])
    metrics = json.loads(files.metrics(1, "verify-00").read_text())
    assert metrics["verify/num_correct"] == 60
    assert not list(files.outcomes(1, 0).parent.rglob("*.jsonl"))


def test_a_judges_outcomes_reach_the_table_and_its_agreement_with_the_rule_the_metrics(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Q: {question} R: {reference}\n{response}")
    with judge_server() as server:
        judge = {
            **{"base_url": server.base_url, "model": "m", "prompt": str(prompt)},
            **{"abilities": ["math"], "compare_share": 1.0},
        }
        files = make_run(tmp_path / "run", 12, **{"verification.judge": judge})
        verify.run(files.root, 1, 0)
        assert all(text.startswith("Q: ? R: ") for text in server.asked)
    outcomes = read_table(files.outcomes(1, 0), OUTCOMES)
    assert set(outcomes["verdict"]) == {"wrong"}  # this judge says no
    metrics = json.loads(files.metrics(1, "verify-00").read_text())
    assert metrics["verify/judge_num_compared"] == 12
    assert metrics["verify/judge_false_negative"] == 1
    assert metrics["verify/judge_agreement"] == 0.5


def test_a_shard_without_rollouts_has_an_empty_table(tmp_path: Path) -> None:
    files = make_run(tmp_path / "run", 0)
    verify.run(files.root, 1, 0)
    assert len(read_table(files.outcomes(1, 0), OUTCOMES)) == 0


@pytest.mark.slow
def test_a_stage_killed_five_times_gives_the_table_of_an_undisturbed_one(tmp_path: Path) -> None:
    num_rows = 12_000
    calm, killed = (make_run(tmp_path / name, num_rows) for name in ("calm", "killed"))
    verify.run(calm.root, 1, 0)
    partial = killed.outcomes(1, 0).parent / ".partial" / "00.jsonl"
    rng, kept = random.Random(0), []
    for _ in range(5):
        command = [sys.executable, "-c", STAGE, str(killed.root)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        size = partial.stat().st_size if partial.exists() else 0
        while process.poll() is None and (
            not partial.exists() or partial.stat().st_size <= size + rng.randint(0, 40_000)
        ):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept.append(partial.stat().st_size)
    assert kept == sorted(kept)
    assert kept[0] > 0
    with partial.open("a") as file:
        file.write('[12345, "corr')  # torn by the end of the job
    verify.run(killed.root, 1, 0)
    expected, found = (
        read_table(files.outcomes(1, 0), OUTCOMES).drop(columns="seconds")
        for files in (calm, killed)
    )
    pd.testing.assert_frame_equal(expected, found)


def test_finished_rows_are_not_judged_again_and_other_rows_are(tmp_path: Path) -> None:
    rows = [Row("math", f"\\boxed{{{i}}}", "1") for i in range(4)]
    path = tmp_path / "partial.jsonl"
    with VerifiedRows(path, rows, Verification()) as done:
        done.add(2, Judgement(Verdict.correct, "é\ud800", "detail", 0.5))
        done.add(3, Judgement(Verdict.no_verdict, None, "broken", 0.5))
    with VerifiedRows(path, rows, Verification()) as again:
        assert again.judgements == {2: Judgement(Verdict.correct, "é\ud800", "detail", 0.5)}
    with VerifiedRows(path, rows, Verification(max_no_verdict_share=1.0)) as other_share:
        assert other_share.judgements.keys() == {2}
    with VerifiedRows(path, rows[:3], Verification()) as other_rows:
        assert other_rows.judgements == {}
    with VerifiedRows(path, rows[:3], Verification(no_box="last_line")) as other_rules:
        assert other_rules.judgements == {}


def broken(response: str, ground_truth: str, _: Verification) -> Judgement:
    """A verifier that fails on every third answer."""
    if int(ground_truth) % 3 == 0:
        raise OSError("disk full")
    return Judgement(Verdict.correct, response, "")


def test_a_verifier_that_fails_too_often_stops_the_run_and_labels_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_run(tmp_path / "run", 60)
    monkeypatch.setitem(VERIFIERS, "math", replace(VERIFIERS["math"], judge=broken))
    with pytest.raises(VerifierBroken, match=r"(?s)max_no_verdict_share.*disk full"):
        verify.run(files.root, 1, 0)
    assert not files.outcomes(1, 0).exists()
    monkeypatch.undo()
    verify.run(files.root, 1, 0)
    assert len(read_table(files.outcomes(1, 0), OUTCOMES)) == 60


def test_a_few_failures_within_the_limit_are_missing_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_run(tmp_path / "run", 60, **{"verification.max_no_verdict_share": 0.5})
    monkeypatch.setitem(VERIFIERS, "math", replace(VERIFIERS["math"], judge=broken))
    verify.run(files.root, 1, 0)
    outcomes = read_table(files.outcomes(1, 0), OUTCOMES)
    assert outcomes["outcome"].isna().sum() == outcomes["verdict"].eq("no_verdict").sum() > 0


def test_rollouts_of_unknown_prompts_are_refused_by_name(tmp_path: Path) -> None:
    files = make_run(tmp_path / "run", 10)
    write_table(files.train, read_table(files.train, PROMPTS)[:3], PROMPTS)
    with pytest.raises(TableError, match="p3"):
        verify.run(files.root, 1, 0)
