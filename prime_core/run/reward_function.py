"""The user's reward function of a run (verification.function): checked, kept with the results.

The run's folder holds a copy of the file as it judged. The original is what runs, since it may
import files beside it; where the two differ no response is judged, or one run would have two
rewards. docs/decisions.md#own-rewards
"""

from __future__ import annotations

import ast
from pathlib import Path

from prime_core.run.atomic import write_text
from prime_core.run.changes import first_affected_files
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import SettingsError
from prime_core.settings.run import Settings

_KEY = "verification.function"


def refuse_function(settings: Settings, files: RunFiles) -> None:
    """Raise SettingsError where the file lacks the function, or would alter finished work."""
    if settings.verification.function is None:
        return
    text, name = _text(settings.verification.function), settings.verification.function
    try:
        defined = {defined for node in ast.parse(text).body for defined in _names(node)}
    except SyntaxError as error:
        raise SettingsError(f"{_KEY}: {_file(name)}, line {error.lineno}: {error.msg}") from None
    wanted = name.rpartition(":")[2]
    if wanted not in defined:
        functions = ", ".join(sorted(defined)) or "none"
        raise SettingsError(f"{_KEY}: {_file(name)} defines no {wanted}; it has: {functions}")
    judged = any(path.exists() for path in first_affected_files(_KEY, files, settings, settings))
    if judged and is_other_function(settings, files):
        raise SettingsError(
            f"{_KEY}: {_file(name)} has changed since responses were judged by it "
            f"({files.reward_function} is what it was); restore it, or give the run another name "
            f"(--config run=NAME; with init_from={settings.run}@ITERATION it continues from here)"
        )


def keep_function(settings: Settings, files: RunFiles) -> None:
    """Copy the file into the run's folder."""
    if settings.verification.function is not None:
        write_text(files.reward_function, _text(settings.verification.function))


def refuse_edited_function(settings: Settings, files: RunFiles) -> None:
    """Raise SettingsError for a file that was edited while the run was going."""
    if settings.verification.function is not None and is_other_function(settings, files):
        raise SettingsError(
            f"{_KEY}: {_file(settings.verification.function)} has changed since the workflow "
            f"started ({files.reward_function} is what it was); start the workflow again"
        )


def is_other_function(settings: Settings, files: RunFiles) -> bool:
    """Whether the file is not what the run's folder keeps; False where it keeps none."""
    if settings.verification.function is None or not files.reward_function.exists():
        return False
    kept = files.reward_function.read_text(encoding="utf-8")
    return kept != _text(settings.verification.function)


def _file(function: str) -> Path:
    return Path(function.rpartition(":")[0])


def _text(function: str) -> str:
    """Raises SettingsError for a file that is not there, or is no text."""
    try:
        return _file(function).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise SettingsError(
            f"{_KEY}: {_file(function)}: {reason}; expected FILE.py:NAME, a path from the folder "
            f"that the workflow is started in ({Path.cwd()})"
        ) from None


def _names(node: ast.stmt) -> list[str]:
    """What a line at the top of a file defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []
