"""A small run folder made up through the real file formats, finished or cut short."""

import math
from pathlib import Path

import numpy as np
import yaml

from prime_core.models.build import build_tokenizer
from prime_core.run.atomic import write_json, write_text
from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, OUTCOMES, REWARDS, read_json, write_table
from prime_core.settings.reading import parse_settings

NUM_PROMPTS, NUM_SAMPLES = 12, 4


def make_run(
    root: Path,
    *,
    iterations: int = 4,
    planned: int = 4,
    evaluated: tuple[int, ...] = (0, 4),
    prm_update: str = "after",
    adv_estimator: str = "rloo",
    benchmarks: bool = True,
    response: str = "",
    reproduced: str | None = None,
) -> Path:
    """A run folder; `response` is put into every response's text."""
    files = RunFiles(root)
    changes = {
        "run": root.name,
        "iterations": planned,
        "prm.prm_update": prm_update,
        "policy.adv_estimator": adv_estimator,
        "reproduction.of": reproduced,
    }
    settings = parse_settings(changes, "test").model_dump(mode="json")
    write_text(files.config, yaml.safe_dump(settings, sort_keys=False))
    start = {"git_commit": "0" * 40, "dirty": False, "versions": {"torch": "2.13"}}
    write_json(files.provenance, {"starts": [start | {"host": "node-1"}, start]})
    build_tokenizer().save_pretrained(files.policy(0))
    write_json(files.setup_metrics("sft"), {"sft/loss": 0.31, "timing_s/train": 100.0})
    if benchmarks:
        write_benchmark(root / "benchmarks" / "sft.tsv", 108.5)
    for iteration in range(1, iterations + 1):
        _iteration(files, iteration, iterations, prm_update, benchmarks, response)
        if adv_estimator == "gae":
            _values(files, iteration)
    for iteration in evaluated:
        _evaluation(files, iteration, iterations, benchmarks)
    return root


def accuracy_at(iteration: int, last: int) -> float:
    """A rise from one half to nine tenths."""
    return 0.5 + 0.4 * (1 - math.exp(-3 * iteration / max(last, 1)))


def write_benchmark(path: Path, seconds: float) -> None:
    """One of Snakemake's benchmark files."""
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    write_text(path, f"{header}{seconds}\t0:00:00\t612.4\t-\tNA\t540.1\t0.0\t1.2\t96.1\t5.1\n")


def _iteration(files, iteration, last, prm_update, benchmarks, response) -> None:
    rng = np.random.default_rng(iteration)
    expected = accuracy_at(iteration, last)
    right = 0
    for shard in (0, 1):
        outcomes = rng.random((NUM_PROMPTS, NUM_SAMPLES)) < expected
        right += int(outcomes.sum())
        _outcomes(files, iteration, shard, outcomes)
        sampled = {"sample/num_responses": outcomes.size, "sample/num_tokens": 900}
        timings = {"timing_s/load": 0.4, "timing_s/generate": 3.0 + shard}
        write_json(files.metrics(iteration, f"sample-{shard:02d}"), sampled | timings)
        verdicts = {"verify/no_verdict": 0, "verify/right": int(outcomes.sum())}
        judged = {
            "verify/num_responses": outcomes.size,
            "verify/accuracy": float(outcomes.mean()),
            "timing_s/verify": 0.5,
        }
        write_json(files.metrics(iteration, f"verify-{shard:02d}"), judged | verdicts)
    for name, figures in _figures(iteration, right / (2 * outcomes.size), rng).items():
        if prm_update != "none" or name not in ("score", "prm"):
            write_json(files.metrics(iteration, name), figures)
    _batch(files, iteration, prm_update, response, rng)
    if benchmarks:
        for name, seconds in BENCHMARKS.items():
            if prm_update != "none" or name not in ("score", "prm"):
                path = files.root / "benchmarks" / "iterations" / f"{iteration:04d}"
                write_benchmark(path / f"{name}.tsv", seconds + rng.random())


def _values(files: RunFiles, iteration: int) -> None:
    """Figures of PPO's value model, as if its stages had run."""
    explained = {"critic/explained_variance": math.tanh(iteration / 4)}
    policy = files.metrics(iteration, "policy")
    write_json(policy, read_json(policy) | explained)
    update = {"critic/vf_loss": 0.25 / iteration, "critic/vf_clip_fraction": 0.01 * iteration}
    write_json(files.metrics(iteration, "value"), update | {"timing_s/train": 2.0})


BENCHMARKS = {
    "sample-00": 6.1,
    "sample-01": 7.0,
    "verify-00": 2.2,
    "verify-01": 2.3,
    "select": 1.8,
    "score": 4.5,
    "prm": 6.5,
    "policy": 7.5,
}


