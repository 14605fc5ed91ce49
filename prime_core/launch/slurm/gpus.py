"""Which of an allocation's GPUs a stage gets, where stages run side by side.

Snakemake's local executor counts GPUs but does not assign them. `prime gpus N COMMAND` claims N
free devices of CUDA_VISIBLE_DEVICES, by a lock file each, and becomes the command, which sees only
those. The command's processes hold the locks; the system releases them when the last of them ends
(docs/decisions.md#gpu-locks).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prime_core.launch.site.resource_names import GPUS
from prime_core.runtime.console import note
from prime_core.runtime.locks import try_lock
from prime_core.runtime.private_folder import private_folder

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SECONDS_BETWEEN_TRIES = 0.2
_SECONDS_BEFORE_SAYING_SO = 5.0


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """Names of the devices that a process may use; empty where its environment does not say."""
    return [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]


def taker(resources: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Prefix of a stage's command where it asked for fewer GPUs than it would see, else ""."""
    count = int(resources.get(GPUS) or 0)
    # In its own Slurm job a stage sees what it asked for; only where stages share a node is there
    # something to claim (docs/decisions.md#gpu-locks).
    return f"prime gpus {count} " if 0 < count < len(visible_devices(environment)) else ""


def become(count: int, command: Sequence[str]) -> None:
    """Claim devices and become the command. Raises ValueError when fewer are visible."""
    devices = visible_devices(os.environ)
    # take() would wait for them forever.
    if count > len(devices):
        raise ValueError(
            f"asked for {count} GPUs, found {VISIBLE}={','.join(devices) or 'nothing'}"
        )
    os.environ[VISIBLE] = ",".join(take(count, devices))
    os.execvp(command[0], list(command))


def take(count: int, devices: Sequence[str]) -> list[str]:
    """Lock `count` of the devices, in their given order, waiting until that many are free."""
    begun, said = time.monotonic(), False
    while True:
        held: dict[str, int] = {}
        for device in devices:
            if len(held) < count and (lock := _try(device)) is not None:
                held[device] = lock
        if len(held) == count:
            return list(held)
        for lock in held.values():  # all or none: two stages must not deadlock
            os.close(lock)
        if not said and time.monotonic() - begun > _SECONDS_BEFORE_SAYING_SO:
            note(f"waiting for {count} of the GPUs {','.join(devices)}")
            said = True
        # Tried again, not a blocking flock: any devices will do, whichever come free first.
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _try(device: str) -> int | None:
    """A locked descriptor that survives exec; None while another process holds the device."""
    # Names of MIG devices may hold slashes. The file is never deleted: one stage could hold the
    # deleted file's lock, another its successor's.
    path = _folder() / f"{device.replace(os.sep, '_')}.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not try_lock(lock):
        os.close(lock)
        return None
    # Python closes its descriptors at exec unless told otherwise, and the lock would go with it.
    os.set_inheritable(lock, True)
    return lock


def _folder() -> Path:
    """Local to node, user and job: another job's device 0 is another device."""
    job = os.environ.get("SLURM_JOB_ID", "here")
    # Anybody could have made it: locks of theirs would keep a stage waiting.
    return private_folder(Path(tempfile.gettempdir()) / f"prime-gpus-{os.getuid()}-{job}")
