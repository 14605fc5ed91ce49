"""ReMax: a greedy response to each prompt is sampled, judged, and only a baseline."""

import numpy as np
import pandas as pd
import pytest
import torch

from prime_core.run.state import RunState
from prime_core.run.tables import (
    BATCH,
    GREEDY,
    OUTCOMES,
    PROMPTS,
    ROLLOUTS,
    read_json,
    read_table,
    write_table,
)
from prime_core.samplers import SamplingParams
from prime_core.samplers.ask import ask
from prime_core.settings.reading import parse_settings
from prime_core.stages import sample, select, verify
from prime_core.training.batch_advantages import batch_advantages
from prime_core.training.learning_batch import read_batch


@pytest.fixture(scope="module")
def judged(tiny_model, tmp_path_factory):
    """A run whose first iteration has been sampled and judged."""
    settings = {
        "results": str(tmp_path_factory.mktemp("remax")),
        "model.path": str(tiny_model),
        "prm.prm_update": "none",
        "rollout": {
            **{"sampler": "transformers", "rollout_batch_size": 3, "n_samples_per_prompt": 2},
            **{"num_shards": 2, "max_response_length": 4},
        },
        "filter.filter_accuracy": False,
        "policy": {"adv_estimator": "remax", "whiten": False},
    }
    run = RunState(parse_settings(settings, "test"))
    run.begin()
    problems = [
        {
            **{"prompt_id": f"p{n}", "prompt": [{"role": "user", "content": f"{n}+1=?"}]},
            **{"ability": "math", "ground_truth": str(n + 1), "data_source": "test"},
        }
        for n in range(3)
    ]
    write_table(run.files.train, problems, PROMPTS)
    run.files.policy(0).parent.mkdir(parents=True, exist_ok=True)
    run.files.policy(0).symlink_to(tiny_model)
    for shard in (0, 1):
        sample.run(run.files.root, 1, shard)
        verify.run(run.files.root, 1, shard)
    return run


def test_one_more_response_to_each_prompt_is_greedy_and_in_no_figure(judged, tiny_model):
    files, settings = judged.files, judged.settings
    tables = [read_table(files.rollouts(1, shard), ROLLOUTS) for shard in (0, 1)]
    rows = pd.concat(tables)
    assert sorted(rows.groupby("prompt_id")["sample"].agg(sorted)) == [[GREEDY, 0, 1]] * 3
    found = rows[rows["sample"] == GREEDY].set_index("prompt_id")["response_tokens"]
    again = ask(
        sampler="transformers",
        model_path=tiny_model,
        prompts=read_table(files.train, PROMPTS),
        purpose="other",
        iteration=7,
        n_samples_per_prompt=1,
        params=SamplingParams(temperature=0.0, top_p=1.0, top_k=0, max_response_length=4),
        settings=settings,
        progress=lambda _: None,
        output=None,
    )
    assert {row["prompt_id"]: row["response_tokens"] for row in again} == {
        key: list(tokens) for key, tokens in found.items()
    }
    counts = [read_json(files.metrics(1, f"sample-0{n}"))["sample/num_responses"] for n in (0, 1)]
    assert sum(counts) == 6


def test_the_batch_has_the_sampled_responses_beside_the_greedy_outcome(judged):
    files, settings = judged.files, judged.settings
    outcomes = []
    for shard in (0, 1):
        table = read_table(files.outcomes(1, shard), OUTCOMES)
        # As if they had been judged so: greedy right for p0, without a verdict for p2.
        table["outcome"] = np.select(
            [table["sample"] >= 0, table["prompt_id"] == "p0", table["prompt_id"] == "p1"],
            [table["sample"].astype(float), 1.0, 0.0],
            np.nan,
        )
        outcomes.append(table)
        write_table(files.outcomes(1, shard), table, OUTCOMES)
    select.run(files.root, 1)
    rows = read_table(files.batch(1), BATCH)
    kept = zip(rows["prompt_id"], rows["sample"], rows["greedy_outcome"], strict=True)
    assert sorted(kept) == [
        *[("p0", 0, 1.0), ("p0", 1, 1.0)],
        *[("p1", 0, 0.0), ("p1", 1, 0.0)],
    ]
    assert read_json(files.metrics(1, "select"))["rollout/num_responses"] == 6
    batch = read_batch(files, 1, settings.batch_columns)
    found = batch_advantages(settings, batch, None, None).advantages
    expected = batch.outcome - torch.tensor(rows["prompt_id"].eq("p0").to_numpy().astype("f"))
    expected = expected[:, None] * batch.mask
    assert sorted(found[:, 0].tolist()) == [-1.0, 0.0, 0.0, 1.0]
    torch.testing.assert_close(found, expected)
