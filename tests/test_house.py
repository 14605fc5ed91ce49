"""How the code stands: rooms import one way, files and functions are short."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.shared_data import ROOT

CORE = ROOT / "prime_core"
FILES = sorted(CORE.rglob("*.py"))
DOCS = ROOT / "docs"
# The top of the package: `import prime_core` is the mathematics.
MATHEMATICS = {
    "advantage",
    "api",
    "filtering",
    "gae",
    "groups",
    "implicit_reward",
    "logprobs",
    "masked",
    "mismatch",
    "outcomes",
    "policy_loss",
    "prm_loss",
    "step_values",
    "step_credit",
    "steps",
    "trees",
    "turns",
    "value_loss",
    "visits",
}
# From the ground up: each room, and the rooms that it may import. All are above it in this list,
# so that no two import each other. "mathematics" stands for the files at the top.
ROOMS = {
    "settings": "",
    "runtime": "",
    "storage": "runtime",
    "resident": "runtime",
    "environments": "runtime",
    "verifiers": "environments settings runtime",
    "run": "settings runtime storage mathematics",  # of the mathematics filtering alone
    "models": "run runtime settings storage",
    "data": "environments run runtime settings storage",
    "launch": "data run runtime settings storage",
    "samplers": "environments models run runtime settings storage mathematics",  # steps alone
    "training": "models run runtime settings storage mathematics",
    "evaluation": "training data environments verifiers run runtime settings",
    "planning": "launch run runtime settings storage",
    "report": "evaluation run runtime settings",
    "stages": "report evaluation training samplers data models run verifiers storage runtime "
    "settings mathematics",
    "tools": "report evaluation training samplers data models run verifiers storage runtime "
    "settings mathematics",
    "tracking": "report run runtime settings",
    "export": "report evaluation models run storage runtime settings",
    "ablations": "report evaluation launch run runtime settings storage",
    "doctor": "training samplers launch models run verifiers storage runtime settings mathematics",
}
# Rooms within rooms: each may import those before it.
FLOORS = {
    "launch": ("site", "slurm", "survey", "accounting", "status", "watching"),
    "report": ("tables", "drawing", "reproduction", "crate"),
}
LAZY = "cli"  # imports the others when they are called
HEAVY = {"torch", "transformers", "deepspeed", "pandas", "pyarrow", "snakemake", "sympy"}
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 400, 50


def imports(file: Path) -> Iterator[str]:
    """Names below prime_core that a file imports: "training.engine.Trainer", "masked", ..."""
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


def room_of(file: Path) -> str:
    """First folder below prime_core; "mathematics" for the files beside."""
    parts = file.relative_to(CORE).parts
    return parts[0] if len(parts) > 1 else "mathematics"


def room_named(name: str) -> str:
    """The room of an imported name."""
    first = name.partition(".")[0]
    return "mathematics" if first in MATHEMATICS else first


def name_of(file: Path) -> str:
    return str(file.relative_to(CORE))


def test_imports_are_found():
    assert {"settings.run.Settings", "run.layout.RunFiles"} <= set(
        imports(CORE / "stages" / "policy.py")
    )
    assert "verifiers.code.sandbox" in set(imports(CORE / "verifiers" / "code" / "worker.py"))


def test_at_the_top_stands_the_mathematics_alone():
    assert {path.stem for path in CORE.glob("*.py")} == {"__init__", *MATHEMATICS}
    folders = {path.name for path in CORE.iterdir() if (path / "__init__.py").exists()}
    assert folders == {LAZY, *ROOMS}


@pytest.mark.parametrize("name", sorted(MATHEMATICS))
def test_mathematics_imports_torch_and_itself_alone(name):
    file = CORE / f"{name}.py"
    assert {room_named(imported) for imported in imports(file)} <= {"mathematics"}
    outside = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            outside |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            outside.add((node.module or "").partition(".")[0])
    assert outside - sys.stdlib_module_names <= {"prime_core", "torch", "jaxtyping"}


def test_tests_have_the_rooms_of_the_package():
    folders = {path.name for path in (ROOT / "tests").iterdir() if (path / "__init__.py").exists()}
    apart = {"benchmarks", "installation", "slurm", "support", "workflow"}
    assert folders == {LAZY, *ROOMS} | apart
    loose = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert loose == {"house", *MATHEMATICS}


def test_rooms_import_rooms_above_them_only():
    seen = {"mathematics"}
    for room, others in ROOMS.items():
        assert set(others.split()) <= seen, room
        seen.add(room)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_room_imports_what_its_line_says(file):
    room = room_of(file)
    if room in (LAZY, "mathematics"):
        return
    for name in imports(file):
        assert room_named(name) in {room, *ROOMS[room].split()}, name


@pytest.mark.parametrize("room", FLOORS)
def test_floors_of_a_room_import_those_below_them(room):
    floors = FLOORS[room]
    for file in sorted((CORE / room).rglob("*.py")):
        here, *rest = file.relative_to(CORE / room).parts
        below = floors[: floors.index(here) + 1] if rest else floors
        for name in imports(file):
            of, floor, *names = name.split(".")
            if of == room and rest and names:
                assert floor in below, f"{name_of(file)}: {name}"


@pytest.mark.parametrize("room", ["stages", "tools"])
def test_no_stage_or_tool_imports_a_stage_or_tool(room):
    for file in sorted((CORE / room).glob("*.py")):
        others = {name for name in imports(file) if name.startswith(("stages.", "tools."))}
        assert others == set(), name_of(file)


def test_files_import_one_way():
    """No circle, not even of imports for types alone: a file is read after those it imports."""
    names = {
        ".".join(file.relative_to(CORE).with_suffix("").parts).removesuffix(".__init__"): file
        for file in FILES
    }
    sorter = TopologicalSorter[str]()
    for name, file in names.items():
        found = {one if one in names else one.rpartition(".")[0] for one in imports(file)}
        sorter.add(name, *(found & names.keys()))
    sorter.prepare()


def test_only_the_command_line_names_the_stages():
    namers = [name_of(f) for f in FILES if "prime_core.stages" in f.read_text(encoding="utf-8")]
    assert {name for name in namers if not name.startswith("stages/")} == {"cli/rooms.py"}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_and_functions_are_short(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_A_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= LINES_OF_A_FUNCTION, f"{node.name}: {lines} lines"


def test_every_decision_is_in_the_contents_and_every_link_to_one_leads_to_it():
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    anchors = re.findall(r'<a id="([\w-]+)"></a>', text)
    assert len(set(anchors)) == len(anchors)
    assert re.findall(r"^  - \[.*\]\(#([\w-]+)\)$", text, re.MULTILINE) == anchors
    paragraphs = text[text.index("\n## The house") :].split("\n\n")
    assert all(part.strip().startswith(("<a id=", "##", "|", "-")) for part in paragraphs)
    folders = ("prime_core", "workflow", "docs", "tests", "benchmarks", "configs")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*")):
        if path.suffix in (".py", ".smk", ".md", ".yaml"):
            links = re.findall(r"decisions\.md#([\w-]+)", path.read_text(encoding="utf-8"))
            assert set(links) <= set(anchors), path


@pytest.mark.parametrize("page", ["README.md", *sorted(p.name for p in DOCS.glob("*.md"))])
def test_links_between_documents_lead_to_files_and_headings(page):
    path = ROOT / page if page == "README.md" else DOCS / page
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (path.parent / file) if file else path
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), link


def anchors_of(page: Path) -> set[str]:
    """What a link may name in a Markdown file: headings, as they are shown, and anchors."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    shown = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return shown | set(re.findall(r'<a id="([\w-]+)"></a>', text))


def test_many_lines_are_linked_to_the_decision_that_explains_them():
    linked = {
        (name_of(file), anchor)
        for file in FILES
        for anchor in re.findall(r"docs/decisions\.md#([\w-]+)", file.read_text("utf-8"))
    }
    assert len(linked) > 20


def test_the_functions_of_the_rules_stay_within_150_lines():
    common = ROOT / "workflow" / "rules" / "common.smk"
    assert len(common.read_text(encoding="utf-8").splitlines()) <= 150


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
