"""The whole workflow with vLLM in an engine that is kept, of a model with tied embeddings."""

from pathlib import Path

import pytest

from tests.support.vllm_installed import need_vllm
from tests.support.workflow_runs import TINY, digests, run_well

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("vllm-workflow")]

RUN = Path("results/tiny")
WIDE = TINY | {
    "iterations": 3,
    # Heads of width 32, the narrowest that the CPU build of vLLM knows.
    "model": {"build": TINY["model"]["build"] | {"hidden_size": 64}},
    "sft": TINY["sft"] | {"num_steps": 20},
    "rollout": TINY["rollout"] | {"sampler": "vllm", "num_shards": 1},
    "prm": {"prm_update": "none"},
    "evaluation": {"benchmarks": {}},
}


def test_a_kept_engine_samples_what_fresh_ones_sample(tmp_path):
    need_vllm()
    for resident in ("engines", "fork"):
        folder = tmp_path / resident
        run_well(folder, "--cores", "2", settings=WIDE | {"resident": resident})
    kept, usual = (tmp_path / resident / RUN for resident in ("engines", "fork"))
    assert digests(kept) == digests(usual)
    logs = [(kept / f"logs/iterations/000{i}/sample-00.log").read_text() for i in (1, 2, 3)]
    loaded = "loaded into the kept engine, which finds the trainer's log-probabilities"
    assert [loaded in log for log in logs] == [False, True, True]
