"""A run whose first batch is made up: eight responses of two prompts under a tiny model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prime_core.run.atomic import write_text
from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, write_table
from prime_core.settings.reading import dump_settings, parse_settings
from tests.support.tiny_model import ragged_sequences, save_tiny_model

NUM_RESPONSES = 8
USUAL_LOGPROB = -5.0  # about what the tiny model gives any token


def made_up_batch(
    results: Path,
    sampler_logprobs: Sequence[float] = (USUAL_LOGPROB,) * NUM_RESPONSES,
    outcomes: Sequence[float] = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0),
    finish_reasons: Sequence[str] = ("stop",) * NUM_RESPONSES,
    **changes: Any,
) -> RunFiles:
    """The files of a run before the first iteration's scoring; policy, PRM and reference are one.

    sampler_logprobs: a number for each response, that of all its tokens.
    """
    settings = parse_settings(
        {
            "run": "made-up",
            "results": str(results),
            "policy.ppo_mini_batch_size": NUM_RESPONSES,
            # No sampler drew these responses: their log-probabilities are whatever a test says.
            "policy.max_mismatch_kl": None,
            "policy.optimizer": {"learning_rate": 1e-3, "grad_clip": 1e9},
            # The tiny model has 64 positions.
            "data.max_prompt_length": 24,
            "rollout.max_response_length": 40,
            "sft.max_length": 64,
            **changes,
        },
        "test",
    )
    files = RunFiles(settings.run_dir)
    write_text(files.config, dump_settings(settings))
    save_tiny_model(files.policy(0))
    for link in (files.reference, files.prm(0)):
        link.symlink_to(files.policy(0).name)
    sequences = ragged_sequences(NUM_RESPONSES)
    rows = [
        {
            "prompt_id": f"p{number // 4}",
            "sample": number % 4,
            "prompt_tokens": sequences.prompts[number // 4],
            "response_tokens": response,
            "sampler_logprobs": [sampler_logprobs[number]] * len(response),
            "text": "",
            "finish_reason": finish_reasons[number],
            "policy_iteration": 0,
            "outcome": outcomes[number],
        }
        for number, response in enumerate(sequences.responses)
    ]
    write_table(files.batch(1), rows, BATCH)
    return files
