"""What the published training scripts make of their own numbers, in the names of our settings.

In: the values of a script as it states them, its own or inherited from its code's defaults
(PRIME-RL/PRIME 18ad596, training/examples/run_prime_main.sh; verl-project/verl-recipe 48ea0a7,
prime/run_prime_qwen.sh). Out: the settings that train in the same way. Three things make a value
another than the one that is written: sizes are divided by the number of ranks, some count prompts
and some responses, and a mean is taken within each pass.
"""

from __future__ import annotations

from typing import Any

Values = dict[str, Any]

# Whether the code reads a value at all was read from it, too: `applies_kl`, `rewards_last_token`.
PRIME: Values = {
    "trainer.n_gpus_per_node": 8,
    "trainer.nnodes": 1,
    "trainer.test_freq": 16,
    "data.train_batch_size": 256,
    "data.n_samples": 4,
    "data.max_prompt_length": 1024,
    "data.max_response_length": 3072,
    "data.filter_accuracy": True,
    "data.filter_truncated": False,
    "data.accuracy_lower_bound": 0.2,
    "data.accuracy_upper_bound": 0.8,
    "actor.ppo_mini_batch_size": 256,
    "actor.counts_prompts": False,
    "actor.ppo_micro_batch_size": 8,
    "actor.ppo_epochs": 1,
    "actor.clip_ratio": 0.2,
    "actor.clip_ratio_c": 0.0,
    "actor.entropy_coeff": 0.0,
    "actor.grad_clip": 1.0,
    "actor.optim.lr": 5e-7,
    "actor.optim.weight_decay": 0.01,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.top_k": -1,
    "algorithm.adv_estimator": "rloo",
    "algorithm.kl_coef": 0.0,
    "algorithm.applies_kl": True,
    "algorithm.verifier_gamma": 1.0,
    "algorithm.reward_model_gamma": 1.0,
    "reward_model.mini_batch_size": 256,
    "reward_model.update": "after",
    "reward_model.ref_type": "freeze",
    "reward_model.loss_type": "ce",
    "reward_model.beta_train": 0.05,
    "reward_model.granularity": "token",
    "reward_model.prime_norm": "batch_norm",
    "reward_model.rewards_last_token": True,
    "reward_model.optim.lr": 1e-6,
    "reward_model.optim.weight_decay": 0.0,
    "reward_model.optim.grad_clip": 10.0,
    "reward.unboxed_answers": True,
    "reward.max_tests": 10,
}
VERL: Values = PRIME | {
    "trainer.test_freq": 64,
    "data.train_batch_size": 64,
    "data.filter_truncated": True,
    "data.oversample_factor": 4.0,
    "actor.ppo_mini_batch_size": 64,
    "actor.counts_prompts": True,
    "actor.ppo_micro_batch_size": 8,  # stated as 1 a GPU
    "actor.clip_ratio_c": 3.0,
    "actor.entropy_coeff": 0.001,
    "algorithm.kl_coef": 0.001,
    "algorithm.applies_kl": False,
    "reward_model.mini_batch_size": 64,
    "reward_model.update": "before",
    "reward_model.rewards_last_token": False,
}


