"""Pickles of plain data, as LiveCodeBench packs its tests in, read without `pickle`.

`pickle` calls what a pickle names, takes gigabytes for one index of its memo or one length, and
builds lists of lists that have no end when they are walked. This reader knows texts, numbers, None,
lists and dicts alone; it builds a tree, which is no larger than the pickle allows, since only texts
may be named again. Any other opcode is refused.
"""

import struct
from collections.abc import Callable
from typing import Any

# Texts and numbers: {opcode: (bytes of the length or of the number, what its content becomes)}
TEXTS = {b"\x8c": 1, b"X": 4, b"\x8d": 8}
BYTES = {b"C": 1, b"B": 4, b"\x8e": 8}
NUMBERS: dict[bytes, tuple[int, Callable[[bytes], Any]]] = {
    b"K": (1, lambda content: content[0]),
    b"M": (2, lambda content: int.from_bytes(content, "little")),
    b"J": (4, lambda content: int.from_bytes(content, "little", signed=True)),
    b"G": (8, lambda content: struct.unpack(">d", content)[0]),
}
CONSTANTS: dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False}
SKIPPED = {b"\x80": 1, b"\x95": 8}  # the protocol's number; the size of a frame
STORED = {b"\x94": 0, b"q": 1, b"r": 4}  # in the memo: at the next place, or at one that is named
NAMED_AGAIN = {b"h": 1, b"j": 4}
MARK = object()


class Reader:
    """One pickle: the place in it, the stack of unfinished values and the memo."""

    def __init__(self, content: bytes, max_bytes: int, max_steps: int) -> None:
        self.content, self.place, self.left, self.steps_left = content, 0, max_bytes, max_steps
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def take(self, size: int) -> bytes:
        """The next bytes. ValueError where there are fewer."""
        taken = self.content[self.place : self.place + size]
        if len(taken) < size:
            raise ValueError("packed tests are cut off")
        self.place += size
        return taken

    def number(self, size: int) -> int:
        """The next whole number of this many bytes."""
        return int.from_bytes(self.take(size), "little")

    def read(self) -> Any:
        """The value. ValueError for a pickle of anything but plain data."""
        try:
            while (opcode := self.take(1)) != b".":
                self.step(opcode)
            (value,) = self.stack
        except (IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"packed tests cannot be read: refused ({error})") from None
        return value

    def step(self, opcode: bytes) -> None:
        """One instruction."""
        self.steps_left -= 1  # an empty list takes one byte here, and 56 in memory
        if self.steps_left < 0:
            raise ValueError("too many values")
        if opcode in TEXTS:
            self.stack.append(
                self.take(self.number(TEXTS[opcode])).decode("utf-8", "surrogatepass")
            )
        elif opcode in BYTES:
            self.stack.append(self.take(self.number(BYTES[opcode])))
        elif opcode in NUMBERS:
            size, convert = NUMBERS[opcode]
            self.stack.append(convert(self.take(size)))
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in SKIPPED:
            self.take(SKIPPED[opcode])
        elif opcode in STORED:
            size = STORED[opcode]
            self.memo[self.number(size) if size else len(self.memo)] = self.stack[-1]
        elif opcode in NAMED_AGAIN:
            self.stack.append(self.again(self.memo[self.number(NAMED_AGAIN[opcode])]))
        else:
            self.build(opcode)

    def again(self, value: Any) -> Any:
        """A text that occurs once more. It counts each time: what follows may copy it."""
        if not isinstance(value, str | bytes):
            raise ValueError("a value that occurs twice")
        self.left -= len(value)
        if self.left < 0:
            raise ValueError("texts that occur too often")
        return value

    def build(self, opcode: bytes) -> None:
        """Lists and dicts."""
        if opcode in b"](}":
            self.stack.append([] if opcode == b"]" else {} if opcode == b"}" else MARK)
        elif opcode == b"a":
            value = self.stack.pop()
            list.append(self.stack[-1], value)
        elif opcode == b"s":
            value, key = self.stack.pop(), self.stack.pop()
            self.put(self.stack[-1], [key, value])
        elif opcode in b"eu":
            values: list[Any] = []
            while (value := self.stack.pop()) is not MARK:
                values.append(value)
            values.reverse()
            if opcode == b"e":
                list.extend(self.stack[-1], values)
            else:
                self.put(self.stack[-1], values)
        else:
            raise ValueError(f"opcode {opcode!r}")

    def put(self, target: Any, items: list[Any]) -> None:
        """Keys and values, in turn. Keys are texts: of numbers, many can share one hash."""
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise ValueError("a key that is no text")
            dict.__setitem__(target, key, value)


def read_pickle(content: bytes, *, max_bytes: int, max_steps: int) -> Any:
    """The plain data of a pickle. ValueError for anything else, and for what is too large.

    max_bytes: of texts that occur again, each time; max_steps: instructions, values among them.
    """
    return Reader(content, max_bytes, max_steps).read()
