"""`prime rate-steps`: how well an implicit PRM finds the first wrong step of published solutions.

In: two model folders with the same tokens, files of solutions whose first wrong step is known
(ProcessBench's, or others of the same columns). Out: a parquet file of the scores of all steps
and, beside it as .json, the figures of each file.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.data.columns import column_map
from prime_core.data.reading import DataError
from prime_core.evaluation.step_figures import step_lines
from prime_core.evaluation.step_rating import Solutions, rate_steps
from prime_core.models.load import check_same_tokens
from prime_core.run.atomic import write_json
from prime_core.runtime.console import say
from prime_core.settings.reading import parse_settings


def run(
    *,
    model: Path,
    reference: Path,
    files: tuple[str, ...],
    threshold: str | None,
    out: Path,
    beta: float,
    dtype: str,
    micro_batch_size: int,
    num_rows: int | None,
    columns: tuple[str, ...],
) -> None:
    """Rate the files and print their figures. Raises ModelError, DataError, SettingsError."""
    if out.suffix != ".parquet":
        raise DataError(f"--out {out}: the scores are a .parquet file")
    parts = _named(files)
    chosen_on = threshold or next(iter(parts))
    if chosen_on not in parts:
        raise DataError(
            f"--threshold {chosen_on}: no such file; expected one of {', '.join(parts)}"
        )
    check_same_tokens(reference, model)
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
    given = Solutions(
        files=parts,
        columns=column_map(columns),
        key="--column {}",
        chosen_on=chosen_on,
        num_rows=num_rows,
        asked=lambda messages: messages,
    )
    figures = rate_steps(given, model, reference, settings, out)
    write_json(out.with_suffix(".json"), {"threshold_part": chosen_on, "parts": figures})
    for line in step_lines(figures, chosen_on):
        say(line)


def _named(files: tuple[str, ...]) -> dict[str, str]:
    """Part -> file, from NAME=FILE or FILE, whose name is then its own without endings."""
    parts: dict[str, str] = {}
    for text in files:
        name, given, file = text.partition("=")
        if not given:
            name, file = Path(text).name.partition(".")[0], text
        if name in parts:
            raise DataError(f"--file {text}: a second file of the name {name}; write NAME={file}")
        parts[name] = file
    return parts
