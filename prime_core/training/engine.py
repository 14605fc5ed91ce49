"""A model under training: DeepSpeed around it, its optimizer, schedule and checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prime_core.models.load import load_model, save_model
from prime_core.run.layout import TRAINING_STATE
from prime_core.run.probe import Probe
from prime_core.run.records import Made, TableError, write_weights_record
from prime_core.runtime.errors import naming_the_disk
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.training import Training
from prime_core.storage import node_cache
from prime_core.training import distributed, lora, offload, state_files, universal
from prime_core.training.logprob_model import give_logprobs
from prime_core.training.state_place import free_loaded, state_folder, state_source
from prime_core.training.value_model import give_values, gives_values

CHECKPOINT_TAG = "state"


class Trainer:
    """Optimizer steps on one model.

    The gradient of a step is the gradient of the sum of the losses of all micro batches on all
    ranks: the caller divides by what the whole minibatch holds, so neither the micro batch size
    nor the number of ranks matters.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: Optimizer,
        rate_at: Callable[[int], float],
        training: Training,
    ) -> None:
        """Start the engine. `rate_at(step)` is the factor on the learning rate."""
        import deepspeed

        distributed.start_ranks()
        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        if training.gradient_checkpointing:
            # The re-entrant kind passes no gradient where its inputs need none: behind frozen
            # embeddings, as with adapters.
            model.gradient_checkpointing_enable({"use_reentrant": False})
        # Whether it takes packed sequences.
        self.packs = give_values(model) if gives_values(model) else give_logprobs(model)
        # torch's, since DeepSpeed's own optimizers compile for minutes at first use.
        # docs/decisions.md#offloaded-adamw
        adamw = torch.optim.AdamW(
            [weight for weight in model.parameters() if weight.requires_grad],  # adapters alone
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
        )
        self.engine, _, _, self.schedule = deepspeed.initialize(
            model=model,
            optimizer=adamw,
            lr_scheduler=LambdaLR(adamw, rate_at),
            config=_deepspeed_config(optimizer.grad_clip, training, model.dtype),
        )
        # Models are loaded in evaluation mode, where transformers recomputes no layers and adapters
        # have no dropout.
        self.engine.train()
        self._zero_stage = training.zero_stage
        self._optimizer_on_host = training.offload_optimizer == "cpu"
        self._adamw, self._settings = adamw, optimizer
        # Of one that may be kept for the next update (prime_core.training.kept_trainer).
        self.made_of: Mapping[str, Any] | None = None

    @property
    def num_steps(self) -> int:
        """Optimizer steps so far, those before the last checkpoint included."""
        return int(self.engine.global_steps)

    @property
    def learning_rate(self) -> float:
        """Rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, passes: Sequence[Any], loss_of: Callable[[Any], Tensor]) -> float:
        """One optimizer step over the passes (micro batches); returns the gradient norm."""
        world_size = distributed.world_size()
        for index, one_pass in enumerate(passes):
            # Before the backward pass, which already reduces gradients at stages 2 and 3.
            # DeepSpeed's own count is of fixed length, and the number of passes differs from step
            # to step.
            self.engine.set_gradient_accumulation_boundary(index == len(passes) - 1)
            # DeepSpeed averages gradients over ranks, but ours are parts of a sum.
            self.engine.backward(loss_of(one_pass) * world_size)
            # DeepSpeed reports the norm only with ZeRO; without, it is taken before step() clips.
            norm = (
                self._gradient_norm() if index == len(passes) - 1 and self._zero_stage == 0 else 0.0
            )
            self.engine.step()
        return norm if self._zero_stage == 0 else float(self.engine.get_global_grad_norm() or 0.0)

    def save(
        self,
        path: Path,
        tokenizer: PreTrainedTokenizerBase,
        made: Made | None = None,
        probe: Probe | None = None,
    ) -> None:
        """Write a Hugging Face folder, with optimizer, schedule, step and random state in it.

        made: the run whose weights they are, and what they were made from. probe: goes into it,
        too. Where the workflow keeps training states in memory, the state goes there and not into
        the folder. Raises OSError naming the path when it cannot be written.
        """
        # One folder and one rename for both, so that weights never lie beside the optimizer state
        # of another step; a state in memory knows its weights by their digest.
        with naming_the_disk(path), distributed.shared_folder(path) as folder:
            self.save_weights(folder, tokenizer)
            if distributed.rank() == 0:
                if probe is not None:
                    probe.write(folder)
                if made is not None:  # last: its record lists the folder's files
                    write_weights_record(folder, path, made)
            with state_folder(path, folder, self._state_bytes()) as place:
                self.save_state(place, folder)
        # After the lasting folder: a copy may fail or vanish.
        node_cache.store_copy(
            path, distributed.rank(), distributed.world_size(), distributed.gather
        )

    def save_weights(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write weights and tokenizer, whole even where ZeRO-3 keeps parts on each rank."""
        # Every rank takes part in the gathering, though only the first writes.
        whole = (
            self.engine._zero3_consolidated_16bit_state_dict() if self._zero_stage == 3 else None
        )
        if distributed.rank() == 0:
            model = self.engine.module
            if lora.has_adapter(model):
                whole = whole or model.state_dict()
                lora.save_adapter(model, whole, folder / lora.ADAPTER)
                # Readers of the folder, the samplers among them, know nothing of adapters.
                whole = lora.merged_weights(model, whole)
            save_model(model, tokenizer, folder, whole)

    def save_state(self, folder: Path, weights: Path | None = None) -> None:
        """Write what `load_state` reads: weights, optimizer, schedule, step, random state.

        weights: the folder of the weights that it belongs to; None: the same.
        """
        # DeepSpeed saves no random state, and dropout draws from it.
        state = {"torch_rng_state": torch.get_rng_state()}
        with lora.without_frozen(self.engine.module):
            self.engine.save_checkpoint(
                str(folder / TRAINING_STATE),
                # By default the tag has the step's number: a reader would have to look for it.
                tag=CHECKPOINT_TAG,
                client_state=state,
                exclude_frozen_parameters=True,
            )
        distributed.barrier()  # the record lists the files of all ranks
        if distributed.rank() == 0:
            state_files.write_record(folder / TRAINING_STATE, weights or folder)

    def load_state(self, folder: Path) -> None:
        """Continue where `save_state` was called, on any number of ranks and at any ZeRO stage.

        Raises ValueError naming the folder, universal.NoRoom where a conversion needs more disk.
        """
        source = state_source(folder) / TRAINING_STATE
        if not (source / CHECKPOINT_TAG).is_dir():
            raise ValueError(f"{folder}: holds no training state; delete it and run again")
        try:
            self._check_state(source, folder)
            # Converted beside the folder, also from memory, which has a budget.
            state = universal.load(
                self.engine, source, CHECKPOINT_TAG, self._zero_stage, beside=folder
            )
        except (universal.NoRoom, TableError):
            raise
        except Exception as error:  # DeepSpeed and torch raise all kinds here
            raise ValueError(
                f"{folder}: its training state does not load ({type(error).__name__}: {error}); "
                "it is damaged, or of another model"
            ) from error
        torch.set_rng_state(state["torch_rng_state"])
        self._take_settings()
        free_loaded(folder)

    def _state_bytes(self) -> float:
        """Bytes that the training state takes at most, on all ranks together."""
        # Weights, their float32 copy and AdamW's two moments; ZeRO-3 keeps a part of each weight.
        return sum(
            float(getattr(weight, "ds_numel", weight.numel()) * (weight.element_size() + 12))
            for weight in self.engine.module.parameters()
            if weight.requires_grad
        )

    @staticmethod
    def _check_state(source: Path, folder: Path) -> None:
        """Raise TableError, on all ranks, unless the state is whole and of these weights."""
        why = ""
        if distributed.rank() == 0:
            try:
                state_files.check_record(source, folder)
            except TableError as error:
                why = str(error)
        # On all of them: ranks that went on to load would wait for the first forever.
        if why := distributed.gather(why)[0]:
            raise TableError(why)

    def offload(self) -> None:
        """Leave the GPU to others, until `reload`; no number changes."""
        offload.offload(self.engine, self._zero_stage, self._optimizer_on_host)

    def reload(self) -> None:
        """Undo `offload`."""
        offload.reload(self.engine, self._zero_stage, self._optimizer_on_host)

    def _take_settings(self) -> None:
        """Apply the current settings: a state brings those of its own run (init_from)."""
        # A branch may have another rate than its origin. LambdaLR keeps it in several fields, each
        # read at another moment: the next step, the step after it, a report.
        # docs/decisions.md#branch-start
        rate = self._settings.learning_rate
        self.schedule.base_lrs = [rate for _ in self.schedule.base_lrs]
        factors = [rate_at(self.schedule.last_epoch) for rate_at in self.schedule.lr_lambdas]
        # ZeRO's optimizers share these groups with torch's, so this holds at every stage.
        for group, factor in zip(self._adamw.param_groups, factors, strict=True):
            group["initial_lr"], group["lr"] = rate, rate * factor
            group["betas"] = tuple(self._settings.betas)
            group["weight_decay"] = self._settings.weight_decay
        self.schedule._last_lr = [group["lr"] for group in self._adamw.param_groups]

    def _gradient_norm(self) -> float:
        # Stage 0 leaves whole gradients on every rank, already reduced over all of them.
        gradients = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))


