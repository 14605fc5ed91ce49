"""Python values as plain JSON and back, each kind under its own tag.

What JSON has no word for is an object with one key that names the kind: (1, 2) is
{"tuple": [1, 2]}, {1: 2} is {"dict": [[1, 2]]}. Nothing is executed on the way back, unlike with
pickle, and what comes back is of the built-in type itself: a subclass that claims to equal
everything arrives as the number or list that it was built from.
"""

import builtins
import json
import math
import re
import types
from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from . import nodes

LARGEST_PLAIN_INT = LARGEST_KEY = 1 << 62
MAX_KEYS = 8  # of an object in a message: a tag, or an answer's few
MAX_DIGITS = 20  # of a number in a message: a longer one is hexadecimal text
ITERATORS: tuple[Any, ...] = (
    types.GeneratorType, map, filter, zip, enumerate, reversed, type({}.keys()),
    type({}.values()), type({}.items()), type(iter([])), type(iter(())), type(iter({})),
    type(iter(set())), type(iter("")), type(iter(range(0))),
)  # fmt: skip
SEQUENCES: tuple[Any, ...] = (tuple, set, frozenset, deque)


class Found(tuple[Any, ...]):
    """What a regular expression found: where, the text, and its groups."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True  # as a match object is


class Opaque:
    """A value that cannot cross: only its type's name and its truth are known here."""

    def __init__(self, name: str, truth: bool) -> None:
        self.name, self.truth = name, truth

    def __bool__(self) -> bool:
        return self.truth

    def __repr__(self) -> str:
        return f"<{self.name}>"


def builtin_type(name: str) -> type:
    """int, list, ValueError, ..."""
    kind = getattr(builtins, name, None)
    if not isinstance(kind, type):
        raise ValueError(f"{name!r} is no built-in type")
    return kind


def encode(value: Any) -> Any:
    """A JSON value for any Python value; decode() gives back an equal one of a built-in type."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        # Here and below by the built-in type's own methods: a subclass may claim another value.
        number = int.__index__(value)
        # Hexadecimal takes linear time; decimal digits take quadratic, and int() refuses many.
        return number if abs(number) < LARGEST_PLAIN_INT else {"int": hex(number)}
    if isinstance(value, float):
        decimal = float.__float__(value)
        return decimal if math.isfinite(decimal) else {"float": repr(decimal)}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [encode(item) for item in list.__iter__(value)]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in dict.items(value)]}
    return encode_tagged(value)


def encode_tagged(value: Any) -> Any:
    """The kinds that JSON has no word for."""
    for kind in SEQUENCES:
        if isinstance(value, kind):
            return {kind.__name__: [encode(item) for item in kind.__iter__(value)]}
    if isinstance(value, bytes | bytearray):
        return {"bytearray" if isinstance(value, bytearray) else "bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [encode(value.real), encode(value.imag)]}
    if isinstance(value, range):
        return {"range": [encode(n) for n in (value.start, value.stop, value.step)]}
    if isinstance(value, Fraction):
        return {"fraction": [encode(value.numerator), encode(value.denominator)]}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, type) and value in vars(builtins).values():
        return {"type": value.__name__}
    # An endless one meets its sandbox's limits.
    if isinstance(value, ITERATORS):
        return {"iterator": [encode(item) for item in value]}
    # By name: numpy need not be installed, and to load it would cost every program.
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return encode(value.tolist())
    if isinstance(value, re.Match):
        return {"match": [encode(part) for part in (value.span(), value[0], value.groups())]}
    if nodes.is_node(value) and (values := nodes.values_of(value)) is not None:
        return {type(value).__name__: [encode(item) for item in values]}
    return {"opaque": [type(value).__name__, bool(value)]}


DECODERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda digits: int(digits, 16),
    "float": float,
    "dict": lambda pairs: {decode(key): decode(item) for key, item in pairs},
    "tuple": lambda items: tuple(decode(item) for item in items),
    "set": lambda items: {decode(item) for item in items},
    "frozenset": lambda items: frozenset(decode(item) for item in items),
    "deque": lambda items: deque(decode(item) for item in items),
    "bytes": bytes.fromhex,
    "bytearray": lambda digits: bytearray.fromhex(digits),
    "complex": lambda parts: complex(decode(parts[0]), decode(parts[1])),
    "range": lambda parts: range(*(decode(n) for n in parts)),
    "fraction": lambda parts: Fraction(decode(parts[0]), decode(parts[1])),
    "decimal": Decimal,
    "type": builtin_type,
    "match": lambda parts: Found(decode(part) for part in parts),
    "iterator": lambda items: iter([decode(item) for item in items]),
    "ListNode": lambda values: nodes.build_list([decode(value) for value in values]),
    "TreeNode": lambda values: nodes.build_tree([decode(value) for value in values]),
    "opaque": lambda parts: Opaque(str(parts[0]), parts[1] is True),
}


def decode(value: Any) -> Any:
    """The Python value that an encoded one stands for. ValueError if it stands for none."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        if len(value) != 1:
            raise ValueError(f"an encoded value has one tag, not {len(value)}")
        ((tag, content),) = value.items()
        if tag not in DECODERS:
            raise ValueError(f"unknown tag {tag!r}")
        return DECODERS[tag](content)
    return value


