"""Where the contents of the folder `shared` are published: for whoever has only the project.

Data sets are JSON lines (gzipped where the name says so) with the columns that tests name; the
published files hold the same rows, some under other column names. Reference values are what the
named implementation returned for random inputs, on CPU in float32: tests need inputs and outputs.
"""

from fnmatch import fnmatch

HAND_MADE = "hand-made cases, published nowhere else"
VERDICTS = "verdicts of published graders on public responses, collected by hand"
PRIME = "values of the PRIME authors' implementation, github.com/PRIME-RL/PRIME"
VERL = "values of verl, github.com/volcengine/verl"
# By name below the folder, the first pattern that fits.
SOURCES = {
    "ALGORITHM.md": "notes on the paper, arXiv 2502.01456, with the figures of its tables",
    "data/math500.*": "github.com/PRIME-RL/ImplicitPRM, eval/testset/MATH500.jsonl",
    "data/math_test5000.*": "github.com/microsoft/ToRA, src/data/math/test.jsonl",
    "data/math_train7474.*": "github.com/agentica-project/rllm, rllm/data/train/math/math.json",
    "data/math_cot_100_qwen.*": "github.com/QwenLM/Qwen2.5-Math, evaluation/data/"
    "eval_rm_maj_example/math_cot_100.jsonl",
    "data/math_adversarial.*": HAND_MADE,
    "data/math_disagreements_judged.*": "responses on which graders disagree, judged by hand",
    "data/gsm8k_*": "github.com/openai/grade-school-math, grade_school_math/data",
    "data/olympiadbench.*": "github.com/QwenLM/Qwen2.5-Math, evaluation/data/olympiadbench",
    "data/college_math.*": "github.com/QwenLM/Qwen2.5-Math, evaluation/data/college_math",
    "data/processbench_*": "github.com/QwenLM/ProcessBench; Qwen/ProcessBench on the hub",
    "data/real_responses.*": "ProcessBench, Qwen2.5-Math, microsoft/rho and NeMo-Skills",
    "data/rho_*": "github.com/microsoft/rho, rho-1/outputs.zip",
    "data/humaneval.*": "github.com/openai/human-eval, data/HumanEval.jsonl.gz",
    "data/mbppplus.*": "github.com/QwenLM/Qwen2.5-Coder, eval_plus/data/MbppPlus-v0.1.0.jsonl",
    "data/mbpp_prime399.*": "github.com/PRIME-RL/PRIME, eval/data/mbpp/new_mbpp.json",
    "data/mbpp_*": "github.com/google-research/google-research, mbpp/mbpp.jsonl",
    "data/code_contests_test165.*": "github.com/agentica-project/rllm, "
    "rllm/data/test/code/code_contests.json",
    "data/code_contests_sf20.*": "github.com/bytedance/SandboxFusion, tests/datasets/samples",
    "data/livecodebench_*": "github.com/bytedance/SandboxFusion, tests/datasets/samples",
    "data/code_adversarial.*": HAND_MADE,
    "data/*_cases_2.jsonl": HAND_MADE,
    "reference/*_verdicts.json": VERDICTS,
    "reference/orig_*": PRIME,
    "reference/recipe_*": f"{VERL}, its recipe prime",
    "reference/verl_*": VERL,
    "reference/*": "values of the implementation that reference/README.md names",
}


def source_of(name: str) -> str:
    """Where a file of the folder comes from. name: below the folder. Raises KeyError."""
    for pattern, source in SOURCES.items():
        if fnmatch(name, pattern):
            return source
    raise KeyError(f"{name}: no line in {__name__}")
