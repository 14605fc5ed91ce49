"""Whether kept engines have room beside each other on their GPUs and on the host.

They take turns: while one computes, the others have left their numbers on the host (trainers) or
let them go (vLLM, which reads weights again), and hold no more of a GPU than its driver needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Of a process that has used a GPU and put nothing on it: CUDA's context, cuBLAS, NCCL. Assumed.
CONTEXT_BYTES = 1.2e9


@dataclass(frozen=True)
class EngineNeeds:
    """Of one GPU's process. computing: bytes of the GPU in its turn, its own context not among
    them; resting: bytes of the host that it keeps between its turns.
    """

    name: str
    computing: float
    resting: float


def why_engines_do_not_fit(
    engines: Sequence[EngineNeeds], gpu_bytes: float, host_bytes: float
) -> str | None:
    """Why these engines cannot be kept on one GPU (resident: engines); None: they can.

    gpu_bytes: of the GPU; host_bytes: of the node's memory, its share for this GPU, that no stage
    needs.
    """
    contexts = CONTEXT_BYTES * len(engines)
    largest = max(engines, key=lambda engine: engine.computing)
    if largest.computing + contexts > gpu_bytes:
        return (
            f"{largest.name} takes {largest.computing / 1e9:.1f} GB of a GPU of "
            f"{gpu_bytes / 1e9:.0f} GB in its turn, and the processes of {len(engines)} kept "
            f"engines {contexts / 1e9:.1f} GB all the time"
        )
    resting = sum(engine.resting for engine in engines)
    if resting > host_bytes:
        return (
            f"between their turns the engines keep {resting / 1e9:.0f} GB for each GPU in the "
            f"node's memory, of which {host_bytes / 1e9:.0f} GB are free"
        )
    return None
