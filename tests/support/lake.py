"""A run of an agent on FrozenLake that is as small as they get."""

from typing import Any

from tests.support.workflow_runs import TINY

LAKE: dict[str, Any] = {
    "id": "FrozenLake-v1",
    "kwargs": {"is_slippery": False, "rules": False},
    "max_turns": 6,
    "max_turn_length": 3,
    "num_train": 8,
    "num_validation": 3,
    "demonstrator": "prime_core.environments.demonstrators:frozen_lake_4x4",
    "num_demonstrations": 40,
}
AGENT: dict[str, Any] = TINY | {
    "data": {"source": "env", "env": LAKE, "max_prompt_length": 8},
    "sft": TINY["sft"] | {"num_steps": 60},
    "rollout": TINY["rollout"]
    | {"num_shards": 1, "max_response_length": 40, "sampler_batch_size": 16},
    "evaluation": {
        "every": 1,
        "benchmarks": {"validation": {"temperature": 1.0, "max_response_length": 40}},
    },
}
