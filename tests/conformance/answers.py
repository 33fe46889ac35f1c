"""A way to a MongoDB on which a test answers some commands itself, as a server would that is not at hand."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import bson

Answer: TypeAlias = Callable[[Mapping[str, Any]], "Mapping[str, Any] | None"]
"""The reply to a command, or None to let the server reply."""

_header = struct.Struct("<iiii")
_OP_MSG = 2013
_BODY_AT = _header.size + 5  # flags, and the kind of the first section


def failure(code: int, name: str, message: str = "no such thing here") -> Mapping[str, Any]:
    """A command's failure as servers reply it."""
    return {"ok": 0.0, "errmsg": message, "code": code, "codeName": name}


@contextmanager
def answering(uri: str, answer: Answer) -> Iterator[str]:
    """The URI of a proxy before a MongoDB on one host."""
    address = urlsplit(uri)
    place = (address.hostname or "127.0.0.1", address.port or 27017)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, place, answer), daemon=True)
        accepting.start()
        port = listener.getsockname()[1]
        try:
            yield address._replace(netloc=f"127.0.0.1:{port}", query="directConnection=true").geturl()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(listener: socket.socket, place: tuple[str, int], answer: Answer) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, place, answer), daemon=True).start()


def _serve(client: socket.socket, place: tuple[str, int], answer: Answer) -> None:
    """Replies one by one, which is how the driver asks, but for monitors, whose replies the server may push."""
    with client, socket.create_connection(place) as server, contextlib.suppress(OSError, EOFError):
        threading.Thread(target=_forward, args=(server, client), daemon=True).start()
        while True:
            message = _message(client)
            _, request, _, kind = _header.unpack_from(message)
            said = answer(_body(message)) if kind == _OP_MSG else None
            if said is None:
                server.sendall(message)
            else:
                body = b"\0\0\0\0\0" + bson.encode(said)
                client.sendall(_header.pack(_header.size + len(body), request, request, _OP_MSG) + body)


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, EOFError):
        while True:
            sink.sendall(_message(source))


def _message(source: socket.socket) -> bytes:
    head = _exactly(source, _header.size)
    return head + _exactly(source, _header.unpack(head)[0] - _header.size)


def _exactly(source: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        block = source.recv(size - len(found))
        if not block:
            raise EOFError
        found += block
    return found


def _body(message: bytes) -> Mapping[str, Any]:
    size = struct.unpack_from("<i", message, _BODY_AT)[0]
    found: Mapping[str, Any] = bson.decode(message[_BODY_AT : _BODY_AT + size])
    return found
