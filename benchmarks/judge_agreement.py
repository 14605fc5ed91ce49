"""How often SmolLM2-135M as a judge agrees with the rule: by path, and behind vLLM's server.

    python -m benchmarks.judge_agreement --folder /scratch/judge
    python -m benchmarks.judge_agreement --folder /scratch/judge --rows 40 --by path

Responses of Rho-1 1B to GSM8K (../shared/data), drawn by a fixed seed, half of them right by the
rule; each is judged by the model, with configs/prompts/judge.txt, and by the rule. Prints verdicts,
seconds, and agreement with 95 % intervals. The model's file comes from a Python package.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.processbench import model_folders
from benchmarks.smollm2 import ROOT
from prime_core.evaluation.judge_agreement import agreement_metrics
from prime_core.samplers.replying import replies_of
from prime_core.settings.reading import parse_settings
from prime_core.settings.verification import Verification
from prime_core.verifiers.pool import Row
from prime_core.verifiers.resumable import judge_all
from prime_core.verifiers.verdict import Verdict
from tests.support.shared_data import read_jsonl
from tests.support.vllm_server import vllm_server

SEED = 0
RULE = {"no_box": "last_line"}
POSITIONS = 2048


def drawn(num_rows: int) -> list[Row]:
    """As many right as wrong responses by the rule."""
    rows = [
        Row("math", row["response"], row["gt"], row["question"])
        for row in read_jsonl("rho_1b_cot_gsm8k.jsonl.gz")
    ]
    random.Random(SEED).shuffle(rows)
    rules = Verification.model_validate(RULE)
    judged = judge_all(rows[: 6 * num_rows], rules, None, "by the rule")
    chosen = []
    for verdict in (Verdict.correct, Verdict.wrong):
        alike = [row for row, one in zip(rows, judged, strict=False) if one.verdict is verdict]
        chosen += alike[: num_rows // 2]
    return chosen


def report(name: str, rows: list[Row], judge: dict[str, Any], sampler: str) -> None:
    """Judge the rows and print what came of it."""
    usual: dict[str, Any] = {"prompt": str(ROOT / "configs/prompts/judge.txt")}
    usual |= {"abilities": ["math"], "compare_share": 1.0, "max_tokens": 48}
    usual |= {"max_concurrency": 4, "timeout_seconds": 600}
    values: dict[str, Any] = {"verification": RULE | {"judge": usual | judge}}
    values |= {"rollout.sampler": sampler, "rollout.sampler_batch_size": 16}
    settings = parse_settings(values, "options")
    begun = time.monotonic()
    replies = replies_of(settings, None)
    judged = judge_all(rows, settings.verification, None, name, replies)
    seconds = time.monotonic() - begun
    figures = agreement_metrics(rows, judged, settings.verification)
    verdicts = Counter(one.verdict.value for one in judged)
    print(f"{name}: {len(rows)} rows, {seconds:.0f} s, {dict(verdicts)}")
    for what in ("agreement", "false_positive", "false_negative"):
        key = f"verify/judge_{what}"
        if key in figures:
            low, high = figures[f"{key}_low"], figures[f"{key}_high"]
            print(f"  {what:<15}{100 * figures[key]:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--by", choices=("path", "server"), nargs="+", default=["path", "server"])
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model, _ = model_folders(folder)
    rows = drawn(given.rows)
    if "path" in given.by:
        report("path, transformers", rows, {"path": str(model)}, "transformers")
    served = "server" in given.by
    server = vllm_server(model, "judge", folder / "server.log", "--max-model-len", str(POSITIONS))
    with server if served else nullcontext("") as url:
        if served:
            report("vllm serve", rows, {"base_url": url, "model": "judge"}, "transformers")


if __name__ == "__main__":
    main()
