"""Stage `prepare`: the run's tables of problems and demonstrations.

In: settings (data), models/base (its tokenizer counts prompt tokens).
Out: data/{train,validation,demonstrations}.parquet, metrics/prepare.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prime_core.data import arithmetic
from prime_core.data.tables import DataError, as_messages, read_demonstrations, read_problems
from prime_core.layout import RunFiles
from prime_core.rollouts import DEMONSTRATIONS, PROMPTS, write_table
from prime_core.seeds import derive_seed
from prime_core.settings import Settings
from prime_core.stages.context import Metrics, finish, only_one, open_run, progress_bar
from prime_core.training.models import load_tokenizer, prompt_tokens

Row = dict[str, Any]


def run(run_dir: Path) -> None:
    """Write the run's data tables."""
    settings, files = open_run(run_dir)
    with only_one(files.train, run_dir):
        tables, malformed = _tables(settings)
        metrics: Metrics = {"data/num_malformed": malformed}
        for split in ("train", "validation"):
            fitting = _fitting(tables[split], files, settings.data.max_prompt_length)
            metrics[f"data/num_{split}"] = len(fitting)
            metrics[f"data/num_{split}_too_long"] = len(tables[split]) - len(fitting)
            if not fitting:
                raise DataError(_explain_empty(split, tables[split], settings))
            tables[split] = fitting
        metrics["data/num_demonstrations"] = len(tables["demonstrations"])
        write_table(files.demonstrations, tables["demonstrations"], DEMONSTRATIONS)
        write_table(files.validation, tables["validation"], PROMPTS)
        write_table(files.train, tables["train"], PROMPTS)
        finish(
            files.setup_metrics("prepare"),
            metrics,
            f"prepare: {metrics['data/num_train']} training and "
            f"{metrics['data/num_validation']} held-out problems, "
            f"{metrics['data/num_demonstrations']} demonstrations; "
            f"{malformed} malformed rows left out",
        )


def _tables(settings: Settings) -> tuple[dict[str, list[Row]], int]:
    return _generated(settings) if settings.data.source == "arithmetic" else _read(settings)


def _generated(settings: Settings) -> tuple[dict[str, list[Row]], int]:
    task = settings.data.arithmetic
    tables = arithmetic.problems(
        num_train=task.num_train,
        num_validation=task.num_validation,
        max_number=task.max_number,
        min_terms=task.min_terms,
        max_terms=task.max_terms,
        seed=derive_seed(settings.seed, "problems"),
    )
    tables["demonstrations"] = arithmetic.demonstrations(
        tables["train"],
        num_demonstrations=task.num_demonstrations,
        guess_share=task.guess_share,
        guess_accuracy=task.guess_accuracy,
        max_error=task.max_error,
        seed=derive_seed(settings.seed, "demonstrations"),
    )
    for rows in tables.values():
        for row in rows:
            row["prompt"] = as_messages(row["prompt"], settings.data)
    return tables, 0


def _read(settings: Settings) -> tuple[dict[str, list[Row]], int]:
    data = settings.data
    assert data.train is not None  # the settings' own check
    assert data.validation is not None
    train, train_malformed = read_problems(Path(data.train), "train", data)
    validation, validation_malformed = read_problems(Path(data.validation), "validation", data)
    demonstrations, malformed = (
        read_demonstrations(Path(data.sft), data) if data.sft is not None else ([], 0)
    )
    tables = {"train": train, "validation": validation, "demonstrations": demonstrations}
    return tables, train_malformed + validation_malformed + malformed


def _fitting(rows: list[Row], files: RunFiles, max_prompt_length: int) -> list[Row]:
    tokenizer = load_tokenizer(files.base_model)
    kept = []
    with progress_bar(len(rows), "prompt", "measuring prompts") as bar:
        for row in rows:
            if len(prompt_tokens(tokenizer, row["prompt"])) <= max_prompt_length:
                kept.append(row)
            bar.update()
    return kept


def _explain_empty(split: str, rows: list[Row], settings: Settings) -> str:
    path = getattr(settings.data, split) or settings.data.source
    if not rows:
        return f"data.{split} ({path}) holds no usable problem; expected at least one"
    return (
        f"data.{split} ({path}): all {len(rows)} prompts are longer than "
        f"data.max_prompt_length {settings.data.max_prompt_length} tokens"
    )
