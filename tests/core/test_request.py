"""What a scheme sees of a request: the Host that will be sent, and the content in pieces."""

import io

import pytest
from servers.fault import Fault, reply

from cruds_core import AuthABC, AuthError, Client, Headers, Request


class Watcher(AuthABC):
    """Keeps the Host that it is told."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    def authenticate(self, request: Request) -> None:
        """Keep it."""
        self.hosts.append(request.host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_host_is_what_arrives(host: str) -> None:
    """The Host that a scheme sees is the one that is sent, however the Client names the server."""
    with Fault(reply(200)) as server:
        watcher = Watcher()
        with Client(server.url.replace("127.0.0.1", host), watcher) as client:
            client.read("thing")
            client.read("thing", headers={"Host": "elsewhere.test:99"})
        assert watcher.hosts == [request.headers["Host"] for request in server.received]
        assert watcher.hosts[1] == "elsewhere.test:99"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.com:80/a", "example.com"),
        ("https://example.com:443/a?b", "example.com"),
        ("https://example.com:80/", "example.com:80"),
        ("http://[::1]/", "[::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("https://example.com./", "example.com"),
    ],
)
def test_host_has_no_default_port(url: str, host: str) -> None:
    """The default port of the scheme is left out, and any other is not (RFC 9110, section 7.2)."""
    assert Request("GET", url, Headers()).host == host


@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_chunks_are_the_content(size: int) -> None:
    """Bytes come whole, a reader in pieces from its start wherever it stands, and no content is nothing."""
    data = b"\x00\xff" * size
    reader = io.BytesIO(data)
    reader.read(1)
    pieces = list(Request("PUT", "http://a/", Headers(), reader).chunks())
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= 65536 for piece in pieces)
    assert list(Request("PUT", "http://a/", Headers(), data).chunks()) == [data]
    assert list(Request("GET", "http://a/", Headers()).chunks()) == []


class Pipe(io.BytesIO):
    """A file that is read once."""

    def seekable(self) -> bool:
        """It cannot."""
        return False


def test_a_stream_has_no_chunks() -> None:
    """A stream that can be read only once is an AuthError, and stays unread."""
    pipe = Pipe(b"content")
    with pytest.raises(AuthError, match="PUT http://a/ cannot be signed: its content is a stream"):
        list(Request("PUT", "http://a/?key=secret", Headers(), pipe).chunks())
    assert pipe.read() == b"content"
