"""Stage `sft`: supervised warm-up, and the models that reinforcement learning starts from.

In: models/base, data/demonstrations.parquet.
Out: models/policy-0000 (trained, or links to the base model), models/reference (links to it),
models/prm-0000 (links to it, or to the folder of prm.path; prm_offline makes it where prm.offline
names labelled responses), models/prm-reference (links to prm.reference_path), metrics/sft.json.
Interrupted, it resumes after its last step (prime_core.training.step_checkpoint).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from prime_core.masked import masked_sum
from prime_core.models.load import link_model, load_tokenizer
from prime_core.models.prompts import end_of_answer, prompt_tokens
from prime_core.models.start_models import link_start_prms
from prime_core.run.atomic import atomic_folder
from prime_core.run.layout import RunFiles
from prime_core.run.records import Made, checked_weights, write_weights_record
from prime_core.run.seeds import generator
from prime_core.run.tables import DEMONSTRATIONS, TableError, read_table
from prime_core.run.work import finish, open_run
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Metrics, Stopwatch
from prime_core.settings.run import Settings
from prime_core.training.batches import Sequences
from prime_core.training.distributed import gather, rank, shared_folder
from prime_core.training.engine import Trainer
from prime_core.training.passes import Passes, passes_of
from prime_core.training.scoring import response_logprobs
from prime_core.training.updates import first_trainer, take_step, trained_update


def run(run_dir: Path) -> None:
    """Train the start model on demonstrations, or use it as is."""
    settings, files = open_run(run_dir)
    with only_one(files.policy(0), run_dir):
        checked_weights(files.base_model, files.root)
        if settings.sft.enabled:
            _train(settings, files)
        else:
            with atomic_folder(files.policy(0)) as folder:
                link_model(files.base_model, folder)
                write_weights_record(folder, files.policy(0), Made(files.root, [files.base_model]))
            _finish(settings, files, {}, "sft: skipped, the start model is used as is")


def _finish(settings: Settings, files: RunFiles, metrics: Metrics, line: str) -> None:
    """The other models that reinforcement learning starts from, and the figures."""
    # One rank alone: all of them would replace the same folders.
    if rank() == 0:
        with atomic_folder(files.reference) as folder:
            link_model(files.policy(0), folder)
            write_weights_record(folder, files.reference, Made(files.root, [files.policy(0)]))
        link_start_prms(settings, files)
    finish(files.setup_metrics("sft"), metrics, line)


def _train(settings: Settings, files: RunFiles) -> None:
    sft, watch = settings.sft, Stopwatch()
    tokenizer = load_tokenizer(files.base_model)
    sequences = _tokenised(files, tokenizer, sft.max_length)
    plan = _draws(len(sequences), sft.batch_size, sft.num_steps, settings.seed)

    def make(state: Path | None) -> SftUpdate:
        trainer = first_trainer(settings, sft, "sft", files.base_model, sft.num_steps, state)
        passes = passes_of(settings.training, sft.micro_batch_size, tokenizer, trainer.packs)
        return SftUpdate(trainer, sequences, passes)

    with trained_update(
        make,
        lambda _update: plan,
        files.policy(0),
        [files.base_model, files.demonstrations],
        settings,
        watch,
        name="sft",
    ) as update:
        # Weights alone: RL begins with fresh moments and its own learning rates.
        with shared_folder(files.policy(0)) as folder:
            update.trainer.save_weights(folder, tokenizer)
            if rank() == 0:
                made = Made(files.root, [files.base_model, files.demonstrations])
                write_weights_record(folder, files.policy(0), made)
        losses = update.figures["losses"]
        last = losses[-max(len(losses) // 20, 1) :]  # a single step's loss says little
        loss = sum(last) / len(last)
        metrics: Metrics = {"sft/loss": loss, "sft/num_steps": len(losses)}
        _finish(
            settings,
            files,
            metrics | watch.seconds,
            f"sft: {len(losses)} steps of {sft.batch_size} demonstrations, loss {losses[0]:.3f} -> "
            f"{loss:.3f} nats a token, {watch.seconds['timing_s/train']:.0f} s",
        )


class SftUpdate:
    """Steps on the mean negative log-likelihood of the responses' tokens; figures: their losses."""

    def __init__(
        self,
        trainer: Trainer,
        sequences: Sequences,
        passes: Passes,
    ) -> None:
        """No step has been taken yet."""
        self.trainer, self.sequences, self.passes = trainer, sequences, passes
        self.figures: dict[str, Any] = {"losses": []}

    def step(self, rows: list[int]) -> None:
        """One optimizer step on these demonstrations."""
        # Of the whole step: divided by a pass's own tokens, the loss would depend on how a step is
        # cut into passes and ranks.
        num_tokens = sum(len(self.sequences.responses[row]) for row in rows)
        total = 0.0

        def loss_of(indices: list[int], counted: bool) -> torch.Tensor:
            nonlocal total
            batch = self.passes.batch(self.sequences.take(indices))
            logprobs = response_logprobs(
                self.trainer.engine, batch, chunk_tokens=self.passes.chunk_tokens
            )
            loss = -masked_sum(logprobs, batch.mask) / num_tokens
            # Rows computed only to keep this rank in step with the others are in no figure.
            total += float(loss.detach()) * counted
            return loss

        take_step(self.trainer, self.sequences, rows, self.passes, loss_of)
        self.figures["losses"].append(sum(gather(total)))


def _draws(num_rows: int, batch_size: int, num_steps: int, seed: int) -> list[list[int]]:
    """Rows of each step: epoch after epoch, each a fresh permutation."""
    per_epoch = max(num_rows // batch_size, 1)
    num_epochs = math.ceil(num_steps / per_epoch)
    batches: list[list[int]] = []
    for epoch in range(num_epochs):
        # From the epoch's own seed: a warm-up that resumes draws the same steps.
        order = generator(seed, "sft", epoch).permutation(num_rows).tolist()
        batches += [order[k * batch_size : (k + 1) * batch_size] for k in range(per_epoch)]
    return batches[:num_steps]


def _tokenised(files: RunFiles, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Sequences:
    table = read_table(files.demonstrations, DEMONSTRATIONS, files.root)
    sequences, end = Sequences([], []), end_of_answer(tokenizer, files.base_model)
    for messages, response in zip(table["prompt"], table["response"], strict=True):
        prompt = prompt_tokens(tokenizer, list(messages))
        answer = tokenizer(response, add_special_tokens=False)["input_ids"]
        if len(prompt) + len(answer) < max_length:  # its end needs room as well
            sequences.prompts.append(prompt)
            sequences.responses.append([*answer, end])
    if not len(sequences):
        raise TableError(
            f"{files.demonstrations}: none of its {len(table)} demonstrations is within "
            f"sft.max_length {max_length} tokens"
        )
    return sequences