class Foreign:
    """A value of a kind that JSON has no word for, known by its tag alone."""

    def __init__(self, tag: str) -> None:
        self.tag = tag

    def __repr__(self) -> str:
        return f"<{self.tag}>"


def plain(value: Any) -> Any:
    """An encoded value as the plain one that it may be compared as, in linear time and memory.

    For the judging process itself, which has no limits of its own. Only what can equal a value
    read from JSON is built: numbers, texts, lists, tuples and dicts. A dict comes back with the
    keys that JSON would give it; all else (a fraction, a set, a dict with keys of another kind)
    comes back as a Foreign, which equals nothing. ValueError for what encode() never gives.
    """
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"an encoded value has one tag, not {len(value)}")
    ((tag, content),) = value.items()
    if tag == "int" and isinstance(content, str):
        return int(content, 16)
    if tag == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if tag == "tuple" and isinstance(content, list):
        return tuple([plain(item) for item in content])
    if tag == "dict" and isinstance(content, list):
        return plain_dict(content)
    if tag not in DECODERS:
        raise ValueError(f"unknown tag {tag!r:.50}")
    return Foreign(tag)


def plain_dict(pairs: list[Any]) -> Any:
    """A dict whose keys are texts, or whole numbers written as such; Foreign for any other."""
    found: dict[str, Any] = {}
    for key, item in pairs:
        # Not longer ones: of them, any number can share one hash, and be compared with each other.
        if type(key) is int and abs(key) < LARGEST_KEY:
            key = str(key)
        elif type(key) is not str:
            return Foreign("dict")
        if key in found:  # 1 and "1": nothing in JSON
            return Foreign("dict")
        found[key] = plain(item)
    return found


def dumps(message: dict[str, Any]) -> bytes:
    """One message as a line of ASCII JSON."""
    return json.dumps(message).encode() + b"\n"  # escapes line ends and lone surrogates


def loads(line: bytes) -> dict[str, Any]:
    """The message of one line. ValueError unless it is a JSON object as dumps() writes them."""
    message = json.loads(line, object_pairs_hook=small_object, parse_int=short_int)
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    return message


def small_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. ValueError for one with many keys, or with one key twice."""
    found = dict(pairs[:MAX_KEYS])
    if len(found) != len(pairs):
        raise ValueError(f"an object with {len(pairs)} keys in a message")
    return found


def short_int(digits: str) -> int:
    """A whole number. ValueError for one that dumps() would have written otherwise."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits in a message")
    return int(digits)


def is_iterator(value: Any) -> bool:
    """Whether a decoded value was an iterator where it came from."""
    return isinstance(value, Iterator)
