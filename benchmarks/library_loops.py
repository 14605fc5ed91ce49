"""Run the loops of docs/library.md as they stand there, each in an interpreter of its own.

    python -m benchmarks.library_loops                  # build/library: TRL and verl by pip
    python -m benchmarks.library_loops --folder /scratch/library

On the CPU, with a model of two layers in place of the one that the loops name. TRL and verl are in
no lock: they get an environment beside this project's packages in the folder.
"""

from __future__ import annotations

import argparse
import os
import re
import site
import subprocess
import sys
import time
from pathlib import Path

from tests.support.tiny_model import save_tiny_model

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "library"
DOCUMENT = ROOT / "docs" / "library.md"
NAMED = '"HuggingFaceTB/SmolLM2-135M-Instruct"'
PACKAGES = ("trl==1.16.0", "datasets==5.2.0", "verl==0.9.1", "ray", "tensordict", "codetiming")
# What these import as they are imported themselves.
BESIDE = (
    *("hydra-core", "omegaconf", "torchdata", "pyvers", "orjson"),
    *("multiprocess", "dill", "xxhash"),
)


def loops() -> dict[str, str]:
    """Heading -> the program below it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    # Sections first: a program holds no heading of its own.
    parts = [part.partition("\n") for part in text.split("\n## ")[1:]]
    found = [(part[0], re.findall(r"```python\n(.*?)```", part[2], re.DOTALL)) for part in parts]
    return {heading: programs[0] for heading, programs in found if programs}


def run_loop(python: str, program: str, model: Path, folder: Path) -> str:
    """What a loop prints, run in a folder with a model. Raises CalledProcessError."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [python, "-c", program.replace(NAMED, repr(str(model)))]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def other_python(folder: Path) -> str:
    """The Python of an environment that has TRL and verl besides this project's packages."""
    place = folder / "venv"
    python, stamp = place / "bin" / "python", place / ".installed"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        (packages,) = place.glob("lib/python*/site-packages")
        (packages / "project.pth").write_text("\n".join(site.getsitepackages()))
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, *PACKAGES, *BESIDE], check=True)
        stamp.touch()
    return str(python)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model = save_tiny_model(folder / "model")
    for heading, program in loops().items():
        own = heading == "A loop of your own"
        begun = time.monotonic()
        printed = run_loop(sys.executable if own else other_python(folder), program, model, folder)
        print(f"{heading}: {time.monotonic() - begun:.0f} s\n{printed}")


if __name__ == "__main__":
    main()
