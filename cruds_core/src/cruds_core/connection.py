"""urllib3's connections: ordinary messages in one go, of all others the final answer with its whole head."""

from __future__ import annotations

import http.client
import io
import logging
import re
from typing import IO, TYPE_CHECKING, Any

from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HeaderParsingError
from urllib3.util import SKIP_HEADER
from urllib3.util.response import assert_header_parsing

from . import head
from .request import Headers

if TYPE_CHECKING:
    import socket

    from urllib3._base_connection import BaseHTTPConnection

logger = logging.getLogger("urllib3.connection")

# Interim answers before the final one: more than anybody sends, and an end to what a server could send.
_MAX_INTERIM = 16

# Bytes that are sent, and read, in one go: a head, with its content where that is as short as most.
_SHORT = 1 << 14

# What http.client writes as it is. All else is left to it.
_HOST = re.compile(r"[a-z0-9._-]+")
_START = re.compile(r"[A-Z]+ /[!-~]*")
_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)*")
_ALWAYS = frozenset({"accept-encoding", "user-agent"})  # urllib3 adds its own where they are missing
_FRAMING = frozenset({"content-length", "transfer-encoding"})
# RFC 9112, section 5.2: what folds a line is read as a space.
_FOLD = re.compile(r"(?:(?<![ \t])[ \t]+)?\r\n[ \t]+")

# Methods without content are sent without a length, and others with one of 0 (RFC 9110, section 8.6).
_WITHOUT_CONTENT = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class FinalResponse(http.client.HTTPResponse):
    """The final answer to a request, whose head is whole."""

    fp: Any
    _method: str

    def take(self, found: head.Head, length: int | None) -> None:
        """Have a head that was read already, in place of `begin`."""
        self.version = 11
        self.status = self.code = found.status
        self.reason = found.reason
        self.length = length
        self.chunked = length is None
        self.chunk_left = None
        self.will_close = False

    def begin(self) -> None:
        """Read the head.

        Raises:
            http.client.RemoteDisconnected: The connection ended before the head did.
            http.client.HTTPException: What came is no head.
        """
        for _ in range(_MAX_INTERIM):
            stream = self.fp
            self.fp = lines = _Lines(stream)
            try:
                super().begin()
            finally:
                if self.fp is lines:  # else it has been closed
                    self.fp = stream
            # RFC 9112, section 8: "A message ... with an incomplete header section is incomplete".
            if not lines.last:
                msg = "the head of the answer is not complete"
                raise http.client.RemoteDisconnected(msg)
            # RFC 9110, section 15.2: "A client MUST be able to parse one or more 1xx responses received
            # prior to a final response". The standard library does so for 100 alone.
            if not 100 <= self.status < 200 or self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                # RFC 9112, section 6.3: such an answer ends with its head, whatever the head says.
                if self.status in (204, 304) or self._method == "HEAD":
                    self.chunked = False
                return
            self.headers = self.msg = None  # type: ignore[assignment] # so that it begins anew
        msg = "too many interim answers"
        raise http.client.HTTPException(msg)


