"""Whether vLLM can run in this process, and the environment that it then runs in.

vLLM reads its environment when it is imported, so nothing in the project imports it before
`why_not` has been called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

INSTALL = "make install-gpu in the project's folder"
ENVIRONMENT = {
    # One process: requests then reach the scheduler together, so that a repetition is exact.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # default: standard output
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; else a share of the machine's memory
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # shards side by side would bind to the same cores
    "TORCH_COMPILE_DISABLE": "1",  # compiling takes longer than what small models sample
}


def why_vllm_cannot_run(model_path: Path) -> str | None:
    """Why vLLM cannot sample from this model in this process; None where it can."""
    if find_spec("vllm") is None:
        return f"vLLM is not installed ({INSTALL})"
    set_environment(ENVIRONMENT)
    try:
        from vllm.platforms import current_platform
    except (ImportError, OSError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), "without a message")
        return f"vLLM does not load ({type(error).__name__}: {reason})"
    if current_platform.is_cpu():
        return _why_not_on_a_cpu(model_path)
    if current_platform.is_unspecified() or current_platform.device_count() == 0:
        return "no GPU is visible, and this vLLM is not its CPU build"
    return None


def set_environment(values: dict[str, str]) -> None:
    """Set variables of the environment that the user has not set."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


def head_width(model_path: Path) -> int | None:
    """Width of an attention head; None where the configuration does not say."""
    from prime_core.models.load import (
        load_config,  # heavy, and other readers of SAMPLERS do not need it
    )

    config = load_config(model_path).get_text_config()
    width = getattr(config, "head_dim", None)
    heads, hidden = (getattr(config, name, None) for name in ("num_attention_heads", "hidden_size"))
    return width or (hidden // heads if heads and hidden else None)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what an engine and its processes print to standard error: a stage prints one line."""
    sys.stdout.flush()
    # The descriptor, not sys.stdout: C code and child processes write to 1 past Python.
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _why_not_on_a_cpu(model_path: Path) -> str | None:
    set_environment(CPU_ENVIRONMENT)
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    width, known = head_width(model_path), CPUAttentionBackend.get_supported_head_sizes()
    if width is None or width in known:
        return None
    return f"its CPU build has no attention heads of width {width}, only of {known}"
