"""What a plan assumes beside the GPU: lengths, shares, overheads.

Every figure is printed with the plan and can be overridden.
"""

from __future__ import annotations

from pydantic import Field

from prime_core.settings.section import Section

GIB = 2**30
# What only some runs use: with kept engines, an environment, trees, responses that are continued.
OF_ENGINES = ("offload_gbs", "reload_gbs", "wake_s", "resting_gib")
OF_EPISODES = ("turn_share", "drawn_share", "env_step_ms")
OF_TREES = ("fork_position",)
OF_STEPS = ("steps",)


class Assumptions(Section):
    """What no setting says. Each can be overridden: --assume NAME=VALUE."""

    prompt_share: float = Field(
        0.25, gt=0, le=1, description="mean prompt, as a share of data.max_prompt_length"
    )
    response_share: float = Field(
        0.3, gt=0, le=1, description="mean response, as a share of max_response_length"
    )
    fork_position: float = Field(
        0.5, gt=0, lt=1, description="share of a response that stands before the fork of a tree"
    )
    turn_share: float = Field(
        0.7, gt=0, le=1, description="mean turns of an episode, as a share of data.env.max_turns"
    )
    drawn_share: float = Field(
        0.5, gt=0, le=1, description="share of an episode's tokens that the policy draws"
    )
    # FrozenLake with its text on one core; a web page takes a hundred times as long.
    env_step_ms: float = Field(
        1.0, ge=0, description="an environment's step, on one core, milliseconds"
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
    queue_s: float = Field(
        10.0, ge=0, description="a Slurm job's own: poll of the queue, its Snakemake"
    )
    start_s: float = Field(
        20.0, ge=0, description="startup of a stage with several ranks: imports, CUDA, ranks"
    )
    cuda_s: float = Field(3.0, ge=0, description="of these CUDA, which a forked stage starts, too")
    ranks_s: float = Field(5.0, ge=0, description="of these ranks that find each other, likewise")
    # A stage of the quickstart takes 0.1 s; here it also reads tables of a million tokens.
    fork_s: float = Field(1.0, ge=0, description="startup of a forked stage, in place of imports")
    engine_s: float = Field(60.0, ge=0, description="startup of vLLM: compiling, CUDA graphs")
    # DeepSpeed's figures of moving its states (its pull request 6011), of 4.3 B on four A100.
    offload_gbs: float = Field(
        2.45, gt=0, description="GB/s at which a kept trainer leaves its GPU"
    )
    reload_gbs: float = Field(11.0, gt=0, description="GB/s at which it comes back")
    wake_s: float = Field(
        1.0, ge=0, description="a kept engine's start of a turn, beside its weights"
    )
    resting_gib: float = Field(
        1.5, ge=0, description="of a GPU that a resting engine keeps: CUDA context, remainders"
    )
    # benchmarks/verifiers.py (median of real answers), benchmarks/code_verifier.py (one test).
    math_verdict_ms: float = Field(
        0.02, ge=0, description="a verdict of mathematics, on one core, milliseconds"
    )
    code_verdict_ms: float = Field(4.0, ge=0, description="a verdict of a program, likewise")
    # 26,758 of 482,019 in Eurus-2-RL-Data.
    code_share: float = Field(
        0.06, ge=0, le=1, description="programs among problems of data that have both kinds"
    )
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
    node_gb: float = Field(
        2000.0, gt=0, description="memory of a node, for training states between stages"
    )
    # Measured with torch's AdamW on one core (docs/decisions.md#offload-32b).
    offload_ns: float = Field(
        7.5, ge=0, description="an off-loaded optimizer's step, per parameter of a rank"
    )
    steps: float = Field(
        10.0, ge=1, description="steps of a response, where they are continued (monte_carlo)"
    )
    text_bytes: float = Field(4.5, gt=0, description="bytes of a token's text")
    # --signal=TERM@120 in the committed profiles (docs/decisions.md#signals-in-shells).
    warning_s: float = Field(
        120.0, ge=0, description="a job is signalled this long before its limit (profile: --signal)"
    )
