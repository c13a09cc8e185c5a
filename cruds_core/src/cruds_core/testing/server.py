"""HTTP/1.1 on a loopback port: the standard library's server, strict about content and quick to close."""

import json
import logging
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.message import Message
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread
from typing import Self
from urllib.parse import parse_qs
from weakref import WeakSet

MAX_LINE = 65536  # bytes, the limit of http.server for a request line
POLL = 0.005  # seconds between two looks at whether to stop

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived, its target as the client wrote it, and the status of the answer."""

    method: str
    target: str
    status: int
    headers: Message


@dataclass(eq=False)
class Reply(Exception):
    """What goes back to the client: returned, or raised when it is a refusal.

    Attributes:
        status: The status code.
        content: The content.
        headers: Values by name, without those that the server adds: Date, Connection and Content-Length.
    """

    status: int
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def json(cls, value: object, status: int = 200, **headers: str) -> Self:
        """Return a reply of JSON.

        Args:
            value: What is written as JSON.
            status: The status code.
            **headers: Further headers.
        """
        return cls(status, encode(value), {"Content-Type": "application/json", **headers})


def encode(value: object) -> bytes:
    """Return JSON in UTF-8.

    Raises:
        ValueError: for NaN, infinities (RFC 8259, section 6) and lone surrogates (RFC 7493, section 2.1).
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


class Connection(BaseHTTPRequestHandler):
    """A client's connection: reads each request whole and sends each reply in one piece.

    Attributes:
        path: the path of the request, still percent-encoded and without the query.
        query: the values of each name in the query.
        content: the bytes of the content, decoded from the chunked coding.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride]
    query: dict[str, list[str]]
    content: bytes

    def reply(self) -> Reply:
        """Return or raise the answer to the request."""
        raise NotImplementedError

    def answer(self) -> None:
        """Answer one request."""
        # RFC 9112, section 3.2.2: a server accepts the absolute form of a target too.
        path, _, query = re.sub("^https?://[^/?]*", "", self.path).partition("?")
        self.path, self.query = path or "/", parse_qs(query, keep_blank_values=True)
        try:
            self.content = self.read()
            reply = self.reply()
        except Reply as refusal:
            reply = replace(refusal)  # without its traceback, which would keep this frame and the content
        except RecursionError:
            reply = self.problem(400, "the content is nested too deeply")
        target = self.requestline.split()[1]
        self.server.requests.append(Seen(self.command, target, reply.status, self.headers))
        self.send(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = answer

    def read(self) -> bytes:
        """Read the content to its end, so that the next request begins where the client says."""
        lengths = set(self.headers.get_all("Content-Length", []))
        if codings := self.headers.get_all("Transfer-Encoding"):
            # RFC 9112, section 6.3: with a length as well, or another coding, nobody knows the end.
            if lengths or [coding.lower() for coding in codings] != ["chunked"]:
                raise self.out_of_step()
            return b"".join(iter(self.read_chunk, b""))
        length = ", ".join(lengths or ["0"])
        if not re.fullmatch("[0-9]{1,9}", length):
            raise self.out_of_step()
        return self.read_exactly(int(length))

    def read_chunk(self) -> bytes:
        """Read a chunk (RFC 9112, section 7.1), and after the last one the trailer section."""
        size = re.fullmatch(rb"([0-9A-Fa-f]{1,7})[ \t]*(;.*)?\r\n", self.rfile.readline(MAX_LINE))
        if not size:
            raise self.out_of_step()
        content = self.read_exactly(int(size[1], 16))
        line = self.rfile.readline(MAX_LINE)
        while line.strip() and not content:
            line = self.rfile.readline(MAX_LINE)
        if line != b"\r\n":
            raise self.out_of_step()
        return content

    def read_exactly(self, size: int) -> bytes:
        """Read so many bytes."""
        content = self.rfile.read(size)
        if len(content) < size:
            raise self.out_of_step()
        return content

    def out_of_step(self) -> Reply:
        """Return a refusal of content whose end is unknown: what follows it cannot be a request."""
        self.close_connection = True
        return self.problem(400, "the length of the content is not valid")

    def problem(
        self, status: int, detail: str, headers: dict[str, str] | None = None, **members: object
    ) -> Reply:
        """Return a refusal with problem details (RFC 9457, section 3), extended by `members`."""
        title = responses.get(status, "Unknown")
        details = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        content = encode({**details, "instance": self.path, **members})
        return Reply(status, content, {"Content-Type": "application/problem+json", **(headers or {})})

    def send(self, reply: Reply) -> None:
        """Send a reply: head and content together, so that neither waits for the other's acknowledgement."""
        headers = {"Date": self.date_time_string(), **reply.headers}
        headers["Connection"] = "close" if self.close_connection else "keep-alive"
        if reply.status not in (204, 304):  # RFC 9110, section 8.6
            headers["Content-Length"] = str(len(reply.content))
        # RFC 9110, section 5.5: no line break in a field value, wherever it came from.
        fields = "".join(f"{name}: {' '.join(value.split())}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}\r\n{fields}\r\n"
        content = b"" if self.command == "HEAD" else reply.content
        self.wfile.write(head.encode("latin-1", "replace") + content)
        self.log_message("%s %s: %d", self.command, self.path, reply.status)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what http.server cannot read as a request."""
        self.path, self.close_connection = "", True
        self.send(self.problem(int(code), message or "the request is not valid"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log for those who debug a test, never to stderr."""
        logger.debug(format, *args)


class Server(ThreadingHTTPServer):
    """Serves from its construction until `close()`, in daemon threads.

    Attributes:
        url: where it listens, without a trailing slash.
        requests: what arrived, in the order of the answers.
        connections: how many TCP connections were accepted so far.
    """

    request_queue_size = 128  # so that many clients can connect at the same moment

    def __init__(self, connection: Callable[..., Connection]) -> None:
        self.requests: list[Seen] = []
        self.connections = 0
        self._closed = False
        self._open = WeakSet[socket.socket]()
        super().__init__(("127.0.0.1", 0), connection)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self._thread = Thread(target=self.serve_forever, args=[POLL], daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop at once and end every connection, idle or not; closing twice is no error."""
        self._closed = True
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def server_bind(self) -> None:
        """Bind without http.server's look-up of the host's name, which can take seconds."""
        TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection."""
        connection, address = super().get_request()
        self._open.add(connection)
        self.connections += 1
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what broke a connection; it is no error that a client hangs up or that we close."""
        expected = self._closed or isinstance(sys.exception(), OSError)
        level = logging.DEBUG if expected else logging.ERROR
        logger.log(level, "the connection of %s broke", client_address, exc_info=True)
