"""Every documented way of installing resolves, on every Python, to what its lock holds."""

import os
import re
import shutil
import tomllib

import pytest
import yaml

from benchmarks.peers.__main__ import TRL
from tests.installation.lock import merged
from tests.installation.resolution import (
    CUDA,
    LOCKS,
    PYTHONS,
    UnresolvedError,
    conda_section,
    locked,
    pins,
    project,
    resolve,
    resolve_beside,
    resolve_conda,
)
from tests.support.shared_data import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def need_uv():
    if shutil.which("uv") is None and not os.environ.get("CI"):
        pytest.skip("uv is not installed: make install")


def or_could_not_run(resolved, *arguments):
    """What a resolution gives. In CI one that could not run has failed; elsewhere it skips."""
    try:
        return resolved(*arguments)
    except UnresolvedError as error:
        if "No solution found" in str(error) or os.environ.get("CI"):
            raise
        pytest.skip(f"the index cannot be reached: {str(error).splitlines()[-1].strip()}")


@pytest.mark.slow
def test_locks_hold_what_the_project_requires_and_the_readme_says_how_much():
    need_uv()
    for python in PYTHONS:
        found = {lock: or_could_not_run(resolve, lock, python, pins(python)) for lock in LOCKS}
        for lock in LOCKS:
            assert found[lock].versions == locked(lock, python), (lock, python)
        sizes = {lock: found[lock].num_bytes / 1e9 for lock in LOCKS}
        # The index's build of torch, 0.53 GB, is CUDA's; PyTorch's own for CPUs has 0.19 GB.
        sizes["cpu"] += 0.19 - 0.53
        for device in ("cpu", "gpu"):
            (row,) = re.findall(rf"^\| `make install-{device}` \|.*$", README, re.MULTILINE)
            (stated,) = re.findall(r"([\d.]+) GB", row)
            assert float(stated) == pytest.approx(sizes[device] + sizes["test"], abs=0.06), python


@pytest.mark.slow
def test_what_conda_has_pip_install_resolves_without_any_override():
    need_uv()
    (python,) = [part for part in ENVIRONMENT["dependencies"] if str(part).startswith("python=")]
    found = or_could_not_run(resolve_conda, python.removeprefix("python="))
    assert found.versions == locked("gpu", python.removeprefix("python="))


@pytest.mark.slow
def test_the_library_that_is_compared_with_resolves_to_this_projects_versions():
    need_uv()
    for python in PYTHONS:
        found = or_could_not_run(resolve_beside, TRL, python).versions
        ours = locked("cpu", python)
        shared = set(found) & set(ours)
        assert {"torch", "transformers", "numpy"} <= shared
        assert {name: found[name] for name in shared} == {name: ours[name] for name in shared}


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["env", "track", "watch"])
def test_an_extra_that_no_lock_holds_resolves_beside_the_lock_and_changes_none_of_it(extra):
    need_uv()
    requirements = "\n".join(project()["optional-dependencies"][extra])
    for python in PYTHONS:
        found = or_could_not_run(resolve_beside, requirements, python).versions
        ours = locked("cpu", python)
        shared = set(found) & set(ours)
        assert {name: found[name] for name in shared} == {name: ours[name] for name in shared}


def test_no_package_has_two_versions_on_one_python():
    for python in PYTHONS:
        for lock in LOCKS:
            assert locked(lock, python).items() <= pins(python).items()


def test_the_lock_for_cpus_holds_no_cuda():
    names = locked("cpu", "3.12")
    assert not [name for name in names if CUDA.fullmatch(name)]
    assert not [name for name in locked("test", "3.12") if CUDA.fullmatch(name)]
    assert {"torch", "snakemake", "deepspeed"} <= set(names)
    assert {"vllm", "nvidia-nccl-cu13", "triton"} <= set(locked("gpu", "3.12"))


def test_lines_that_do_not_concern_all_pythons_say_which():
    versions = {"3.11": {"a": "1", "b": "1"}, "3.12": {"a": "1"}, "3.13": {"a": "1", "b": "2"}}
    b_lines = ["b==1 ; python_version == '3.11'", "b==2 ; python_version == '3.13'"]
    assert merged(versions).splitlines() == ["a==1", *b_lines]
    both = {"3.11": {}, "3.12": {"six": "1"}, "3.13": {"six": "1"}}
    (line,) = merged(both).splitlines()
    assert line == "six==1 ; python_version == '3.12' or python_version == '3.13'"


def test_the_conda_environment_is_the_lock_on_a_python_of_the_project():
    assert ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]
    assert f"python={PYTHONS[-1]}" in ENVIRONMENT["dependencies"]
    assert conda_section() == ["--requirement locks/gpu.txt", "--editable ."]


def test_every_python_that_is_documented_is_admitted_and_no_other():
    oldest, newest = PYTHONS[0], PYTHONS[-1]
    assert project()["requires-python"] == f">={oldest},<3.{int(newest.split('.')[1]) + 1}"
    classifiers = {c.rpartition(" :: ")[2] for c in project()["classifiers"]}
    assert {c for c in classifiers if re.fullmatch(r"3\.\d+", c)} == set(PYTHONS)
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert configured["mypy"]["python_version"] == oldest
