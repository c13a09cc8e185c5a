"""A proxy between a client and a server that breaks a share of the requests, each in one of many ways."""

import random
import re
import socket
import struct
import threading
from contextlib import suppress
from enum import StrEnum
from io import BufferedIOBase
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import NamedTuple

from .process import HOST

POLL = 0.005  # seconds between two looks at whether to stop
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"


class Break(StrEnum):
    """What is done to a request in place of answering it."""

    CLOSED = "closed before it is passed on"
    RESET = "reset before it is passed on"
    MUTE = "half-open before it is passed on"
    REFUSED = "503 before it is passed on"
    LOST = "reset after it is passed on"
    SWALLOWED = "half-open after it is passed on"
    HEAD = "cut in the head of the answer"
    CONTENT = "cut in the content of the answer"
    SLOW = "answered in small pieces"


BEFORE = (Break.CLOSED, Break.RESET, Break.MUTE, Break.REFUSED)


class Message(NamedTuple):
    """A request or an answer, as it was sent."""

    head: bytes
    content: bytes

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.head.partition(b" ")[0].decode()


def read(stream: BufferedIOBase) -> Message | None:
    """Read a message whose content has a length; None at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    length = re.search(rb"\r\ncontent-length: *([0-9]+)", head, re.IGNORECASE)
    size = int(length[1]) if length else 0
    content = stream.read(size)
    return Message(head, content) if len(content) == size else None


class Chaos(ThreadingTCPServer):
    """Passes requests on, from its construction until the end of its with block.

    Args:
        port: Where the server listens.
        share: How many of the requests are broken, from 0 to 1.
        seed: Of the choice.

    Attributes:
        url: Where it listens.
        passed: The requests that were passed on.
        broken: How each of those was broken that were.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, share: float, seed: int = 1) -> None:
        self.target = (HOST, port)
        self.share = share
        self.random = random.Random(seed)
        self.passed: list[Message] = []
        self.broken: list[Break] = []
        self.ended = threading.Event()
        super().__init__((HOST, 0), _Connection)
        self.url = f"http://{HOST}:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve_forever, args=[POLL], daemon=True).start()

    def choose(self) -> Break | None:
        """Return what to do to a request, mostly nothing."""
        if self.random.random() >= self.share:
            return None
        chosen = self.random.choice(list(Break))
        self.broken.append(chosen)
        return chosen

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()


class _Connection(StreamRequestHandler):
    """A connection of the client's, with one of its own to the server."""

    server: Chaos  # pyright: ignore[reportIncompatibleVariableOverride]
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(self.server.target) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with server.makefile("rb") as answers:
                while (request := read(self.rfile)) and self.passes(request, server, answers):
                    pass

    def passes(self, request: Message, server: socket.socket, answers: BufferedIOBase) -> bool:
        """Pass a request on, or break it; false if the connection ends with that."""
        broken = self.server.choose()
        if broken not in BEFORE:
            self.server.passed.append(request)
            server.sendall(request.head + request.content)
            answer = read(answers)
            if answer is None:
                return False
            whole = answer.head + answer.content
        else:
            answer, whole = Message(b"", b""), b""
        match broken:
            case None:
                self.wfile.write(whole)
            case Break.REFUSED:
                self.wfile.write(REFUSAL)
            case Break.SLOW:
                for start in range(0, len(whole), 50):
                    self.wfile.write(whole[start : start + 50])
                    self.server.ended.wait(0.001)
            case Break.RESET | Break.LOST:
                # The time to linger, 0 s, makes closing send RST.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case Break.HEAD:
                self.wfile.write(answer.head[: len(answer.head) // 2])
                return False
            case Break.CONTENT:
                self.wfile.write(whole[:-1])
                return False
            case Break.MUTE | Break.SWALLOWED:
                self.connection.settimeout(60)
                self.connection.recv(1)  # until the client gives up
                return False
            case Break.CLOSED:
                return False
        return True