def begin_training(
    start: Path,
    dtype: str,
    optimizer: Optimizer,
    rate_at: Callable[[int], float],
    training: Training,
    state: Path | None = None,
    adapter: lora.Adapter | None = None,
) -> Trainer:
    """A trainer that trains a folder's model once, by its own schedule.

    state: a folder with the training state of an earlier start. adapter: what is trained, unless
    all weights are.
    """
    model = load_model(start, dtype)
    # Before the engine is built, which takes the weights that are there by then.
    if adapter:
        lora.add_adapter(model, adapter)
    trainer = Trainer(model, optimizer, rate_at, training)
    if state is not None:
        trainer.load_state(state)
    return trainer


def continue_training(
    folder: Path,
    dtype: str,
    optimizer: Optimizer,
    training: Training,
    state: Path | None = None,
    adapter: lora.Adapter | None = None,
    *,
    trained: bool = False,
) -> Trainer:
    """A trainer at constant rate that continues from a folder; without a state it starts fresh.

    state: another folder to continue from, with a training state of the same model. adapter: what
    is trained, unless all weights are; then any folder but that of its start needs a state, as does
    one that an update has written (trained).
    """
    distributed.start_ranks()
    model = load_model(adapter.start if adapter else folder, dtype)
    if adapter:
        lora.add_adapter(model, adapter)
    trainer = Trainer(model, optimizer, lambda _step: 1.0, training)
    # The folder's weights have the adapter merged and rounded; its own numbers are in the state.
    goes_on = adapter is not None and folder != adapter.start
    # Then a missing state is an error (load_state raises it): a fresh adapter beside the start
    # weights would silently undo the iterations before, fresh moments would change the next ones.
    if state is not None or goes_on or trained or (folder / TRAINING_STATE).exists():
        trainer.load_state(state or folder)
    return trainer


def _deepspeed_config(grad_clip: float, training: Training, dtype: torch.dtype) -> dict[str, Any]:
    float32_sums = dtype == torch.bfloat16 and training.grad_accum_dtype == "float32"
    zero: dict[str, Any] = {
        # For float32 sums at stage 1 DeepSpeed has another optimizer, whose states no other stage
        # reads; stage 2 takes the same steps. docs/decisions.md#float32-sums
        "stage": 2 if float32_sums and training.zero_stage == 1 else training.zero_stage,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    if training.offload_optimizer == "cpu":
        # Pinned memory speeds up copies to a GPU, and cannot be had without one.
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        # Passes are counted by Trainer.step; DeepSpeed must neither divide nor count.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": grad_clip,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # DeepSpeed's own CPU optimizer is compiled at first use. docs/decisions.md#offloaded-adamw
        "zero_force_ds_cpu_optimizer": False,
        # Brings AdamW's float32 copy: a single step of a bfloat16 weight is rounded away.
        "bf16": {"enabled": dtype == torch.bfloat16},
        "data_types": {"grad_accum_dtype": "fp32" if float32_sums else None},
        "steps_per_print": 2**31,
    }
