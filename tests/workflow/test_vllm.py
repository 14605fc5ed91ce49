"""The whole workflow with vLLM: sampling and evaluation, and a setting changed on the way."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.tables import EVALUATION, ROLLOUTS, read_json, read_table
from tests.support.vllm_installed import need_vllm
from tests.support.warm import warm
from tests.support.workflow_runs import TINY, environment, run_well

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("vllm-workflow")]

WIDE = TINY | {
    "iterations": 1,
    # Heads of width 32, the narrowest that the CPU build of vLLM knows.
    "model": {"build": TINY["model"]["build"] | {"hidden_size": 64}},
    "sft": TINY["sft"] | {"num_steps": 20},
    "rollout": TINY["rollout"] | {"sampler": "auto", "tree": {"m": 2, "n": 1, "l": 1, "t": 2}},
    "prm": {"prm_update": "none"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[RunFiles, str]:
    need_vllm()
    folder: Path = tmp_path_factory.mktemp("vllm-run")
    output = run_well(folder, settings=WIDE)
    return RunFiles(folder / "results" / "tiny"), output


def test_auto_samples_and_evaluates_with_vllm_and_says_so(finished):
    files, output = finished
    assert "iteration 1/1 sample 0: 18 responses to 3 prompts by vllm, mean length" in output
    assert "2 problems x 2 by vllm" in output
    assert read_json(files.sampler(1)) == {"sampler": "vllm"}
    for iteration in (0, 1):
        assert read_json(files.evaluation(iteration, "validation"))["sampler"] == "vllm"


def test_its_tables_are_those_of_any_sampler(finished):
    files, _ = finished
    rollouts = pd.concat([read_table(files.rollouts(1, shard), ROLLOUTS) for shard in (0, 1)])
    assert len(rollouts) == 36
    columns = rollouts["response_tokens"], rollouts["sampler_logprobs"]
    for tokens, logprobs in zip(*columns, strict=True):
        assert 1 <= len(tokens) == len(logprobs) <= 24
        assert (logprobs <= 0).all()
    judged = read_table(files.evaluation(1, "validation").with_suffix(".parquet"), EVALUATION)
    assert len(judged) == 4


def test_trees_fork_where_the_engine_says_that_a_token_was_least_likely(finished):
    files, _ = finished
    rollouts = pd.concat([read_table(files.rollouts(1, shard), ROLLOUTS) for shard in (0, 1)])
    forked = 0
    for _, group in rollouts.groupby("prompt_id"):
        rows = group.set_index("sample").to_dict("index")
        assert [rows[sample]["parent"] for sample in (0, 1)] == [-1, -1]
        for row in rows.values():
            if row["parent"] < 0:
                continue
            forked += 1
            chain, fork = rows[row["parent"]], row["fork"]
            assert chain["sampler_logprobs"][fork] == min(chain["sampler_logprobs"][1:])
            for column in ("response_tokens", "sampler_logprobs"):
                assert list(row[column][:fork]) == list(chain[column][:fork])
    assert forked > 12
    shares = [read_json(files.metrics(1, f"sample-0{n}"))["tree/own_share"] for n in (0, 1)]
    assert all(0.4 < share < 1 for share in shares)


def test_a_shard_sampled_again_keeps_its_iterations_sampler_and_its_tokens(finished):
    files, _ = finished
    before = read_table(files.rollouts(1, 1), ROLLOUTS)
    files.rollouts(1, 1).unlink()
    settings = files.config.read_text()
    files.config.write_text(settings.replace("sampler: auto", "sampler: transformers"))
    command = [sys.executable, "-m", "prime_core.cli.main", "sample", "--run", str(files.root)]
    done = subprocess.run(
        warm([*command, "--iteration", "1", "--shard", "1"]),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("iteration 1/1 sample 1: 18 responses to 3 prompts by vllm")
    pd.testing.assert_frame_equal(read_table(files.rollouts(1, 1), ROLLOUTS), before)
