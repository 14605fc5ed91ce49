"""How the files under configs/paper differ from the paper's main run: values and comments.

CHANGES: dotted key -> new value and its comment. WORDS: new comments for values that stay.
`tests.support.paper_variants` renders the files from them.
"""

from __future__ import annotations

from tests.support.paper_words import SIX

ITERATIONS = "240  # RL iterations. Paper, other RL algorithms: 240"
HOURS = "null  # GPU-hours. Paper: 680 s an iteration on 8 A800, 363 GPU-hours"
OUTCOME_HOURS = "null  # GPU-hours. Paper: 531 s an iteration on 8 A800, 283 GPU-hours"
WHITENED = "true  # script: of every estimator, so this is REINFORCE++. docs/paper.md#whitening"
OUTCOME_ONLY = "none  # outcome rewards only; the rest of this section is not used"


def _estimator(name: str, run: str, estimator: str, prime: bool) -> dict[str, str]:
    changes = {
        "run": f"{run}  # name of the run's folder under `results`",
        "iterations": ITERATIONS,
        "policy.adv_estimator": f"{estimator}  # paper, other RL algorithms: {name}",
    }
    return changes if prime else changes | {"prm.prm_update": OUTCOME_ONLY}


GAE = "1.0  # weight of later TD errors. Paper, value or reward: 1"
GAE_LEVEL = "token  # of TD errors. Paper, value or reward: tokens"
VALUE_WORDS = {
    "value": "  # PPO's critic. The paper gives no settings for it; these are verl's defaults",
    "value.source": "model  # paper, value or reward: a model with a linear head",
    "value.prm_value": "log_odds  # not used: source is model",
    "value.path": "null  # null: the start model, with a zero-initialised head. Assumption",
    "value.cliprange_value": "0.5  # how far a value may move. verl: 0.5",
    "value.mini_batch_size": "256  # responses per optimizer step. Assumption: as the policy's",
    "value.epochs": "1  # passes over the batch. verl: 1",
    "value.optimizer.learning_rate": "1.0e-5  # constant. verl: 1e-5",
    "value.optimizer.weight_decay": "0.01  # verl: 0.01",
    "value.optimizer.betas": "[0.9, 0.999]  # verl: AdamW's own",
    "value.optimizer.grad_clip": "1.0  # norm. verl: 1",
    "policy.gae_lambda": GAE,
    "policy.gae_level": GAE_LEVEL,
    "max_gpu_hours": "null  # GPU-hours. Paper: not given",
}
_NAMED = "eurus2-7b-{}  # name of the run's folder under `results`"

OFFLINE = """
    file: data/eurus-prm/labelled.parquet  # responses and outcomes. Paper, PRM data
    columns: {}  # our name: theirs; not used: the file's columns have our names
    max_length: 4096  # tokens of prompt and response. Assumption: the model's positions
    mini_batch_size: 64  # responses per optimizer step. The released model's card: 64
    micro_batch_size: 1  # responses per pass of a rank; does not affect results
    epochs: 1  # passes over the responses. Assumption; paper: not given
    warmup_ratio: 0.0  # share of the steps. Assumption; paper: not given
    loss_type: ce  # paper, Algorithm 1: cross-entropy
    response_score: sum  # Paper, Free Process Rewards: the sum of its rewards
    margin: 5.0  # not used: loss_type is ce
    difficulty: none  # not used: loss_type is ce
    label_noise:
      false_positive: 0.0  # not corrected for; not in the paper
      false_negative: 0.0  # not corrected for; not in the paper
    label_smoothing: 0.0  # none; not in the paper
    bon_weight: none  # not used: loss_type is ce
    optimizer:
      learning_rate: 5.0e-7  # peak. The released model's card: 5e-7
      weight_decay: 0.0  # assumption; paper: not given
      betas: [0.9, 0.999]  # assumption, AdamW's own; paper: not given
      grad_clip: 10.0  # norm. Assumption, as the PRM's; paper: not given
    lora: null  # null: all weights are trained. Assumption, as online"""
NOT_THE_START = {
    "prm.path": "null  # null: the SFT model, trained by prm.offline. Paper, PRM data",
    "max_gpu_hours": "null  # GPU-hours. Paper: not given",
}


def _sized(size: str, prm: str | None) -> dict[str, str]:
    changes = {
        "run": f"qwen2.5-7b-prm-{size}  # name of the run's folder under `results`",
        "iterations": "240  # RL iterations. Paper: not given; 240 in its other ablations",
        "model.path": "Qwen/Qwen2.5-7B  # paper, effect of reward model size: Qwen2.5-7B-Base",
    }
    changes["evaluation.benchmarks"] = SIX
    if prm is not None:
        text = f"{prm}  # paper, effect of reward model size: its base model"
        changes |= {
            "prm.path": text,
            "prm.reference_path": f"{prm}  # paper, effect of reward model size: the same, frozen",
        }
    return changes


