"""The quickstart's reinforcement learning in TRL's RLOOTrainer, one process on the CPU.

    python trl_run.py WORK.json      # by the Python of an environment that has TRL

Imports nothing of this project, whose packages need not be there. WORK.json: paths and numbers (see
peers.__main__). Writes a line of JSON for each iteration, and weights where they are asked for.
"""

import json
import re
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import RLOOConfig, RLOOTrainer

BOXED = re.compile(r"\\boxed\{\s*(-?\d+)\s*\}")


def outcome(completions, ground_truth, **_unused):
    """1 where the last boxed number is the sum, else 0."""
    found = [BOXED.findall(messages[-1]["content"]) for messages in completions]
    pairs = zip(found, ground_truth, strict=True)
    return [float(bool(numbers) and int(numbers[-1]) == int(truth)) for numbers, truth in pairs]


class Marks(TrainerCallback):
    """When each iteration ended, by the clocks of the wall and of this process."""

    def __init__(self, work, tokenizer):
        self.work, self.tokenizer = work, tokenizer
        self.saving = 0.0, 0.0

    def mark(self, iteration):
        """Write down that an iteration has ended."""
        now = time.time() - self.saving[0], time.process_time() - self.saving[1]
        line = {"iteration": iteration, "at": now[0], "cpu_s": now[1]}
        with Path(self.work["marks"]).open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def on_train_begin(self, *_unused, **_named):
        """Iterations are counted from here."""
        self.mark(0)

    def on_step_end(self, args, state, control, model=None, **_named):  # noqa: ARG002
        """After an iteration's last step: its mark, and its weights."""
        iteration, rest = divmod(state.global_step, self.work["steps"])
        if rest:
            return
        self.mark(iteration)
        # Weights are written for the accuracies alone: their seconds are taken off.
        begun = time.time(), time.process_time()
        folder = Path(self.work["weights"]) / f"{iteration:04d}"
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        spent = time.time() - begun[0], time.process_time() - begun[1]
        self.saving = self.saving[0] + spent[0], self.saving[1] + spent[1]


def configuration(work):
    """The same rates and sizes; what TRL adds by default (a KL) is switched off."""
    return RLOOConfig(
        output_dir=work["weights"],
        use_cpu=True,
        bf16=False,
        seed=work["seed"],
        max_steps=work["iterations"] * work["steps"],
        per_device_train_batch_size=work["mini_batch"],
        gradient_accumulation_steps=1,
        steps_per_generation=work["steps"],
        num_generations=work["samples"],
        max_completion_length=work["max_response_length"],
        temperature=work["temperature"],
        top_k=0,
        learning_rate=work["learning_rate"],
        lr_scheduler_type="constant",
        adam_beta1=work["betas"][0],
        adam_beta2=work["betas"][1],
        weight_decay=work["weight_decay"],
        max_grad_norm=work["grad_clip"],
        epsilon=work["eps_clip"],
        epsilon_high=work["eps_clip_high"],
        normalize_advantages=work["normalize"],
        beta=0.0,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=False,
    )


def main(work):
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(work["model"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(work["model"], dtype=torch.float32)
    trainer = RLOOTrainer(
        model=model,
        reward_funcs=outcome,
        args=configuration(work),
        train_dataset=Dataset.from_list(work["problems"]),
        processing_class=tokenizer,
        callbacks=[Marks(work, tokenizer)],
    )
    trainer.train()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
