"""A raw server that answers with scripts: the faults that no real server has, and what it was sent."""

import http.client
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http.client import HTTPMessage
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TypeAlias

from .process import HOST

POLL = 0.005  # seconds between two looks at whether to stop


class End(Enum):
    """How a connection ends.

    By FIN; by RST, at which the peer loses what it has not read yet; or by the end of TLS, and FIN.
    """

    CLOSE = "close"
    RESET = "reset"
    GOODBYE = "goodbye"


#: Bytes are sent, a number of seconds is waited, a callable is called, an End ends the connection.
Step: TypeAlias = bytes | float | End | Callable[[], object]
Script: TypeAlias = bytes | End | Sequence[Step]


def reply(status: int, content: bytes = b"{}", **headers: str) -> bytes:
    """Returns a whole answer of JSON; an underscore in the name of a header stands for a hyphen."""
    fields = {"Content_Type": "application/json", "Content_Length": str(len(content))} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + content


@dataclass(frozen=True)
class Received:
    """A request that arrived, and the number of the connection that brought it, counted from 1."""

    connection: int
    method: str
    target: str
    headers: HTTPMessage
    content: bytes


class Fault(ThreadingTCPServer):
    """Serves from its construction until the end of its with block: one script for each request.

    Requests are answered in the order in which they arrive, on whatever connection; the last script is
    used again for all further ones. A connection stays open until a script ends it.

    Args:
        scripts: The answers.
        certificate: A PEM file with key and certificate; with it the server speaks TLS.

    Attributes:
        url: Where it listens.
        scripts: Those to come, and the last.
        received: The requests, in the order of their arrival.
        connections: How many were accepted.
    """

    def __init__(self, *scripts: Script, certificate: Path | None = None) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.closed = threading.Event()
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self.scripts: list[Script] = list(scripts)
        self.numbers: dict[object, int] = {}
        self.open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, 0), _Connection)
        self.url = f"{'http' if certificate is None else 'https'}://{HOST}:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve_forever, args=[POLL], daemon=True).start()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection."""
        connection, address = super().get_request()
        self.connections += 1
        self.numbers[address] = self.connections
        return connection, address

    def take(self, request: Received) -> list[Step]:
        """Keep a request and return the script for it."""
        with self._lock:
            self.received.append(request)
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return [script] if isinstance(script, (bytes, End)) else list(script)

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self.shutdown()
        for connection in list(self.open):
            with suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()  # waits for the threads of all connections

    def handle_error(self, request: object, client_address: object) -> None:
        """Show what broke a connection, unless it is that the client ended it."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Connection(StreamRequestHandler):
    """One connection, in a thread of its own."""

    server: Fault  # pyright: ignore[reportIncompatibleVariableOverride]
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.number = self.server.numbers[self.client_address]
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()
        self.server.open.add(self.request)

    def handle(self) -> None:
        # A client may hang up at any moment, and a script may want it to.
        with suppress(OSError, http.client.HTTPException, ValueError):
            while request := self.read():
                for step in self.server.take(request):
                    if not self.does(step):
                        return

    def does(self, step: Step) -> bool:
        """Do a step, and say whether the connection goes on."""
        match step:
            case bytes():
                self.wfile.write(step)
            case float() | int():
                return not self.server.closed.wait(step)
            case End.CLOSE:
                return False
            case End.RESET:
                # The time to linger, 0 s, makes closing send RST; finish() closes what keeps it open.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return False
            case End.GOODBYE:
                self.connection.settimeout(1)  # seconds that the peer has to say it, too
                self.connection.unwrap()
                return False
            case _:
                step()
        return True

    def read(self) -> Received | None:
        """Read a request; None when the client hangs up before its end."""
        line = self.rfile.readline()
        if not line:
            return None
        method, target, _ = line.decode("latin-1").split()
        headers = http.client.parse_headers(self.rfile)
        if headers.get("Transfer-Encoding") == "chunked":
            content = b"".join(iter(self.read_chunk, b""))
        else:
            length = int(headers.get("Content-Length", "0"))
            content = self.rfile.read(length)
            if len(content) < length:
                return None
        return Received(self.number, method, target, headers, content)

    def read_chunk(self) -> bytes:
        """Read a chunk with the line break after it (RFC 9112, section 7.1), trailers not supported."""
        size = int(self.rfile.readline(), 16)
        return self.rfile.read(size + 2)[:size]

    def finish(self) -> None:
        self.server.open.discard(self.request)
        super().finish()
        with suppress(OSError):
            self.request.close()  # the server itself closes no TLS connection: it has the plain socket