def as_settings(script: Values) -> Values:
    """Dotted keys of our settings and the values with which they do what the script does.

    Raises ValueError for a script whose passes average over more than one response: no setting of
    ours weighs tokens so, since it would depend on the number of ranks.
    """
    ranks = script["trainer.n_gpus_per_node"] * script["trainer.nnodes"]
    prompts, k = script["data.train_batch_size"], script["data.n_samples"]
    # Divided by the ranks, in the code, and taken from each of them.
    of_policy = script["actor.ppo_mini_batch_size"] * (k if script["actor.counts_prompts"] else 1)
    of_policy = of_policy // ranks * ranks
    of_prm = script["reward_model.mini_batch_size"] // ranks * ranks
    top_k = script["rollout.top_k"]
    return {
        "rollout.rollout_batch_size": prompts,
        "rollout.n_samples_per_prompt": k,
        "rollout.temperature": script["rollout.temperature"],
        "rollout.top_p": script["rollout.top_p"],
        "rollout.top_k": max(top_k, 0),
        "rollout.max_response_length": script["data.max_response_length"],
        "data.max_prompt_length": script["data.max_prompt_length"],
        "filter.filter_accuracy": script["data.filter_accuracy"],
        "filter.accuracy_lower_bound": script["data.accuracy_lower_bound"],
        "filter.accuracy_upper_bound": script["data.accuracy_upper_bound"],
        "filter.filter_truncated": script["data.filter_truncated"],
        "prm.prm_update": script["reward_model.update"],
        "prm.prm_reference": {"freeze": "sft", "policy": "policy"}[script["reward_model.ref_type"]],
        "prm.loss_type": script["reward_model.loss_type"],
        "prm.beta": script["reward_model.beta_train"],
        "prm.prime_granularity": script["reward_model.granularity"],
        "prm.prime_norm": script["reward_model.prime_norm"],
        "prm.eos_reward": script["reward_model.rewards_last_token"],
        "prm.mini_batch_size": of_prm,
        "prm.epochs": 1,
        "prm.optimizer.learning_rate": script["reward_model.optim.lr"],
        "prm.optimizer.weight_decay": script["reward_model.optim.weight_decay"],
        "prm.optimizer.grad_clip": script["reward_model.optim.grad_clip"],
        "policy.adv_estimator": script["algorithm.adv_estimator"],
        "policy.baseline": "code",
        "policy.whiten": True,  # of every estimator, without a switch
        "policy.gamma_outcome": script["algorithm.verifier_gamma"],
        "policy.gamma_process": script["algorithm.reward_model_gamma"],
        # rm_coef, reward_coef and reward_gt_coef of 5 are read by no line of the leave-one-out.
        "policy.outcome_coef": 1.0,
        "policy.process_coef": 1.0,
        "policy.combine": "returns",
        "policy.loss_mode": "vanilla",
        "policy.loss_agg_mode": aggregation(script["actor.ppo_micro_batch_size"] // ranks),
        "policy.eps_clip": script["actor.clip_ratio"],
        "policy.eps_clip_high": script["actor.clip_ratio"],
        "policy.clip_ratio_c": script["actor.clip_ratio_c"],
        "policy.entropy_coef": script["actor.entropy_coeff"],
        "policy.kl_coef": script["algorithm.kl_coef"] if script["algorithm.applies_kl"] else 0.0,
        "policy.ppo_mini_batch_size": of_policy,
        "policy.ppo_epochs": script["actor.ppo_epochs"],
        "policy.optimizer.learning_rate": script["actor.optim.lr"],
        "policy.optimizer.weight_decay": script["actor.optim.weight_decay"],
        "policy.optimizer.grad_clip": script["actor.grad_clip"],
        "verification.no_box": "last_line" if script["reward.unboxed_answers"] else "no_answer",
        "verification.partial_credit": "first_tests",
        "verification.max_tests": script["reward.max_tests"],
        "evaluation.every": script["trainer.test_freq"],
        "rollout.oversample_factor": script.get("data.oversample_factor"),
    }


def aggregation(responses_a_pass: int) -> str:
    """What a mean over each pass's tokens, averaged over the passes, amounts to."""
    if responses_a_pass != 1:
        raise ValueError(f"passes of {responses_a_pass} responses weigh tokens by their passes")
    return "seq-mean-token-mean"


# Keys that our files set otherwise than the scripts; docs/paper.md gives the reason of each.
ON_PURPOSE = {
    "prime": {"rollout.oversample_factor"},
    "verl": {"evaluation.every", "verification.no_box", "verification.partial_credit"},
}

# What the paper itself gives (arXiv 2502.01456); verl's row has no paper.
PAPER: Values = {
    "rollout.rollout_batch_size": 256,
    "rollout.n_samples_per_prompt": 4,
    "filter.filter_accuracy": True,
    "filter.accuracy_lower_bound": 0.2,
    "filter.accuracy_upper_bound": 0.8,
    "prm.prm_update": "after",
    "prm.prm_reference": "sft",
    "prm.loss_type": "ce",
    "prm.beta": 0.05,
    "prm.prime_granularity": "token",
    "prm.optimizer.learning_rate": 1e-6,
    "policy.adv_estimator": "rloo",
    "policy.baseline": "paper",
    "policy.outcome_coef": 1.0,
    "policy.process_coef": 1.0,
    "policy.combine": "returns",
    "policy.loss_mode": "vanilla",
    "policy.kl_coef": 0.0,
    "policy.ppo_mini_batch_size": 256,
    "policy.optimizer.learning_rate": 5e-7,
    "verification.partial_credit": "all_tests",
}


def table(main: Values, gsm8k: Values) -> str:
    """Markdown: each key's value in the paper, in the two scripts, and in our two files.

    main, gsm8k: our files' settings by dotted key.
    """
    prime, verl = as_settings(PRIME), as_settings(VERL)
    lines = [
        "| key | paper | script | `eurus2_7b_prime` | verl | `gsm8k_qwen05b` |",
        "|---|---|---|---|---|---|",
    ]
    for key in prime:
        row = (PAPER.get(key), prime[key], main[key], verl[key], gsm8k[key])
        lines.append(f"| `{key}` | {' | '.join(map(_shown, row))} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else f"{value}"
