"""What the site does with links that lead out of docs/: it has no files of the repository."""

import re

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Keep the words of such links, which name the file."""
    return _OUTSIDE.sub(r"\1", markdown)
