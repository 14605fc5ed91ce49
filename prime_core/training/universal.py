"""Training states that another number of ranks, or another ZeRO stage, continues from.

In: a state as DeepSpeed saved it. Out: the same numbers in the engine, whatever its ranks and
stage. Where the state is partitioned like the engine's own, DeepSpeed loads it as is. Else the
first rank converts it into one file per weight (DeepSpeed's universal checkpoint, arXiv 2406.18820)
in a scratch folder beside it, and all ranks load from there. Conversion copies numbers.

docs/decisions.md#state-any-ranks
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist

from prime_core.runtime.errors import is_full
from prime_core.runtime.text import bytes_text
from prime_core.training import universal_files
from prime_core.training.distributed import barrier, rank, world_size
from prime_core.training.state_files import loading_values_only

# While the first rank converts, the others wait, longer than NCCL's own time-out allows.
LONGEST = timedelta(hours=12)


class NoRoom(OSError):
    """The disk has no room for the conversion: nothing is wrong with the state."""


@dataclass(frozen=True)
class StateLayout:
    """How a state is partitioned: what ZeRO splits over the ranks, and over how many of them."""

    cut: Literal["nothing", "optimizer", "weights"]
    num_ranks: int

    def __str__(self) -> str:
        """As messages have it: "ZeRO 3 on 8 ranks"."""
        stage = {"nothing": "ZeRO 0", "optimizer": "ZeRO 1 or 2", "weights": "ZeRO 3"}[self.cut]
        ranks = "one rank" if self.num_ranks == 1 else f"{self.num_ranks} ranks"
        return stage if self.cut == "nothing" else f"{stage} on {ranks}"


def saved_layout(state: Path) -> StateLayout:
    """The layout of a saved state, from the names of its files."""
    # From names, since opening the files would read gigabytes. Stage 0 has no such files; stages 1
    # and 2 have one file of weights, stage 3 one for each rank.
    parts = list(state.glob("*zero_pp_rank_*_optim_states.pt"))
    if not parts:
        return StateLayout("nothing", 1)
    whole = (state / universal_files.WHOLE_MODEL).exists()
    return StateLayout("optimizer" if whole else "weights", len(parts))


def engine_layout(zero_stage: int) -> StateLayout:
    """The layout that this stage's ranks save and load."""
    if zero_stage == 0:
        return StateLayout("nothing", 1)
    return StateLayout("weights" if zero_stage == 3 else "optimizer", world_size())


def load(engine: Any, folder: Path, tag: str, zero_stage: int, beside: Path) -> dict[str, Any]:
    """Load the state folder/tag into a DeepSpeed engine; returns what was saved with it.

    beside: the scratch folder is created next to this one. Nothing in the state is executed. Raises
    NoRoom, on all ranks, and whatever DeepSpeed and torch raise for a damaged state.
    """
    with loading_values_only():
        return _load(engine, folder, tag, zero_stage, beside)


def _load(engine: Any, folder: Path, tag: str, zero_stage: int, beside: Path) -> dict[str, Any]:
    there, here = saved_layout(folder / tag), engine_layout(zero_stage)
    if there == here:
        # Frozen weights are not in a state, so with an adapter some must be missing.
        whole = all(weight.requires_grad for weight in engine.module.parameters())
        return dict(engine.load_checkpoint(str(folder), tag=tag, load_module_strict=whole)[1])
    # Sizes are read at stage 0 alone: the weights of ZeRO-3 are empty until they are gathered.
    shapes = {name: p.shape for name, p in engine.module.named_parameters() if p.requires_grad}

    def convert(scratch: Path) -> None:
        _convert(folder / tag, scratch, tag, shapes, there, here)

    with _shared_scratch(beside, convert) as scratch:
        if here.cut == "nothing":
            return dict(engine.load_checkpoint(scratch, tag=tag, load_module_strict=False)[1])
        with _universal(engine):
            saved = dict(engine.load_checkpoint(scratch, tag=tag)[1])
        for state in engine.optimizer.optimizer.state.values():
            # DeepSpeed gives all parts of ZeRO-3 one counter, which each step would increment once
            # per part.
            state["step"] = state["step"].clone()
        return saved


