"""Stage `rate`: rewards of responses under any implicit PRM, given its folder and its reference's.

In: two model folders with the same tokens, a file of prompts and responses. Out: a parquet file
with a row for each response: log_odds (the whole response's reward), and, if requested, steps and
step_rewards, tokens and token_rewards. Sums are the same at every granularity.

Where the file has outcomes, accuracy, ranking accuracy and best-of-N say how good the scorer is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from prime_core.data.columns import column_map
from prime_core.data.labelled import read_responses
from prime_core.data.reading import DataError
from prime_core.models.load import check_same_tokens, load_tokenizer
from prime_core.prm_loss import prm_accuracy, prm_ranking_accuracy
from prime_core.run.tables import rated, write_table
from prime_core.runtime.console import note, say
from prime_core.settings.reading import parse_settings
from prime_core.steps import step_ends
from prime_core.training.implicit_rewards import token_rewards
from prime_core.training.labelled_tokens import NUM_QUOTED, sequences_of, tokenise

Row = dict[str, Any]


def run(
    *,
    model: Path,
    reference: Path,
    responses: Path,
    out: Path,
    granularity: str,
    beta: float,
    dtype: str,
    micro_batch_size: int,
    columns: tuple[str, ...],
) -> None:
    """Write the rewards of all usable responses. Raises ModelError, DataError, SettingsError."""
    check_same_tokens(reference, model)
    rows, malformed = read_responses(
        responses, column_map(columns), "--column {}", with_outcomes=False
    )
    for text in malformed[:NUM_QUOTED]:
        note(f"{responses}: left out: {text}")
    rows = tokenise(rows, model)
    settings = parse_settings(
        {
            "model.dtype": dtype,
            "prm.beta": beta,
            "prm.micro_batch_size": micro_batch_size,
            # The settings refuse bfloat16 with stage 0.
            "training.zero_stage": 1 if dtype == "bfloat16" else 0,  # nothing is trained here
        },
        "options",
    )
    empty = [number for number, row in enumerate(rows) if not row["response_tokens"]]
    if empty:
        raise DataError(f"{responses}: {len(empty)} responses are cut before their first token")
    rewards = token_rewards(model, reference, sequences_of(rows), settings)
    for row, values in zip(rows, rewards, strict=True):
        # In float64, like the sums of steps below: every granularity adds up to the same.
        row |= {"log_odds": float(torch.tensor(values, dtype=torch.float64).sum())}
        row |= {"token_rewards": values}
    _add_pieces(rows, model)
    write_table(out, rows, rated(granularity))
    say(f"rate: {len(rows)} responses, {len(malformed)} malformed left out{_judge(rows)}: {out}")


def _add_pieces(rows: list[Row], folder: Path) -> None:
    """Texts of tokens and of steps, and the steps' summed rewards."""
    tokenizer = load_tokenizer(folder)
    for row in rows:
        # A token each: decoded together, texts and rewards would no longer correspond.
        row["tokens"] = tokenizer.batch_decode([[token] for token in row["response_tokens"]])
        ends = [index + 1 for index, end in enumerate(step_ends(row["tokens"])) if end]
        steps = list(zip([0, *ends], ends, strict=False))
        # A step at once: a character may be spread over several tokens.
        row["steps"] = [tokenizer.decode(row["response_tokens"][a:b]) for a, b in steps]
        row["step_rewards"] = [sum(row["token_rewards"][a:b]) for a, b in steps]


def _judge(rows: list[Row]) -> str:
    """How well the rewards tell right from wrong, over the responses whose outcome is known."""
    known = pd.DataFrame([row for row in rows if row["outcome"] is not None])
    if known.empty:
        return ""
    z, outcome = (torch.tensor(known[name].to_numpy()) for name in ("log_odds", "outcome"))
    group = torch.from_numpy(pd.factorize(known["prompt_id"])[0])
    right, pairs = prm_ranking_accuracy(z, outcome, group)
    best = known.loc[known.groupby("prompt_id")["log_odds"].idxmax(), "outcome"].mean()
    text = f", accuracy {float(prm_accuracy(z, outcome)):.3f}"
    text += f", ranks {right / pairs:.3f} of {pairs:.0f} pairs correctly" if pairs else ""
    return text + f", best of its prompt {best:.3f} (all {outcome.mean():.3f})"
