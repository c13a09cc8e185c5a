"""Requests that are written without the standard library, which must be the same to the byte."""

from http.client import HTTPException
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.connection import HTTPConnection
from urllib3.util import SKIP_HEADER

from cruds_core.connection import Pool
from cruds_core.request import Headers

HEADERS = {"Accept": "*/*", "User-Agent": "me", "Accept-Encoding": "gzip"}


class Socket:
    """Stands for a socket, and keeps what is sent over it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def settimeout(self, _: object) -> None:
        """Does nothing."""

    def sendall(self, data: bytes) -> None:
        """Keeps the data."""
        self.sent.append(bytes(data))


def write(
    kind: Any, host: str, port: int, method: str, target: str, body: Any, headers: Headers
) -> tuple[bytes, int] | type[Exception]:
    """Returns what a connection of this kind sends, and in how many pieces; or what it raises."""
    connection = kind(host, port)
    connection.sock = socket = Socket()
    try:
        connection.request(method, target, body, headers)
    except (HTTPException, ValueError) as error:
        return type(error)
    return b"".join(socket.sent), len(socket.sent)


def assert_same(
    target: str,
    method: str = "GET",
    body: Any = None,
    headers: Headers | None = None,
    host: str = "localhost",
    port: int = 8080,
) -> bool:
    """The request is as urllib3 and the standard library send it. Returns whether all of it is one piece."""
    headers = Headers(HEADERS) if headers is None else headers
    ours = write(Pool.ConnectionCls, host, port, method, target, body, headers)
    standard = write(HTTPConnection, host, port, method, target, body, headers)
    if isinstance(ours, type) or isinstance(standard, type):
        assert ours == standard
        return False
    assert ours[0] == standard[0]
    return ours[1] == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_without_content(method: str) -> None:
    """A request without content has no length."""
    assert assert_same("/items?q=1&r=%20", method)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY"])
@pytest.mark.parametrize("size", [0, 7, 100_000])
def test_content(method: str, size: int) -> None:
    """Bytes go out together with the head, in one piece, unless there are so many that joining them costs."""
    headers = Headers(HEADERS | {"Content-Type": "application/json"})
    assert assert_same("/items", method, b"\xff" * size, headers) == (size < 100_000)


def test_no_content_where_some_is_expected() -> None:
    """A POST without content says that its length is 0."""
    assert_same("/items", "POST")


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("api.example.com", 80),
        ("api.example.com.", 80),
        ("API.example.com", 80),
        ("127.0.0.1", 81),
        ("::1", 80),
        ("::1", 81),
        ("fe80::1%eth0", 80),
        ("a_b", 443),
        ("bücher.example", 80),
    ],
)
def test_host(host: str, port: int) -> None:
    """The Host is that of the standard library, whatever the host and port."""
    assert_same("/", host=host, port=port)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Accept": "*/*"},
        HEADERS | {"Host": "other.example"},
        HEADERS | {"HOST": SKIP_HEADER},
        HEADERS | {"User-Agent": SKIP_HEADER},
        HEADERS | {"Content-Length": "3"},
        HEADERS | {"Transfer-Encoding": "chunked"},
        HEADERS | {"X": ""},
        HEADERS | {"X": " a\tb "},
        HEADERS | {"X": "\xe9\xff\x80"},
        HEADERS | {"X": "a\r\nY: b"},
        HEADERS | {"X": "a\r\n b"},
        HEADERS | {"X": "a\rb"},
        HEADERS | {"X": "a\nb"},
        HEADERS | {"X": "a\0b"},
        HEADERS | {"X\r\nY: b": "a"},
        HEADERS | {"X: b\r\nY": "a"},
        HEADERS | {"X Y": "a"},
        HEADERS | {"": "a"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("body", [None, b"content"])
def test_headers(headers: dict[str, str], body: bytes | None) -> None:
    """Headers are sent, or refused, as by the standard library."""
    assert_same("/", "PUT" if body else "GET", body, Headers(headers))


def test_header_of_two_lines() -> None:
    """A header with two values is sent as two lines, where the first stood."""
    headers = Headers(HEADERS)
    headers.add("Accept", "text/plain")
    headers.add("X", "1")
    assert assert_same("/", headers=headers)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: b", "/\x7f", "/ü", "*", "", "a", "http://a.example/"])
def test_odd_target(target: str) -> None:
    """A target is sent, or refused, as by the standard library."""
    assert_same(target)


@pytest.mark.parametrize("method", ["GET /x HTTP/1.1\r\nX: y\r\n\r\nGET", "G T", "", "get", "M-SEARCH"])
def test_odd_method(method: str) -> None:
    """A method is sent, or refused, as by the standard library."""
    assert_same("/", method)


texts = st.text(st.characters(max_codepoint=255), max_size=8)


@given(st.dictionaries(texts, texts, max_size=3), st.sampled_from([None, b"", b"content"]), texts)
def test_any_request(fields: dict[str, str], body: bytes | None, end: str) -> None:
    """Any request is sent, or refused, as by the standard library."""
    assert_same(f"/{end}", "GET" if body is None else "PUT", body, Headers(HEADERS | fields))