@contextmanager
def _universal(engine: Any) -> Iterator[None]:
    """Let the engine load universal checkpoints, without its notes on other parallelism."""
    log = logging.getLogger("DeepSpeed")
    level = log.level
    log.setLevel(logging.ERROR)
    # For this call alone: DeepSpeed reads the flag whenever it loads, and would take an ordinary
    # state for a universal one.
    engine._config.load_universal_checkpoint = True
    try:
        yield
    finally:
        engine._config.load_universal_checkpoint = False
        log.setLevel(level)


def _convert(
    source: Path,
    scratch: Path,
    tag: str,
    shapes: universal_files.Shapes,
    there: StateLayout,
    here: StateLayout,
) -> None:
    size = sum(file.stat().st_size for file in source.iterdir())
    free = shutil.disk_usage(scratch).free
    print(
        f"{source}: converting {bytes_text(size)} of training state from {there} to {here}",
        file=sys.stderr,
        flush=True,
    )
    # Pieces and whole tensors exist side by side for a while.
    if 2 * size > free:
        raise NoRoom(_no_room(scratch, there, here, 2 * size, free))
    (scratch / "saved").symlink_to(source.resolve())
    try:
        # DeepSpeed uses the paths it is given as patterns: these contain no special character.
        with contextlib.chdir(scratch):
            saved, target = Path("saved"), Path(tag)
            if there.cut == "nothing":
                universal_files.split_by_weight(saved, target, shapes)
            else:
                _deepspeeds_own(saved, target)
                universal_files.complete_for_all_stages(target)
            if here.cut == "nothing":
                universal_files.join_weights(target, shapes)
    except (OSError, RuntimeError) as error:
        if not is_full(error):
            raise
        free = shutil.disk_usage(scratch).free
        raise NoRoom(_no_room(scratch, there, here, 2 * size, free)) from error


def _deepspeeds_own(saved: Path, target: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    arguments = argparse.Namespace(
        input_folder=str(saved),
        output_folder=str(target),
        # One worker stays in this process; more would be forks of one that holds a process group,
        # which can hang.
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        # The converter insists on a description of model parallelism, which states without any do
        # not have.
        inject_missing_state=True,
    )
    # The converter prints its steps, which would stand between the stage's own lines.
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        ds_to_universal.main(arguments)


def _no_room(
    scratch: Path, there: StateLayout, here: StateLayout, needed: float, free: float
) -> str:
    return (
        f"{scratch.parent}: no room to convert a training state of {there} for {here}: it "
        f"temporarily takes about {bytes_text(needed)}, and {bytes_text(free)} are free; make "
        f"room, or continue with {there}"
    )


@contextmanager
def _shared_scratch(beside: Path, fill: Callable[[Path], None]) -> Iterator[str]:
    """A folder that the first rank fills and all ranks read, removed afterwards.

    Leftovers of a killed start are named like other temporary folders, and are removed with them.
    """
    own, error = None, None
    if rank() == 0:
        try:
            # Beside the state and not in /tmp: ranks on other nodes read it as well.
            own = tempfile.mkdtemp(dir=beside.parent, prefix=f".{beside.name}.", suffix=".tmp")
            fill(Path(own))
        except Exception as caught:  # raised on all ranks, which would else wait forever
            error = caught
    try:
        yield _told_by_the_first(own, error)
    finally:
        # Other ranks may still be reading.
        barrier()
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def _told_by_the_first(scratch: str | None, error: Exception | None) -> str:
    """The scratch folder; raises the first rank's error on every rank."""
    if world_size() > 1:
        patient = dist.new_group(backend="gloo", timeout=LONGEST)  # NCCL gives up in ten minutes
        # As text, since exceptions of other libraries need not survive pickling. The kind matters:
        # NoRoom keeps the checkpoint, any other error discards it.
        text = (isinstance(error, NoRoom), str(error)) if error else None
        told: list[Any] = [(scratch, text)]
        dist.broadcast_object_list(told, group=patient)
        dist.destroy_process_group(patient)
        scratch, text = told[0]
        if text is not None and error is None:
            raise (NoRoom if text[0] else ValueError)(text[1])
    if error is not None:
        raise error
    assert scratch is not None
    return scratch
