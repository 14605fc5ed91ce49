"""How the code stands: imports point one way, files are short, the environments are one."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.shared_data import ROOT

CORE = ROOT / "prime_core"
FILES = sorted(CORE.rglob("*.py"))
PURE = {
    "ablation_reading",
    "advantage",
    "differences",
    "filtering",
    "gae",
    "groups",
    "implicit_reward",
    "logprobs",
    "masked",
    "mismatch",
    "paired",
    "policy_loss",
    "prm_loss",
    "schedule",
    "seeds",
    "statistics",
    "steps",
    "text_matching",
    "value_loss",
    "voting",
}
# What the files of a folder may import of other folders, beside the settings; files outside of
# folders import none.
MAY_IMPORT = {
    "cli.py": {"commands"},
    "launch": {"planning"},  # `prime plan` reads files; what it reckons with them is pure
    "samplers": {"training.models"},  # loading of models and tokenizers is written once
    "stages": {"samplers", "verifiers", "training", "data", "report"},
}
HEAVY = {"torch", "transformers", "deepspeed", "pandas", "pyarrow", "snakemake", "sympy"}


def imports(file: Path) -> Iterator[str]:
    """Names below prime_core that a file imports: "training.models", "config", ..."""
    package = ["prime_core", *file.relative_to(CORE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.partition(".")[2] for name in names if name.startswith("prime_core."))


def folder_of(file: Path) -> str:
    """First folder below prime_core; "" for the files beside."""
    parts = file.relative_to(CORE).parts
    return parts[0] if len(parts) > 1 else ""


def name_of(file: Path) -> str:
    return str(file.relative_to(CORE))


def test_imports_are_found():
    assert {"settings.run.Settings", "training.models.load_tokenizer"} <= {
        *imports(CORE / "stages" / "policy.py"),
        *imports(CORE / "stages" / "score.py"),
    }
    assert "verifiers.code.sandbox" in set(imports(CORE / "verifiers" / "code" / "worker.py"))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_from_stages_to_their_parts_to_plain_files(file):
    here = folder_of(file)
    allowed = MAY_IMPORT.get(here or file.name, set())
    folders = {path.name for path in CORE.iterdir() if path.is_dir()} - {"settings"}
    for name in imports(file):
        there = name.partition(".")[0]
        if there in folders - {here}:
            assert any(name == part or name.startswith(f"{part}.") for part in allowed), name


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_files_import_only_pure_files(name):
    for imported in imports(CORE / f"{name}.py"):
        assert imported.partition(".")[0] in PURE


def test_only_the_command_line_names_the_stages():
    namers = [name_of(f) for f in FILES if "prime_core.stages" in f.read_text(encoding="utf-8")]
    assert {name for name in namers if not name.startswith("stages/")} == {"cli.py"}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_file_is_longer_than_400_lines(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_functions_of_the_rules_stay_under_150_lines():
    common = ROOT / "workflow" / "rules" / "common.smk"
    assert len(common.read_text(encoding="utf-8").splitlines()) < 150


def test_rules_open_with_their_contract_and_call_shell_commands_only():
    rules = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
    assert len(rules) >= 4
    for path in rules:
        text = path.read_text(encoding="utf-8")
        head = text.split('"""')[1]
        assert "REQUIRED INPUTS" in head, path.name
        assert "OUTPUTS" in head, path.name
        assert "    script:" not in text, path.name
        assert "    run:" not in text, path.name
        if path.name != "common.smk":
            assert "lambda" not in text, path.name
            assert "\ndef " not in text, path.name


def test_the_conda_environment_has_the_ranges_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    (pip,) = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    ranges = [*project["dependencies"], *project["optional-dependencies"]["gpu"]]
    assert sorted(pip) == sorted([*ranges, "--editable ."])
    assert "python=3.11" in environment["dependencies"]
    assert project["requires-python"] == ">=3.11"


@pytest.mark.parametrize("words", [["--help"], ["sample", "--help"], ["policy", "--help"]])
def test_help_imports_nothing_heavy(words):
    program = (
        "import sys; from prime_core.cli.main import main;"
        "main(sys.argv[1:], standalone_mode=False);"
        "print(*(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert not loaded & HEAVY


def test_names_of_profiles_are_links_into_cluster_profiles():
    """What `snakemake --profile slurm` finds, and what it finds when typed alone."""
    for name in ("slurm", "allocation", "profiles/default"):
        target = (ROOT / name).resolve()
        assert (ROOT / name).is_symlink(), name
        assert target.parent == ROOT / "cluster_profiles"
        assert (target / "config.yaml").is_file()
