"""Stage `save_state`: a training state that an update left in memory goes to disk.

In: iterations/<i>/<model>, its training state in this machine's memory (training.state_storage).
Out: iterations/<i>/<model>/training_state, metrics/save_state-<model>.json.

It needs no GPU and runs beside the next iteration's sampling. The next update waits for it, and the
weights of the iteration before stay until then, so that whatever is lost with the memory can be
made again. docs/decisions.md#states-in-memory

Raises StateLost where memory no longer has the state.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.run.training_states import save_state
from prime_core.run.work import finish, open_run, progress_label
from prime_core.runtime.locks import only_one
from prime_core.runtime.stopwatch import Stopwatch
from prime_core.runtime.text import bytes_text


def run(run_dir: Path, iteration: int, model: str) -> None:
    """Write the training state of one model of an iteration to disk."""
    settings, files = open_run(run_dir)
    metrics, watch = files.metrics(iteration, f"save_state-{model}"), Stopwatch()
    with only_one(metrics, run_dir):
        with watch.part("save"):
            size = save_state(files.weights(model, iteration))
        finish(
            metrics,
            {"save_state/bytes": size, **watch.seconds},
            f"{progress_label(iteration, settings)} save_state {model}: {bytes_text(size)}, "
            f"{watch.seconds['timing_s/save']:.1f} s",
        )
