"""A newer Slurm for the tests of this folder, from another Debian suite, beside this machine's own.

    python -m tests.slurm.versions trixie -- python -m pytest tests/slurm/test_site.py
    python -m tests.slurm.versions forky -- python -m tests.slurm.lab

In: a suite. Out: the command runs in a view of the file system in which that suite's Slurm, munge
and their libraries lie over /usr (an overlay in a mount namespace); nothing else changes, and
outside of the command nothing at all (docs/decisions.md#newer-slurm). The files are made once, by
apt from the mirror that this machine's apt uses, into ~/.cache/prime-slurm (30 MB to download,
68 MB unpacked). Needs root, a Debian of the last years and its archive keyring.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.slurm.lab import PACKAGES

# The Slurm that each suite had when this was written; a suite on its way to a release moves on.
SUITES = {"trixie": "24.11", "forky": "26.05"}
# MariaDB stays this machine's: slurmdbd needs no more of it than its client's library.
_WANTED = (*sorted(set(PACKAGES.values())), "slurmdbd", "slurm-wlm-basic-plugins")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Of what these need, programs that this machine has as well (perl, systemd, ...) are left out.
_KEPT = ("lib", "slurm", "munge")
_APT = """\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
"""
# The last words of the script are the command; mounts made here are seen by nobody else.
_ENTER = 'mount -t overlay slurm -o "lowerdir=$1/usr:/usr" /usr && shift && exec "$@"'


class VersionError(RuntimeError):
    """A suite's Slurm could not be made or laid over this machine's."""


def cache() -> Path:
    """Where the suites' files are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prime-slurm"


def root_of(suite: str) -> Path:
    """The folder of a suite's Slurm, made if it is not there. Raises VersionError."""
    recipe = "\n".join((suite, _run("dpkg", "--print-architecture"), *_WANTED, *_KEPT))
    folder = cache() / f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{suite}-") as made:
        root = Path(made) / "root"
        root.mkdir(mode=0o755)
        for archive in _fetched(suite, Path(made)):
            if archive.name.startswith(_KEPT):
                _run("dpkg-deb", "--extract", str(archive), str(root))
        shutil.rmtree(root / "usr" / "share", ignore_errors=True)
        # A plugin that this version no longer has must not be seen in this machine's.
        for plugins in root.glob("usr/lib/*/slurm-wlm"):
            os.setxattr(plugins, "trusted.overlay.opaque", b"y")
        # Whoever made it at the same time was first.
        if not folder.is_dir():
            root.rename(folder)
    return folder


def command_in(suite: str, command: Sequence[str]) -> list[str]:
    """A command that runs another one with a suite's Slurm. Raises VersionError."""
    if os.geteuid() != 0:
        raise VersionError("another suite's Slurm needs root (a mount)")
    return ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(root_of(suite)), *command]


def mirror() -> str:
    """The archive that this machine's apt fetches Debian from."""
    columns = "$(ORIGIN)|$(REPO_URI)"
    listed = _run("apt-get", "indextargets", "--format", columns, "Created-By: Packages")
    found = [line.split("|")[1] for line in listed.splitlines() if line.startswith("Debian|")]
    if not found:
        raise VersionError("apt knows no archive of Debian here; `apt-get update` reads its lists")
    # Security updates of the suite in use come from another archive, which has no other suites.
    return next((uri for uri in found if "security" not in uri), found[0])


def _fetched(suite: str, folder: Path) -> list[Path]:
    """Archives of the packages and of all that they need, as if nothing were installed."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    source = f"deb [signed-by={_KEYRING}] {mirror()} {suite} main\n"
    (folder / "sources.list").write_text(source)
    (folder / "apt.conf").write_text(_APT.format(folder=folder))
    env = os.environ | {"APT_CONFIG": str(folder / "apt.conf")}
    # Without --error-on=any a mirror that does not answer is only warned of.
    _run("apt-get", "update", "-qq", "--error-on=any", env=env)
    options = ("--yes", "-qq", "--no-install-recommends", "--download-only")
    _run("apt-get", "install", *options, *_WANTED, env=env)
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise VersionError(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        raise VersionError(f"{' '.join(command[:2])}: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    """Run the command with a suite's Slurm, in its place."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.versions", description=__doc__)
    parser.add_argument("suite", choices=tuple(SUITES))
    parser.add_argument("command", nargs="+", help="after --")
    options = parser.parse_args()
    try:
        command = command_in(options.suite, options.command)
    except VersionError as error:
        sys.exit(f"slurm of {options.suite}: {error}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
