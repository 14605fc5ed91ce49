r"""Matrices computed out: sums, products, powers, inverses, transposes, determinants, traces.

In: trees of parse.py. Out: trees in which every matrix has its entries, and a determinant is an
expression of them. Entries that are fractions are computed; others become trees, of a few rows
only, so that no answer grows without bound. What has no value (unequal shapes, a singular
matrix's inverse) is left as it is.
"""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from typing import Any

from prime_core.verifiers.math.evaluate import Work
from prime_core.verifiers.math.rationals import MAX_BITS, TooLarge
from prime_core.verifiers.math.tree import Node
from prime_core.verifiers.math.values import constant

Rows = tuple[tuple[Node, ...], ...]

_ZERO: Node = ("num", Fraction(0))
_ONE: Node = ("num", Fraction(1))
_MAX_SIZE = 12
_MAX_SYMBOLIC_SIZE = 4
_MAX_POWER = 200
_MAX_SYMBOLIC_POWER = 3
_TRANSPOSES = (("sym", "T"), ("sym", "t"))


def computed(node: Any) -> Any:
    """The tree with every matrix expression in it computed."""
    if not isinstance(node, tuple) or not node:
        return node
    if not isinstance(node[0], str):
        return tuple(computed(child) for child in node)
    rule = _RULES.get(node[0])
    node = (node[0], *(computed(child) for child in node[1:]))
    result = rule(node) if rule else None
    return node if result is None else result


def rows(node: Node) -> Rows | None:
    """The rows of a matrix, of a tuple (as a column) or of [[1, 2], [3, 4]]."""
    if node[0] == "matrix":
        return node[1:]
    if node[0] == "seq":
        if all(item[0] == "seq" for item in node[2:]):
            return tuple(item[2:] for item in node[2:])
        return tuple((item,) for item in node[2:])
    return None


def _matrix(node: Node) -> Rows | None:
    return node[1:] if node[0] == "matrix" else None


def _number(node: Node) -> Node:
    value = constant(node)
    return ("num", value) if isinstance(value, Fraction) else node


def _plus(a: Node, b: Node) -> Node:
    Work.charge(2)
    if a == _ZERO:
        return b
    if b == _ZERO:
        return a
    return ("num", _short(a[1] + b[1])) if a[0] == b[0] == "num" else ("add", a, b)


def _times(a: Node, b: Node) -> Node:
    Work.charge(2)
    if _ZERO in (a, b):
        return _ZERO
    return ("num", _short(a[1] * b[1])) if a[0] == b[0] == "num" else ("mul", a, b)


def _short(value: Any) -> Any:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise TooLarge("an entry of a matrix")
    return value


def _is_scalar(node: Node) -> bool:
    return node[0] not in ("matrix", "seq", "list", "set", "text", "rel")


def _sum(node: Node) -> Node | None:
    vectors = [_vector(term) for term in node[1:]]
    if all(vector is not None and len(vector) == len(vectors[0] or ()) for vector in vectors):
        columns = zip(*(vector for vector in vectors if vector), strict=True)
        return ("seq", "()", *(("add", *column) for column in columns))
    terms = [_matrix(term) for term in node[1:]]
    first = terms[0]
    if first is None or any(t is None or _shape(t) != _shape(first) for t in terms):
        return None
    total = first
    for term in terms[1:]:
        assert term is not None
        total = tuple(
            tuple(_plus(_number(a), _number(b)) for a, b in zip(x, y, strict=True))
            for x, y in zip(total, term, strict=True)
        )
    return ("matrix", *total)


def _vector(node: Node) -> tuple[Node, ...] | None:
    """The members of (1, 2) and of t(3, 4), as terms of a sum."""
    if node[0] == "seq" and node[1] == "()":
        return node[2:]
    if node[0] == "neg":
        inner = _vector(node[1])
        return inner and tuple(("neg", member) for member in inner)
    if node[0] == "mul" and node[2][0] == "seq" and _is_scalar(node[1]):
        inner = _vector(node[2])
        return inner and tuple(("mul", node[1], member) for member in inner)
    return None


def _shape(matrix: Rows) -> tuple[int, int]:
    return len(matrix), len(matrix[0])


def _product(node: Node) -> Node | None:
    one, other = node[1], node[2]
    left, right = _matrix(one), _matrix(other)
    if left is not None and right is not None:
        product = _multiplied(left, right)
        return None if product is None else ("matrix", *product)
    # P(1, 2) is a point, 2(1, 2) a multiple.
    if other[0] == "seq" and constant(one) is not None and _vector(node):
        return ("seq", "()", *(_vector(node) or ()))
    if left is not None and _is_scalar(other):
        return _scaled(left, other)
    if right is not None and _is_scalar(one):
        return _scaled(right, one)
    return None


def _multiplied(one: Rows, other: Rows) -> Rows | None:
    if len(one[0]) != len(other) or max(*_shape(one), *_shape(other)) > _MAX_SIZE:
        return None
    left = [[_number(entry) for entry in row] for row in one]
    right = [[_number(entry) for entry in row] for row in other]
    result = []
    for row in left:
        entries = []
        for column in zip(*right, strict=True):
            total = _ZERO
            for a, b in zip(row, column, strict=True):
                total = _plus(total, _times(a, b))
            entries.append(total)
        result.append(tuple(entries))
    return tuple(result)


