"""urllib3's connections, with the head of an answer read to its end and interim answers passed over."""

from __future__ import annotations

import http.client
import re
import socket
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from typing import IO, TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError

from .deadline import BoundedReader, running

from .idle import Idle

if TYPE_CHECKING:
    from urllib3._base_connection import BaseHTTPConnection

    from .deadline import Deadline

# Interim answers before the final one: more than anybody sends, and an end to what a server could send.
_MAX_INTERIM = 16

# Lines after the last chunk, as many as http.client allows in a head.
_MAX_TRAILERS = 100

_RECORD = 1 << 14  # bytes: what TLS sends at a time (RFC 8446, section 5.1)


class FinalResponse(http.client.HTTPResponse):
    """The final answer to a request, whose head is whole."""

    fp: Any
    _method: str

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        if running.deadline is not None:
            self.fp = BoundedReader.over(self.fp, sock, running.deadline)

    def begin(self) -> None:
        """Read the head.

        Raises:
            http.client.RemoteDisconnected: The connection ended before the head did.
            http.client.HTTPException: What came is no head.
        """
        for _ in range(_MAX_INTERIM):
            stream = self.fp
            self.fp = head = _Lines(stream)
            try:
                super().begin()
            finally:
                if self.fp is head:  # else it has been closed
                    self.fp = stream
            # RFC 9112, section 8: "A message ... with an incomplete header section is incomplete".
            if not head.last:
                msg = "the head of the answer is not complete"
                raise http.client.RemoteDisconnected(msg)
            self._check_head()
            # RFC 9110, section 15.2: "A client MUST be able to parse one or more 1xx responses received
            # prior to a final response". The standard library does so for 100 alone.
            if not 100 <= self.status < 200:
                # RFC 9112, section 6.3: such an answer ends with its head, whatever the head says.
                if self.status in (204, 304) or self._method == "HEAD":
                    self.chunked = False
                return
            self.headers = self.msg = None  # type: ignore[assignment] # so that it begins anew
        msg = "too many interim answers"
        raise http.client.HTTPException(msg)

    def _check_head(self) -> None:
        """Refuse a head that says in no valid way where the content ends, or what comes after it."""
        defects = (MissingHeaderBodySeparatorDefect, FirstHeaderLineIsContinuationDefect)
        if any(isinstance(defect, defects) for defect in self.headers.defects):
            msg = "a line of it is no header"  # nor has any after it been read
            raise http.client.HTTPException(msg)
        # RFC 9110, section 15.2.2: it answers an Upgrade, which nobody sends here.
        if self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            msg = "it switches to another protocol"
            raise http.client.HTTPException(msg)
        # RFC 9112, section 6.1: a client that sent no TE is sent no other transfer coding.
        codings = self.headers.get_all("Transfer-Encoding", [])
        if codings and [coding.strip().lower() for coding in codings] != ["chunked"]:
            msg = 'its "Transfer-Encoding" is not "chunked"'
            raise http.client.HTTPException(msg)
        lengths = ",".join(self.headers.get_all("Content-Length", [])).split(",")
        if codings or "Content-Length" not in self.headers:
            return
        # RFC 9112, section 6.3: with an invalid one "the user agent MUST close the connection to the server
        # and discard the received response".
        if not all(re.fullmatch("[0-9]{1,18}", length.strip()) for length in lengths):
            msg = 'its "Content-Length" is not valid'
            raise http.client.HTTPException(msg)
        if self.length is None and self.status >= 200:  # http.client takes no list, of equal ones either
            self.length = int(lengths[0])
            self.will_close = self._check_close()  # type: ignore[attr-defined]

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MAX_TRAILERS):
            line = self.fp.readline(http.client._MAXLINE + 1)  # type: ignore[attr-defined]
            if len(line) > http.client._MAXLINE:  # type: ignore[attr-defined]
                msg = "trailer line"
                raise http.client.LineTooLong(msg)
            if not line.strip(b"\r\n"):
                return
        msg = "too many trailers"
        raise http.client.HTTPException(msg)


class _Lines:
    """Reads lines, and remembers the last: it is empty where the connection ended."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = line = self._stream.readline(limit)
        if b"\r" not in line[:-2]:
            return line
        # RFC 9112, section 2.2: a bare CR is invalid, or to be replaced with SP. The parser would take it for
        # the end of a line.
        return line[:-2].replace(b"\r", b" ") + line[-2:]

    def close(self) -> None:
        self._stream.close()


def _seconds(timeout: object) -> float | None:
    """A timeout of urllib3, whose default is an object of its own."""
    return timeout if isinstance(timeout, (int, float)) else None


class _Connection(HTTPConnection):
    response_class = FinalResponse

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
    pass


def bound(response: Any, deadline: Deadline) -> None:
    """Hold the content of an answer to a deadline, where its head came through a pool of another class."""
    below = getattr(response, "_fp", None)
    stream: Any = getattr(below, "fp", None)
    connection = getattr(getattr(stream, "raw", None), "_sock", None)
    if isinstance(below, http.client.HTTPResponse) and connection is not None:
        below.fp = BoundedReader.over(stream, connection, deadline)


class Pool(HTTPConnectionPool):
    """Connections to one http origin."""

    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType] # as in urllib3 itself
    QueueCls = Idle  # type: ignore[assignment] # as in urllib3, it is used by these methods alone


class TLSPool(HTTPSConnectionPool):
    """Connections to one https origin."""

    ConnectionCls = _TLSConnection  # pyright: ignore[reportAssignmentType]
    QueueCls = Idle  # type: ignore[assignment] # as in urllib3, it is used by these methods alone


class UnverifiedPool(TLSPool):
    """Connections that do not warn at each request: the Client has warned when it was made."""

    def _validate_conn(self, conn: BaseHTTPConnection) -> None:
        if conn.is_closed:
            conn.connect()
