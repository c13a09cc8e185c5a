"""Heads that are read without the standard library, which must read the same out of them."""

import io
import re
from http.client import HTTPException
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.nginx import Nginx
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from cruds_core import Client, head
from cruds_core.connection import Pool
from cruds_core.final import FinalResponse
from cruds_core.request import Headers

CONTENT = b"content"
LENGTH = b"Content-Length: 7\r\n"


class Socket(io.RawIOBase):
    """Stands for a socket over which these pieces come, one after the other."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]

    def readable(self) -> bool:
        """Returns that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Gives the next piece, or what fits of it."""
        piece = self.pieces.pop(0) if self.pieces else b""
        size = min(len(buffer), len(piece))
        buffer[:size] = piece[:size]
        self.pieces[:0] = [piece[size:]] if piece[size:] else []
        return size

    def recv(self, size: int) -> bytes:
        """Gives the next piece, or what fits of it."""
        return cast("bytes", self.read(size))

    def makefile(self, _mode: str, buffering: int = -1) -> Any:
        """Returns itself, with a buffer unless that is declined."""
        return io.BufferedReader(self) if buffering else self

    def ignore(self, *_: object) -> None:
        """Does nothing."""

    settimeout = sendall = shutdown = close = ignore


class Standard(HTTPConnection):
    """The connection of urllib3, which reads all heads with the standard library."""

    response_class = FinalResponse

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as in urllib3 itself
        """Reads an answer, without the folds that urllib3 before 2.7 leaves in it."""
        response = super().getresponse()
        fields = [(name, re.sub(r"[ \t]*\r\n[ \t]+", " ", value)) for name, value in response.headers.items()]
        response.headers = HTTPHeaderDict(fields)
        return response


def read(kind: Any, pieces: list[bytes], method: str) -> dict[str, Any]:
    """Returns all that a connection of this kind says of an answer."""
    connection = kind("127.0.0.1", 80)
    connection.sock = cast("Any", Socket(pieces))
    connection.request(method, "/", headers=Headers.default(json=True), preload_content=False)
    said: dict[str, Any] = {}
    try:
        response = connection.getresponse()
        said = {name: getattr(response, name) for name in ("status", "reason", "version", "chunked")}
        said |= {"fields": list(response.headers.items()), "length": response.length_remaining}
        said |= {"closed": connection.sock is None, "content": response.read()}
    except (HTTPException, HTTPError, OSError, ValueError) as error:
        said["error"] = type(error)
    return said


def assert_same(pieces: list[bytes], method: str = "GET") -> None:
    """An answer is read as urllib3 and the standard library read it; ours closes where more came."""
    ours, standard = read(Pool.ConnectionCls, pieces, method), read(Standard, pieces, method)
    if ours.get("closed") and not standard.get("closed"):
        assert len(b"".join(pieces).partition(b"\r\n\r\n")[2]) > ours["length"]
        standard["closed"] = True
    assert ours == standard


ORDINARY = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 \r\ncontent-length:7\r\n\r\n",
    b"HTTP/1.1 200  Very  well \r\nContent-Length:\t 007\r\nX:\r\nY: \t\r\nZ: a:b \r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nConnection: Keep-Alive\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 7\r\nFrom: me\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=x\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + LENGTH + b"X: 1\r\n" * 98 + b"\r\n",
    b"HTTP/1.1 200 OK\r\n" + LENGTH + b"X: " + b"x" * 7000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("received", ORDINARY)
def test_ordinary_head(received: bytes, method: str) -> None:
    """An ordinary head is taken, and read as the standard library reads it."""
    assert head.parse(received + CONTENT) is not None
    for end in (b"", CONTENT, CONTENT + b"more", b"3\r\ncon\r\n0\r\n\r\n"):
        assert_same([received + end], method)
        assert_same([received, end], method)
        assert_same([received + end[:2], end[2:]], method)
        assert_same([received[:9], received[9:] + end], method)


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_long_content_that_comes_in_pieces(version: bytes) -> None:
    """What comes of long content with its head, ordinary or not, is read before what comes later."""
    content = bytes(range(256)) * 100
    received = version + b" 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    for cut in (12_000, 20_000):
        pieces = [received[:cut], received[cut:]]
        assert read(Pool.ConnectionCls, pieces, "GET")["content"] == content
        assert_same(pieces)


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n",  # cut
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r",
        b"HTTP/1.1 200 OK\nContent-Length: 7\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n\tfolded\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nFrom me\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \xe9\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 \xe9\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\xc3\xa9: b\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 7\r\n\r\n",
        b"http/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1  200 OK\r\nContent-Length: 7\r\n\r\n",
        b" HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",  # its content ends with the connection
        b"HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7, 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"7" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + LENGTH + b"X: 1\r\n" * 99 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + LENGTH + b"X: 1\r\n" * 200 + b"\r\n",
    ],
)
def test_odd_head_is_left_to_the_standard_library(received: bytes) -> None:
    """A head that is anything but ordinary is not taken, and what was read of it is read again."""
    assert head.parse(received + CONTENT) is None
    assert_same([received + CONTENT])
    assert_same([received[:20], received[20:], CONTENT])


ODD = [
    b"\n",
    b"\r",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\x85",
    b"\xa0",
    b"\xe9",
]
names = st.sampled_from(
    [b"Content-Length", b"transfer-encoding", b"Connection", b"Content-Type", b"From", b"X", b"Set-Cookie"]
)
lengths = st.sampled_from([b"7", b"07", b"-1", b"+7", b"7,7", b""])
words = st.sampled_from(
    [b"chunked", b"Chunked", b"identity", b"close", b"keep-alive", b"a b", b"=?utf-8?q?a?="]
)
values = lengths | words | st.sampled_from([b"multipart/mixed; boundary=a", b"message/rfc822"])
spaces = st.sampled_from([b"", b" ", b"\t ", b"  "])
fields = st.tuples(names, st.just(b":"), spaces, values, spaces, st.just(b"\r\n")).map(b"".join)
starts = st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 304 \r\n", b"HTTP/1.1 599  a  b \r\n"])


@given(
    starts,
    st.lists(fields, max_size=6),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from(ODD), st.booleans()), max_size=2),
    st.sampled_from(["GET", "HEAD"]),
    st.integers(0, 200),
)
def test_head_is_read_as_by_the_standard_library(
    start: bytes, lines: list[bytes], changes: list[tuple[int, bytes, bool]], method: str, cut: int
) -> None:
    """Whatever the head, and in whatever pieces it comes, it is read as the standard library reads it."""
    received = start + b"".join(lines) + b"\r\n" + CONTENT
    for place, odd, replaces in changes:
        received = received[:place] + odd + received[place + replaces :]
    assert_same([received[:cut], received[cut:]], method)


@given(st.binary(max_size=60))
def test_any_bytes_after_a_start(received: bytes) -> None:
    """Any bytes in a head are read as the standard library reads them."""
    assert_same([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: " + received + b"\r\n\r\n"])


@pytest.mark.parametrize("total_timeout", [None, 60])
def test_ordinary_head_needs_no_standard_library(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch, total_timeout: float | None
) -> None:
    """What nginx answers is read without the e-mail parser: with a length, chunked and refused."""
    monkeypatch.delattr("http.client.parse_headers")
    with Client(nginx.url, raise_status=False, total_timeout=total_timeout) as client:
        assert "records" in client.read("small.json")
        assert "records" in client.read("gzip/small.json")
        assert client.request("GET", "missing").status == 404
