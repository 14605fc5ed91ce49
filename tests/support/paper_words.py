"""The longer words of the files under configs/paper: first comments, and the benchmarks of a table.

`tests.support.paper_changes` says what else they change.
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


# Of the table of sizes, which has AIME 2025 and no programs.
SIX = f"""
{_rows("validation")}    # The six of the paper's table, greedily, in at most 4,096 tokens, but
    # MATH-500 in 8,192. As in configs/benchmarks.yaml. temperature 0: greedy; null: as the section
    # `data` says, or all.
{_rows("aime-2024")}    aime-2025:  # 30 problems
      {{file: "hf://datasets/math-ai/aime25/test.jsonl",
       form: plain, ability: math, system_prompt: null, ground_truth_after: null,
       columns: {{prompt: problem, ground_truth: answer}}, num_problems: 30,
       prompt_suffix: *boxed,
       n_samples_per_prompt: 1, temperature: 0.0, top_p: 1.0, max_response_length: 4096,
       scorer: null}}
{_rows("amc", "math-500", "minerva", "olympiadbench")}""".rstrip("\n")

# By file: what its run is, the published figures, what had to be assumed.
HEADS = {
    "eurus2_7b_rloo": """
Outcome-only RLOO: the baseline of the PRIME paper's main table (arXiv 2502.01456), 240 iterations
with the verifier's rewards alone. eurus2_7b_prime.yaml says where data, values and words come
from; this file differs from it in `run`, `iterations` and `prm.prm_update` alone.
""",
    "eurus2_7b_reinforce": """
REINFORCE with outcome rewards only (PRIME, arXiv 2502.01456, "other RL algorithms"): no baseline,
240 iterations; mean of the seven benchmarks 36.0. eurus2_7b_prime.yaml says where data, values and
words come from.
""",
    "eurus2_7b_reinforce_prime": """
REINFORCE with PRIME (arXiv 2502.01456, "other RL algorithms", Eq. 8): returns without a baseline,
240 iterations; mean of the seven benchmarks 37.8. eurus2_7b_prime.yaml says where data, values and
words come from.
""",
    "eurus2_7b_grpo": """
GRPO with outcome rewards only (PRIME, arXiv 2502.01456, "other RL algorithms"): outcomes less
their group's mean, over its standard deviation; 240 iterations; mean of the seven benchmarks 36.1.
eurus2_7b_prime.yaml says where data, values and words come from.
""",
    "eurus2_7b_grpo_prime": """
GRPO with PRIME (arXiv 2502.01456, "other RL algorithms", Eq. 7): process rewards by the mean and
the deviation of their group, too; 240 iterations; mean of the seven benchmarks 37.8.
eurus2_7b_prime.yaml says where data, values and words come from.
""",
    "eurus2_7b_ppo": """
PPO with outcome rewards only (PRIME, arXiv 2502.01456, "other RL algorithms"): a learned value
model is the baseline, gamma and lambda are 1; 240 iterations; mean of the seven benchmarks 35.8.
eurus2_7b_prime.yaml says where data, values and words come from.
""",
    "eurus2_7b_ppo_prime": """
PPO with PRIME (arXiv 2502.01456, "other RL algorithms"): implicit rewards of every token and the
outcome at the last one, less a learned model's values; 240 iterations; mean of the seven benchmarks
39.4. eurus2_7b_prime.yaml says where data, values and words come from.
""",
    "eurus2_7b_prm_as_value": """
The implicit PRM as value model (PRIME, arXiv 2502.01456, "value or reward"): the sum of its rewards
up to a token is the baseline of the outcome, A_t = r_o - v(y_<t); 240 iterations; mean of the seven
benchmarks 36.6. eurus2_7b_prime.yaml says where data, values and words come from.
""",
    "eurus2_7b_eurusprm": """
PRIME from a PRM that was trained before (arXiv 2502.01456, "design choices for the implicit PRM"):
EurusPRM, Eurus-2-7B-SFT after 500,000 responses of other models, updated online as usual. The paper
finds it worse than starting from the SFT model; it shows curves and no figures.

data/eurus-prm/labelled.parquet: whole responses (prompt, response, outcome 0 or 1), 8 a prompt, of
Llama-3.1-8B, Qwen2.5-72B-Instruct and Qwen2.5-Math-7B to prompts of UltraInteract and Numina
(paper, PRM data). `prime labelled` makes such a file of another run's responses.
eurus2_7b_prime.yaml says where the other data, values and words come from.
""",
    "eurus2_7b_offline_prm": """
