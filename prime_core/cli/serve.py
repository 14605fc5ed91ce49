"""The program of the resident process: `python -m prime_core.cli.serve LISTENER PATH`."""

from __future__ import annotations

import sys
from pathlib import Path

from prime_core.cli.main import main
from prime_core.resident import server

if __name__ == "__main__":
    server.run(int(sys.argv[1]), Path(sys.argv[2]), main)
