"""urllib3's connections, with the head of an answer read to its end and interim answers passed over."""

from __future__ import annotations

import http.client
from typing import IO, TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from . import head

if TYPE_CHECKING:
    from urllib3._base_connection import BaseHTTPConnection

# Interim answers before the final one: more than anybody sends, and an end to what a server could send.
_MAX_INTERIM = 16


class FinalResponse(http.client.HTTPResponse):
    """The final answer to a request, whose head is whole."""

    fp: Any
    _method: str

    def begin(self) -> None:
        """Read the head.

        Raises:
            http.client.RemoteDisconnected: The connection ended before the head did.
            http.client.HTTPException: What came is no head.
        """
        if not self._begin_ordinary():
            self._begin_any()
        # RFC 9112, section 6.3: such an answer ends with its head, whatever the head says.
        if self.status in (204, 304) or self._method == "HEAD":
            self.chunked, self.length = False, 0

    def _begin_ordinary(self) -> bool:
        """Read the head if it is there as a whole and an ordinary one. If not, nothing has been read."""
        found = None if self.debuglevel else head.parse(self.fp.peek())
        if found is None:
            return False
        self.fp.read(found.size)
        self.version = 11  # RFC 9112, section 2.3: HTTP/1.1
        self.status = self.code = found.status
        self.reason = found.reason
        self.headers = self.msg = found.fields
        self.length = found.length
        self.chunked = found.length is None
        self.chunk_left = None
        self.will_close = False
        return True

    def _begin_any(self) -> None:
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


class _Connection(HTTPConnection):
    response_class = FinalResponse


class _TLSConnection(HTTPSConnection):
    response_class = FinalResponse


class Pool(HTTPConnectionPool):
    """Connections to one http origin."""

    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType] # as in urllib3 itself


class TLSPool(HTTPSConnectionPool):
    """Connections to one https origin."""

    ConnectionCls = _TLSConnection  # pyright: ignore[reportAssignmentType]


class UnverifiedPool(TLSPool):
    """Connections that do not warn at each request: the Client has warned when it was made."""

    def _validate_conn(self, conn: BaseHTTPConnection) -> None:
        if conn.is_closed:
            conn.connect()