PRIME with an offline PRM (arXiv 2502.01456, "design choices for the implicit PRM"): EurusPRM as in
eurus2_7b_eurusprm.yaml, which says what it is trained on, but never updated. The paper finds its
accuracy falling as the policy moves away, and the run below the one that updates it; it shows
curves and no figures. eurus2_7b_prime.yaml says where the other data, values and words come from.
""",
    "eurus2_7b_policy_reference": """
PRIME with the sampling policy as the PRM's reference (arXiv 2502.01456, "different reference
model"): the log-ratio is to the policy that wrote the response, and no model stays frozen. The
paper finds rewards like those with the SFT model; it shows curves and no figures.
eurus2_7b_prime.yaml says where data, values and words come from.
""",
    "eurus2_7b_double_forward": """
PRIME by double forward (arXiv 2502.01456, "single-forward v.s. double-forward"): the PRM is updated
first and scores then. The paper finds a more accurate PRM and rewards like those of a single
forward; it shows curves and no figures. eurus2_7b_prime.yaml says where data, values and words come
from.
""",
    "eurus2_7b_dpo": """
PRIME whose PRM learns by DPO (arXiv 2502.01456, "loss function"): each response against those of
its prompt that ended otherwise; 96 iterations. Mean of AIME 2024, AMC, MATH-500, Minerva and
OlympiadBench 32.4, by cross-entropy 32.3. The paper calls it a pilot and does not name its start
model, whose figures are not those of Eurus-2-7B-SFT: here it is the main run's, and iteration 96 of
eurus2_7b_prime.yaml is the twin. That file says where data, values and words come from.
""",
    "eurus2_7b_sft": """
Eurus-2-7B-SFT itself (PRIME, arXiv 2502.01456, "SFT data & training details"): Qwen2.5-Math-7B
after 3 epochs of 229,763 demonstrations, without any reinforcement learning: `iterations` is 0.
Evaluated on the seven benchmarks it is the first row of the paper's own: AIME 2024 3.3, AMC 30.1,
MATH-500 66.2, Minerva 32.7, OlympiadBench 29.8, LeetCode 21.7, LiveCodeBench 17.8; mean 28.8.
Another run starts from its weights by `model.path: results/eurus2-7b-sft/models/policy-0000`.
eurus2_7b_prime.yaml says where the other values and words come from.
""",
    "qwen25_7b_prm_3b": """
A smaller PRM (PRIME, arXiv 2502.01456, "effect of reward model size"): Qwen2.5-3B for the policy
Qwen2.5-7B, base models both. AIME 2024 10.7, AIME 2025 4.8, AMC 44.0, MATH-500 73.2, Minerva 26.1,
OlympiadBench 33.0; mean 32.0. The paper says of the rest that it is as in the main experiment;
eurus2_7b_prime.yaml says where values and words come from.
""",
    "qwen25_7b_prm_7b": """
A PRM of the policy's size (PRIME, arXiv 2502.01456, "effect of reward model size"): Qwen2.5-7B is
both. AIME 2024 13.2, AIME 2025 6.4, AMC 42.9, MATH-500 73.4, Minerva 26.5, OlympiadBench 33.1; mean
32.6. The paper says of the rest that it is as in the main experiment; eurus2_7b_prime.yaml says
where values and words come from.
""",
    "qwen25_7b_prm_14b": """
A larger PRM (PRIME, arXiv 2502.01456, "effect of reward model size"): Qwen2.5-14B for the policy
Qwen2.5-7B, base models both. AIME 2024 10.8, AIME 2025 4.8, AMC 44.1, MATH-500 73.2, Minerva 25.4,
OlympiadBench 32.7; mean 31.8. The paper says of the rest that it is as in the main experiment;
eurus2_7b_prime.yaml says where values and words come from.
""",
    "prime_zero_7b": """
PRIME-Zero 7B (arXiv 2502.01456, "zero" experiments): reinforcement learning from Qwen2.5-Math-7B
without any SFT. The paper shows curves, better than the instruct model's after 32 iterations and
flat after about 50, and no table. The data's own system prompt and the tokenizer's chat template
are used: assumption; the released model's card has a plain-text template instead.
eurus2_7b_prime.yaml says where data, values and words come from.
""",
    "prime_zero_32b": """
PRIME-Zero 32B (arXiv 2502.01456, "zero" experiments): reinforcement learning from Qwen2.5-32B
without any SFT. The paper shows curves, better than the instruct model's after 16 iterations, and
no table; it had eight A800 of 80 GB. On so many, policy and PRM are trained with their optimizers
in the node's memory, 1.2 TB of it; on two nodes (stages-32b.yaml: nodes: 2) without. Prompts as in
prime_zero_7b.yaml. eurus2_7b_prime.yaml says where data, values and words come from.
""",
}
