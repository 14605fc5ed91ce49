"""Adapters in training, in this process or, as a script, on several ranks.

`python -m torch.distributed.run --nproc-per-node 2 -m tests.support.lora_steps FOLDER` trains
adapters beside FOLDER/start, at ZeRO stages 1 and 3, and writes FOLDER/<stage>-1 after one step,
<stage>-2 after two, and <stage>-again: the second step taken once more from <stage>-1.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from prime_core.models.load import load_tokenizer
from prime_core.settings.lora import Lora
from prime_core.settings.training import Training
from prime_core.training import distributed
from prime_core.training.engine import Trainer, continue_training
from prime_core.training.lora import Adapter
from tests.support.training_steps import PLAN, cut_small, run_steps, usual_optimizer

STAGES = (1, 3)


def adapter(start: Path, **changes: Any) -> Adapter:
    """A small one on all linear layers."""
    values = {"rank": 4, "alpha": 8} | changes
    return Adapter(Lora.model_validate(values), "policy.lora", start, seed=5)


def trainer_on(
    folder: Path,
    start: Path,
    zero_stage: int = 0,
    dtype: str = "float32",
    state: Path | None = None,
    **settings: Any,
) -> tuple[Trainer, Any]:
    """A trainer of the adapter in `folder`, or of a new one, and its tokenizer.

    settings: of the section training.
    """
    learning = usual_optimizer(learning_rate=1e-2)
    training = Training(zero_stage=zero_stage, **settings)
    trainer = continue_training(folder, dtype, learning, training, state, adapter(start))
    return trainer, load_tokenizer(folder)


def step_and_save(folder: Path, start: Path, target: Path, step: int, zero_stage: int) -> None:
    """One step of the plan from a folder, saved in another."""
    trainer, tokenizer = trainer_on(folder, start, zero_stage)
    run_steps(trainer, PLAN[step : step + 1])
    trainer.save(target, tokenizer)


def main(folder: Path) -> None:
    """On all ranks."""
    distributed.start_ranks()
    start = folder / "start"
    with cut_small():
        for stage in STAGES:
            trainer, tokenizer = trainer_on(start, start, stage)
            for step in (1, 2):
                run_steps(trainer, PLAN[step - 1 : step])
                trainer.save(folder / f"{stage}-{step}", tokenizer)
            step_and_save(folder / f"{stage}-1", start, folder / f"{stage}-again", 1, stage)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
