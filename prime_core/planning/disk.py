"""Files and bytes that a run leaves, and the peak while it runs.

In: a shape, settings. Out: bytes and numbers of files. Weights are exact to a tenth of a percent;
tables are an upper bound, since they are compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prime_core.planning.activations import FLOAT32
from prime_core.planning.adapters import adapter_parameters
from prime_core.planning.case import Shapes
from prime_core.planning.memory import MOMENTS
from prime_core.planning.shapes import ModelShape
from prime_core.planning.workload import Workload
from prime_core.settings.run import Settings
from prime_core.storage.gguf_files import is_gguf

# transformers splits weights into files of this size.
SHARD_BYTES = 50e9
MODEL_FILES = 7  # weights, config, generation config, tokenizer, its config, chat template, record
TIMESTAMP = 1  # Snakemake's, in each folder that is an output
ADAPTER_FILES = 2  # LoRA's weights and their configuration
JOB_FILES = 3  # log, benchmark, lock
REPORT_FILES = 27  # page, tables, plots, TensorBoard's events; about
STEPS_OF_A_SOLUTION = 10  # generously; ProcessBench's parts have 5 to 9 on average
TABLE_BYTES = 7_000  # of a parquet file without rows, about


@dataclass(frozen=True)
class Disk:
    """Bytes and files.

    model: weights of one; states: training states, folders: all that is in a folder of weights, by
    the stage that writes it. conversion: beside the largest state, while it is converted for other
    ranks. kept: iterations whose weights stay; at_end, most: of the run, finished and at its peak.
    """

    model: float
    states: dict[str, float]
    folders: dict[str, float]
    conversion: float
    kept: tuple[int, ...]
    tables: float
    at_end: float
    most: float
    num_files: int

    @property
    def folder(self) -> float:
        """Bytes of the largest folder of weights."""
        return max(self.folders.values())


def model_bytes(shape: ModelShape, dtype_bytes: int) -> float:
    """Bytes of weights as transformers saves them."""
    return float(dtype_bytes * shape.num_parameters)


def state_bytes(num_trained: int, dtype_bytes: int, zero_stage: int) -> float:
    """Bytes of DeepSpeed's training state; under ZeRO-3 it holds no complete weights."""
    # Stages 1 and 2 save the complete weights, too. Stage 0 trains in float32, where the weights
    # are the float32 copy (docs/decisions.md#offloaded-adamw).
    whole = dtype_bytes if zero_stage in (1, 2) else 0
    return float((FLOAT32 + MOMENTS + whole) * num_trained)


def state_files(zero_stage: int, num_ranks: int) -> int:
    """Files of a training state: what the ranks write, its tag and record, DeepSpeed's scripts."""
    # Stages 1 and 2: common weights, each rank's optimizer; stage 3: each rank's part of both.
    ranks = {0: 1, 1: 1 + num_ranks, 2: 1 + num_ranks, 3: 2 * num_ranks}[zero_stage]
    return ranks + 2 + (2 if zero_stage else 0)


def disk_of(
    shapes: Shapes,
    settings: Settings,
    work: Workload,
    dtype_bytes: int,
    ranks: dict[str, int],
    unfinished: Sequence[str],
    states_in_memory: bool,
) -> Disk:
    """ranks: of the stages that train; unfinished: those that may stop inside at the same time.

    states_in_memory: whether jobs of their own (`save_state`) write training states to disk.
    """
    model = model_bytes(shapes.policy, dtype_bytes)
    kept = kept_iterations(settings)
    states, folders = {}, {}
    for stage in settings.trained:
        shape = shapes.of_stage(stage)
        adapters = adapter_parameters(shape, settings, stage)
        states[stage] = state_bytes(
            adapters or shape.num_parameters, dtype_bytes, settings.training.zero_stage
        )
        weights = model_bytes(shape, dtype_bytes)
        folders[stage] = weights + states[stage] + dtype_bytes * adapters
    iteration = sum(folders.values())
    tables = table_bytes(settings, work)
    at_end = _start_bytes(shapes, settings, dtype_bytes) + tables + len(kept) * iteration
    last = settings.iterations
    # The weights that the last update starts from are deleted once it is done.
    before = iteration if last - 1 in settings.own_iterations and last - 1 not in kept else 0.0
    # Checkpoints inside a stage lie beside its output and hold no copy of the weights
    # (docs/decisions.md#step-checkpoints).
    most = at_end + before + sum(states[stage] for stage in unfinished)
    return Disk(
        model=model,
        states=states,
        folders=folders,
        # DeepSpeed's universal checkpoint is built from pieces that exist beside the whole tensors
        # (docs/decisions.md#state-any-ranks).
        conversion=2 * max(states.values()),
        kept=kept,
        tables=tables,
        at_end=at_end,
        most=most,
        num_files=num_files(shapes, settings, work, dtype_bytes, ranks, states_in_memory),
    )


def _start_bytes(shapes: Shapes, settings: Settings, dtype_bytes: int) -> float:
    """Bytes of models that the run writes once; a model of the hub is only linked."""
    path = settings.model.path
    made = settings.sft.enabled + (path is None or is_gguf(path))
    size = made * model_bytes(shapes.policy, dtype_bytes) if settings.init_from is None else 0.0
    trains_prm = settings.prm.offline is not None and settings.start == 0
    return size + trains_prm * model_bytes(shapes.prm, dtype_bytes)


