"""The paper's runs as settings: whole, as published, and a graph that Snakemake accepts."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from prime_core.config import load_settings, load_yaml
from prime_core.launch.plan import Options, find_shape, make_case
from prime_core.planning.plan import plan
from prime_core.settings import Settings
from prime_core.settings_evaluation import Benchmark
from tests.shared_data import ROOT
from tests.workflow_runs import environment

PAPER = ROOT / "configs" / "paper"
CONFIGS = sorted(PAPER.glob("*.yaml"))
PRIME, RLOO = PAPER / "eurus2_7b_prime.yaml", PAPER / "eurus2_7b_rloo.yaml"

# arXiv 2502.01456, and the authors' training script where the paper is silent.
PUBLISHED = {
    "rollout.rollout_batch_size": 256,
    "rollout.n_samples_per_prompt": 4,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.top_k": 0,
    "rollout.max_response_length": 3072,
    "data.max_prompt_length": 1024,
    "filter.filter_accuracy": True,
    "filter.accuracy_lower_bound": 0.2,
    "filter.accuracy_upper_bound": 0.8,
    "filter.filter_truncated": False,
    "prm.prm_reference": "sft",
    "prm.beta": 0.05,
    "prm.prime_granularity": "token",
    "prm.prime_norm": "batch_norm",
    "prm.mini_batch_size": 256,
    "prm.optimizer.learning_rate": 1e-6,
    "prm.optimizer.weight_decay": 0.0,
    "prm.optimizer.grad_clip": 10.0,
    "policy.adv_estimator": "rloo",
    "policy.baseline": "code",
    "policy.gamma_outcome": 1.0,
    "policy.gamma_process": 1.0,
    "policy.outcome_coef": 1.0,
    "policy.process_coef": 1.0,
    "policy.whiten": True,
    "policy.eps_clip": 0.2,
    "policy.eps_clip_high": 0.2,
    "policy.loss_agg_mode": "token-mean",
    "policy.entropy_coef": 0.0,
    "policy.kl_coef": 0.0,
    "policy.ppo_mini_batch_size": 256,
    "policy.ppo_epochs": 1,
    "policy.optimizer.learning_rate": 5e-7,
    "policy.optimizer.weight_decay": 0.01,
    "policy.optimizer.grad_clip": 1.0,
    "sft.batch_size": 96,
    "sft.warmup_ratio": 0.1,
    "sft.optimizer.learning_rate": 1e-5,
    "evaluation.every": 16,
}
OWN = {
    PRIME: {"iterations": 592, "prm.prm_update": "after"},
    RLOO: {"iterations": 240, "prm.prm_update": "none"},
}


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; mappings that have no fixed keys are one value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in ("data.columns", "evaluation.benchmarks"):
            found |= leaves(value, f"{name}.")
        else:
            found[name] = value
    return found


def keys_of(section: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted keys of all settings."""
    found: set[str] = set()
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys_of(inner, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def name_of(path: Path) -> str:
    return path.stem


def num_jobs(config: Path, folder: Path, *overrides: str) -> int:
    """Jobs of a dry run; the rule `all` is not counted."""
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run"),
        *("--directory", str(folder), "--configfile", str(config)),
        *("--quiet", "rules", "reason", "host", *overrides),
    ]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=500)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    totals = re.findall(r"^total +(\d+)", output, flags=re.MULTILINE)
    assert totals, output[-3000:]
    return int(totals[-1]) - 1


def planned_jobs(config: Path, **changes: Any) -> int:
    settings = load_settings(config).model_copy(update=changes)
    shape = find_shape(settings, None)[1]
    return plan(make_case(settings, None, shape, Options())).total.num_jobs


def test_the_papers_main_run_and_its_baseline_are_there():
    assert set(OWN) <= set(CONFIGS)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_setting_is_written_out(path):
    written = leaves(load_yaml(path))
    assert sorted(keys_of(Settings) - set(written)) == []
    for name, benchmark in written["evaluation.benchmarks"].items():
        assert set(benchmark) == set(Benchmark.model_fields), name


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_setting_has_a_comment(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = []
    for before, line in zip(["", *lines], lines, strict=False):
        if re.match(r" *[a-z_]+: \S", line) and "  # " not in line:
            explained = before.lstrip().startswith("#")
            bare += [] if explained else [line]
    assert bare == []


@pytest.mark.parametrize("path", sorted(OWN), ids=name_of)
def test_the_values_are_the_published_ones(path):
    settings = leaves(load_settings(path).model_dump(mode="json"))
    for key, value in (PUBLISHED | OWN[path]).items():
        assert settings[key] == value, key


def test_the_baseline_differs_from_the_main_run_in_rewards_and_length_only():
    main, baseline = (leaves(load_settings(path).model_dump()) for path in (PRIME, RLOO))
    differing = {key for key in main if main[key] != baseline[key]}
    assert differing == {"run", "iterations", "prm.prm_update"}


def test_one_pass_over_the_data_lasts_for_about_as_many_iterations_as_the_paper_took():
    settings = load_settings(PRIME)
    asked = settings.rollout.rollout_batch_size * settings.rollout.oversample_factor
    assert 482_019 / asked == pytest.approx(592, rel=0.02)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_dry_run_has_the_jobs_that_were_planned(path, tmp_path):
    jobs = num_jobs(path, tmp_path, "--config", "iterations=3")
    assert jobs == planned_jobs(path, iterations=3)
    assert list(tmp_path.glob("results/*")) == []


@pytest.mark.slow
def test_a_long_part_of_the_main_run_is_a_graph(tmp_path):
    # 8 shards in 2 rounds, each sampled and verified, and 4 stages; 7 evaluations; data, start
    # model, SFT, report
    jobs = num_jobs(PRIME, tmp_path, "--config", "iterations=96")
    assert jobs == 96 * (2 * 8 * 2 + 4) + 7 + 4 == planned_jobs(PRIME, iterations=96)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_the_stages_table_is_for_nodes_of_eight_gpus(path):
    named = load_settings(path).stage_resources
    stages = yaml.safe_load((ROOT / named).read_text(encoding="utf-8"))
    assert {stages[name]["gpus_per_node"] for name in ("sft", "prm", "policy")} == {8}
