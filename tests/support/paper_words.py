"""The longer texts of the files under configs/paper: opening comments, and one table's benchmarks.

`tests.support.paper_changes` has their other changes.
"""

from __future__ import annotations

import re

from tests.support.shared_data import ROOT

MAIN = ROOT / "configs" / "paper" / "eurus2_7b_prime.yaml"


def _rows(*names: str) -> str:
    """The main run's lines of these benchmarks."""
    main = MAIN.read_text(encoding="utf-8")
    found = [re.search(rf"^    {name}:.*\n(?:      .*\n)+", main, re.MULTILINE) for name in names]
    assert all(found), names
    return "".join(row[0] for row in found if row)


# For the table of PRM sizes, which has AIME 2025 and no programs.
SIX = f"""
{_rows("validation")}    # The six of the paper's table, greedy, with at most 4,096 tokens (8,192
    # for MATH-500). As in configs/benchmarks.yaml, but for the system message, the script's.
    # temperature 0: greedy; null: as in the section `data`, or all.
{_rows("aime-2024")}    aime-2025:  # 30 problems
      {{file: "hf://datasets/math-ai/aime25/test.jsonl",
       form: plain, ability: math, system_prompt: *eval_system, ground_truth_after: null,
       columns: {{prompt: problem, ground_truth: answer}}, num_problems: 30,
       prompt_suffix: *boxed,
       n_samples_per_prompt: 1, temperature: 0.0, top_p: 1.0, max_response_length: 4096,
       num_shards: 1, scorer: null}}
{_rows("amc", "math-500", "minerva", "olympiadbench")}""".rstrip("\n")

