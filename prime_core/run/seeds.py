"""Where every random number of a run comes from: the run's seed and the name of its use."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one use: a hash of the run's seed and of names such as (iteration, stage).

    Neither the number of processes nor the order of execution enters, so an interrupted run draws
    the same numbers as an uninterrupted one.
    """
    # A separator that no name holds: ("a", "bc") must not give the seed of ("ab", "c").
    text = "\x1f".join(str(part) for part in (seed, *names))
    # SHA-256, since Python salts hash() anew in each process; 63 bits fit a signed 64-bit integer.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A random generator for one use; see `derive_seed`."""
    # By its name: numpy may change which generator default_rng stands for.
    return np.random.Generator(np.random.Philox(derive_seed(seed, *names)))
