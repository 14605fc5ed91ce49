"""Print tokens a second of the policy update, packed beside padded, on a ragged batch.

    python -m benchmarks.packing                                # a Qwen2 of 3 M parameters, CPU
    python -m benchmarks.packing --model PATH --dtype bfloat16 --zero-stage 1 --rows 256 \
        --longest-prompt 1024 --longest-response 3072 --max-tokens 16384

Both ways take the same steps of the same trainer in turn, on the same responses (log-normal
lengths, cut at the longest one). The ratio is of CPU seconds, which a busy machine disturbs less
than wall time; with a GPU, of wall time.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.small_model import small_model
from prime_core.models.load import load_tokenizer
from prime_core.run.layout import RunFiles
from prime_core.settings.run import Settings
from prime_core.training.batch_advantages import batch_advantages
from prime_core.training.batches import Sequences
from prime_core.training.distributed import start_ranks
from prime_core.training.learning_batch import LearningBatch
from prime_core.training.policy_update import PolicyUpdate
from prime_core.training.reference_kl import ReferenceKl

ROW = "{:<8} {:>7} {:>9} {:>10} {:>8} {:>7} {:>9} {:>13} {:>6}"
HEAD = ("way", "passes", "tokens", "positions", "filled", "clock s", "tokens/s", "processor s")


def settings_of(options: argparse.Namespace) -> Settings:
    policy = {
        "ppo_mini_batch_size": options.rows,
        "micro_batch_size": options.micro_batch_size,
        "optimizer": {"learning_rate": 1e-6},
    }
    training = {
        "zero_stage": options.zero_stage,
        "gradient_checkpointing": options.gradient_checkpointing,
        "max_token_len_per_gpu": options.max_tokens,
    }
    return Settings.model_validate(
        {
            "model": {"path": str(options.model), "dtype": options.dtype},
            "data": {"max_prompt_length": options.longest_prompt},
            "rollout": {"max_response_length": options.longest_response},
            "prm": {"prm_update": "none"},
            "policy": policy,
            "training": training,
        }
    )


def ragged_batch(options: argparse.Namespace, vocabulary: int) -> LearningBatch:
    """Groups of four responses, lengths log-normal with a median of a quarter of the longest."""
    draw = np.random.default_rng(0)

    def lengths(longest: int) -> list[int]:
        drawn = draw.lognormal(np.log(longest / 4), 0.7, options.rows)
        return [int(length) for length in drawn.clip(1, longest)]

    def tokens(numbers: list[int]) -> list[list[int]]:
        low = min(100, vocabulary // 2)
        return [draw.integers(low, vocabulary - 1, number).tolist() for number in numbers]

    prompts = [prompt for prompt in tokens(lengths(options.longest_prompt))[::4] for _ in range(4)]
    responses = tokens(lengths(options.longest_response))
    numbers = torch.tensor([len(response) for response in responses])
    guessed = [np.full(int(number), -1.0, dtype=np.float32) for number in numbers]
    return LearningBatch(
        rows=pd.DataFrame({"sampler_logprobs": guessed}),
        sequences=Sequences(prompts[: options.rows], responses),
        outcome=torch.arange(options.rows).remainder(2).float(),
        group=torch.arange(options.rows) // 4,
        mask=torch.arange(int(numbers.max())) < numbers[:, None],
    )


def positions(update: PolicyUpdate) -> tuple[int, int]:
    """Passes of a step, and the positions (padding included) that the model computes in it."""
    sequences = update.batch.sequences
    passes = update.passes.of_rank(range(len(sequences)), sequences)
    batches = [update.passes.batch(sequences.take(rows)) for rows in passes]
    return len(passes), sum(batch.input_ids.numel() for batch in batches)


def seconds_of_step(update: PolicyUpdate) -> tuple[float, float]:
    """Wall and CPU seconds of one optimizer step on the whole batch."""
    begun = time.perf_counter(), time.process_time()
    update.step(list(range(len(update.batch.sequences))))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def rows_of_table(update: PolicyUpdate, steps: int) -> Iterator[list[str]]:
    """One row per way: medians over the steps, without the first of each."""
    ways = {
        "padded": replace(update.passes, packing=False),
        "packed": replace(update.passes, packing=True),
    }
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in tqdm(range(steps + 1), unit="step of each", dynamic_ncols=True):
        for way, passes in ways.items():
            update.passes = passes
            seconds[way].append(seconds_of_step(update))
    number = sum(update.batch.sequences.lengths)
    first = None
    for way, passes in ways.items():
        update.passes = passes
        num_passes, places = positions(update)
        clock, processor = np.median(seconds[way][1:], axis=0)
        counted = clock if torch.cuda.is_available() else processor
        first = first or counted
        yield [
            *(way, str(num_passes), f"{number:,}", f"{places:,}", f"{number / places:.0%}"),
            *(f"{clock:.2f}", f"{number / clock:,.0f}", f"{processor:.2f}"),
            f"{first / counted:.2f}",
        ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder; without it a small one is built")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--zero-stage", type=int, default=0)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--rows", type=int, default=64, help="responses of the step")
    parser.add_argument("--longest-prompt", type=int, default=64, help="tokens")
    parser.add_argument("--longest-response", type=int, default=256, help="tokens")
    parser.add_argument("--micro-batch-size", type=int, default=8, help="responses of a pass")
    parser.add_argument("--max-tokens", type=int, help="tokens of a pass, instead")
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each way")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        files = RunFiles(Path(folder))
        options.model = options.model or small_model(Path(folder) / "model")
        files.policy(0).parent.mkdir(parents=True, exist_ok=True)
        files.policy(0).symlink_to(options.model.resolve())
        start_ranks()
        batch = ragged_batch(options, len(load_tokenizer(options.model)))
        settings = settings_of(options)
        advantages = batch_advantages(settings, batch, rewards=None, values=None)
        no_kl = ReferenceKl(settings.policy, 0.0, None)
        update = PolicyUpdate(settings, files, 1, batch, lambda _penalty: advantages, no_kl, None)
        update.figures["old_logprobs"] = update.old_logprobs()
        print(ROW.format(*HEAD, "ratio"))
        for row in rows_of_table(update, options.steps):
            print(ROW.format(*row), flush=True)


if __name__ == "__main__":
    main()
