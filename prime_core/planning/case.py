"""Everything that a plan starts from, and what it says about one stage.

In: settings, shapes of the run's models, what the stages ask for, a GPU, assumptions. Out: a Case;
each stage's plan is a StagePlan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from prime_core.planning.gpus import Gpu
from prime_core.planning.hardware import GIB, Assumptions
from prime_core.planning.memory import Memory
from prime_core.planning.seconds import Seconds
from prime_core.planning.shapes import ModelShape
from prime_core.planning.ways import Way, state_storage
from prime_core.planning.workload import Workload
from prime_core.run.stages import STAGES
from prime_core.settings.run import Settings

DTYPE_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Machine:
    """What one job of a stage asks for: GPUs, ranks and MB per node, cores per rank, minutes."""

    nodes: int
    gpus_per_node: int
    ranks_per_node: int
    cpus_per_task: int
    mem_mb: int
    runtime: int

    @property
    def num_gpus(self) -> int:
        """GPUs of the job."""
        return self.nodes * self.gpus_per_node

    @property
    def num_ranks(self) -> int:
        """Ranks of the job."""
        return self.nodes * self.ranks_per_node


@dataclass(frozen=True)
class Shapes:
    """The run's models: policy, PRM, the PRM's reference, value model (no layer of logits), the
    judge of verification.judge.path (else the policy's shape, and nothing reads it).
    """

    policy: ModelShape
    prm: ModelShape
    prm_reference: ModelShape
    value: ModelShape
    judge: ModelShape

    def of_stage(self, stage: str) -> ModelShape:
        """The model that a stage trains, or computes with; the policy's where it has no other."""
        kind = STAGES[stage]
        # `prm_data` trains nothing: its section, prm.offline, leads to the PRM. Sampling has
        # neither.
        shape: ModelShape = getattr(
            self, kind.trains or kind.section.partition(".")[0], self.policy
        )
        return shape


@dataclass(frozen=True)
class Case:
    """Inputs of a plan. machines: by stage; num_gpus: that the run may use at a time; way: how its
    stages start.

    disk_gb_per_s: bandwidth of the shared disk for one job. gpu: its tflops are those of the run's
    numbers. remarks: what was assumed about the GPU, a sentence each. measured: names of
    assumptions that a trial has measured, disk_gb_per_s among them. states_fit: whether a node has
    room for training states between stages.
    """

    shapes: Shapes
    settings: Settings
    work: Workload
    machines: Mapping[str, Machine]
    gpu: Gpu
    num_gpus: int
    assumed: Assumptions
    disk_gb_per_s: float
    way: Way
    remarks: tuple[str, ...] = ()
    measured: frozenset[str] = frozenset()
    states_fit: bool = True

    @property
    def shape(self) -> ModelShape:
        """The policy's shape."""
        return self.shapes.policy

    @cached_property
    def dtype_bytes(self) -> int:
        """Bytes of a number in training and sampling."""
        return DTYPE_BYTES[self.settings.model.dtype]

    @property
    def reserve(self) -> float:
        """Bytes of a GPU that tensors cannot use."""
        return self.assumed.reserve_share * self.gpu.memory_gib * GIB

    @property
    def uses_vllm(self) -> bool:
        """Whether responses come from vLLM; `auto` takes it where the jobs have GPUs."""
        # Plans are made where neither vLLM nor a GPU need exist, so nothing is tried here; what
        # decides in a job is docs/decisions.md#sampler-auto.
        wanted = self.settings.rollout.sampler in ("vllm", "auto")
        return wanted and self.machines["sample"].gpus_per_node > 0

    @property
    def allowed(self) -> float:
        """Bytes of a GPU that vLLM takes."""
        return self.settings.rollout.gpu_memory_utilization * self.gpu.memory_gib * GIB

    def with_reserve(self, parts: Memory) -> Memory:
        """Parts of a GPU's memory, including what tensors cannot use."""
        return parts | {"reserve": self.reserve}

    def disk_seconds(self, on_disk: float, of_a_rank: float, *, in_memory: bool = False) -> float:
        """Seconds of the disk for all bytes, or of one rank for its own, whichever is longer.

        in_memory: the disk has no part in it.
        """
        # All ranks share the disk, while each serialises its own tensors: the slower decides.
        own = of_a_rank / (self.assumed.host_gbs * 1e9)
        return own if in_memory else max(on_disk / (self.disk_gb_per_s * 1e9), own)

    def is_copied(self, machine: Machine) -> bool:
        """Whether such a job finds the newest weights in its node's memory."""
        # With several nodes an allocation makes no copies (docs/decisions.md#node-cache).
        return self.way.copies and machine.nodes == 1

    @property
    def states_in_memory(self) -> bool:
        """Whether training states wait in memory, and reach the disk while other stages run."""
        trained = (self.machines[name] for name in self.settings.trained)
        near = self.way.is_one_machine and all(machine.nodes == 1 for machine in trained)
        return near and self.states_fit and state_storage(self.settings) == "memory"

    def seconds(
        self,
        stage: str,
        *,
        read: float = 0.0,
        compute: float = 0.0,
        write: float = 0.0,
        beside: float = 0.0,
        engine: bool = False,
    ) -> Seconds:
        """Seconds of one job, with those of its start. engine: whether it starts vLLM."""
        assumed, machine = self.assumed, self.machines[stage]
        kept = self.keeps(stage)
        starting = assumed.wake_s if kept else _start_seconds(machine, assumed, self.way.forks)
        return Seconds(
            queue=assumed.queue_s if self.way.place == "slurm" else 0.0,
            start=starting,
            engine=assumed.engine_s if engine and not kept else 0.0,
            read=read,
            compute=compute,
            write=write,
            beside=beside,
            starts=0 if kept else 1 + engine,
        )

    def idle_seconds(self, stage: str) -> Seconds:
        """Seconds of a job that finds nothing to do, and so never asks for its GPU."""
        without = replace(self.machines[stage], nodes=1, gpus_per_node=0, ranks_per_node=1)
        return replace(self, machines={stage: without}).seconds(stage)

    def keeps(self, stage: str) -> bool:
        """Whether such a job finds its engine loaded; ranks on several nodes never do."""
        return self.way.keeps(stage) and self.machines[stage].nodes == 1


def _start_seconds(machine: Machine, assumed: Assumptions, forks: bool) -> float:
    """From a job's beginning until it reads: imports, CUDA where it has GPUs, ranks if several."""
    cuda, ranks = assumed.cuda_s, assumed.ranks_s
    if cuda + ranks > assumed.start_s:  # a whole start that was measured is the better known
        cuda, ranks = (part * assumed.start_s / (cuda + ranks) for part in (cuda, ranks))
    imports = assumed.start_s - cuda - ranks
    # Ranks on several nodes must belong to their own job step, and start by themselves.
    if forks and machine.nodes == 1:
        imports = min(assumed.fork_s, imports)
    return imports + cuda * (machine.num_gpus > 0) + ranks * (machine.num_ranks > 1)


@dataclass(frozen=True)
class StagePlan:
    """One stage. gpu: bytes by part of one GPU (without GPUs: of one rank); host: bytes of a node
    beside them; seconds: of one job, the longest where they differ.

    jobs: per run, iteration or evaluation, as `each` says. all_seconds: of all these jobs one after
    another, where they differ.
    """

    stage: str
    each: str
    jobs: int
    machine: Machine
    gpu: Memory
    host: float
    seconds: Seconds
    all_seconds: float | None = None

    @property
    def total_seconds(self) -> float:
        """Seconds of all jobs, one after another."""
        return self.jobs * self.seconds.total if self.all_seconds is None else self.all_seconds

    @property
    def gpu_bytes(self) -> float:
        """Bytes of one GPU, all parts summed."""
        return sum(self.gpu.values())

    @property
    def node_bytes(self) -> float:
        """Bytes of a node's own memory, which holds the models, too, where there are no GPUs."""
        # Without GPUs `gpu` counts the memory of a rank, which is the node's as well.
        if self.machine.gpus_per_node:
            return self.host
        return self.host + self.machine.ranks_per_node * self.gpu_bytes
