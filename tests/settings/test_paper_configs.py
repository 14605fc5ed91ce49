"""The paper's runs as settings: whole, as published, planned, and graphs that Snakemake accepts."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from prime_core.planning.command import Options, find_shape, make_case
from prime_core.planning.plan import Plan, plan
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.prm import Offline
from prime_core.settings.reading import load_settings, load_yaml
from prime_core.settings.run import Settings
from tests.support.paper_variants import MAIN, PAPER, VARIANTS, render
from tests.support.shared_data import ROOT
from tests.support.warm import warm
from tests.support.workflow_runs import environment

CONFIGS = sorted(PAPER.glob("*.yaml"))
GSM8K = ROOT / "configs" / "gsm8k_qwen05b.yaml"  # verl's, not the paper's
FREE = (
    "data.columns",
    "data.sft_columns",
    "data.system_prompts",
    "prm.offline.columns",
    "evaluation.benchmarks",
)

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
    "prm.prm_update": "after",
    "prm.prm_reference": "sft",
    "prm.beta": 0.05,
    "prm.loss_type": "ce",
    "prm.prime_granularity": "token",
    "prm.prime_norm": "batch_norm",
    "prm.mini_batch_size": 256,
    "prm.optimizer.learning_rate": 1e-6,
    "prm.optimizer.weight_decay": 0.0,
    "prm.optimizer.grad_clip": 10.0,
    "policy.adv_estimator": "rloo",
    "policy.gae_lambda": 1.0,
    "policy.baseline": "code",
    "policy.gamma_outcome": 1.0,
    "policy.gamma_process": 1.0,
    "policy.outcome_coef": 1.0,
    "policy.process_coef": 1.0,
    "policy.whiten": True,
    "policy.eps_clip": 0.2,
    "policy.eps_clip_high": 0.2,
    "policy.loss_agg_mode": "seq-mean-token-mean",
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
    "iterations": 592,
}
# What each file says otherwise than the main run's, beside its name and length: by dotted key.
ESTIMATOR = {"policy.adv_estimator"}
OUTCOMES = {"prm.prm_update"}
OTHERWISE: dict[str, set[str]] = {
    "eurus2_7b_rloo": OUTCOMES,
    "eurus2_7b_reinforce": ESTIMATOR | OUTCOMES,
    "eurus2_7b_reinforce_prime": ESTIMATOR,
    "eurus2_7b_grpo": ESTIMATOR | OUTCOMES,
    "eurus2_7b_grpo_prime": ESTIMATOR,
    "eurus2_7b_ppo": ESTIMATOR | OUTCOMES,
    "eurus2_7b_ppo_prime": ESTIMATOR,
    "eurus2_7b_prm_as_value": ESTIMATOR | {"value.source", "prm.prime_norm"},
    "eurus2_7b_eurusprm": {"prm.offline"},
    "eurus2_7b_offline_prm": {"prm.offline", "prm.prm_update"},
    "eurus2_7b_policy_reference": {"prm.prm_reference"},
    "eurus2_7b_double_forward": {"prm.prm_update"},
    "eurus2_7b_dpo": {"prm.loss_type"},
    "eurus2_7b_sft": {"seed", "model.path", "data.sft", "data.sft_columns", "sft.enabled"},
    "qwen25_7b_prm_3b": {"model.path", "prm.path", "prm.reference_path"},
    "qwen25_7b_prm_7b": {"model.path"},
    "qwen25_7b_prm_14b": {
        *("model.path", "prm.path", "prm.reference_path"),
        "training.gradient_checkpointing",
    },
    "prime_zero_7b": {"model.path"},
    "prime_zero_32b": {
        *("model.path", "stage_resources", "checkpoints.save_freq"),
        *("rollout.num_shards", "rollout.tensor_parallel_size", "training.zero_stage"),
        *(
            "training.offload_optimizer",
            "training.gradient_checkpointing",
            "training.state_storage",
        ),
    },
}
ITERATIONS = {"eurus2_7b_sft": 0, "eurus2_7b_dpo": 96, "prime_zero_7b": 96, "prime_zero_32b": 96}


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; mappings that have no fixed keys are one value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and name not in FREE:
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


def num_jobs(configs: list[Path], folder: Path, *overrides: str) -> dict[str, Any]:
    """Jobs of a dry run of each."""
    command = [
        sys.executable,
        "-m",
        "tests.support.dry_runs",
        str(folder),
        *map(str, configs),
        "--",
    ]
    done = subprocess.run(
        warm([*command, *overrides]),
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def planned(config: Path, options: Options | None = None, **changes: Any) -> Plan:
    settings = load_settings(config).model_copy(update=changes)
    shape = find_shape(settings, None)[1]
    return plan(make_case(settings, None, shape, options or Options()))


def test_each_file_is_the_main_runs_with_its_own_changes():
    assert {path.stem for path in CONFIGS} == {MAIN.stem, *VARIANTS}
    main = MAIN.read_text(encoding="utf-8")
    for name in VARIANTS:
        written = (PAPER / f"{name}.yaml").read_text(encoding="utf-8")
        assert written == render(name, main), f"{name}: python -m tests.support.paper_variants"


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_file_differs_from_the_main_run_in_what_it_is_about(name):
    main, other = (
        leaves(load_settings(path).model_dump(mode="json"))
        for path in (MAIN, PAPER / f"{name}.yaml")
    )
    differing = {key for key in main.keys() | other.keys() if main.get(key) != other.get(key)}
    differing = {re.sub(r"^prm\.offline\..*", "prm.offline", key) for key in differing}
    differing -= {"run", "iterations", "reproduction.of", "evaluation.benchmarks"}
    assert differing == OTHERWISE[name]
    assert other["iterations"] == ITERATIONS.get(name, 240)
    assert other["run"] == name.replace("_", "-").replace("qwen25", "qwen2.5")


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_setting_is_written_out(path):
    written = leaves(load_yaml(path))
    missing = keys_of(Settings) - set(written)
    if load_settings(path).prm.offline:
        missing |= {f"prm.offline.{key}" for key in keys_of(Offline)} - set(written)
        missing -= {"prm.offline"}
    assert sorted(missing) == []
    for name, benchmark in written["evaluation.benchmarks"].items():
        assert set(benchmark) == set(Benchmark.model_fields), name


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_setting_has_a_comment(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 100
    bare = []
    for before, line in zip(["", *lines], lines, strict=False):
        if re.match(r"(?:  )*[a-z_]+: \S", line) and "  # " not in line:
            explained = before.lstrip().startswith("#")
            bare += [] if explained else [line]
    assert bare == []


def test_the_values_are_the_published_ones():
    settings = leaves(load_settings(MAIN).model_dump(mode="json"))
    for key, value in PUBLISHED.items():
        assert settings[key] == value, key


def test_one_pass_over_the_data_lasts_for_about_as_many_iterations_as_the_paper_took():
    settings = load_settings(MAIN)
    asked = settings.rollout.rollout_batch_size * settings.rollout.oversample_factor
    assert 482_019 / asked == pytest.approx(592, rel=0.02)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_benchmarks_are_those_of_the_table_of_all_benchmarks(path):
    rows = load_yaml(ROOT / "configs" / "benchmarks.yaml")["evaluation"]["benchmarks"]
    ours = load_settings(path).evaluation.benchmarks
    assert set(ours) - set(rows) == {"validation"}
    for name in set(ours) & set(rows):
        # How many there are, in how many jobs (the table is for machines of any size), and the
        # published evaluation's system message.
        keys = ("num_problems", "num_shards", "system_prompt")
        own = {key: getattr(ours[name], key) for key in keys}
        assert ours[name] == Benchmark.model_validate(rows[name] | own), name
        assert ours[name].num_problems is not None
        assert "\\n[ASSESS]\\n" in str(ours[name].system_prompt)


def test_the_sft_run_takes_three_epochs_of_its_demonstrations():
    sft = load_settings(PAPER / "eurus2_7b_sft.yaml").sft
    assert sft.num_steps * sft.batch_size == pytest.approx(3 * 229_763, rel=1e-3)


@pytest.mark.slow
def test_each_dry_run_has_the_jobs_that_were_planned(tmp_path):
    configs = [*CONFIGS, GSM8K]
    found = num_jobs(configs, tmp_path, "--config", "iterations=1")
    here = Options(way="local")  # as a dry run has it
    assert found == {
        path.stem: planned(path, here, iterations=1).total.num_jobs for path in configs
    }
    assert list(tmp_path.glob("results/*")) == []


@pytest.mark.slow
def test_a_long_part_of_the_main_run_is_a_graph(tmp_path):
    # 8 shards in 2 rounds, each sampled and verified, 4 stages and 2 states to disk; 7 evaluations,
    # one benchmark in 8 shards; data, start model, SFT, report
    found = num_jobs([MAIN], tmp_path, "--config", "iterations=96")[MAIN.stem]
    evaluations = 7 * len(load_settings(MAIN).evaluation.benchmarks)
    assert found == 96 * (2 * 8 * 2 + 4 + 2) + evaluations + 7 * 8 + 4
    assert found == planned(MAIN, Options(way="local"), iterations=96).total.num_jobs


@pytest.mark.usefixtures("without_site")
@pytest.mark.parametrize("gpu", ["a100", "h100"])
@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_each_run_fits_on_one_node_of_eight_gpus(path, gpu):
    found = planned(path, Options(gpu=gpu, gpus=8))
    assert found.problems == ()
    assert all(stage.machine.num_gpus <= 8 for stage in found.stages.values())


@pytest.mark.usefixtures("without_site")
def test_the_run_on_gsm8k_fits_on_one_gpu():
    found = planned(GSM8K, Options(gpu="a100_40"))
    assert found.problems == ()
    assert found.case.num_gpus == 1


@pytest.mark.usefixtures("without_site")
def test_the_largest_run_fits_on_two_nodes_without_off_loading():
    settings = load_settings(PAPER / "prime_zero_32b.yaml")
    training = settings.training.model_copy(update={"offload_optimizer": "none"})
    settings = settings.model_copy(update={"training": training})
    case = make_case(settings, None, find_shape(settings, None)[1], Options(gpus=16))
    machines = dict(case.machines)
    for name in ("prm", "policy"):
        machines[name] = replace(machines[name], nodes=2, mem_mb=700_000)
    found = plan(replace(case, machines=machines))
    assert found.problems == ()
    assert found.total.hours < planned(PAPER / "prime_zero_32b.yaml").total.hours


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_the_stages_table_is_for_nodes_of_eight_gpus(path):
    named = load_settings(path).stage_resources
    stages = yaml.safe_load((ROOT / named).read_text(encoding="utf-8"))
    assert {stages[name]["gpus_per_node"] for name in ("sft", "prm", "policy")} == {8}
