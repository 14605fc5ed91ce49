"""Files and bytes that a run leaves, and the most that lies there while it runs.

In: a shape, settings. Out: bytes and numbers of files. Weights are exact to the tenth of a percent;
tables are an upper bound, since they are compressed.
"""

from __future__ import annotations

from dataclasses import dataclass

from prime_core.planning.activations import FLOAT32
from prime_core.planning.memory import MOMENTS
from prime_core.planning.shapes import ModelShape
from prime_core.planning.workload import Workload
from prime_core.settings import Settings

# transformers begins another file of weights there.
SHARD_BYTES = 50e9
MODEL_FILES = 6  # weights, two configurations, tokenizer, its configuration, chat template
TIMESTAMP = 1  # Snakemake's, in each folder that is an output
JOB_FILES = 3  # log, benchmark, lock
REPORT_FILES = 25  # page, tables, plots, TensorBoard's events; about
TABLE_BYTES = 5_000  # of a parquet file without rows, about


@dataclass(frozen=True)
class Disk:
    """Bytes and files.

    model: a Hugging Face folder; state: the training state beside it; unfinished: of a stage that
    was stopped inside. kept: iterations whose weights stay; at_end, most: of the whole run.
    """

    model: float
    state: float
    kept: tuple[int, ...]
    tables: float
    at_end: float
    most: float
    num_files: int

    @property
    def folder(self) -> float:
        """Bytes of one policy or PRM."""
        return self.model + self.state


def model_bytes(shape: ModelShape, dtype_bytes: int) -> float:
    """Weights as transformers saves them."""
    return float(dtype_bytes * shape.num_parameters)


def state_bytes(shape: ModelShape, dtype_bytes: int, zero_stage: int) -> float:
    """What DeepSpeed saves to go on from; ZeRO-3 has no whole weights in it."""
    numbers = (FLOAT32 + MOMENTS) * shape.num_parameters
    whole = dtype_bytes * shape.num_parameters if zero_stage in (1, 2) else 0
    return float(numbers + whole)


def state_files(zero_stage: int, num_ranks: int) -> int:
    """Files of a training state: what the ranks write, its tag, DeepSpeed's two scripts."""
    ranks = {0: 1, 1: 1 + num_ranks, 2: 1 + num_ranks, 3: 2 * num_ranks}[zero_stage]
    return ranks + 1 + (2 if zero_stage else 0)


def disk_of(
    shape: ModelShape,
    settings: Settings,
    work: Workload,
    dtype_bytes: int,
    ranks: dict[str, int],
    unfinished: int,
) -> Disk:
    """ranks: of `policy` and `prm`; unfinished: stages that may stop inside at the same time."""
    stage = settings.training.zero_stage
    model = model_bytes(shape, dtype_bytes)
    state = state_bytes(shape, dtype_bytes, stage)
    kept = kept_iterations(settings)
    trained = trained_models(settings)
    start = model * (settings.sft.enabled + (settings.model.path is None))
    tables = table_bytes(settings, work)
    at_end = start + tables + len(kept) * len(trained) * (model + state)
    last = settings.iterations
    # The weights that the last update started from go away when it is done.
    before = len(trained) if last > 1 and last - 1 not in kept else 0
    most = at_end + before * (model + state) + unfinished * state
    return Disk(
        model=model,
        state=state,
        kept=kept,
        tables=tables,
        at_end=at_end,
        most=most,
        num_files=num_files(shape, settings, work, dtype_bytes, ranks),
    )


def trained_models(settings: Settings) -> tuple[str, ...]:
    """Stages that leave weights in each iteration."""
    return ("policy", "prm") if settings.prm.prm_update in ("after", "before") else ("policy",)


def kept_iterations(settings: Settings) -> tuple[int, ...]:
    """Iterations whose weights stay: the last, and every n-th (prime_core.run_state)."""
    last, kept = settings.iterations, settings.checkpoints
    return tuple(
        iteration
        for iteration in range(1, last + 1)
        if iteration > last - kept.keep_last or (kept.save_freq and iteration % kept.save_freq == 0)
    )


def table_bytes(settings: Settings, work: Workload) -> float:
    """Tables of the whole run, as if nothing were compressed."""
    prompt, response = 4 * work.prompt_tokens, work.response_tokens
    ids_logprobs_text = response * (4 + 4 + work.text_bytes)
    sampled = work.sampled_responses * (prompt + ids_logprobs_text + 200)
    learned = work.trained_responses * (prompt + ids_logprobs_text + 8 * response + 200)
    files = 2 * work.num_shards + 2
    iterations = settings.iterations * (sampled + learned + files * TABLE_BYTES)
    evaluations = len(work.evaluated_iterations) * sum(
        one.num_responses * (one.response_tokens * work.text_bytes + 200) + TABLE_BYTES
        for one in work.benchmarks.values()
    )
    return iterations + evaluations


def num_files(
    shape: ModelShape, settings: Settings, work: Workload, dtype_bytes: int, ranks: dict[str, int]
) -> int:
    """Files of a finished run's folder; what Slurm and Snakemake write elsewhere is left out."""
    shards = -(-model_bytes(shape, dtype_bytes) // SHARD_BYTES)
    model = MODEL_FILES + TIMESTAMP + int(shards if shards > 1 else 0)  # an index beside shards
    has_rewards = settings.prm.prm_update != "none"
    trained = trained_models(settings)
    jobs = 2 * work.num_shards + 1 + has_rewards + len(trained)
    # outputs: tables and figures of each job; an update's tables are its weights
    outputs = 2 * jobs - len(trained) + 2  # and the iteration's two notes
    iteration = jobs * JOB_FILES + outputs + 1  # the lock of one of the notes
    evaluations = len(work.evaluated_iterations) * len(work.benchmarks) * (JOB_FILES + 2)
    start = 4 * model + 3 * JOB_FILES + 3 + 3 + 2 + 1  # metrics, data, notes of the run, its lock
    kept = sum(
        model + state_files(settings.training.zero_stage, ranks[stage])
        for stage in trained
        for _ in kept_iterations(settings)
    )
    report = REPORT_FILES + JOB_FILES
    return start + settings.iterations * iteration + evaluations + kept + report
