"""The paper's other runs: how each differs from the main run, and why.

`python -m tests.support.paper_variants` generates configs/paper/*.yaml from eurus2_7b_prime.yaml,
so that every file is complete and they all agree in what they share. In: the main run's file. Out:
the text of each variant; a test checks that the files equal these texts.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.paper_changes import CHANGES, ROWS, WORDS
from tests.support.paper_words import HEADS, MAIN

PAPER = MAIN.parent
_KEY = re.compile(r"((?:  )*)([A-Za-z0-9_.-]+):")


@dataclass(frozen=True)
class Variant:
    """head: comment that says what the run is. changes: by dotted key, the new value and its
    comment; words: new comments for values that stay.
    """

    head: str
    changes: dict[str, str]
    words: dict[str, str] = field(default_factory=dict)


def _row(name: str) -> dict[str, str]:
    row = ROWS.get(name)
    text = f"{row}  # row of the paper's tables" if row else "null  # the paper only shows curves"
    return {"reproduction.of": text}


VARIANTS = {
    name: Variant(HEADS[name], changes | _row(name), WORDS.get(name, {}))
    for name, changes in CHANGES.items()
}


def render(name: str, main: str) -> str:
    """The text of a variant. Raises KeyError for a key that the main run's file does not have."""
    variant = VARIANTS[name]
    new = variant.changes | variant.words
    lines, used = _head(name, variant), set[str]()
    above: list[tuple[int, str]] = []  # indentation and name of the sections around a line
    comments: list[str] = []
    skipping: int | None = None
    for line in _body(main):
        found = _KEY.match(line)
        if found is None or line.lstrip().startswith("#"):
            inside = skipping is not None and line.startswith(" " * (skipping + 1))
            comments += [] if inside else [line]
            continue
        depth, key = len(found[1]), found[2]
        if skipping is not None and depth > skipping:
            comments = []
            continue
        skipping = None
        above = [section for section in above if section[0] < depth]
        dotted = ".".join([*(section[1] for section in above), key])
        above.append((depth, key))
        if dotted in new:
            used.add(dotted)
            comments = [one for one in comments if not one.strip()]  # they explained the old value
            text = new[dotted]
            line = f"{found[1]}{key}:{'' if text[0].isspace() else ' '}{text}"
            skipping = None if text.startswith("  #") else depth  # a section keeps its own keys
        lines += [*comments, line]
        comments = []
    if missing := set(new) - used:
        raise KeyError(f"{name}: {', '.join(sorted(missing))}")
    return "\n".join([*lines, *comments]) + "\n"


def _head(name: str, variant: Variant) -> list[str]:
    paragraphs = [textwrap.fill(text, 98) for text in variant.head.strip().split("\n\n")]
    words = [f"# {line}".rstrip() for line in "\n\n".join(paragraphs).splitlines()]
    path = f"configs/paper/{name}.yaml"
    commands = [
        "#",
        f"#   prime plan --configfile {path}",
        f"#   prime launch --profile slurm --configfile {path}",
        "",
    ]
    return [MAIN.read_text(encoding="utf-8").partition("\n")[0], *words, *commands]


def _body(main: str) -> list[str]:
    """Without the first comment and the empty line after it."""
    _, _, body = main.partition("\n\n")
    return body.rstrip("\n").split("\n")


def write(folder: Path = PAPER) -> None:
    """Write every variant's file to folder."""
    main = MAIN.read_text(encoding="utf-8")
    for name in VARIANTS:
        (folder / f"{name}.yaml").write_text(render(name, main), encoding="utf-8")


if __name__ == "__main__":
    write()
