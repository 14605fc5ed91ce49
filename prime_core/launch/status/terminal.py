"""Colours, tables and pages that renew themselves, on a terminal; by rich.

In: plain lines and rows, as files get them. Out: the same for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.highlighter import RegexHighlighter
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

_JUSTIFY = {"<": "left", ">": "right"}


class _States(RegexHighlighter):
    """Colours of words that say how something stands: red needs a person, yellow waits."""

    base_style = "prime."
    highlights = [  # noqa: RUF012
        r"(?P<good>(?<!not )\bfinished\b|\brunning\b|#+)",
        r"(?P<waits>\bpending\b|\bcompleting\b|\brequeued\b|\bconfiguring\b|\battempt \d+)",
        r"(?P<bad>^not finished: .*|^nothing drives this run|\bstopped\b|^Slurm does not answer.*)",
        r"(?P<dim>^ *(its )?logs?: .*|\.{3,})",
    ]


_STYLES = {"good": "green", "waits": "yellow", "bad": "red", "dim": "dim"}
THEME = Theme({f"prime.{name}": style for name, style in _STYLES.items()})
_highlight = _States()


def coloured(line: str) -> Text:
    """A line with its states in colours; nothing in it is taken for markup."""
    text = Text(line, overflow="fold")
    _highlight.highlight(text)
    return text


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> Table:
    """A table as wide as its cells need; sides: "<" or ">" for each column."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title, side in zip(head, sides, strict=True):
        table.add_column(title, justify=_JUSTIFY[side], overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(coloured, row))
    return table


def stacked(
    head: Sequence[str], rows: Iterable[Sequence[str]], sides: str, below: Iterable[str]
) -> Group:
    """A table, and lines below it."""
    return Group(grid(head, rows, sides), *map(coloured, below))


class View(AbstractContextManager["View"]):
    """Where pages are shown: with `watch` one in the place of the other, else one below it."""

    def __init__(self, console: Console, watch: bool) -> None:
        self._console = console
        self._live = (
            # The alternative screen: what was on the terminal before comes back at the end.
            Live(console=console, auto_refresh=False, screen=True)
            if watch and console.is_terminal
            else None
        )
        self._last: RenderableType = ""

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it, and not a file or another program."""
        return self._console.is_terminal

    def show(self, page: RenderableType) -> None:
        """Show a page."""
        self._last = page
        if self._live:
            self._live.update(page, refresh=True)
        else:
            self._console.print(page)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
            self._console.print(self._last)  # the last one stays, below what was there before


def view(watch: bool) -> View:
    """The terminal of this process."""
    return View(Console(theme=THEME, highlight=False), watch)
