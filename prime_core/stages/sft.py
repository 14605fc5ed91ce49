"""Stage `sft`: supervised warm-up, and the models that reinforcement learning starts from.

In: models/base, data/demonstrations.parquet.
Out: models/policy-0000 (trained, or links to the base model), models/reference (links to it),
models/prm-0000 (links to it, or to the folder of prm.path), metrics/sft.json.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from prime_core.layout import RunFiles
from prime_core.masked import masked_sum
from prime_core.rollouts import DEMONSTRATIONS, TableError, atomic_folder, read_table
from prime_core.seeds import derive_seed, generator
from prime_core.settings import Settings
from prime_core.stages.context import Metrics, Stopwatch, finish, only_one, open_run, progress_bar
from prime_core.training.batches import Sequences, pad
from prime_core.training.distributed import gather, rank, shared_folder, start_ranks
from prime_core.training.engine import Trainer
from prime_core.training.models import (
    device,
    find_model,
    link_model,
    load_model,
    load_tokenizer,
    prompt_tokens,
)
from prime_core.training.scoring import response_logprobs
from prime_core.training.updates import step_on


def run(run_dir: Path) -> None:
    """Train the start model on demonstrations, or take it as it is."""
    settings, files = open_run(run_dir)
    watch = Stopwatch()
    with only_one(files.policy(0), run_dir):
        if settings.sft.enabled:
            metrics, line = _train(settings, files, watch)
        else:
            with atomic_folder(files.policy(0)) as folder:
                link_model(files.base_model, folder)
            metrics, line = {}, "sft: left out, the start model is used as it is"
        for linked, source in _start_models(settings, files).items() if rank() == 0 else ():
            with atomic_folder(linked) as folder:
                link_model(source, folder)
        finish(files.setup_metrics("sft"), metrics | watch.seconds, line)


def rate_at(step: int, num_steps: int, warmup_ratio: float) -> float:
    """Factor on the peak rate: linear warm-up, then a half cosine down to 0."""
    num_warmup = round(num_steps * warmup_ratio)
    if step < num_warmup:
        return (step + 1) / num_warmup
    progress = (step - num_warmup) / max(num_steps - num_warmup, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def _start_models(settings: Settings, files: RunFiles) -> dict[Path, Path]:
    first_prm = find_model(settings.prm.path) if settings.prm.path else files.policy(0)
    return {files.reference: files.policy(0), files.prm(0): first_prm}


def _train(settings: Settings, files: RunFiles, watch: Stopwatch) -> tuple[Metrics, str]:
    sft = settings.sft
    start_ranks()
    torch.manual_seed(derive_seed(settings.seed, "sft"))
    tokenizer = load_tokenizer(files.base_model)
    sequences = _tokenised(files, tokenizer, sft.max_length)
    trainer = Trainer(
        load_model(files.base_model, settings.model.dtype),
        sft.optimizer,
        lambda step: rate_at(step, sft.num_steps, sft.warmup_ratio),
        settings.training.zero_stage,
    )
    losses: list[float] = []
    with watch.part("train"), progress_bar(sft.num_steps, "step", "sft") as bar:
        for rows in _draws(len(sequences), sft.batch_size, sft.num_steps, settings.seed):
            losses.append(_step(trainer, sequences, rows, sft.micro_batch_size, tokenizer))
            bar.update()
    with shared_folder(files.policy(0)) as folder:
        trainer.save_weights(folder, tokenizer)
    last = losses[-max(len(losses) // 20, 1) :]
    loss = sum(last) / len(last)
    metrics: Metrics = {"sft/loss": loss, "sft/num_steps": len(losses)}
    return metrics, (
        f"sft: {len(losses)} steps of {sft.batch_size} demonstrations, loss {losses[0]:.3f} -> "
        f"{loss:.3f} nats a token, {watch.seconds['timing_s/train']:.0f} s"
    )


def _step(
    trainer: Trainer,
    sequences: Sequences,
    rows: list[int],
    micro_batch_size: int,
    tokenizer: PreTrainedTokenizerBase,
) -> float:
    """One optimizer step on the mean negative log-likelihood of the responses' tokens."""
    num_tokens = sum(len(sequences.responses[row]) for row in rows)
    total = 0.0

    def loss_of(indices: list[int], counted: bool) -> torch.Tensor:
        nonlocal total
        batch = pad(sequences.take(indices), int(tokenizer.pad_token_id), device())
        loss = -masked_sum(response_logprobs(trainer.engine, batch), batch.mask) / num_tokens
        total += float(loss.detach()) * counted
        return loss

    step_on(trainer, sequences, rows, micro_batch_size, loss_of)
    return sum(gather(total))


def _draws(num_rows: int, batch_size: int, num_steps: int, seed: int) -> list[list[int]]:
    """Rows of each step: epoch after epoch, each a fresh permutation."""
    per_epoch = max(num_rows // batch_size, 1)
    num_epochs = math.ceil(num_steps / per_epoch)
    batches: list[list[int]] = []
    for epoch in range(num_epochs):
        order = generator(seed, "sft", epoch).permutation(num_rows).tolist()
        batches += [order[k * batch_size : (k + 1) * batch_size] for k in range(per_epoch)]
    return batches[:num_steps]


def _tokenised(files: RunFiles, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Sequences:
    table = read_table(files.demonstrations, DEMONSTRATIONS)
    sequences = Sequences([], [])
    for messages, response in zip(table["prompt"], table["response"], strict=True):
        prompt = prompt_tokens(tokenizer, list(messages))
        answer = tokenizer(response, add_special_tokens=False)["input_ids"]
        if len(prompt) + len(answer) < max_length:
            sequences.prompts.append(prompt)
            sequences.responses.append([*answer, tokenizer.eos_token_id])
    if not len(sequences):
        raise TableError(
            f"{files.demonstrations}: none of its {len(table)} demonstrations is within "
            f"sft.max_length {max_length} tokens"
        )
    return sequences
