"""The documents: commands that are marked as executed are, the reference has every setting."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from prime_core.settings.reading import flatten, load_yaml
from prime_core.settings.run import Settings
from prime_core.tools.settings_page import PAPER, keys, settings_page
from tests.support.shared_data import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXECUTED, NOT_EXECUTED = "# ✓", re.compile(r"# ○ \S.*")
COMMANDS = ("prime", "snakemake", "make", "pip", "python", "conda", "srun", "module", "apptainer")
ON_SLURM = "clusters.md"  # tests/slurm/test_guide.py


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """Language and lines of each block of a page."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, content.splitlines()) for language, content in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_of_commands_begins_with_its_mark(page):
    for language, lines in blocks(page):
        if language == "sh":
            assert lines[0] == EXECUTED or NOT_EXECUTED.fullmatch(lines[0]), lines
            assert lines[1:], page
        elif language == "":
            assert lines[0].split()[0] not in COMMANDS, f"{lines[0]}: write ```sh and a mark"


def test_the_legend_of_the_marks_is_there_once():
    legends = [page.name for page in PAGES if "| `# ✓` |" in page.read_text(encoding="utf-8")]
    assert legends == ["index.md"]


def executed() -> list[tuple[str, str]]:
    return [
        (page.name, line)
        for page in PAGES
        if page.name != ON_SLURM
        for _, lines in blocks(page)
        if lines[0] == EXECUTED
        for line in lines[1:]
    ]


@pytest.mark.slow
def test_commands_that_are_marked_so_work(tmp_path):
    house = tmp_path / "house"
    house.mkdir()
    for name in ("Snakefile", "workflow", "configs", "cluster_profiles", "profiles", "prime_core"):
        (house / name).symlink_to(ROOT / name)
    reward = blocks(ROOT / "docs" / "rewards.md")[0]
    (house / "my_rewards.py").write_text("\n".join(reward[1]), encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    lines = executed()
    assert len(lines) >= 7
    for page, line in lines:
        done = subprocess.run(["bash", "-c", line], cwd=house, env=env, capture_output=True)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, f"{page}: {line}\n{said[-3000:]}"
    shutil.rmtree(house / "results", ignore_errors=True)


def test_the_reference_of_settings_is_that_of_the_model():
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert text == settings_page(), "make schema"


def test_the_reference_has_every_key_of_the_model_and_of_the_papers_run():
    known = {one.key for one in keys()}
    assert len(known) == len(keys())
    of_model = {*leaves(Settings.model_json_schema())}
    assert of_model <= known
    named = {
        re.sub(r"\.(benchmarks|sources)\.[^.]+\.", r".\1.<name>.", key) for key in paper_keys()
    }
    assert {key for key in named if not key.startswith(MAPPINGS)} <= known
    assert {key.partition(".")[0] for key in known} == {*Settings.model_fields}


# Values whose own keys are names that a user chooses.
MAPPINGS = ("data.columns.", "data.templates.", "data.system_prompts.")


def paper_keys() -> list[str]:
    return [
        key
        for key in flatten(load_yaml(ROOT / PAPER))
        if not re.search(r"\.columns\.|sft_columns\.", key)
    ]


def leaves(schema: dict[str, Any], part: Any = None, prefix: str = "") -> list[str]:
    """Dotted keys of all values, as the JSON schema has them."""
    found: list[str] = []
    for name, field in (part or schema).get("properties", {}).items():
        kinds = [field, *field.get("anyOf", []), field.get("items", {})]
        kinds += [kind.get("additionalProperties", {}) for kind in kinds]
        mark = "<name>." if isinstance(field.get("additionalProperties"), dict) else ""
        mark = "<number>." if field.get("type") == "array" else mark
        inner = [kind["$ref"] for kind in kinds if isinstance(kind, dict) and "$ref" in kind]
        # A name of values that are listed elsewhere (a Literal) is no section.
        inner = [ref for ref in inner if "properties" in definition(schema, ref)]
        if inner:
            found += leaves(schema, definition(schema, inner[0]), f"{prefix}{name}.{mark}")
        else:
            found.append(prefix + name)
    return found


def definition(schema: dict[str, Any], ref: str) -> dict[str, Any]:
    return schema["$defs"][ref.rpartition("/")[2]]


def test_the_site_leads_to_every_page():
    site = yaml.safe_load((ROOT / ".ci" / "mkdocs.yml").read_text(encoding="utf-8"))

    def pages(part: Any) -> list[str]:
        if isinstance(part, str):
            return [part]
        values = part.values() if isinstance(part, dict) else part
        return [page for value in values for page in pages(value)]

    assert sorted(pages(site["nav"])) == sorted(path.name for path in PAGES[1:])


def test_modules_that_the_site_shows_are_there():
    for name in ("mathematics.md", "api.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        for module in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file(), module
