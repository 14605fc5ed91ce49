"""The console script `prime`."""

from __future__ import annotations

import sys
from typing import NoReturn

from prime_core.resident.client import hand_over
from prime_core.resident.leaving import exit_status, leave


def main() -> NoReturn:
    """Let the resident process run a stage where there is one; run any other command here."""
    hand_over()
    # Not at the top: a client must not import what it exists to avoid.
    try:
        from prime_core.cli.main import main as command
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("prime_core"):
            raise
        sys.exit(
            f"prime: error: {error.name} is not installed: the commands need what the extra "
            "'workflow' of prime-on-slurm brings (make install)"
        )

    leave(exit_status(command))
