"""What a repository is expected to bring: licence, citation, changelog, hooks, containers."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from tests.installation.resolution import PYTHONS, locked, project
from tests.support.shared_data import ROOT


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def lint_lines() -> list[str]:
    """Commands of `make lint`."""
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.+\n)+)", text_of("Makefile"), re.MULTILINE)
    return [line.strip() for line in recipe.splitlines()]


def test_the_licence_is_the_whole_of_apache_2_and_everyone_says_so():
    licence = text_of("LICENSE")
    assert licence.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    for words in ("Grant of Patent License", "Limitation of Liability", "END OF TERMS"):
        assert words in licence
    assert project()["license"] == yaml.safe_load(text_of("CITATION.cff"))["license"]
    assert project()["license"] == "Apache-2.0"


def test_one_version_stands_in_project_citation_and_changelog():
    version = project()["version"]
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert str(citation["version"]) == version
    headings = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1] == (version, citation["date-released"].isoformat())
    released = [tuple(map(int, name.split("."))) for name, _ in headings[1:]]
    assert released == sorted(released, reverse=True)


def test_the_citation_names_the_software_and_the_paper():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] == [{"name": project()["authors"][0]["name"]}]
    (paper,) = citation["references"]
    names = [f"{one['family-names']}, {one['given-names']}" for one in paper["authors"]]
    (bibtex,) = re.findall(r"author  = \{(.+?)\}", text_of("README.md"), re.DOTALL)
    assert " ".join(bibtex.split()).split(" and ") == names
    assert paper["url"] == project()["urls"]["Paper"]


def test_hooks_call_what_make_lint_calls():
    (local,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in local["hooks"]]
    # Hooks name the files that changed; `make lint` reads all, and does not write.
    ours = [re.sub(r" --force-exclude| --check|( \.)$", "", entry) for entry in hooks]
    theirs = [re.sub(r" --check|( \.)$", "", line) for line in lint_lines()]
    assert sorted(ours) == sorted(theirs)


def test_the_catalogue_promises_no_deployment_that_the_rules_lack():
    usage = yaml.safe_load(text_of(".snakemake-workflow-catalog.yml"))["usage"]
    rules = "".join(path.read_text("utf-8") for path in (ROOT / "workflow").rglob("*.smk"))
    assert usage["software-stack-deployment"]["conda"] == ("conda:" in rules)
    assert usage["software-stack-deployment"]["singularity"] == ("container:" in rules)
    assert usage["report"]
    assert "report:" in text_of("Snakefile")


def test_the_table_of_settings_names_every_config():
    table = text_of("configs/README.md")
    for path in (ROOT / "configs").iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        assert f"`{name}`" in table or path.name == "README.md", name


def test_the_dockerfile_is_one_without_faults():
    if shutil.which("hadolint") is None:
        if os.environ.get("CI"):
            pytest.fail("hadolint is not installed, and CI needs it")
        pytest.skip("hadolint is not installed: make install")
    done = subprocess.run(
        ["hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sections_of(definition: str) -> dict[str, str]:
    """Scripts of an Apptainer definition by section; "" is its header."""
    parts = re.split(r"^%(\w+)\n", definition, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def test_the_apptainer_definition_has_its_sections_and_scripts_that_a_shell_reads():
    sections = sections_of(text_of("prime.def"))
    assert {"files", "post", "environment", "runscript", "test"} == set(sections) - {""}
    header = dict(re.findall(r"^(\w+): (\S+)$", sections[""], re.MULTILINE))
    assert header == {"Bootstrap": "docker", "From": f"python:{PYTHONS[-1]}-slim-bookworm"}
    (source, target) = sections["files"].split()
    assert (ROOT / source / "gpu.txt").is_file()
    assert f"--requirement {target}/gpu.txt" in sections["post"]
    module, function = project()["scripts"]["prime"].split(":")
    assert f"from {module} import {function}\\n{function}()" in sections["post"]
    for name in ("post", "environment", "runscript", "test"):
        # The scripts are sh's, which is Debian's dash in that image.
        done = subprocess.run(["sh", "-n"], input=sections[name], text=True, capture_output=True)
        assert done.returncode == 0, (name, done.stderr)


def test_both_containers_install_the_lock_in_one_image():
    docker, apptainer = text_of("Dockerfile"), text_of("prime.def")
    (image,) = re.findall(r"^FROM (\S+)$", docker, re.MULTILINE)
    assert f"From: {image}\n" in apptainer
    install = "pip install --no-cache-dir --no-deps --requirement"
    assert f"{install} locks/gpu.txt" in docker
    assert f"{install} /opt/prime/locks/gpu.txt" in apptainer
    packages = r"--no-install-recommends (.+)$"
    (in_docker,) = re.findall(packages.replace("$", r" \\$"), docker, re.MULTILINE)
    assert re.findall(packages, apptainer, re.MULTILINE) == [in_docker]


def test_the_torch_of_the_instructions_is_the_locked_one():
    version = locked("cpu", PYTHONS[-1])["torch"]
    named = {
        name: set(re.findall(r"torch==([\d.]+)", text_of(name)))
        for name in ("README.md", "docs/decisions.md", "docs/gpu.md", "docs/clusters.md")
    }
    assert set().union(*named.values()) == {version}


def test_the_top_of_the_repository_is_tidy():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what lies here is not all the repository's")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.partition("/")[0] for line in listed.splitlines()} == {
        *("README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md"),
        *("Snakefile", "workflow", "configs", "cluster_profiles", "slurm", "allocation"),
        *("profiles", "prime_core", "tests", "benchmarks", "docs", "locks", "Makefile"),
        *("pyproject.toml", "environment.yml", "Dockerfile", "prime.def"),
        *(".ci", ".dockerignore", ".gitignore", ".pre-commit-config.yaml"),
        ".snakemake-workflow-catalog.yml",
    }
