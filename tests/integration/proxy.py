"""A way to a server that a test can cut, close and open again, on which some bytes become others, or which keeps a
client's message back until long after that client has died."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

BLOCK = 65536
LATE_S = 30.0
"""For the server to answer what comes late."""


@dataclass
class Hold:
    """Keeps back the last of some messages that a client sends one after the other, and all behind it. The server's end
    of that connection stays open, whatever becomes of the client, as on a network that has lost it."""

    steps: tuple[re.Pattern[bytes], ...]
    came: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    answer: bytes = b""
    """What the server said to it; nothing if it had ended the connection by then."""

    def release(self) -> bytes:
        """Let it go on to the server; returns the answer."""
        self.free.set()
        assert self.over.wait(LATE_S), "the server has answered nothing"
        return self.answer


@dataclass
class Proxy:
    """Forwards connections to `connect()`; `cut` ends those that are open, `close` and `open` shut and open the way,
    `freeze` swallows what is sent on it until `thaw`."""

    connect: Callable[[], socket.socket]
    listener: socket.socket
    closed: threading.Event = field(default_factory=threading.Event)
    flowing: threading.Event = field(default_factory=threading.Event)
    exchange: Mapping[bytes, bytes] = field(default_factory=dict)
    pooling: bool = False
    messages: Callable[[socket.socket], Iterator[bytes]] | None = None
    """Parts what a client sends; needed to hold something."""
    holds: list[Hold] = field(default_factory=list)
    pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.flowing.set()

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

    def freeze(self) -> None:
        """From here on nothing comes through in either direction, and nobody is told: a network that is parted."""
        self.flowing.clear()

    def thaw(self) -> None:
        """Let all of it through after all."""
        self.flowing.set()

    def hold(self, *steps: bytes) -> Hold:
        """Keep back the first message that fits the last one of these expressions, behind such as fit those before it
        on the same connection."""
        assert self.messages is not None
        made = Hold(tuple(re.compile(step, re.DOTALL) for step in steps))
        self.holds.append(made)
        return made

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
            requests = _exchanged(client, back)
            answers = _exchanged(server, self.exchange) if self.exchange else blocks_of(server)
            if self.messages is not None:
                held: list[Hold] = []
                requests = self._kept_back(self.messages(client), held)
                answers = _noted(answers, held)
            for blocks, sink in ((requests, server), (answers, client)):
                ends = (client, server)
                threading.Thread(target=_forward, args=(blocks, sink, ends, self.flowing), daemon=True).start()

    def _kept_back(self, messages: Iterator[bytes], held: list[Hold]) -> Iterator[bytes]:
        seen: dict[int, int] = {}
        for message in messages:
            for number, hold in enumerate(self.holds):
                step = seen.get(number, 0)
                if hold.came.is_set() or not hold.steps[step].search(message):
                    continue
                seen[number] = step + 1
                if seen[number] == len(hold.steps):
                    held.append(hold)
                    hold.came.set()
                    hold.free.wait()
            yield message
        for hold in held:  # the client has gone, its server is to answer all the same
            hold.over.wait(LATE_S)


def _noted(answers: Iterator[bytes], held: list[Hold]) -> Iterator[bytes]:
    """A server's answers, the first one behind the release of a message to that. The end of them is one, too."""
    try:
        for block in answers:
            for hold in held:
                if hold.free.is_set() and not hold.over.is_set():
                    hold.answer = block
                    hold.over.set()
            yield block
    finally:
        for hold in held:
            hold.over.set()


def _forward(
    blocks: Iterator[bytes], sink: socket.socket, ends: tuple[socket.socket, socket.socket], flowing: threading.Event
) -> None:
    with contextlib.suppress(OSError):
        for block in blocks:
            flowing.wait()
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


def _statements(source: socket.socket) -> Iterator[bytes]:
    """Whole messages of PostgreSQL's protocol: of all but the first the length stands behind a byte of kind."""
    buffer, kind = bytearray(), 0
    while block := source.recv(BLOCK):
        buffer += block
        while len(buffer) >= kind + 4 and len(buffer) >= (size := kind + struct.unpack_from("!i", buffer, kind)[0]):
            yield bytes(buffer[:size])
            del buffer[:size]
            kind = 1


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def _proxy(
    connect: Callable[[], socket.socket],
    exchange: Mapping[bytes, bytes] | None = None,
    *,
    pooling: bool = False,
    messages: Callable[[socket.socket], Iterator[bytes]] | None = None,
) -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Proxy(connect, listener, exchange=exchange or {}, pooling=pooling, messages=messages)
        thread = threading.Thread(target=made.serve, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            made.cut()
            made.thaw()
            for hold in made.holds:
                hold.free.set()
                hold.over.set()


@contextmanager
def mongodb_proxy(
    uri: str, exchange: Mapping[bytes, bytes] | None = None, *, holding: bool = False
) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a MongoDB on one host, and the URI that leads through it.

    `exchange`: what the server keeps, and what its clients see instead; as long as each other. So a test shows them
    documents that the server at hand refuses to keep. `holding`: a test may keep messages back.
    """
    assert all(len(kept) == len(wanted) for kept, wanted in (exchange or {}).items())
    address = urlsplit(uri)
    place = (address.hostname or "127.0.0.1", address.port or 27017)
    messages = _messages if holding else None
    with _proxy(lambda: socket.create_connection(place), exchange, messages=messages) as made:
        user, _, _ = address.netloc.rpartition("@")
        netloc = f"{user}@127.0.0.1:{made.port}" if user else f"127.0.0.1:{made.port}"
        yield made, address._replace(netloc=netloc, query="directConnection=true").geturl()


@contextmanager
def postgresql_proxy(uri: str, *, pooling: bool = False, holding: bool = False) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a PostgreSQL, on a unix socket or a port, and the URI that leads through it.

    `pooling`: its clients are told process ids of its own, as by PgBouncer. `holding`: a test may keep messages back.
    """
    address = urlsplit(uri)
    [folder] = parse_qs(address.query).get("host", [""])

    def connect() -> socket.socket:
        if not folder:
            return socket.create_connection((address.hostname or "127.0.0.1", address.port or 5432))
        end = socket.socket(socket.AF_UNIX)
        end.connect(f"{folder}/.s.PGSQL.5432")
        return end

    with _proxy(connect, pooling=pooling, messages=_statements if holding else None) as made:
        user, _, _ = address.netloc.rpartition("@")
        # A question for encryption, and its answer, are no messages like the others.
        query = "sslmode=disable&gssencmode=disable" if pooling or holding else ""
        yield made, address._replace(netloc=f"{user}@127.0.0.1:{made.port}", query=query).geturl()