def _figures(iteration: int, accuracy: float, rng: np.random.Generator) -> dict[str, dict]:
    gap = 0.8 * math.log1p(iteration - 1)
    noise = float(rng.normal(0, 0.02))
    return {
        "select": {
            "rollout/accuracy": accuracy,
            "rollout/num_prompts": 2 * NUM_PROMPTS,
            "rollout/num_responses": 2 * NUM_PROMPTS * NUM_SAMPLES,
            "rollout/response_length_mean": 18 + iteration + 20 * noise,
            "rollout/clip_ratio": max(0.0, 0.02 + noise / 4),
            "filter/kept_share": 1.1 * (1 - accuracy),
            "filter/share_all_correct": accuracy**4,
            "filter/share_all_wrong": (1 - accuracy) ** 4,
            "filter/batch_fill": min(1.0, 1.4 * (1 - accuracy)),
        },
        "score": {
            "reward/implicit_mean": 0.01 * gap + noise / 10,
            "reward/log_odds_correct": 0.6 * gap + noise,
            "reward/log_odds_incorrect": -gap + noise,
            "prm/ranking_accuracy": 0.5 + 0.4 * math.tanh(gap),
            "prm/num_pairs": 40,
            "prm/accuracy": 0.5 + 0.3 * math.tanh(gap),
            "timing_s/score": 1.5,
        },
        "prm": {
            "prm/loss": 0.69 * math.exp(-gap / 2),
            "prm/grad_norm": 1.2 + 4 * noise,
            "prm/num_steps": 2,
            "timing_s/train": 2.5,
        },
        "policy": {
            "actor/pg_loss": noise,
            "actor/entropy": 0.5 * math.exp(-iteration / 20),
            "actor/clip_fraction": 0.02 + noise / 10,
            "actor/ppo_kl": 3e-4 * (1 + 10 * noise),
            "actor/kl_reference": 0.02 * iteration,
            "actor/mismatch_kl": 2e-7,
            "actor/grad_norm": 0.4 + noise,
            "advantage/std": 1.0,
            "timing_s/train": 3.5,
        },
    }


def _outcomes(files: RunFiles, iteration: int, shard: int, outcomes: np.ndarray) -> None:
    rows = [
        {
            "prompt_id": f"p{shard}-{prompt}",
            "sample": sample,
            "outcome": float(outcome),
            "verdict": "right" if outcome else "wrong",
            "extracted": "7",
            "seconds": 0.001,
        }
        for (prompt, sample), outcome in np.ndenumerate(outcomes)
    ]
    write_table(files.outcomes(iteration, shard), rows, OUTCOMES)


def _batch(files, iteration, prm_update, response, rng) -> None:
    tokenizer = build_tokenizer()
    texts = [r"3+4=7, 7+12=19: \boxed{19}<|end|>", r"maybe \boxed{22}<|end|>"]
    batch, rewards = [], []
    for sample, (text, outcome) in enumerate(zip(texts, (1.0, 0.0), strict=True)):
        tokens = tokenizer.encode(response + text, add_special_tokens=False)
        scale = 0.3 * math.log1p(iteration - 1)
        drift = 0.05 if outcome else -0.08
        row = {
            "prompt_id": "p0",
            "sample": sample,
            "prompt_tokens": tokenizer.encode("<|user|>3+4+12=?<|assistant|>"),
            "response_tokens": tokens,
            "sampler_logprobs": [-0.5] * len(tokens),
            "text": response + text,
            "finish_reason": "stop",
            "policy_iteration": iteration - 1,
            "outcome": outcome,
        }
        batch.append(row)
        rewards.append(
            {
                "prompt_id": "p0",
                "sample": sample,
                "implicit_reward": scale * rng.normal(drift, 0.1, len(tokens)),
                "reference_logprobs": [-0.5] * len(tokens),
            }
        )
    write_table(files.batch(iteration), batch, BATCH)
    if prm_update != "none":
        write_table(files.rewards(iteration), rewards, REWARDS)


def _evaluation(files: RunFiles, iteration: int, last: int, benchmarks: bool) -> None:
    accuracy = accuracy_at(iteration, last) + 0.01
    figures = {
        "benchmark": "validation",
        "iteration": iteration,
        "num_problems": 200,
        "n_samples_per_prompt": 4,
        "temperature": 1.0,
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.05,
        "accuracy_high": min(1.0, accuracy + 0.045),
        "response_length_mean": 21.0,
        "clip_ratio": 0.0,
        "timing_s/generate": 2.0,
    }
    write_json(files.evaluation(iteration, "validation"), figures)
    if benchmarks:
        place = files.root / "benchmarks" / "evaluations" / f"{iteration:04d}"
        write_benchmark(place / "validation.tsv", 6.0)
