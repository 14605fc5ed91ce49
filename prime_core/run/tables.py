"""The tables between stages: their columns, types, and how they are read and written.

Every table is a parquet file. A table that exists is complete: it is written aside, flushed to
disk and renamed. Reading checks columns and types, the checksum of each page, and where the table
belongs (prime_core.run.records), so that a truncated, flipped or foreign file is refused by name
instead of failing somewhere later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prime_core.run.atomic import atomic_path
from prime_core.run.records import (
    ContentDigest,
    Made,
    TableError,
    check_record,
    record_of_table,
)
from prime_core.runtime.errors import first_line

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_KEY = [("prompt_id", pa.string()), ("sample", pa.int32())]
_VERDICT = [
    ("outcome", pa.float64()),  # null: no verdict
    ("verdict", pa.string()),
    ("extracted", pa.string()),
]
_RESPONSE = [
    ("prompt_tokens", pa.list_(pa.int32())),
    ("response_tokens", pa.list_(pa.int32())),
    ("sampler_logprobs", pa.list_(pa.float32())),
    ("text", pa.string()),
    ("finish_reason", pa.string()),  # "stop": ended by EOS; "length": cut
]

PROMPTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.list_(_MESSAGE)),
        ("ability", pa.string()),  # which verifier judges
        ("ground_truth", pa.string()),
        ("data_source", pa.string()),
    ]
)
DROPPED = pa.schema(
    [
        ("split", pa.string()),  # "train", "validation" or "demonstrations"
        ("source", pa.string()),
        ("row", pa.int64()),  # in its table, from 0 on
        ("prompt_id", pa.string()),  # "" for a malformed row
        ("reason", pa.string()),  # malformed, duplicate, in_benchmark, too_long, too_easy, ...
        ("detail", pa.string()),  # what is wrong, or the problem and the words that it matched
        ("quote", pa.string()),  # how the row, or the problem, begins
    ]
)
DIFFICULTY = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("num_judged", pa.int32()),
        ("num_correct", pa.int32()),
        ("response_length", pa.float64()),  # mean, in tokens
    ]
)
DEMONSTRATIONS = pa.schema([("prompt", pa.list_(_MESSAGE)), ("response", pa.string())])
ROLLOUTS = pa.schema([*_KEY, *_RESPONSE, ("policy_iteration", pa.int32())])
OUTCOMES = pa.schema([*_KEY, *_VERDICT, ("seconds", pa.float64())])
BATCH = pa.schema([*_KEY, *_RESPONSE, ("policy_iteration", pa.int32()), ("outcome", pa.float64())])
GREEDY = -1  # the number, as a sample, of remax's greedy response in rollouts and outcomes
# A turn is a run of tokens that the policy sampled; an environment's observation lies between two.
_TOKENS_OF_TURNS = [
    ("response_mask", pa.list_(pa.bool_())),  # true: sampled by the policy; absent: all are
]
_TREE = [
    ("parent", pa.int32()),  # the sample of the same prompt that it forked from; -1: none
    ("fork", pa.int32()),  # index of its first own token; 0 without a parent
]
_EPISODE = [  # what verification plays again, an entry a turn
    ("actions", pa.list_(pa.string())),
    ("states", pa.list_(pa.string())),  # as the sampler saw them: digests, as below
]
_TURNS = [  # one entry a turn
    ("turn_rewards", pa.list_(pa.float64())),
    ("states", pa.list_(pa.string())),  # digest of the observation that the turn answered
    ("valid_actions", pa.list_(pa.bool_())),  # false: the environment could not take it
]
# Columns that a table has only where its run has turns, trees, greedy responses or flipped
# outcomes. They are written where the rows have them and read where the file has them, so other
# runs' tables, and those from before there were such columns, are as they always were.
OPTIONAL: dict[pa.Schema, pa.Schema] = {
    ROLLOUTS: pa.schema([*_TOKENS_OF_TURNS, *_TREE, *_EPISODE]),
    OUTCOMES: pa.schema(_TURNS),
    BATCH: pa.schema(
        [
            ("greedy_outcome", pa.float64()),  # of the greedy response to the same prompt (remax)
            ("true_outcome", pa.float64()),  # before it was turned over (verification.flip_*)
            *_TOKENS_OF_TURNS,
            *_TREE,
            *_TURNS,
        ]
    ),
}
REWARDS = pa.schema(
    [
        *_KEY,
        ("implicit_reward", pa.list_(pa.float32())),
        ("reference_logprobs", pa.list_(pa.float32())),
    ]
)
VALUES = pa.schema([*_KEY, ("values", pa.list_(pa.float32()))])
# Responses continued from a state of the batch: before this step of this response, and of all
# others that begin alike (value.source monte_carlo).
CONTINUATIONS = pa.schema(
    [
        *_KEY,
        ("step", pa.int32()),
        ("continuation", pa.int32()),
        ("num_tokens", pa.int32()),  # that were drawn, without those that it continues
        ("text", pa.string()),  # of the whole response
        ("finish_reason", pa.string()),
    ]
)
STEP_VALUES = pa.schema(
    [
        *_KEY,
        ("step_ends", pa.list_(pa.int32())),  # tokens before each step's end
        ("values", pa.list_(pa.float64())),  # of the state before the step; null: not known
        ("num_continuations", pa.list_(pa.int32())),  # with an outcome
    ]
)
# Responses with outcomes, as people exchange them (`prime labelled`, prm.offline.file).
LABELLED_TEXTS = pa.schema(
    [
        *_KEY,
        ("prompt", pa.list_(_MESSAGE)),
        ("response", pa.string()),
        ("outcome", pa.float64()),
        ("finished", pa.bool_()),  # false: cut, without EOS
        ("end_token", pa.string()),  # the token that ended it, as its tokenizer writes it
    ]
)
LABELLED = pa.schema(
    [
        *_KEY,
        ("prompt_tokens", pa.list_(pa.int32())),
        ("response_tokens", pa.list_(pa.int32())),
        ("outcome", pa.float64()),
        ("reference_logprobs", pa.list_(pa.float32())),
    ]
)
EVALUATION = pa.schema(
    [
        *_KEY,
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("response_length", pa.int32()),
        *_VERDICT,
    ]
)
# Where the responses are scored as well: the PRM's log-odds that the response is right.
SCORED_EVALUATION = pa.schema([*EVALUATION, ("score", pa.float64())])


# Of one shard, until all are joined: with the tokens, which a PRM scores.
EVALUATION_SHARD = pa.schema(
    [
        *EVALUATION,
        ("prompt_tokens", pa.list_(pa.int32())),
        ("response_tokens", pa.list_(pa.int32())),
    ]
)


# What `prime rate` adds at each granularity, from the coarsest on.
RATED_COLUMNS = {
    "whole": [("log_odds", pa.float64())],
    "step": [("steps", pa.list_(pa.string())), ("step_rewards", pa.list_(pa.float32()))],
    "token": [("tokens", pa.list_(pa.string())), ("token_rewards", pa.list_(pa.float32()))],
}


def rated(granularity: str) -> pa.Schema:
    """Columns of responses that a PRM has rated: whole, step or token, the coarser ones too."""
    kinds = list(RATED_COLUMNS)
    wanted = kinds[: kinds.index(granularity) + 1]
    rewards = [column for kind in wanted for column in RATED_COLUMNS[kind]]
    return pa.schema([*_KEY, ("response", pa.string()), ("outcome", pa.float64()), *rewards])


# Steps of solutions whose first wrong step is known (`prime rate-steps`, evaluation.steps).
_SCORES = pa.list_(pa.float64())
RATED_STEPS = pa.schema(
    [
        ("part", pa.string()),
        ("id", pa.string()),
        ("label", pa.int32()),  # index of the first wrong step; -1: none
        ("final_answer_correct", pa.bool_()),  # null: unknown
        ("step_ends", pa.list_(pa.int32())),  # tokens before each step's end
        ("step_scores", _SCORES),
        ("prefix_scores", _SCORES),
        ("step_mean_scores", _SCORES),
        ("prefix_mean_scores", _SCORES),
    ]
)


def _with_optional(schema: pa.Schema, names: Collection[str]) -> pa.Schema:
    """The schema, and those of its OPTIONAL columns that are among the names."""
    optional = OPTIONAL.get(schema, pa.schema([]))
    return pa.schema([*schema, *(field for field in optional if field.name in names)])


def read_table(
    path: Path, schema: pa.Schema, root: Path | None = None, also: Sequence[str] = ()
) -> pd.DataFrame:
    """Rows of one table, in file order, with the columns of `schema` and its OPTIONAL ones it has.

    root: of the run whose table it is; None: of no run. also: optional columns that must be there.
    Raises TableError naming the file and what was expected.
    """
    with _naming(path), _opened(path) as file:
        _check(path, file, root)
        table = file.read()
    missing = [name for name in (*schema.names, *also) if name not in table.column_names]
    if missing:
        raise TableError(f"{path}: columns {missing} are missing; found {table.column_names}")
    schema = _with_optional(schema, table.column_names)
    try:
        # A safe cast: wider integers of other people's tables are taken, too large numbers refused.
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise TableError(f"{path}: wrong column types: {error}") from None
    return table.to_pandas()


def write_table(
    path: Path,
    rows: pd.DataFrame | list[dict[str, Any]],
    schema: pa.Schema,
    made: Made | None = None,
) -> None:
    """Write rows as a parquet file of this schema, whole or not at all.

    OPTIONAL columns are written where the rows have them. made: the run whose table it is, and what
    it was made from.
    """
    if isinstance(rows, pd.DataFrame):
        schema = _with_optional(schema, rows.columns)
        frame = rows
    else:
        schema = _with_optional(schema, {name for row in rows for name in row})
        frame = pd.DataFrame(rows, columns=schema.names)
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    table = table.replace_schema_metadata(None)  # pandas' note of its own version is not data
    with _writer(path, schema, made) as write:
        write(table)


@contextmanager
def table_writer(
    path: Path, schema: pa.Schema, made: Made | None = None
) -> Iterator[Callable[[Sequence[dict[str, Any]]], None]]:
    """Write a table too large for memory, a batch of rows per call; whole or not at all."""
    with _writer(path, schema, made) as write_rows:

        def write(rows: Sequence[dict[str, Any]]) -> None:
            if rows:
                write_rows(pa.Table.from_pylist(list(rows), schema))

        yield write


@contextmanager
def _writer(
    path: Path, schema: pa.Schema, made: Made | None
) -> Iterator[Callable[[pa.Table], None]]:
    # Before the first row: what it was made from is what is there now.
    record, digest = made.record(path) if made else {}, ContentDigest()
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):

        def write(table: pa.Table) -> None:
            digest.update(table)
            writer.write_table(table)

        yield write
        if made:
            writer.add_key_value_metadata(digest.metadata(record))


def stream_table(
    path: Path, schema: pa.Schema, root: Path | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Rows of a table of this schema, some at a time. Raises TableError naming the file."""
    with _naming(path), _opened(path) as file:
        _check(path, file, root)
        if file.schema_arrow.names != schema.names:
            raise TableError(f"{path}: columns {file.schema_arrow.names}, not {schema.names}")
        for batch in file.iter_batches(1024):
            yield batch.to_pylist()


def read_fact(path: Path, name: str) -> int | None:
    """A fact that a table's record has beside its origin. Raises TableError naming the file."""
    with _naming(path):
        return record_of_table(path, pq.read_metadata(path)).get(name)


def _opened(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, page_checksum_verification=True)


def _check(path: Path, file: pq.ParquetFile, root: Path | None) -> None:
    if root is not None:
        check_record(path, record_of_table(path, file.metadata), root)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn pyarrow's errors for a missing or broken table into a TableError with the path."""
    try:
        yield
    except FileNotFoundError:
        raise TableError(f"{path}: no such table; run the stage that writes it") from None
    except (pa.ArrowException, OSError) as error:
        # pyarrow's messages go on for lines; an error here is one sentence.
        reason = first_line(error)
        raise TableError(
            f"{path}: not a complete parquet file ({reason}); delete it and run again"
        ) from None


def read_json(path: Path) -> Any:
    """Values of a JSON file. Raises TableError naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"{path}: no such file; run the stage that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TableError(
            f"{path}: not readable as JSON ({error}); delete it and run again"
        ) from None
