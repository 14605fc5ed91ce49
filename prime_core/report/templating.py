"""How pages are rendered from templates: everything escaped, an unknown name is an error."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_environment(*packages: str) -> Environment:
    """Templates of these packages; where several have one of a name, the first's."""
    return Environment(
        # The ablations' page uses the report's style (docs/decisions.md#rooms).
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        # Not select_autoescape, which goes by the file's ending: these end in .j2.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
