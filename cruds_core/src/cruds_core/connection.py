"""urllib3's connections: ordinary messages in one go, and none that outlasts the time of its call."""

from __future__ import annotations

import http.client
import io
import logging
import re
import socket
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HeaderParsingError, HTTPError
from urllib3.util import SKIP_HEADER
from urllib3.util.response import assert_header_parsing

from . import head
from .deadline import BoundedReader, running
from .final import FinalResponse, Received
from .idle import Idle
from .request import Headers

if TYPE_CHECKING:
    from urllib3._base_connection import BaseHTTPConnection

    from .deadline import Deadline

logger = logging.getLogger("urllib3.connection")

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

_RECORD = 1 << 14  # bytes: what TLS sends at a time (RFC 8446, section 5.1)


def _seconds(timeout: object) -> float | None:
    """A timeout of urllib3, whose default is an object of its own."""
    return timeout if isinstance(timeout, (int, float)) else None


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
        deadline, timeout = running.deadline, _seconds(self.timeout)
        sock.settimeout(timeout if deadline is None else deadline.cut(timeout))
        received = sock.recv(_SHORT)
        found = None if self.debuglevel else head.parse(received)
        original: FinalResponse | None = None
        body: Any
        if found is None:
            body = original = FinalResponse(Received(received, sock), method=method)  # type: ignore[arg-type]
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
                body = original = FinalResponse(Received(content, sock), method=method)  # type: ignore[arg-type]
                original.take(found, length)
                if length is not None and len(content) > length:
                    self.close()  # after this answer: the rest of what is too much may come yet
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

    def _new_conn(self) -> socket.socket:
        """Connect to one address after the other: urllib3 would give each of them the whole time."""
        deadline = running.deadline
        if deadline is None:
            return super()._new_conn()
        name, timeout = self._dns_host, self.timeout
        addresses = [name]
        try:
            found = socket.getaddrinfo(name, self.port, type=socket.SOCK_STREAM)
            addresses = [str(address[0]) for *_, address in found]
        except (OSError, UnicodeError):
            pass  # which urllib3 says below
        failure: HTTPError | None = None
        try:
            for address in addresses:
                self._dns_host, self.timeout = address, deadline.cut(_seconds(timeout))
                try:
                    connected = super()._new_conn()
                except ConnectTimeoutError as error:  # or that there is no connection, which is one of these
                    failure = error
                else:
                    connected.settimeout(deadline.cut(_seconds(timeout)))  # for the handshake of TLS
                    return connected
        finally:
            self._dns_host, self.timeout = name, timeout
        raise failure or OSError

    def send(self, data: Any) -> None:
        """Send bytes, each piece of them before the end of the call's time."""
        deadline = running.deadline
        if deadline is None:
            super().send(data)
            return
        for start in range(0, len(data), _RECORD):
            if self.sock is not None:
                self.sock.settimeout(deadline.cut(_seconds(self.timeout)))
            super().send(data[start : start + _RECORD])


class _TLSConnection(_Connection, HTTPSConnection):
    @property
    def is_connected(self) -> bool:
        """Whether it can be used again: not where TLS holds more than the last answer, which urllib3 misses.

        RFC 9112, section 6.3: a client "MUST NOT process [...] such extra data as a separate response".
        """
        sock: Any = self.sock
        return super().is_connected and not sock.pending()

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as above
        """Read the answer, or its head where there is more to come."""
        sock: Any = self.sock
        response = super().getresponse()
        if response.length_remaining is None and not response.chunked:
            # RFC 9112, section 9.8: such an answer "is complete only if a valid closure alert has been
            # received". Anybody on the way can end a connection, but not send that.
            sock.suppress_ragged_eofs = False
        return response


def bound(response: Any, deadline: Deadline) -> None:
    """Hold the content of an answer to a deadline, where its head came through a pool of another class."""
    below = getattr(response, "_fp", None)
    stream: Any = getattr(below, "fp", None)
    connection = getattr(getattr(stream, "raw", None), "_sock", None)
    if isinstance(below, http.client.HTTPResponse) and connection is not None:
        below.fp = BoundedReader.over(stream, connection, deadline)


# A fork of urllib3 that is installed in its place has connections of another kind, which stay as they are.
_IS_STANDARD = issubclass(HTTPConnection, http.client.HTTPConnection)


class Pool(HTTPConnectionPool):
    """Connections to one http origin."""

    ConnectionCls = _Connection if _IS_STANDARD else HTTPConnection  # pyright: ignore[reportAssignmentType] # as in urllib3 itself
    QueueCls = Idle if _IS_STANDARD else HTTPConnectionPool.QueueCls  # type: ignore[assignment] # by these methods alone


class TLSPool(HTTPSConnectionPool):
    """Connections to one https origin."""

    ConnectionCls = _TLSConnection if _IS_STANDARD else HTTPSConnection  # pyright: ignore[reportAssignmentType]
    QueueCls = Idle if _IS_STANDARD else HTTPConnectionPool.QueueCls  # type: ignore[assignment] # by these methods alone


class UnverifiedPool(TLSPool):
    """Connections that do not warn at each request: the Client has warned when it was made."""

    def _validate_conn(self, conn: BaseHTTPConnection) -> None:
        if conn.is_closed:
            conn.connect()
