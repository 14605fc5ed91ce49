"""torch, its CUDA, the driver and the GPUs: whether they suit each other.

In: what a trial of torch found, and nvidia-smi's answer. Out: findings. The functions on facts are
pure, so that machines which are not at hand can be made up.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prime_core.doctor.finding import Finding
from prime_core.doctor.processes import Answer
from prime_core.runtime.text import bytes_text

# Oldest driver for any release of a CUDA generation: NVIDIA, "CUDA Toolkit Release Notes", table of
# minor version compatibility.
OLDEST_DRIVER = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580,)}
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
BFLOAT16 = (8, 0)  # the first compute capability that computes in bfloat16
IN_A_JOB = "for a GPU node, run it there: srun --gres=gpu:1 prime doctor --gpu"
_SECONDS = 15.0
INSTALL = "make install-gpu"


@dataclass(frozen=True)
class Driver:
    """version: "" where none is loaded; gpus: as nvidia-smi lists them; problem: why it failed."""

    version: str = ""
    gpus: tuple[str, ...] = ()
    problem: str = ""


def ask_driver() -> Driver:
    """What nvidia-smi says, or the kernel's module where that command is missing."""
    if shutil.which("nvidia-smi") is None:
        try:
            found = re.search(r"(\d+\.\d+(?:\.\d+)*)", KERNEL_MODULE.read_text())
        except OSError:
            return Driver()
        return Driver(found[1] if found else "")
    command = ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:  # a driver that has lost a GPU often hangs
        return Driver(problem=f"no answer within {_SECONDS:.0f} s")
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        return Driver(problem=lines[-1] if lines else f"exit status {done.returncode}")
    rows = [line.partition(", ") for line in done.stdout.strip().splitlines()]
    return Driver(rows[0][0] if rows else "", tuple(name for _, _, name in rows))


def hardware_findings(torch: Answer, driver: Driver) -> list[Finding]:
    """Lines for torch, the driver and the GPUs."""
    if torch.problem or not torch.lines:
        return [
            Finding("torch", "wrong", f"does not import: {torch.problem}", "make install"),
            driver_finding({}, driver),
        ]
    facts = torch.lines[0]
    return [torch_finding(facts, driver), driver_finding(facts, driver), gpu_finding(facts, driver)]


def torch_finding(facts: dict[str, Any], driver: Driver) -> Finding:
    """torch's version and what it was built for."""
    if facts["hip"]:
        return Finding("torch", "ok", f"{facts['version']}, for ROCm {facts['hip']} (not tested)")
    if facts["cuda"]:
        nccl = f", NCCL {facts['nccl']}" if facts["nccl"] else ""
        return Finding("torch", "ok", f"{facts['version']}, for CUDA {facts['cuda']}{nccl}")
    if driver.gpus:
        detail = f"{facts['version']} is a CPU build, and there are {len(driver.gpus)} GPUs here"
        return Finding("torch", "wrong", detail, INSTALL)
    return Finding("torch", "ok", f"{facts['version']}, a CPU build: stages run on the CPU")


def driver_finding(facts: dict[str, Any], driver: Driver) -> Finding:
    """Whether the driver is new enough for torch's CUDA."""
    if driver.problem:
        detail = f"nvidia-smi fails: {driver.problem}"
        return Finding("driver", "wrong", detail, "ask the machine's administrators")
    if not driver.version:
        return Finding("driver", "missing", "no NVIDIA driver on this machine", needed=False)
    cuda = facts.get("cuda")
    oldest = OLDEST_DRIVER.get(int(cuda.partition(".")[0])) if cuda else None
    if oldest is None or numbers(driver.version) >= oldest:
        known = f", new enough for CUDA {cuda}" if oldest else ""
        return Finding("driver", "ok", f"{driver.version}{known}")
    wants = f"torch's CUDA {cuda} wants {'.'.join(map(str, oldest))} or newer"
    # NVIDIA's compatibility libraries let some GPUs run with an older one: torch has tried.
    if facts["gpus"]:
        return Finding("driver", "ok", f"{driver.version}; {wants}, but torch can use the GPUs")
    todo = "ask for a newer driver, or install a torch built for an older CUDA"
    return Finding("driver", "wrong", f"{driver.version} is too old: {wants}", todo)


def gpu_finding(facts: dict[str, Any], driver: Driver) -> Finding:
    """The GPUs that torch can use, and whether it has code for them."""
    gpus = facts["gpus"]
    if not gpus and driver.gpus and facts["cuda"]:
        seen = f"nvidia-smi lists {counted(driver.gpus)}, torch can use none"
        why = facts["warning"] or "CUDA_VISIBLE_DEVICES, or a job without GPUs, may hide them"
        return Finding("GPU", "wrong", f"{seen}: {why}", "see the line `driver`; " + IN_A_JOB)
    if not gpus:
        return Finding("GPU", "missing", "none on this machine", IN_A_JOB, needed=False)
    detail = "; ".join(
        f"{counted([gpu['name'] for gpu in group])}, {bytes_text(group[0]['bytes'])}, compute "
        f"capability {'.'.join(map(str, group[0]['capability']))}"
        for group in _alike(gpus)
    )
    capabilities = [tuple(gpu["capability"]) for gpu in gpus]
    if not all(has_code_for(one, facts["architectures"]) for one in capabilities):
        built = ", ".join(facts["architectures"])
        detail = f"{detail}: this torch has no code for it (only {built})"
        return Finding("GPU", "wrong", detail, "use a newer GPU, or an older torch")
    if min(capabilities) < BFLOAT16 and not facts["hip"]:
        detail += "; no bfloat16 in hardware before 8.0: set model.dtype float32"
    return Finding("GPU", "ok", detail)


def has_code_for(capability: Sequence[int], architectures: Sequence[str]) -> bool:
    """Whether binaries for these architectures ("sm_80", "compute_90", gfx...) run on a GPU.

    Machine code runs on its own generation from its minor version on; compute_ is compiled for any
    later GPU as it is loaded.
    """
    if not architectures or not all(one.startswith(("sm_", "compute_")) for one in architectures):
        return True  # not CUDA's names: nothing to compare
    major, minor = capability
    for text in architectures:
        kind, _, number = text.partition("_")
        digits = re.match(r"\d+", number)
        if digits is None:
            continue
        built = divmod(int(digits[0]), 10)
        if kind == "compute" and built <= (major, minor):
            return True
        if kind == "sm" and built[0] == major and built[1] <= minor:
            return True
    return False


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers: "550.54.15" -> (550, 54, 15)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def counted(names: Sequence[str]) -> str:
    """Names with their numbers: "8 x NVIDIA A100, 1 x NVIDIA T4"."""
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _alike(gpus: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for gpu in gpus:
        groups.setdefault((gpu["name"], gpu["bytes"], *gpu["capability"]), []).append(gpu)
    return list(groups.values())
