"""Heads that are read without the standard library, which must read the same out of them."""

import io
import socket
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.nginx import Nginx

from cruds_core import Client, head
from cruds_core.connection import FinalResponse

CONTENT = b"content"
LENGTH = b"Content-Length: 7\r\n"


class Connection:
    """Stands for a socket from which these bytes have come."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Returns what a socket would."""
        return io.BufferedReader(cast("io.RawIOBase", io.BytesIO(self._received)))


def read(kind: type[HTTPResponse], received: bytes, method: str) -> dict[str, Any]:
    """Returns all that a response of this kind says of its head, and what it leaves unread."""
    response = kind(cast("socket.socket", Connection(received)), method=method)
    response.begin()
    said = {name: getattr(response, name) for name in ("status", "reason", "version", "length", "will_close")}
    message = response.msg
    said |= {"chunked": response.chunked, "fields": message.items(), "defects": message.defects}
    said |= {"payload": message.get_payload() or "", "rest": response.fp and response.fp.read()}
    return said


def assert_same(received: bytes, method: str = "GET") -> None:
    """A head that is taken is read as by the standard library, and any other is left alone."""
    try:
        standard = read(HTTPResponse, received, method)
    except HTTPException:
        assert head.parse(received) is None
        return
    if head.parse(received) is None:
        return
    if standard["status"] in (204, 304) or method == "HEAD":
        standard["chunked"] = False  # our own rule, whoever has read the head
    if "multipart" in dict(standard["fields"]).get("Content-Type", ""):
        standard["defects"] = []  # which urllib3 does not mind either: they are about the content
    assert read(FinalResponse, received, method) == standard


ORDINARY = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 \r\ncontent-length:7\r\n\r\n",
    b"HTTP/1.1 200  Very  well \r\nContent-Length:\t 007\r\nX:\r\nY: \t\r\nZ: a:b \r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nConnection: Keep-Alive\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 7\r\nFrom: me\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=x\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + LENGTH + b"X: 1\r\n" * 98 + b"\r\n",
    b"HTTP/1.1 200 OK\r\n" + LENGTH + b"X: " + b"x" * 7000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("received", ORDINARY)
def test_ordinary_head(received: bytes, method: str) -> None:
    """An ordinary head is taken, and read as the standard library reads it."""
    assert head.parse(received + CONTENT) is not None
    assert_same(received + CONTENT, method)


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
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"7" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + LENGTH + b"X: 1\r\n" * 99 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + LENGTH + b"X: 1\r\n" * 200 + b"\r\n",
    ],
)
def test_odd_head_is_left_to_the_standard_library(received: bytes) -> None:
    """A head that is anything but ordinary is not taken."""
    assert head.parse(received + CONTENT) is None


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
)
def test_head_is_read_as_by_the_standard_library(
    start: bytes, lines: list[bytes], changes: list[tuple[int, bytes, bool]], method: str
) -> None:
    """Whatever the head, what is taken is read as the standard library reads it."""
    received = start + b"".join(lines) + b"\r\n" + CONTENT
    for place, odd, replaces in changes:
        received = received[:place] + odd + received[place + replaces :]
    assert_same(received, method)


@given(st.binary(max_size=60))
def test_any_bytes_after_a_start(received: bytes) -> None:
    """Any bytes after the first line of a head are taken only where the standard library reads the same."""
    assert_same(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: " + received + b"\r\n\r\n")


def test_ordinary_head_needs_no_standard_library(nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nginx answers is read without the e-mail parser: with a length, chunked and refused."""
    monkeypatch.delattr("http.client.parse_headers")
    with Client(nginx.url, raise_status=False) as client:
        assert "records" in client.read("small.json")
        assert "records" in client.read("gzip/small.json")
        assert client.request("GET", "missing").status == 404