def _scaled(matrix: Rows, scalar: Node) -> Node:
    factor = _number(scalar)
    return ("matrix", *(tuple(_times(factor, _number(entry)) for entry in row) for row in matrix))


def _quotient(node: Node) -> Node | None:
    matrix = _matrix(node[1])
    if matrix is None or not _is_scalar(node[2]):
        return None
    return _scaled(matrix, ("div", _ONE, node[2]))


def _negative(node: Node) -> Node | None:
    matrix = _matrix(node[1])
    return None if matrix is None else _scaled(matrix, ("num", Fraction(-1)))


def _power(node: Node) -> Node | None:
    matrix, exponent = _matrix(node[1]), node[2]
    if exponent in _TRANSPOSES:
        # (1, 2)^T: a tuple stands for a column already.
        return ("matrix", *zip(*matrix, strict=True)) if matrix else _tuple(node[1])
    if matrix is None or exponent[0] != "num" or exponent[1].denominator != 1:
        return None
    size, times = len(matrix), int(exponent[1])
    if size != len(matrix[0]) or size > _MAX_SIZE:
        return None
    if times < 0:
        inverse = _inverse(matrix)
        if inverse is None:
            return None
        matrix, times = inverse, -times
    numeric = all(_number(entry)[0] == "num" for row in matrix for entry in row)
    if times > (_MAX_POWER if numeric else _MAX_SYMBOLIC_POWER):
        raise TooLarge("a power of a matrix")
    result = identity(size)
    for _ in range(times):
        product = _multiplied(result, matrix)
        assert product is not None
        result = product
    return ("matrix", *result)


def _tuple(node: Node) -> Node | None:
    return node if node[0] == "seq" else None


def identity(size: int) -> Rows:
    """The unit matrix."""
    return tuple(tuple(_ONE if i == j else _ZERO for j in range(size)) for i in range(size))


def _minor(matrix: Rows, i: int, j: int) -> Rows:
    return tuple(row[:j] + row[j + 1 :] for k, row in enumerate(matrix) if k != i)


def _determinant(matrix: Rows) -> Node | None:
    """By elimination where all entries are fractions, else by expansion of a small one."""
    size = len(matrix)
    if size != len(matrix[0]) or size > _MAX_SIZE:
        return None
    entries = tuple(tuple(_number(entry) for entry in row) for row in matrix)
    if all(entry[0] == "num" for row in entries for entry in row):
        return ("num", _eliminated([[entry[1] for entry in row] for row in entries]))
    return _expanded(entries) if size <= _MAX_SYMBOLIC_SIZE else None


def _eliminated(matrix: list[list[Fraction]]) -> Fraction:
    """The determinant of a matrix of fractions; the argument is used up."""
    result = Fraction(1)
    for i in range(len(matrix)):
        pivot = next((k for k in range(i, len(matrix)) if matrix[k][i]), None)
        if pivot is None:
            return Fraction(0)
        if pivot != i:
            matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
            result = -result
        result *= matrix[i][i]
        for k in range(i + 1, len(matrix)):
            Work.charge(len(matrix))
            ratio = matrix[k][i] / matrix[i][i]
            matrix[k] = [_short(a - ratio * b) for a, b in zip(matrix[k], matrix[i], strict=True)]
    return result


def _expanded(matrix: Rows) -> Node:
    if len(matrix) == 1:
        return matrix[0][0]
    total = _ZERO
    for j, entry in enumerate(matrix[0]):
        sign: Node = ("num", Fraction((-1) ** j))
        term = _times(_times(sign, entry), _expanded(_minor(matrix, 0, j)))
        total = _plus(total, term)
    return total


def _inverse(matrix: Rows) -> Rows | None:
    """By cofactors: the sizes are small."""
    size = len(matrix)
    determinant = _determinant(matrix)
    if determinant is None or determinant == _ZERO or size > 6:
        return None
    if size == 1:
        return ((_number(("div", _ONE, determinant)),),)
    inverse = []
    for i in range(size):
        row = []
        for j in range(size):
            cofactor = _determinant(_minor(matrix, j, i))
            if cofactor is None:
                return None
            signed = _times(("num", Fraction((-1) ** (i + j))), cofactor)
            row.append(_number(("div", signed, determinant)))
        inverse.append(tuple(row))
    return tuple(inverse)


def _function(node: Node) -> Node | None:
    r"""\det A, |A| as printed, and the trace."""
    matrix = _matrix(node[2]) if node[1] in ("det", "abs", "tr") else None
    if matrix is None:
        return None
    if node[1] != "tr":
        return _determinant(matrix)
    if len(matrix) != len(matrix[0]):
        return None
    return reduce(_plus, (_number(row[i]) for i, row in enumerate(matrix)))


_RULES = {
    "add": _sum,
    "mul": _product,
    "div": _quotient,
    "neg": _negative,
    "pow": _power,
    "fun": _function,
}
