"""What a plan assumes: memory and speed of a GPU, lengths, shares, overheads.

Every figure is printed with the plan and can be overridden.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from prime_core.settings.section import Section

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """memory_gib as nvidia-smi shows it; tflops dense bfloat16; gb_per_s of its own memory."""

    name: str
    memory_gib: float
    tflops: float
    gb_per_s: float


# By gres type; the longest name that matches counts. Vendors' figures, memory rounded down.
GPUS = (
    Gpu("a100_40", 39.5, 312, 1555),
    Gpu("a100", 79.0, 312, 2039),
    Gpu("a800", 79.0, 312, 2039),
    Gpu("h100", 79.0, 989, 3350),
    Gpu("h800", 79.0, 989, 3350),
    Gpu("gh200", 94.0, 989, 4000),
    Gpu("h200", 139.0, 989, 4800),
    Gpu("b200", 178.0, 2250, 8000),
    Gpu("l40s", 44.5, 362, 864),
    Gpu("l40", 44.5, 181, 864),
    Gpu("a40", 44.5, 150, 696),
    Gpu("a6000", 47.5, 155, 768),
    Gpu("a10", 22.0, 125, 600),
    Gpu("l4", 22.0, 121, 300),
    # GeForce tensor cores accumulate in float32 at half their rate, and torch accumulates so.
    Gpu("4090", 23.5, 165, 1008),
    Gpu("3090", 23.5, 71, 936),
    # Without bfloat16: the figure is float16's.
    Gpu("v100", 31.5, 125, 900),
)
# Rough figures for the cores of one rank, where a site has no GPUs.
PROCESSORS = Gpu("processors", 0.0, 0.05, 10)
USUAL = "a100"  # where no type is given: the paper's machines had these


def gpu_of(model: str | None) -> Gpu:
    """The GPU behind a gres type or a product name; the usual one where the name is not known."""
    found = known_gpu(model or USUAL)
    return found or next(gpu for gpu in GPUS if gpu.name == USUAL)


def known_gpu(model: str) -> Gpu | None:
    """The GPU behind a gres type or a product name ("a100", "nvidia_h100_80gb_hbm3"), if any."""
    name = model.lower().replace("-", "_")
    # Product names and gres types say the memory behind the model, and an A100 may have half.
    if "a100" in name and "40g" in name:
        name = "a100_40"
    found = [gpu for gpu in GPUS if gpu.name in name]
    # The longest: "gh200" contains "h200", "l40s" also "l40" and "l4", "a100" also "a10".
    return max(found, key=lambda gpu: len(gpu.name), default=None)


class Assumptions(Section):
    """What no setting says. Each can be overridden: --assume NAME=VALUE."""

    prompt_share: float = Field(
        0.25, gt=0, le=1, description="mean prompt, as a share of data.max_prompt_length"
    )
    response_share: float = Field(
        0.3, gt=0, le=1, description="mean response, as a share of max_response_length"
    )
    sft_share: float = Field(
        0.4, gt=0, le=1, description="mean demonstration, as a share of sft.max_length"
    )
    # One in 3.2 prompts of the paper's run (docs/decisions.md#oversampling).
    pass_share: float = Field(
        0.31, gt=0, le=1, description="share of groups that pass the filter; the paper's run: 0.31"
    )
    training_mfu: float = Field(
        0.35, gt=0, le=1, description="share of the GPU's FLOP/s, in training and scoring"
    )
    bandwidth_share: float = Field(
        0.4, gt=0, le=1, description="share of the GPU's memory bandwidth, in sampling"
    )
    step_ms: float = Field(5.0, ge=0, description="the sampler's overhead per token, milliseconds")
    start_s: float = Field(30.0, ge=0, description="startup of a stage: queue poll, imports, ranks")
    engine_s: float = Field(60.0, ge=0, description="startup of vLLM: compiling, CUDA graphs")
    verify_s: float = Field(0.5, ge=0, description="mean of one verdict, on one core")
    problems: int = Field(1000, ge=1, description="of a benchmark whose num_problems is null")
    # Of Eurus-2-RL-Data, which has 482,019; counting a file would need it to be fetched first.
    train_problems: int = Field(
        480_000, ge=1, description="training problems that data.difficulty tries"
    )
    # As many as the paper's offline PRM learned from (docs/paper.md).
    labelled: int = Field(500_000, ge=1, description="labelled responses of prm.offline")
    sampler_gib: float = Field(
        4.0, ge=0, description="vLLM's memory beside weights and key-value cache"
    )
    reserve_share: float = Field(
        0.08, ge=0, lt=1, description="share of a GPU for CUDA context, NCCL, fragmentation"
    )
    host_gib: float = Field(5.0, ge=0, description="host memory of a rank beside tensors")
    host_gbs: float = Field(2.0, gt=0, description="GB/s at which a rank reads and writes tensors")
    # Measured with torch's AdamW on one core (docs/decisions.md#offload-32b).
    offload_ns: float = Field(
        7.5, ge=0, description="an off-loaded optimizer's step, per parameter of a rank"
    )
    text_bytes: float = Field(4.5, gt=0, description="bytes of a token's text")
    # --signal=TERM@120 in the committed profiles (docs/decisions.md#signals-in-shells).
    warning_s: float = Field(
        120.0, ge=0, description="a job is signalled this long before its limit (profile: --signal)"
    )
