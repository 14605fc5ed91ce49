"""Python, the packages and their versions, vLLM, DeepSpeed, the sandbox, Slurm: findings."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from prime_core.doctor.finding import Finding
from prime_core.doctor.processes import Answer, ask, own_module
from prime_core.launch.site.site import site_file
from prime_core.launch.slurm import commands as slurm
from prime_core.launch.survey import cluster
from prime_core.runtime.repository import REPOSITORY

DISTRIBUTION = "prime-on-slurm"
IMPORT_SECONDS = 90.0  # vLLM's import on a shared disk that has not been read yet


def python_finding() -> Finding:
    """The interpreter, and whether the project allows its version."""
    detail = f"{platform.python_version()}, {sys.executable}"
    try:
        from packaging.specifiers import SpecifierSet

        allowed = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
        suits = SpecifierSet(allowed).contains(platform.python_version(), prereleases=True)
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return Finding("Python", "ok", detail)  # the next line says what is not installed
    if suits:
        return Finding("Python", "ok", detail)
    todo = "make the environment with another Python"
    return Finding("Python", "wrong", f"{detail}; expected {allowed}", todo)


def packages_finding() -> Finding:
    """Whether every package that the project requires is installed in a version that it allows."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        detail = "the project is not installed here: versions are not checked"
        return Finding("packages", "missing", detail, "make install", needed=False)
    problems = list(_unmet(requirements))
    if problems:
        return Finding("packages", "wrong", "; ".join(problems), "make install")
    version = importlib.metadata.version(DISTRIBUTION)
    return Finding("packages", "ok", f"{DISTRIBUTION} {version}, with all that it requires")


def _unmet(requirements: list[str]) -> Iterator[str]:
    from packaging.requirements import Requirement

    for one in map(Requirement, requirements):
        # The extra `workflow` is what the mathematics alone does not need, and all commands do.
        is_base = one.marker is None or one.marker.evaluate({"extra": "workflow"})
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            if is_base:
                yield f"{one.name} is not installed"
            continue
        # Of an extra nothing has to be there, but what is there has to suit; tests need no doctor.
        asked = is_base or (one.marker is not None and one.marker.evaluate({"extra": "gpu"}))
        if asked and not one.specifier.contains(version, prereleases=True):
            yield f"{one.name} {version}, expected {one.specifier}"


def deepspeed_finding() -> Finding:
    """DeepSpeed, which trains every model."""
    answer = ask(own_module("trial", "deepspeed"), IMPORT_SECONDS)
    if answer.problem or not answer.lines:
        detail = f"does not import: {answer.problem}"
        return Finding("DeepSpeed", "wrong", detail, "make install")
    return Finding("DeepSpeed", "ok", str(answer.lines[0]["version"]))


def vllm_finding() -> Finding:
    """vLLM, in a process of its own: it takes long, and a wrong build may crash."""
    if find_spec("vllm") is None:
        detail = "not installed: responses are sampled with transformers, many times slower on GPUs"
        todo = "for GPUs: install the extra `gpu` (docs/gpu.md)"
        return Finding("vLLM", "missing", detail, todo, needed=False)
    return vllm_line(ask(own_module("trial", "vllm"), IMPORT_SECONDS))


def vllm_line(answer: Answer) -> Finding:
    """The line for what a trial of vLLM found."""
    if answer.problem or not answer.lines:
        todo = "run again (a second import is faster), or reinstall it (docs/gpu.md)"
        return Finding("vLLM", "wrong", f"does not import: {answer.problem}", todo)
    facts = answer.lines[0]
    # It has no name for a machine on which its build finds none of its devices.
    built = {"cpu": "its CPU build", "": "no GPU for it here"}.get(
        facts["platform"], f"for {facts['platform']}"
    )
    return Finding("vLLM", "ok", f"{facts['version']}, {built}, imported in {facts['seconds']} s")


def sandbox_finding() -> Finding:
    """The sandbox for model-written programs, tried with one."""
    answer = ask(own_module("trial", "sandbox"), 60.0)
    facts = answer.lines[0] if answer.lines else {"problem": answer.problem}
    if "sandbox" in facts:
        return Finding("sandbox", "ok", f"{facts['sandbox']}; a program ran in it")
    detail = f"answers can be judged, programs cannot: {facts['problem']}"
    return Finding("sandbox", "missing", detail, "docs/verification.md", needed=False)


def slurm_finding() -> Finding:
    """Whether Slurm answers, and which partitions this user may use."""
    if shutil.which("sbatch") is None:
        detail = "no sbatch on PATH: runs are local (`snakemake`)"
        return Finding("Slurm", "missing", detail, "", needed=False)
    try:
        found = cluster.ask()
    except slurm.NoCluster as error:
        return Finding("Slurm", "missing", str(error), "", needed=False)
    except slurm.SlurmError as error:
        todo = "try `sinfo`; if it fails as well, ask the cluster's administrators"
        return Finding("Slurm", "wrong", str(error), todo)
    return cluster_finding(found, site_file(REPOSITORY))


def cluster_finding(found: cluster.Cluster, site: Path) -> Finding:
    """The line for a cluster that answers."""
    usable = [one for one in found.partitions if not one.barred]
    if not usable:
        barred = "; ".join(f"{one.name}: {one.barred}" for one in found.partitions)
        detail = f"{found.version}: no partition that you can use ({barred or 'there is none'})"
        return Finding("Slurm", "wrong", detail, "ask for an account, or wait for the nodes")
    names = ", ".join(
        one.name + (f" ({cluster.gpus_text(one.gpus)})" if one.num_gpus else "") for one in usable
    )
    detail = f"{found.version}, partitions {names}"
    if found.accounting:
        detail += f"; hours are not known: {found.accounting}"
    if site.exists():
        return Finding("Slurm", "ok", detail)
    return Finding("Slurm", "ok", detail, "prime site chooses among them, once")


def offline_variables() -> list[str]:
    """Variables that forbid the hub's libraries to use the network."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
    true = {"1", "ON", "YES", "TRUE"}
    return [name for name in names if os.environ.get(name, "").upper() in true]
