"""`prime new`: a commented settings file for a run of one's own, from one of the project's.

In: a name, a template (configs/*.yaml, configs/paper/*.yaml, or a file of one's own). Out: its
text, comments kept, with the run's name and folder, and a line that lets editors check and complete
keys.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from prime_core.runtime.console import say
from prime_core.runtime.repository import REPOSITORY
from prime_core.settings.reading import SettingsError, load_yaml, parse_settings
from prime_core.settings.run import Settings
from prime_core.settings.section import NAME_PATTERN

SCHEMA = Path("workflow/schemas/settings.schema.json")
SCHEMA_MARK = "# yaml-language-server: $schema="
TEMPLATES = REPOSITORY / "configs"
_PARTS = ("benchmarks",)  # layered over another file: no run by themselves
_RUN = re.compile(r"^run:[^#\n]*?(?P<comment>[ \t]*#.*)?$", re.MULTILINE)
_RESULTS = re.compile(r"^results:[^#\n]*?(?P<comment>[ \t]*#.*)?$", re.MULTILINE)


def run(name: str, template: str, to: Path | None, results: str) -> Path:
    """Write the settings file of a new run, and say what to do next.

    to: the file; None: configs/NAME.yaml here. Raises SettingsError naming what is wrong, and for a
    file that exists.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise SettingsError(
            f"run '{name}': expected a name for a folder: letters, digits, '.', '_' and '-', the "
            "first a letter or digit"
        )
    source = find_template(template)
    path = to or Path("configs") / f"{name}.yaml"
    load_yaml(source)  # its errors name the file, which may be the user's own
    text = rendered(source, name, results, path)
    settings = parse_settings(yaml.safe_load(text), str(source))
    if (settings.run, settings.results) != (name, results):
        raise SettingsError(f"{source}: expected one key a line, `run: NAME` at the margin")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Not atomic_path, whose rename would replace a file that another has written meanwhile.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SettingsError(
            f"{path} exists already: choose another name, or another file with --to"
        ) from None
    say(f"{path}: settings of the run '{name}', from {template}; edit it, then")
    for line in next_commands(path, settings):
        say(f"  {line}")
    folder = Path(results) / name
    if folder.exists():
        say(f"{folder} exists already: a run of that name was made with other settings")
    return path


def templates() -> dict[str, Path]:
    """The project's settings files by the name that --from takes; empty without a checkout."""
    found = {
        path.relative_to(TEMPLATES).with_suffix("").as_posix(): path
        for path in (*sorted(TEMPLATES.glob("*.yaml")), *sorted(TEMPLATES.glob("paper/*.yaml")))
    }
    return {name: path for name, path in found.items() if name not in _PARTS}


def find_template(name: str) -> Path:
    """The file of a template: its name, the first word of it (smollm2), or a path.

    Raises SettingsError with the known names.
    """
    known = templates()
    words = {key.partition("_")[0]: path for key, path in known.items() if "/" not in key}
    path = known.get(name) or words.get(name)
    if path is not None:
        return path
    if name.endswith((".yaml", ".yml")) and Path(name).is_file():
        return Path(name)
    if not known:
        raise SettingsError(
            f"--from {name}: the templates are in configs/ of the project's repository, which is "
            "not beside this installation; name a settings file of your own (--from FILE.yaml)"
        )
    raise SettingsError(
        f"--from {name}: no such template; expected one of {', '.join(short_names())}, or a file "
        "(.yaml)"
    )


def short_names() -> list[str]:
    """What --from takes, for people: the first word where it says enough."""
    return [name if "/" in name else name.partition("_")[0] for name in templates()]


def rendered(source: Path, name: str, results: str, path: Path) -> str:
    """The template's text for another run: name, folder, commands in comments, schema line."""
    lines = source.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith(SCHEMA_MARK)) + "\n"
    if source.is_relative_to(REPOSITORY):
        # Commands in the comments name the template's own file.
        text = text.replace(source.relative_to(REPOSITORY).as_posix(), path.as_posix())
    quoted = _scalar(name)
    text, found = _RUN.subn(lambda match: f"run: {quoted}{match['comment'] or ''}", text, count=1)
    where = f"results: {_scalar(results)}"
    text, has_results = _RESULTS.subn(lambda m: f"{where}{m['comment'] or ''}", text, count=1)
    missing = "" if has_results else f"{where}  # folder of all runs\n"
    if found and missing:
        text = _RUN.sub(lambda match: f"{match[0]}\n{missing.rstrip()}", text, count=1)
    elif not found:
        # Above the first key, below the comment that opens the file.
        text = re.sub(r"^(?=[A-Za-z])", f"run: {quoted}\n{missing}", text, count=1, flags=re.M)
    return schema_line(path) + text


def schema_line(path: Path) -> str:
    """The line by which editors find the schema, relative to a settings file; "" without one."""
    schema = REPOSITORY / SCHEMA
    if not schema.is_file():
        return ""
    return f"{SCHEMA_MARK}{os.path.relpath(schema, path.resolve().parent)}\n"


def next_commands(path: Path, settings: Settings) -> list[str]:
    """The two commands that a user types next: what it needs, and the run itself."""
    # Snakemake looks for its Snakefile in the working directory.
    here = Path.cwd().resolve() == REPOSITORY
    start = "prime run" if here else f"prime run -s {REPOSITORY / 'Snakefile'}"
    first = "plan --configfile"
    about = "memory, disk and hours"
    if settings.model.path is not None and not settings.init_from:
        first, about = "fetch --configfile", "the model and data that it needs"
    return [f"prime {first} {path}   # {about}", f"{start} --configfile {path}"]


def _scalar(text: str) -> str:
    """A text as YAML reads it back: quoted where it would be a number or a date."""
    return yaml.safe_dump(text, default_flow_style=True).splitlines()[0]
