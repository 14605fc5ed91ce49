"""The list of commands in `prime --help`: in groups, each with its whole first sentence."""

from __future__ import annotations

import click

# What people type comes first; the stages are the workflow's.
GROUPS = {
    "Run": ("doctor", "new", "run", "launch", "cancel", "site", "plan"),
    "Watch": ("status", "runs", "logs", "report", "track"),
    "Data and models": (
        *("fetch", "grade", "compare", "rate", "rate-steps", "agent-credit"),
        *("labelled", "export", "crate"),
    ),
    "Stages, which the workflow calls in this order": (
        *("build", "prepare", "sft", "difficulty", "band", "branch", "prm-data", "prm-offline"),
        *("sample", "verify", "select", "score", "values", "continuations", "step-values"),
        *("prm", "value", "policy", "save-state", "evaluate"),
    ),
    "By hand": ("configure", "schema", "ablation", "ablations-report"),
}
OTHERS = "Others"


def write_commands(
    group: click.Group, context: click.Context, formatter: click.HelpFormatter
) -> None:
    """A section for each of GROUPS; nothing is cut, and a command without a group comes last."""
    shown = {name: one for name in group.list_commands(context) if (one := group.commands[name])}
    shown = {name: one for name, one in shown.items() if not one.hidden}
    grouped = {name for names in GROUPS.values() for name in names}
    rest = tuple(name for name in shown if name not in grouped)
    # One width for all groups, so that their sentences begin in one column.
    width = max(map(len, shown), default=0)
    for title, names in (GROUPS | {OTHERS: rest}).items():
        rows = [
            (name.ljust(width), shown[name].get_short_help_str(limit=1000))
            for name in names
            if name in shown
        ]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
