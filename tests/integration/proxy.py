"""A way to a server that a test can cut, close and open again, or on which some bytes become others."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

BLOCK = 65536


@dataclass
class Proxy:
    """Forwards connections to `connect()`; `cut` ends those that are open, `close` and `open` shut and open the way."""

    connect: Callable[[], socket.socket]
    listener: socket.socket
    closed: threading.Event = field(default_factory=threading.Event)
    exchange: Mapping[bytes, bytes] = field(default_factory=dict)
    pooling: bool = False
    pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """Where it listens on the loopback."""
        number: int = self.listener.getsockname()[1]
        return number

    def cut(self) -> int:
        """End all connections; returns how many there were."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                _end(end)
        return len(pairs)

    def close(self) -> None:
        """End all connections and refuse new ones."""
        self.closed.set()
        self.cut()

    def open(self) -> None:
        """Let connections through again."""
        self.closed.clear()

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.closed.is_set():
                _end(client)
                continue
            server = self.connect()
            with self.lock:
                self.pairs.append((client, server))
            back = {wanted: kept for kept, wanted in self.exchange.items()}
            blocks_of = _pooled if self.pooling else _blocks
            for blocks, sink in (
                (_exchanged(client, back), server),
                (_exchanged(server, self.exchange) if self.exchange else blocks_of(server), client),
            ):
                ends = (client, server)
                threading.Thread(target=_forward, args=(blocks, sink, ends), daemon=True).start()


def _forward(blocks: Iterator[bytes], sink: socket.socket, ends: tuple[socket.socket, socket.socket]) -> None:
    with contextlib.suppress(OSError):
        for block in blocks:
            sink.sendall(block)
    for end in ends:
        _end(end)


def _blocks(source: socket.socket) -> Iterator[bytes]:
    return iter(lambda: source.recv(BLOCK), b"")


def _exchanged(source: socket.socket, exchange: Mapping[bytes, bytes]) -> Iterator[bytes]:
    for block in _messages(source) if exchange else _blocks(source):
        for kept, wanted in exchange.items():
            block = block.replace(kept, wanted)  # noqa: PLW2901
        yield block


def _pooled(source: socket.socket) -> Iterator[bytes]:
    """What a pooler lets its client see of a login: a process id of its own, not the server's (BackendKeyData)."""
    buffer, ready = bytearray(), False
    while not ready and (block := source.recv(BLOCK)):
        buffer += block
        while len(buffer) >= 5 and len(buffer) >= (size := 1 + struct.unpack_from("!i", buffer, 1)[0]):
            if buffer[:1] == b"K":
                struct.pack_into("!i", buffer, 5, 4711)
            ready = buffer[:1] == b"Z"
            yield bytes(buffer[:size])
            del buffer[:size]
    yield bytes(buffer)
    yield from _blocks(source)


def _messages(source: socket.socket) -> Iterator[bytes]:
    """Whole messages of MongoDB's protocol, each of which begins with its length."""
    buffer = bytearray()
    while block := source.recv(BLOCK):
        buffer += block
        while len(buffer) >= 4 and len(buffer) >= (size := struct.unpack_from("<i", buffer)[0]):
            yield bytes(buffer[:size])
            del buffer[:size]


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def _proxy(
    connect: Callable[[], socket.socket], exchange: Mapping[bytes, bytes] | None = None, *, pooling: bool = False
) -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Proxy(connect, listener, exchange=exchange or {}, pooling=pooling)
        thread = threading.Thread(target=made.serve, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            made.cut()


@contextmanager
def mongodb_proxy(uri: str, exchange: Mapping[bytes, bytes] | None = None) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a MongoDB on one host, and the URI that leads through it.

    `exchange`: what the server keeps, and what its clients see instead; as long as each other. So a test shows them
    documents that the server at hand refuses to keep.
    """
    assert all(len(kept) == len(wanted) for kept, wanted in (exchange or {}).items())
    address = urlsplit(uri)
    place = (address.hostname or "127.0.0.1", address.port or 27017)
    with _proxy(lambda: socket.create_connection(place), exchange) as made:
        user, _, _ = address.netloc.rpartition("@")
        netloc = f"{user}@127.0.0.1:{made.port}" if user else f"127.0.0.1:{made.port}"
        yield made, address._replace(netloc=netloc, query="directConnection=true").geturl()


@contextmanager
def postgresql_proxy(uri: str, *, pooling: bool = False) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a PostgreSQL, on a unix socket or a port, and the URI that leads through it.

    `pooling`: its clients are told process ids of its own, as by PgBouncer.
    """
    address = urlsplit(uri)
    [folder] = parse_qs(address.query).get("host", [""])

    def connect() -> socket.socket:
        if not folder:
            return socket.create_connection((address.hostname or "127.0.0.1", address.port or 5432))
        end = socket.socket(socket.AF_UNIX)
        end.connect(f"{folder}/.s.PGSQL.5432")
        return end

    with _proxy(connect, pooling=pooling) as made:
        user, _, _ = address.netloc.rpartition("@")
        # An answer to a question for encryption is no message, which `_pooled` could not tell.
        query = "sslmode=disable&gssencmode=disable" if pooling else ""
        yield made, address._replace(netloc=f"{user}@127.0.0.1:{made.port}", query=query).geturl()