def kept_iterations(settings: Settings) -> tuple[int, ...]:
    """Iterations whose weights stay: the last, and every n-th (prime_core.run.state)."""
    # The rule of RunState.is_kept, which cannot be asked: a RunState refuses settings that differ
    # from an existing run's, and a plan may be about any. A test compares the two.
    last, save_freq = settings.iterations, settings.checkpoints.save_freq
    return tuple(
        iteration
        for iteration in settings.own_iterations
        if iteration > last - settings.num_last_kept or (save_freq and iteration % save_freq == 0)
    )


def table_bytes(settings: Settings, work: Workload) -> float:
    """Bytes of the whole run's tables, as if nothing were compressed."""
    # Columns as in prime_core.run.tables: int32 tokens, float32 log-probabilities; each response
    # repeats its prompt's tokens. 200: the short columns, generously.
    prompt, response = 4 * work.prompt_tokens, work.response_tokens
    ids_logprobs_text = response * (4 + 4 + work.text_bytes)
    sampled = work.sampled_responses * (prompt + ids_logprobs_text + 200)
    # Implicit reward and the reference's log-probability, float32 each; the value, if any.
    estimates = 8 + 4 * settings.has_value_model
    learned = work.trained_responses * (prompt + ids_logprobs_text + estimates * response + 200)
    # At most what was sampled and not trained on; groups that failed the filter do not wait
    # (docs/decisions.md#staleness).
    surplus = max(sampled - learned, 0.0) * settings.rollout.keeps_surplus
    files = 2 * work.num_shards + 2 + settings.rollout.keeps_surplus + settings.has_value_model
    files += _continuation_jobs(settings)
    continued = _continuation_bytes(work)
    one_iteration = sampled + learned + surplus + continued + files * TABLE_BYTES
    evaluation = sum(
        one.num_responses * (one.response_tokens * work.text_bytes + 200) + TABLE_BYTES
        for one in work.benchmarks.values()
    )
    if work.step_solutions:  # four scores of each step, float64, and the short columns
        evaluation += work.step_solutions * (STEPS_OF_A_SOLUTION * 4 * 8 + 200) + TABLE_BYTES
    return (
        len(settings.own_iterations) * one_iteration + len(work.evaluated_iterations) * evaluation
    )


def _continuation_bytes(work: Workload) -> float:
    """Bytes of continued responses, each a whole text, and of the values of the batch's steps."""
    one = work.continued
    if one is None:
        return 0.0
    text = (one.prefix_tokens + one.continued_tokens) * work.text_bytes
    # Ends, values and counts of the steps; 200 and 100: the short columns.
    return one.num_responses * (text + 100) + one.num_states * 16 + work.trained_responses * 200


def _continuation_jobs(settings: Settings) -> int:
    """Shards that continue responses, and the job that judges them."""
    return settings.draws_continuations * (settings.rollout.num_shards + 1)


def num_files(
    shapes: Shapes,
    settings: Settings,
    work: Workload,
    dtype_bytes: int,
    ranks: dict[str, int],
    states_in_memory: bool,
) -> int:
    """Files in a finished run's folder, without what Slurm and Snakemake write elsewhere."""
    trained, trains_prm = settings.trained, bool(settings.prm.offline and not settings.start)
    jobs = 2 * work.num_shards + 1 + (settings.prm.prm_update != "none")
    jobs += settings.has_value_model + len(trained) + _continuation_jobs(settings)
    # outputs: tables and figures of each job; an update's tables are its weights
    outputs = 2 * jobs - len(trained) + 2  # and the iteration's two notes
    outputs += settings.rollout.keeps_surplus
    iteration = jobs * JOB_FILES + outputs + 1  # the lock of one of the notes
    iteration += states_in_memory * len(trained) * (JOB_FILES + 1)  # each job's figures
    tables = len(work.benchmarks) + bool(work.step_solutions)
    evaluations = len(work.evaluated_iterations) * tables * (JOB_FILES + 2)
    model = _model_files(shapes.policy, dtype_bytes)
    start = 4 * model + 3 * JOB_FILES + 3 + 4 + 2 + 1  # metrics, data, notes of the run, its lock
    start += ADAPTER_FILES * (settings.sft.enabled and settings.sft.lora is not None)
    start += (settings.prm.reference_path is not None) * model
    start += trains_prm * 2 * (JOB_FILES + 1) + trains_prm  # two jobs with figures, a table
    if trains_prm and settings.prm.offline and settings.prm.offline.lora:
        start += ADAPTER_FILES
    if difficulty := settings.data.difficulty:  # each job's table and figures, the candidates
        start += (difficulty.num_shards + 1) * (JOB_FILES + 2)  # the last job has the data's lock
    kept = len(kept_iterations(settings)) * sum(
        _model_files(shapes.of_stage(stage), dtype_bytes)
        + state_files(settings.training.zero_stage, ranks[stage])
        + ADAPTER_FILES * (adapter_parameters(shapes.of_stage(stage), settings, stage) > 0)
        + (stage == "policy")  # probe.json, for samplers that stay in memory
        for stage in trained
    )
    report = REPORT_FILES + JOB_FILES + 1  # the crate
    return start + len(settings.own_iterations) * iteration + evaluations + kept + report


def _model_files(shape: ModelShape, dtype_bytes: int) -> int:
    """Several files of weights come with an index; a value model has no generation config."""
    shards = -(-model_bytes(shape, dtype_bytes) // SHARD_BYTES)
    return MODEL_FILES - shape.scalar_head + TIMESTAMP + int(shards if shards > 1 else 0)
