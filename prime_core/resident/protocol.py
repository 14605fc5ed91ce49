"""What client, server and child say to each other over a Unix socket.

The client sends one request: a length, its JSON, and open descriptors as ancillary data. What comes
back are lines: `pid N` once the child has been forked, then `status N` from the child as its last
act, or `signal N` from the server where a signal ended the child. `cold N`: run the stage yourself,
for the reason REASONS[N].

A worker that keeps engines answers `engine N` in place of `pid N`; where it cannot go on, the
server says `cold N`, or `again 0`: ask once more, for a fresh worker. Between server and worker the
same request travels, with the client's connection in front of its descriptors; the worker says
`idle 0` once it is free.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

SOCKET = "PRIME_RESIDENT"  # environment: path of the server's socket, or "none"
ENGINES = "PRIME_ENGINES"  # environment: set where workers keep their engines
OTHER_STATE, ENGINE_LOST = 0, 1
REASONS = {
    OTHER_STATE: "it holds other code or other settings of the environment",
    ENGINE_LOST: "its kept engine failed or was killed, and is not asked again",
}
_HEADER = struct.Struct("!I")
_MAX_BYTES = 16 * 2**20  # an environment is at most a few hundred kB
_MAX_DESCRIPTORS = 64


class ProtocolError(Exception):
    """The other side is no client or server of this version."""


@dataclass
class Request:
    """Everything about a cold process that its forked stand-in takes over."""

    arguments: list[str]  # sys.argv
    folder: str  # working directory
    umask: int
    environment: dict[str, str]
    ignored_signals: list[int]  # a shell's `trap '' TERM` is inherited
    state: str  # digest of what the client would import (prime_core.resident.import_state)


def send_request(connection: socket.socket, request: Request, descriptors: Sequence[int]) -> None:
    """Send it with descriptors 0, 1, 2 and those that must stay open as long as the child."""
    body = json.dumps(asdict(request)).encode("utf-8", "surrogateescape")
    socket.send_fds(connection, [_HEADER.pack(len(body))], list(descriptors)[:_MAX_DESCRIPTORS])
    connection.sendall(body)


def receive_request(connection: socket.socket) -> tuple[Request, list[int]]:
    """The request and its descriptors. Raises ProtocolError, OSError."""
    header, descriptors, _, _ = socket.recv_fds(connection, _HEADER.size, _MAX_DESCRIPTORS)
    if len(header) != _HEADER.size or len(descriptors) < 3:
        raise ProtocolError("no request")
    (length,) = _HEADER.unpack(header)
    if length > _MAX_BYTES:
        raise ProtocolError(f"a request of {length} bytes")
    body = bytearray()
    while len(body) < length:
        part = connection.recv(min(length - len(body), 2**16))
        if not part:
            raise ProtocolError("half a request")
        body += part
    try:
        request = Request(**json.loads(body.decode("utf-8", "surrogateescape")))
    except (ValueError, TypeError) as error:
        raise ProtocolError(str(error)) from None
    return request, descriptors


def send_line(connection: socket.socket, word: str, number: int = 0) -> None:
    """Send one line. A peer that has gone is no error: nobody is left to tell."""
    try:
        connection.sendall(f"{word} {number}\n".encode())
    except OSError:
        return


def lines(connection: socket.socket) -> Iterator[tuple[str, int]]:
    """The lines that come, until the other side closes."""
    waiting = b""
    while part := connection.recv(1024):
        *whole, waiting = (waiting + part).split(b"\n")
        for line in whole:
            word, _, number = line.decode().partition(" ")
            yield word, int(number)
