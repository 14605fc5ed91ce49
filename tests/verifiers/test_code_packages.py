"""Which packages a program may import: its own, in any kind of installation."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from prime_core.settings.verification import Verification
from prime_core.verifiers import judge_program
from prime_core.verifiers.code import CodeJudge, packages, sandbox
from prime_core.verifiers.verdict import Verdict
from tests.support.shared_data import ROOT
from tests.verifiers.test_sandbox import WALLS, needs, printed_by

IMPORTS = (
    "for name in ('numpy', 'sympy', 'mpmath', 'pytest', 'pip', 'torch'):\n"
    "    try: __import__(name)\n"
    "    except ModuleNotFoundError: pass\n"
    "    else: print(name)\n"
)


@pytest.mark.parametrize("kind", [*WALLS, "none"])
def test_a_program_imports_what_is_named_with_its_dependencies_and_nothing_else(kind: str) -> None:
    needs(kind)
    assert printed_by(kind, IMPORTS) == "numpy\n"
    assert printed_by(kind, IMPORTS, packages=("sympy",)) == "sympy\nmpmath\n"
    assert printed_by(kind, IMPORTS, packages=()) == ""


FORKS = """
import gc, multiprocessing
from pathlib import Path
from prime_core.verifiers.code import sandbox

def own(queue):
    gc.collect()
    sandbox.bare_site.cache_clear()
    queue.put(sandbox.bare_site(("numpy",)))

ours = sandbox.bare_site(("numpy",))
context = multiprocessing.get_context("fork")
queue = context.Queue()
worker = context.Process(target=own, args=(queue,))
worker.start()
theirs = queue.get(timeout=30)
worker.join()
print(Path(ours, "numpy").exists(), Path(theirs).exists(), ours)
"""


def test_links_to_packages_stay_as_long_as_the_process_that_made_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    ours_is_there, theirs_is_there, ours = done.stdout.split()
    assert (ours_is_there, theirs_is_there) == ("True", "False"), done.stderr
    assert not Path(ours).exists()


@pytest.mark.parametrize("kind", WALLS)
def test_the_folders_of_the_interpreters_packages_are_empty(kind: str) -> None:
    needs(kind)
    source = (
        "import glob\n"
        "for folder in ('/lib', '/usr/lib', '/usr/local/lib', sys.base_prefix + '/lib'):\n"
        "    print(*glob.glob(folder + '/python3*/*-packages/*'), end='')\n"
    )
    assert printed_by(kind, "import sys\n" + source) == ""
    in_base = Path(os.path.realpath(sys.executable)).parent.parent / "lib"
    assert any(in_base.glob("python3*/*-packages/*")), "there is nothing to hide here"


def test_what_an_interpreter_offers_at_its_prompt_is_there() -> None:
    assert (
        printed_by("namespaces", "print(callable(help), callable(exit))\nquit()") == "True True\n"
    )


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ValueError, match="'nump' is not installed here"):
        CodeJudge(packages=("numpy", "nump"))
    rules = Verification(packages=["nump"])
    judgement = judge_program("print(1)", json.dumps({"inputs": [""], "outputs": ["1"]}), rules)
    assert judgement.verdict is Verdict.no_verdict
    assert "verification.packages: 'nump' is not installed here" in judgement.detail


def installed_in(folder: Path, name: str, requires: str = "", files: str = "") -> None:
    """A distribution, as an installer leaves it."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("x = 6\n")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}")
    (info / "RECORD").write_text(
        files or f"{name}/__init__.py,,\n{name}-1.0.dist-info/METADATA,,\n"
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that this process finds."""
    monkeypatch.syspath_prepend(tmp_path)
    packages.installed.cache_clear()
    yield tmp_path
    packages.installed.cache_clear()


def test_dependencies_are_followed_in_circles_without_extras_and_other_platforms(
    site: Path,
) -> None:
    needed = [
        "second>=1; python_version > '3'",
        "extra1; extra == 'all'",
        "windows-thing; sys_platform == 'win32'",
    ]
    installed_in(site, "first", "".join(f"Requires-Dist: {one}\n" for one in needed))
    installed_in(site, "second", "Requires-Dist: First\n")
    names = {name for name in packages.installed(("first",)) if not name.endswith("info")}
    assert names == {"first", "second"}


def test_a_missing_dependency_and_an_editable_installation_are_refused(site: Path) -> None:
    installed_in(site, "lonely", "Requires-Dist: companion>2\n")
    with pytest.raises(ValueError, match=r"'companion', which lonely needs, is not installed"):
        packages.installed(("lonely",))
    installed_in(site, "edited", files="edited-1.0.dist-info/METADATA,,\n__editable__.pth,,\n")
    with pytest.raises(ValueError, match="editable"):
        packages.installed(("edited",))


@pytest.fixture(scope="module")
def conda() -> Iterator[Path]:
    """An environment as conda lays it out: the interpreter and all packages under one prefix."""
    prefix = Path(tempfile.mkdtemp(dir="/var/tmp"))  # below /tmp, a program sees its own folder
    base = Path(os.path.realpath(sys.executable))
    (prefix / "bin").mkdir()
    shutil.copy(base, prefix / "bin/python")
    library = Path(sysconfig.get_path("stdlib"))
    there = prefix / "lib" / library.name
    ignored = shutil.ignore_patterns("site-packages", "__pycache__", "test", "idlelib", "config-*")

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copy2(source, target)

    shutil.copytree(library, there, ignore=ignored, copy_function=link)
    for shared in (base.parent.parent / "lib").glob("libpython*"):
        shutil.copy(shared, prefix / "lib")
    installed_in(there / "site-packages", "answers")
    installed_in(there / "site-packages", "wanted")
    yield prefix
    shutil.rmtree(prefix)


@pytest.mark.parametrize("kind", WALLS)
def test_an_environment_of_conda_shows_a_program_as_little(conda: Path, kind: str) -> None:
    needs(kind)
    source = "try: import answers\nexcept ImportError: print(__import__('wanted').x)\n"
    driver = (
        "from prime_core.verifiers.code import CodeJudge\n"
        f"with CodeJudge(sandbox={kind!r}, packages=('wanted',)) as one:\n"
        f"    print(one({source!r}, {{'inputs': [''], 'outputs': ['6']}}, is_program=True))\n"
    )
    result = subprocess.run(
        [conda / "bin/python", "-c", "import answers\n" + driver],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert "Verdict.correct" in result.stdout, result


def test_an_interpreter_below_the_programs_own_folder_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox, "executable", lambda: "/tmp/env/bin/python3.11")
    with pytest.raises(sandbox.SandboxUnavailable, match="lies below /tmp"):
        sandbox.read_only_paths.__wrapped__(())


def test_links_that_lead_out_are_not_hidden_twice() -> None:
    hidden = sandbox.hidden_folders(packages.DEFAULT_PACKAGES)
    assert len(hidden) == len(set(hidden))
    assert all(folder.endswith("-packages") for folder in hidden)
