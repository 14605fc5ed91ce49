"""Following the recipe of a module's docstring to the letter, in a copy of the package.

The Literals of the settings are types, and no running process can extend them: what a recipe adds
is written into a copy, whose stages are then run as commands.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.shared_data import ROOT

PRIME = (sys.executable, "-c", "from prime_core.cli.main import main; main()")


@dataclass(frozen=True)
class Addition:
    """What is added. code: a function, or a whole module. entry: its value in the table."""

    name: str
    code: str
    entry: str


class PackageCopy:
    """The package and the settings' schema in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__")
        for part in ("prime_core", "workflow"):
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)

    def follow(self, file: str, added: Addition) -> None:
        """Take every step of a file's recipe. Raises AssertionError for one that is unclear."""
        steps = recipe_of(ROOT / file)
        (table,) = (step.removeprefix("its line in ") for step in steps if "its line in" in step)
        for step in steps:
            if step.startswith("a function here, with the argument"):
                self.insert(file, rf"^(?={table}\b)", f"{added.code}\n\n")
            elif match := re.match(r"a module in (\S+) whose `sample` ", step):
                (self.folder / match[1] / f"{added.name}.py").write_text(added.code)
            elif step == f"its line in {table}":
                line = f'    "{added.name}": {added.entry},\n'
                self.insert(file, rf"^{table}\b.* = {{\n", line)
            elif match := re.fullmatch(r"its name in the Literal of `(\w+)` in (\S+)", step):
                self.insert(match[2], rf"^    {match[1]}: Literal\[", f'"{added.name}", ')
            else:
                assert step == "`make schema`", f"{file}: what is meant by: {step}?"
                self._make_schema(added.name)

    def prime(self, *words: str) -> str:
        """What a command of `prime` prints. Raises AssertionError with the end of its errors."""
        done = subprocess.run(
            [*PRIME, *words],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def insert(self, file: str, behind: str, text: str) -> None:
        """Put text behind the one match of a pattern."""
        path = self.folder / file
        found, count = re.subn(behind, lambda match: match[0] + text, path.read_text(), flags=re.M)
        assert count == 1, f"{file}: {count} of {behind}"
        path.write_text(found)

    def _make_schema(self, name: str) -> None:
        """What the Makefile's target does once everything is installed."""
        makefile = (ROOT / "Makefile").read_text()
        (schema,) = re.findall(r"^\tprime schema > (\S+)$", makefile, flags=re.M)
        (self.folder / schema).write_text(self.prime("schema"))
        assert f'"{name}"' in (self.folder / schema).read_text()


def recipe_of(file: Path) -> list[str]:
    """The numbered steps in a module's docstring, without what ends them."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    steps = re.findall(r"^\d\. (.*)[;.]$", text, flags=re.M)
    assert steps, f"{file}: holds no recipe"
    return steps
