"""The program of the resident process: `python -m prime_core.cli.serve LISTENER PATH CONSOLE`."""

from __future__ import annotations

import sys
from pathlib import Path

from prime_core.cli.main import main
from prime_core.cli.rooms import import_stages
from prime_core.resident import server


def prepare() -> None:
    """Import what stages import, once for all of them."""
    server.import_libraries()
    import_stages()


if __name__ == "__main__":
    server.run(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), main, prepare)
