"""What an iteration's update reads and writes of its model: files, memory, the GPU's own.

In: a Case, a training stage, how it trains. Out: seconds before its first step, after its last, and
of what is copied while other stages run.
"""

from __future__ import annotations

from dataclasses import dataclass

from prime_core.planning.case import Case
from prime_core.planning.disk import Disk, model_bytes, state_bytes
from prime_core.planning.memory import Training, resident_memory


@dataclass(frozen=True)
class Moving:
    """Seconds: of reading, of writing, and of the copy to disk beside other stages."""

    read: float
    write: float
    beside: float


def moving_of(case: Case, stage: str, how: Training) -> Moving:
    """Weights and training state of a stage that trains in each iteration."""
    shape, machine = case.shapes.of_stage(stage), case.machines[stage]
    trained = how.trained_of(shape)
    model = model_bytes(shape, case.dtype_bytes)
    state = state_bytes(trained, case.dtype_bytes, how.zero_stage)
    # Not divided: at stages 1 and 2 every rank handles the state's complete weights.
    whole = case.dtype_bytes * trained if how.zero_stage in (1, 2) else 0.0
    of_a_rank = (state - whole) / how.num_ranks + whole
    copied = case.is_copied(machine)
    if case.states_in_memory:
        in_memory = case.disk_seconds(0.0, of_a_rank, in_memory=True)
        read = case.disk_seconds(model, model, in_memory=copied) + in_memory
        write = case.disk_seconds(model, model) + in_memory
        beside = case.disk_seconds(state, 0.0)
    else:
        read = case.disk_seconds(state + model * (not copied), model + of_a_rank)
        write, beside = case.disk_seconds(model + state, model + of_a_rank), 0.0
    if copied:  # by all ranks, each a part of the weights
        write += case.disk_seconds(0.0, model / how.num_ranks, in_memory=True)
    if case.keeps(stage):
        parts = resident_memory(shape, how)
        held = sum(parts[name] for name in ("weights", "float32 copy", "optimizer states"))
        read = held / (case.assumed.reload_gbs * 1e9)
        write += held / (case.assumed.offload_gbs * 1e9)
    return Moving(read, write, beside)


def memory_between(case: Case, disk: Disk) -> dict[str, float]:
    """Bytes of a node's memory that stay taken between stages: copies of weights, states.

    Where there is no room for them, files on the disk are read instead.
    """
    states, folders = sum(disk.states.values()), sum(disk.folders.values())
    copied = all(case.is_copied(case.machines[stage]) for stage in case.settings.trained)
    taken = {
        "copies of weights": (folders - states) * copied,
        "training states": states * case.states_in_memory,
    }
    return {name: size for name, size in taken.items() if size}
