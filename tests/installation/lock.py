"""Write locks/*.txt anew: `make lock` after pyproject.toml has changed.

`make lock UPGRADE=1` takes the newest versions; otherwise those that the locks have stay. The locks
are requirements files without hashes, since that is what pip, conda and uv all install from.
"""

import os

from tests.installation.resolution import FOLDER, LOCKS, PYTHONS, pins, resolve, resolve_conda

HEADS = {
    "gpu": "For GPUs: pip install --no-deps -r locks/gpu.txt -e .",
    "cpu": "For CPUs, once PyTorch's CPU build is installed (README.md): as the lock for GPUs.",
    "test": "What the tests need beside either of the others.",
    "docs": "What builds the site of the documentation, beside either of the first two.",
}


def main() -> None:
    """Write the locks and print what each way of installing downloads."""
    limits: dict[str, str] = {}
    for python in reversed(PYTHONS):
        limits |= {} if os.environ.get("UPGRADE") else pins(python)
    # Everything together and the oldest Python first, whose versions serve the others too: what the
    # tests ran with is then what GPUs get.
    for python in PYTHONS:
        limits |= resolve("both", python, limits).versions
    for lock in LOCKS:
        found = {python: resolve(lock, python, limits) for python in PYTHONS}
        lines = merged({python: one.versions for python, one in found.items()})
        head = f"# {HEADS[lock]}\n# Written by `make lock` (docs/decisions.md#locks).\n"
        (FOLDER / f"{lock}.txt").write_text(head + lines, encoding="utf-8")
        for python, one in found.items():
            size = f"{one.num_bytes / 1e6:,.1f} MB"
            print(f"{lock}, Python {python}: {len(one.versions)} packages, {size}")
    resolve_conda(PYTHONS[-1])


def merged(versions: dict[str, dict[str, str]]) -> str:
    """Lines of a lock from the versions for each Python, with markers where these differ."""
    lines = []
    for name in sorted({name for one in versions.values() for name in one}):
        pythons: dict[str, list[str]] = {}
        for python, one in versions.items():
            if name in one:
                pythons.setdefault(one[name], []).append(python)
        for version, of in pythons.items():
            marker = " or ".join(f"python_version == '{python}'" for python in of)
            lines.append(f"{name}=={version}" + (f" ; {marker}" if len(of) < len(versions) else ""))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