CHECKPOINTING = "true  # less memory, more time; does not affect results. Script: true"
CHANGES: dict[str, dict[str, str]] = {
    "eurus2_7b_rloo": {
        "run": _NAMED.format("rloo"),
        "iterations": "240  # RL iterations. Paper: 240 in its main table",
        "prm.prm_update": OUTCOME_ONLY,
    },
    "eurus2_7b_reinforce": _estimator("REINFORCE", "eurus2-7b-reinforce", "reinforce", False),
    "eurus2_7b_reinforce_prime": _estimator(
        "REINFORCE, Eq. 8", "eurus2-7b-reinforce-prime", "reinforce", True
    ),
    "eurus2_7b_grpo": _estimator("GRPO", "eurus2-7b-grpo", "grpo", False),
    "eurus2_7b_grpo_prime": _estimator("GRPO, Eq. 7", "eurus2-7b-grpo-prime", "grpo", True),
    "eurus2_7b_ppo": _estimator("PPO", "eurus2-7b-ppo", "gae", False),
    "eurus2_7b_ppo_prime": _estimator("PPO", "eurus2-7b-ppo-prime", "gae", True),
    "eurus2_7b_prm_as_value": _estimator(
        "PPO, whose values are the PRM's", "eurus2-7b-prm-as-value", "gae", True
    )
    | {
        "value.source": "prm  # paper, value or reward: the implicit PRM's values",
        "prm.prime_norm": "none  # values are sums of unnormalised rewards (paper, Eq. 3)",
    },
    "eurus2_7b_eurusprm": {
        "run": _NAMED.format("eurusprm"),
        "iterations": "240  # RL iterations. Paper, design choices: about 240 in its figure",
        "prm.offline": OFFLINE,
    },
    "eurus2_7b_offline_prm": {
        "run": _NAMED.format("offline-prm"),
        "iterations": "240  # RL iterations. Paper, design choices: about 240 in its figure",
        "prm.offline": OFFLINE,
        "prm.prm_update": "frozen  # paper, design choices: offline, never updated",
    },
    "eurus2_7b_policy_reference": {
        "run": _NAMED.format("policy-reference"),
        "iterations": "240  # RL iterations. Paper: not given; 240 in its other ablations",
        "prm.prm_reference": "policy  # paper, different reference model: the policy that sampled",
    },
    "eurus2_7b_double_forward": {
        "run": _NAMED.format("double-forward"),
        "iterations": "240  # RL iterations. Paper: not given; 240 in its other ablations",
        "prm.prm_update": "before  # paper, double forward: update, then score",
    },
    "eurus2_7b_dpo": {
        "run": _NAMED.format("dpo"),
        "iterations": "96  # RL iterations. Paper, loss function: 96",
        "prm.loss_type": "dpo  # paper, loss function: DPO",
    },
    "eurus2_7b_sft": {
        "run": _NAMED.format("sft"),
        "seed": "42  # paper, SFT training: 42",
        "iterations": "0  # RL iterations. Paper, SFT training: none",
        "model.path": "Qwen/Qwen2.5-Math-7B  # paper, SFT training: Qwen2.5-Math-7B-Base",
        "data.sft": (
            "hf://datasets/PRIME-RL/Eurus-2-SFT-Data/0000.parquet  # 229,763. Paper: 230,000"
        ),
        "data.sft_columns": (
            "  # our name: theirs\n"
            "    prompt: conversations  # all messages but the last\n"
            "    response: conversations  # the last message\n"
            "    system: system  # the system message\n"
            "    ability: task  # Math, Coding, ..."
        ),
        "sft.enabled": "true  # paper, SFT training: the only training of this run",
    },
    "qwen25_7b_prm_3b": _sized("3b", "Qwen/Qwen2.5-3B"),
    "qwen25_7b_prm_7b": _sized("7b", None),
    "qwen25_7b_prm_14b": _sized("14b", "Qwen/Qwen2.5-14B")
    | {
        "training.gradient_checkpointing": CHECKPOINTING,
    },
    "prime_zero_7b": {
        "run": "prime-zero-7b  # name of the run's folder under `results`",
        "iterations": "96  # RL iterations. Paper, zero experiments: flat after about 50",
        "model.path": "Qwen/Qwen2.5-Math-7B  # paper, zero experiments: Qwen2.5-Math-7B-Base",
    },
    "prime_zero_32b": {
        "run": "prime-zero-32b  # name of the run's folder under `results`",
        "iterations": "96  # RL iterations. Paper: not given; with 7 B flat after about 50",
        "model.path": "Qwen/Qwen2.5-32B  # paper, zero experiments: Qwen2.5-32B-Base",
        "stage_resources": "cluster_profiles/stages-32b.yaml  # nodes with eight 80 GB GPUs",
        "rollout.num_shards": "4  # sampling jobs per round: one for every two GPUs of a node",
        "rollout.tensor_parallel_size": "2  # GPUs that share 66 GB of weights. Assumption",
        "training.zero_stage": "3  # each GPU keeps an eighth of everything. Script: FSDP",
        "training.offload_optimizer": "cpu  # its states in the node's memory. Script: the same",
        "training.state_storage": "disk  # 0.9 TB of states: no node has room for them in memory",
        "training.gradient_checkpointing": CHECKPOINTING,
        "checkpoints.save_freq": "0  # every n-th is kept; 0: only the last, 0.9 TB. Script: 16",
    },
}
_START = "paper, zero experiments: the base model"
_SIZES = {
    "max_gpu_hours": "null  # GPU-hours. Paper: not given",
    "data.sft": "null  # demonstrations; not used: the start is a base model",
    "sft.enabled": "false  # paper: the start is a base model",
}
WORDS: dict[str, dict[str, str]] = {
    "eurus2_7b_rloo": {
        "max_gpu_hours": OUTCOME_HOURS,
    },
    "eurus2_7b_grpo": {"max_gpu_hours": OUTCOME_HOURS},
    "eurus2_7b_grpo_prime": {"max_gpu_hours": HOURS},
    "eurus2_7b_reinforce": {"max_gpu_hours": OUTCOME_HOURS, "policy.whiten": WHITENED},
    "eurus2_7b_reinforce_prime": {"max_gpu_hours": HOURS, "policy.whiten": WHITENED},
    "eurus2_7b_ppo": VALUE_WORDS,
    "eurus2_7b_ppo_prime": VALUE_WORDS,
    "eurus2_7b_prm_as_value": {
        "max_gpu_hours": HOURS,
        "policy.gae_lambda": GAE,
        "policy.gae_level": GAE_LEVEL,
        "policy.process_coef": "1.0  # not used: the PRM gives values, not returns",
        "value": "  # not used but for source and prm_value: there is no value model",
        "value.prm_value": "log_odds  # paper, value or reward: the sum of rewards so far",
    },
    "eurus2_7b_eurusprm": NOT_THE_START,
    "eurus2_7b_offline_prm": NOT_THE_START
    | {
        "prm.mini_batch_size": "256  # not used: the PRM is never updated",
        "prm.epochs": "1  # not used: the PRM is never updated",
    },
    "eurus2_7b_policy_reference": {"max_gpu_hours": HOURS},
    "eurus2_7b_double_forward": {"max_gpu_hours": HOURS},
    "eurus2_7b_dpo": {
        "max_gpu_hours": "null  # GPU-hours. Paper: not given",
        "prm.bon_weight": "none  # paper, loss function: none",
    },
    "eurus2_7b_sft": {"max_gpu_hours": "null  # GPU-hours. Paper: not given"},
    "qwen25_7b_prm_3b": _SIZES,
    "qwen25_7b_prm_7b": _SIZES
    | {"prm.path": "null  # paper, effect of reward model size: the start model, Qwen2.5-7B"},
    "qwen25_7b_prm_14b": _SIZES,
    "prime_zero_7b": _SIZES
    | {
        "prm.prm_reference": f"sft  # the start model, frozen: {_START}",
        "prm.path": f"null  # null: the start model: {_START}",
    },
    "prime_zero_32b": _SIZES
    | {
        "prm.prm_reference": f"sft  # the start model, frozen: {_START}",
        "prm.path": f"null  # null: the start model: {_START}",
    },
}
ROWS = {
    "eurus2_7b_rloo": "rloo-240",
    "eurus2_7b_reinforce": "reinforce-240",
    "eurus2_7b_reinforce_prime": "reinforce-prime-240",
    "eurus2_7b_grpo": "grpo-240",
    "eurus2_7b_grpo_prime": "grpo-prime-240",
    "eurus2_7b_ppo": "ppo-240",
    "eurus2_7b_ppo_prime": "ppo-prime-240",
    "eurus2_7b_prm_as_value": "prm-as-value-240",
    "eurus2_7b_dpo": "prm-dpo-96",
    "eurus2_7b_sft": "eurus2-7b-sft",
    "qwen25_7b_prm_3b": "prm-3b",
    "qwen25_7b_prm_7b": "prm-7b",
    "qwen25_7b_prm_14b": "prm-14b",
}
