"""One thing tried out in this process, of which `prime doctor` starts one each: imports, a sandbox.

    python -m prime_core.doctor.trial torch|deepspeed|vllm|sandbox

Prints one JSON object; anything that is wrong is an exception.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from typing import Any


def torch_facts() -> dict[str, Any]:
    """What torch was built for, and the GPUs that it can use."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import torch

        usable = torch.cuda.is_available()
        gpus = []
        for index in range(torch.cuda.device_count() if usable else 0):
            properties = torch.cuda.get_device_properties(index)
            gpus.append(
                {
                    "name": properties.name,
                    "capability": [properties.major, properties.minor],
                    "bytes": properties.total_memory,
                }
            )
    nccl = torch.cuda.nccl.version() if usable and torch.version.hip is None else ()
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "architectures": torch.cuda.get_arch_list() if usable else [],
        "nccl": ".".join(map(str, nccl)),
        "gpus": gpus,
        "warning": next((str(one.message).splitlines()[0] for one in caught), ""),
    }


def deepspeed_facts() -> dict[str, Any]:
    """DeepSpeed as a training stage imports it."""
    from prime_core.models import load  # noqa: F401  # it tells DeepSpeed where there is no GPU

    import deepspeed  # isort: skip

    return {"version": deepspeed.__version__}


def vllm_facts() -> dict[str, Any]:
    """vLLM as the sampler imports it, and the kind of machine that it has found."""
    from prime_core.samplers import vllm_platform

    vllm_platform.set_environment(vllm_platform.ENVIRONMENT)
    import vllm
    from vllm.platforms import current_platform

    from prime_core.samplers import vllm_generate  # noqa: F401

    assert vllm.LLM is not None  # the package loads its parts when they are first named
    return {"version": vllm.__version__, "platform": current_platform.device_type}


def sandbox_facts() -> dict[str, Any]:
    """The sandbox that judges model-written programs, with a program run in it."""
    from prime_core.verifiers.code import SandboxUnavailable, choose_sandbox

    try:
        return {"sandbox": choose_sandbox("auto")}
    except SandboxUnavailable as error:
        return {"problem": str(error)}


TRIALS = {
    "torch": torch_facts,
    "deepspeed": deepspeed_facts,
    "vllm": vllm_facts,
    "sandbox": sandbox_facts,
}


def main(name: str) -> None:
    """Try it, and print what was found."""
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries print to standard output as they load
    began = time.monotonic()
    found = TRIALS[name]()
    found["seconds"] = round(time.monotonic() - began, 1)
    with os.fdopen(answers, "w") as stream:
        stream.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    # Not sys.exit: what engines and sandboxes do at exit may hang, and nothing here needs it.
    os._exit(0)
