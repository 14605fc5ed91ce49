r"""Members of an unknown sequence in a sum: F_{n-1-k} and F_{n-k-1} are one member.

In: trees with a sum or product. Out: the same, with a name whose index varies in the sum as an
unknown function of that index, which evaluate.py evaluates.
"""

from __future__ import annotations

import re
from typing import Any

from prime_core.verifiers.math.parse import parse
from prime_core.verifiers.math.tree import Node, nodes

_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")


def varying(node: Node) -> frozenset[str]:
    """Heads of the names whose index mentions the index of a sum or product."""
    bound = {part[1] for part in nodes(node) if part[0] in ("sum", "prod")}
    heads = set()
    for part in nodes(node):
        head, _, index = part[1].partition("_") if part[0] == "sym" else ("", "", "")
        if index and bound & set(_LETTERS.findall(index)):
            heads.add(head)
    return frozenset(heads)


def with_functions(node: Any, heads: frozenset[str]) -> Any:
    """The tree with F_{k+1} as F(k + 1), for these heads."""
    if not isinstance(node, tuple) or not node:
        return node
    if node[0] == "sym":
        head, _, text = node[1].partition("_")
        index = parse(text) if text and head in heads else None
        return node if index is None else ("call", f"{head}_", index)
    return tuple(with_functions(child, heads) for child in node)