class _Lines:
    """Reads lines, and remembers the last: it is empty where the connection ended."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._stream.readline(limit)
        return self.last

    def close(self) -> None:
        self._stream.close()


class _Received(io.RawIOBase):
    """What was read of an answer, and then the rest of it. Stands for the socket that it comes from."""

    def __init__(self, received: bytes, sock: socket.socket) -> None:
        self._received = received
        self._stream = sock.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if not self._received:
            return self._stream.readinto(buffer)
        size = min(len(buffer), len(self._received))
        buffer[:size] = self._received[:size]
        self._received = self._received[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Connection(HTTPConnection):
    """Writes an ordinary request, and reads the answer, in one go. The rest is left to urllib3."""

    response_class = FinalResponse
    _asked: tuple[str, str, dict[str, Any]] | None = None

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        *,
        chunked: bool = False,
        **options: Any,
    ) -> None:
        """Send a request."""
        self._asked = None
        start = None if chunked else self._ordinary(method, url, body, headers)
        if start is None:
            super().request(method, url, body, headers, chunked=chunked, **options)
            return
        self._asked = method, url, options
        if self.sock is not None:
            self.sock.settimeout(self.timeout)
        if body is not None and len(body) > _SHORT:
            self.send(start)
            self.send(body)
        else:
            self.send(start + (body or b""))

    def _ordinary(self, method: str, target: str, content: object, headers: object) -> bytes | None:
        """The head of a request as http.client would send it; None where it takes http.client to know."""
        if not isinstance(headers, Headers) or self.proxy:
            return None
        if isinstance(content, bytes):
            framing = f"Content-Length: {len(content)}\r\n"
        elif content is None and method in _WITHOUT_CONTENT:
            framing = ""
        else:
            return None
        names = headers.names
        if not names >= _ALWAYS or not names.isdisjoint(_FRAMING):
            return None
        start, host = f"{method} {target}", self.host
        if not _START.fullmatch(start) or not _HOST.fullmatch(host):
            return None
        if "host" not in names:
            port = "" if self.port == self.default_port else f":{self.port}"
            framing = f"Host: {host}{port}\r\n{framing}"
        lines = [f"{name}: {value}\r\n" for name, value in headers.iteritems()]
        fields = "".join(lines)
        # The transport has checked them. Others, who may use the manager, have not.
        if not _FIELDS.fullmatch(fields) or fields.count("\n") != len(lines) or SKIP_HEADER in fields:
            return None
        return f"{start} HTTP/1.1\r\n{framing}{fields}\r\n".encode("latin-1")

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as in urllib3 itself
        """Read the answer, or its head where there is more to come."""
        if self._asked is None:
            return super().getresponse()
        (method, url, options), self._asked = self._asked, None
        sock: socket.socket = self.sock
        sock.settimeout(self.timeout)
        received = sock.recv(_SHORT)
        found = None if self.debuglevel else head.parse(received)
        original: FinalResponse | None = None
        body: Any
        if found is None:
            body = original = FinalResponse(_Received(received, sock), method=method)  # type: ignore[arg-type]
            headers = self._begin(original)
            status, reason = original.status, original.reason
        else:
            headers, status, reason = found.fields, found.status, found.reason
            # RFC 9112, section 6.3: such an answer ends with its head, whatever the head says.
            length = 0 if method == "HEAD" or status in (204, 304) else found.length
            content = received[found.size :]
            if len(content) == length:
                body = io.BytesIO(content)
            else:
                body = original = FinalResponse(_Received(content, sock), method=method)  # type: ignore[arg-type]
                original.take(found, length)
        return HTTPResponse(
            body=body,
            headers=headers,
            status=status,
            version=original.version if original else 11,  # RFC 9112, section 2.3: HTTP/1.1
            version_string="HTTP/1.1",
            reason=reason,
            original_response=original,
            request_method=method,
            request_url=url,
            sock_shutdown=sock.shutdown,
            **options,
        )

    def _begin(self, response: FinalResponse) -> HTTPHeaderDict:
        """Read a head that is not ordinary, as urllib3 does."""
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        if response.will_close:
            self.close()
        try:
            assert_header_parsing(response.msg)
        except HeaderParsingError as error:
            logger.warning("Failed to parse headers: %s", error, exc_info=True)
        return HTTPHeaderDict((name, _FOLD.sub(" ", value)) for name, value in response.msg.items())


class _TLSConnection(_Connection, HTTPSConnection):
    pass


# A fork of urllib3 that is installed in its place has connections of another kind, which stay as they are.
_IS_STANDARD = issubclass(HTTPConnection, http.client.HTTPConnection)


class Pool(HTTPConnectionPool):
    """Connections to one http origin."""

    ConnectionCls = _Connection if _IS_STANDARD else HTTPConnection  # pyright: ignore[reportAssignmentType] # as in urllib3 itself


class TLSPool(HTTPSConnectionPool):
    """Connections to one https origin."""

    ConnectionCls = _TLSConnection if _IS_STANDARD else HTTPSConnection  # pyright: ignore[reportAssignmentType]


class UnverifiedPool(TLSPool):
    """Connections that do not warn at each request: the Client has warned when it was made."""

    def _validate_conn(self, conn: BaseHTTPConnection) -> None:
        if conn.is_closed:
            conn.connect()
