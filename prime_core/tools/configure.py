"""Settings without a workflow: `prime configure` opens a run, `prime schema` prints the schema."""

from __future__ import annotations

import json
from pathlib import Path

from prime_core.run.state import RunState
from prime_core.settings.reading import settings_of
from prime_core.settings.run import Settings


def run(configfile: Path, overrides: tuple[str, ...]) -> None:
    """Write the resolved settings into the run's folder, for stages that are run manually."""
    state = RunState(settings_of([configfile], overrides))
    state.begin()
    print(f"configure: {state.files.config}")


def print_schema() -> None:
    """JSON schema of the settings, as workflow/schemas holds it."""
    print(schema_text(), end="")


def schema_text() -> str:
    """The schema, the same text on every machine."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | Settings.model_json_schema(), indent=2, sort_keys=True) + "\n"