# For each file: what the run is, the published figures, what had to be assumed.
HEADS = {
    "eurus2_7b_rloo": """
Outcome-only RLOO: the baseline of the PRIME paper's main table (arXiv 2502.01456), 240 iterations
with only the verifier's rewards. eurus2_7b_prime.yaml describes the data and gives the sources of
all values; this file differs from it in `run`, `iterations` and `prm.prm_update`.
""",
    "eurus2_7b_reinforce": """
REINFORCE with outcome rewards only (PRIME, arXiv 2502.01456, "other RL algorithms"): no baseline of
its own, 240 iterations; mean of the seven benchmarks 36.0. The script whitens every estimator's
advantages, so that the batch's mean is the baseline, as in REINFORCE++: that is this file's reading
of the paper's row, and `policy.whiten=false` the other (configs/ablations/whitening.yaml compares
them). eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "eurus2_7b_reinforce_prime": """
REINFORCE with PRIME (arXiv 2502.01456, "other RL algorithms", Eq. 8): returns without a baseline of
their own, whitened as in eurus2_7b_reinforce.yaml, which says how that is to be read; 240
iterations; mean of the seven benchmarks 37.8. eurus2_7b_prime.yaml describes the data and gives the
sources of all values.
""",
    "eurus2_7b_grpo": """
GRPO with outcome rewards only (PRIME, arXiv 2502.01456, "other RL algorithms"): outcomes minus
their group's mean, divided by its standard deviation; 240 iterations; mean of the seven benchmarks
36.1. eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "eurus2_7b_grpo_prime": """
GRPO with PRIME (arXiv 2502.01456, "other RL algorithms", Eq. 7): process rewards, too, are
normalised by the mean and standard deviation of their group; 240 iterations; mean of the seven
benchmarks 37.8. eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "eurus2_7b_ppo": """
PPO with outcome rewards only (PRIME, arXiv 2502.01456, "other RL algorithms"): a learned value
model is the baseline, gamma and lambda are 1; 240 iterations; mean of the seven benchmarks 35.8.
eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "eurus2_7b_ppo_prime": """
PPO with PRIME (arXiv 2502.01456, "other RL algorithms"): implicit rewards at every token and the
outcome at the last one, minus a learned model's values; 240 iterations; mean of the seven
benchmarks 39.4. eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "eurus2_7b_prm_as_value": """
The implicit PRM as value model (PRIME, arXiv 2502.01456, "value or reward"): the sum of its
rewards up to a token is the baseline of the outcome, A_t = r_o - v(y_<t); 240 iterations; mean of
the seven benchmarks 36.6. eurus2_7b_prime.yaml describes the data and gives the sources of all
values.
""",
    "eurus2_7b_eurusprm": """
PRIME starting from a pretrained PRM (arXiv 2502.01456, "design choices for the implicit PRM"):
EurusPRM, which is Eurus-2-7B-SFT trained on 500,000 responses of other models, is updated online
as usual. The paper finds it worse than starting from the SFT model; it shows curves but no
figures.

data/eurus-prm/labelled.parquet: whole responses (prompt, response, outcome 0 or 1), 8 per prompt,
by Llama-3.1-8B, Qwen2.5-72B-Instruct and Qwen2.5-Math-7B to prompts of UltraInteract and Numina
(paper, PRM data). `prime labelled` writes such a file from another run's responses.
eurus2_7b_prime.yaml describes the other data and gives the sources of the other values.
""",
    "eurus2_7b_offline_prm": """
PRIME with an offline PRM (arXiv 2502.01456, "design choices for the implicit PRM"): EurusPRM as in
eurus2_7b_eurusprm.yaml, which says what it is trained on, but never updated. The paper finds that
its accuracy falls as the policy moves away, and that the run does worse than the one that updates
it; it shows curves but no figures. eurus2_7b_prime.yaml describes the other data and gives the
sources of the other values.
""",
    "eurus2_7b_policy_reference": """
PRIME with the sampling policy as the PRM's reference (arXiv 2502.01456, "different reference
model"): the log-ratio is to the policy that wrote the response, and no frozen model is kept. The
paper finds rewards similar to those with the SFT model; it shows curves but no figures.
eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "eurus2_7b_double_forward": """
PRIME with double forward (arXiv 2502.01456, "single-forward v.s. double-forward"): the PRM is
updated first and then scores. The paper finds a more accurate PRM and rewards similar to those of
a single forward; it shows curves but no figures. eurus2_7b_prime.yaml describes the data and gives
the sources of all values.
""",
    "eurus2_7b_dpo": """
PRIME with a PRM trained by DPO (arXiv 2502.01456, "loss function"): each response against those of
its prompt with the opposite outcome; 96 iterations. Mean of AIME 2024, AMC, MATH-500, Minerva and
OlympiadBench 32.4, with cross-entropy 32.3. The paper calls it a pilot and does not name its start
model, whose figures are not those of Eurus-2-7B-SFT; here it is the main run's, and the
counterpart is iteration 96 of eurus2_7b_prime.yaml. That file describes the data and gives the
sources of all values.
""",
    "eurus2_7b_sft": """
Eurus-2-7B-SFT itself (PRIME, arXiv 2502.01456, "SFT data & training details"): Qwen2.5-Math-7B
after 3 epochs over 229,763 demonstrations, without any reinforcement learning (`iterations` is 0).
Evaluated on the seven benchmarks, it is the first of the paper's own rows: AIME 2024 3.3, AMC
30.1, MATH-500 66.2, Minerva 32.7, OlympiadBench 29.8, LeetCode 21.7, LiveCodeBench 17.8; mean
28.8. To start another run from its weights, set its model.path to
results/eurus2-7b-sft/models/policy-0000. eurus2_7b_prime.yaml gives the sources of the other
values.
""",
    "qwen25_7b_prm_3b": """
A smaller PRM (PRIME, arXiv 2502.01456, "effect of reward model size"): Qwen2.5-3B for the policy
Qwen2.5-7B, both base models. AIME 2024 10.7, AIME 2025 4.8, AMC 44.0, MATH-500 73.2, Minerva 26.1,
OlympiadBench 33.0; mean 32.0. The paper says that everything else is as in the main experiment;
eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "qwen25_7b_prm_7b": """
A PRM of the policy's size (PRIME, arXiv 2502.01456, "effect of reward model size"): Qwen2.5-7B for
both. AIME 2024 13.2, AIME 2025 6.4, AMC 42.9, MATH-500 73.4, Minerva 26.5, OlympiadBench 33.1;
mean 32.6. The paper says that everything else is as in the main experiment; eurus2_7b_prime.yaml
describes the data and gives the sources of all values.
""",
    "qwen25_7b_prm_14b": """
A larger PRM (PRIME, arXiv 2502.01456, "effect of reward model size"): Qwen2.5-14B for the policy
Qwen2.5-7B, both base models. AIME 2024 10.8, AIME 2025 4.8, AMC 44.1, MATH-500 73.2, Minerva 25.4,
OlympiadBench 32.7; mean 31.8. The paper says that everything else is as in the main experiment;
eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "prime_zero_7b": """
PRIME-Zero 7B (arXiv 2502.01456, "zero" experiments): reinforcement learning from Qwen2.5-Math-7B
without any SFT. The paper shows curves but no table: better than the instruct model after 32
iterations and flat after about 50. Using the data's own system prompt and the tokenizer's chat
template is an assumption; the released model's card has a plain-text template instead.
eurus2_7b_prime.yaml describes the data and gives the sources of all values.
""",
    "prime_zero_32b": """
PRIME-Zero 32B (arXiv 2502.01456, "zero" experiments): reinforcement learning from Qwen2.5-32B
without any SFT. The paper shows curves but no table: better than the instruct model after 16
iterations; it had eight A800 of 80 GB. On as many GPUs, policy and PRM are trained with their
optimizers in the node's memory, 1.2 TB of it; two nodes (stages-32b.yaml: nodes: 2) do without.
Prompts are as in prime_zero_7b.yaml. eurus2_7b_prime.yaml describes the data and gives the sources
of all values.
""",
}
