"""The final answer to a request, with its whole head."""

from __future__ import annotations

import http.client
import io
import re
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from typing import IO, TYPE_CHECKING, Any

from .deadline import BoundedReader, running

if TYPE_CHECKING:
    import socket

    from .head import Head

# Interim answers before the final one: more than anybody sends, and an end to what a server could send.
_MAX_INTERIM = 16

# Lines after the last chunk, as many as http.client allows in a head.
_MAX_TRAILERS = 100

# RFC 9112, section 7.1: hexadecimal digits. int() takes a sign, an underscore and "0x" among them, too.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")


class FinalResponse(http.client.HTTPResponse):
    """The final answer to a request, whose head is whole."""

    fp: Any
    _method: str
    _heads = 0

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        if running.deadline is not None:
            self.fp = BoundedReader.over(self.fp, sock, running.deadline)

    def take(self, found: Head, length: int | None) -> None:
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
        while True:
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
            self._check_head()
            # RFC 9110, section 15.2: "A client MUST be able to parse one or more 1xx responses received
            # prior to a final response". The standard library does so for 100 alone.
            if not 100 <= self.status < 200:
                # RFC 9112, section 6.3: such an answer ends with its head, whatever the head says.
                if self.status in (204, 304) or self._method == "HEAD":
                    announced = self.chunked or self.headers.get("Content-Length", "0").strip() != "0"
                    if self.status == 204 and announced:
                        self.will_close = True  # what it announces may come all the same
                    self.chunked, self.length = False, 0
                return
            self.headers = self.msg = None  # type: ignore[assignment] # so that it begins anew

    def _read_status(self) -> tuple[str, int, str]:
        # Here, as the standard library passes over each 100 by itself.
        self._heads += 1
        if self._heads > _MAX_INTERIM:
            msg = "too many interim answers"
            raise http.client.HTTPException(msg)
        return super()._read_status()  # type: ignore[misc,no-any-return]

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
        if codings:
            # http.client does not know it with a space after it, which is no part of it.
            self.chunked, self.chunk_left, self.length = True, None, None
            self.will_close = self._check_close()
            return
        lengths = ",".join(self.headers.get_all("Content-Length", [])).split(",")
        if "Content-Length" not in self.headers:
            return
        # RFC 9112, section 6.3: with an invalid one "the user agent MUST close the connection to the server
        # and discard the received response".
        if not all(re.fullmatch("[0-9]{1,18}", length.strip()) for length in lengths):
            msg = 'its "Content-Length" is not valid'
            raise http.client.HTTPException(msg)
        if self.length is None and self.status >= 200:  # http.client takes no list, of equal ones either
            self.length = int(lengths[0])
            self.will_close = self._check_close()

    def _check_close(self) -> bool:
        # http.client looks at the first line alone.
        options = ",".join(self.headers.get_all("Connection", []))
        # RFC 9112, section 6.1: "the framing is faulty", and the connection is to be closed.
        is_faulty = self.version == 10 and "Transfer-Encoding" in self.headers
        return is_faulty or "close" in options.lower() or super()._check_close()  # type: ignore[misc]

    def _get_chunk_left(self) -> int | None:
        if self.chunk_left == 0:
            if self._safe_read(2) != b"\r\n":  # type: ignore[attr-defined]
                msg = "a chunk is not as long as it says"
                raise http.client.HTTPException(msg)
            self.chunk_left = None
        return super()._get_chunk_left()  # type: ignore[misc,no-any-return]

    def _read_next_chunk_size(self) -> int:
        line = self._line("chunk size")
        if not line.endswith(b"\n"):
            raise http.client.IncompleteRead(b"")
        if found := _CHUNK_LINE.fullmatch(line):
            return int(found[1], 16)
        msg = "the size of a chunk is not valid"
        raise http.client.HTTPException(msg)

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MAX_TRAILERS):
            line = self._line("trailer line")
            if not line.endswith(b"\n"):
                raise http.client.IncompleteRead(b"")
            if not line.strip(b"\r\n"):
                return
        msg = "too many trailers"
        raise http.client.HTTPException(msg)

    def _line(self, kind: str) -> bytes:
        line: bytes = self.fp.readline(http.client._MAXLINE + 1)  # type: ignore[attr-defined]
        if len(line) > http.client._MAXLINE:  # type: ignore[attr-defined]
            raise http.client.LineTooLong(kind)
        return line


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


class Received(io.RawIOBase):
    """What was read of an answer, and then the rest of it. Stands for the socket that it comes from."""

    def __init__(self, received: bytes, sock: socket.socket) -> None:
        self._received = received
        self._sock = sock
        self._stream = sock.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """A stream of it."""
        return io.BufferedReader(self)

    def gettimeout(self) -> float | None:
        """Seconds that each read waits."""
        return self._sock.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        """Let each read wait so many seconds."""
        self._sock.settimeout(seconds)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or what comes next."""
        if not self._received:
            return self._stream.readinto(buffer)
        size = min(len(buffer), len(self._received))
        buffer[:size] = self._received[:size]
        self._received = self._received[size:]
        return size

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        super().close()
