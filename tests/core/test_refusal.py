"""A refusal is one, whether or not its content arrives; a success must be whole."""

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from servers.fault import End, Fault, reply

from cruds_core import (
    Client,
    ClientError,
    ContentError,
    RedirectError,
    ServerError,
    TruncatedResponseError,
)

SECRET = "k3y/0123'456\"789"


def cut(status: int) -> list[bytes | End]:
    """Returns an answer that ends before its content does."""
    return [f"HTTP/1.1 {status} Status\r\nContent-Length: 100\r\n\r\nhalf".encode(), End.CLOSE]


@pytest.mark.parametrize(("status", "error"), [(403, ClientError), (501, ServerError)])
def test_a_refusal_that_breaks_off(status: int, error: type[ClientError | ServerError]) -> None:
    """An error status is raised as such when its content breaks off, and is not repeated for that."""
    with Fault(cut(status)) as server, Client(server.url, backoff_factor=0) as client:
        with pytest.raises(error) as caught:
            client.read("x")
        assert (caught.value.status, caught.value.content) == (status, b"half")
        assert len(server.received) == 1


def test_a_refusal_that_is_too_large() -> None:
    """An error status whose content exceeds the limit carries as much of it as is allowed."""
    scripts = [reply(500, b"x" * 5000), reply(200)]
    with Fault(*scripts) as server, Client(server.url, max_response_size=1000, retries=0) as client:
        with pytest.raises(ServerError) as caught:
            client.read("x")
        assert caught.value.content == b"x" * 1000
        assert client.read("x") == {}  # not what was left of the first answer


def test_a_redirect_that_is_too_large() -> None:
    """A redirect is followed whatever its content."""
    script = reply(302, b"x" * 5000, Location="/y")
    with Fault(script, reply(200, b"1")) as server, Client(server.url, max_response_size=1000) as client:
        assert client.read("x") == 1


@pytest.mark.parametrize("total_timeout", [None, 60])
@pytest.mark.parametrize(
    ("coding", "came"),
    [(b"gzip, x-none", b""), (b"gzip", b"no gzip")],
    ids=["unknown coding", "wrong coding"],
)
def test_the_rest_of_a_refusal_is_no_answer(coding: bytes, came: bytes, total_timeout: float | None) -> None:
    """What is left of a refusal that cannot be decoded is not taken for the answer to the next call."""
    head = b"HTTP/1.1 400 Status\r\nContent-Encoding: %b\r\nContent-Length: 99\r\n\r\n" % coding
    with (
        Fault(head + came, reply(200)) as server,  # the second could be what was left of the first
        Client(server.url, total_timeout=total_timeout) as client,
    ):
        with pytest.raises(ClientError):
            client.read("x")
        assert client.read("x") == {}
        assert [request.connection for request in server.received] == [1, 2]


def test_a_success_that_breaks_off() -> None:
    """The error of a success that breaks off has its status: the server has acted."""
    with Fault(cut(201)) as server, Client(server.url) as client:
        with pytest.raises(TruncatedResponseError, match="the content of the 201 ended"):
            client.create("x", {})
        assert len(server.received) == 1


class Broken(io.BytesIO):
    """A file that cannot be read to its end."""

    def __init__(self, error: OSError) -> None:
        super().__init__(bytes(100_000))
        self.error = error

    def read(self, size: int | None = -1, /) -> bytes:
        """Fail after the first piece."""
        if self.tell():
            raise self.error
        return super().read(size)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), TimeoutError(), ConnectionResetError()])
def test_a_file_that_cannot_be_read(error: OSError) -> None:
    """A file that fails while it is sent is no failure of the server, and not repeated."""
    with Fault(reply(200)) as server, Client(server.url, backoff_factor=0) as client:
        with pytest.raises(ContentError, match="a file could not be read") as caught:
            client.update("x", None, replace=True, files={"file": ("x", Broken(error))})
        assert caught.value.__cause__ is error
        assert server.connections <= 1  # the server may not have seen it yet


def test_a_file_that_is_closed() -> None:
    """A closed file is refused before anything is sent."""
    file = io.BytesIO(b"content")
    file.close()
    with Client("127.0.0.1") as client, pytest.raises(ContentError, match="closed"):
        client.create("x", None, files={"file": ("x", file)})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_a_length_is_not_the_callers(name: str) -> None:
    """A header that says where the content ends is refused: what follows would be taken for a request."""
    with Fault(reply(200)) as server, Client(server.url) as client:
        with pytest.raises(ValueError, match=f'"{name}" follows from the content'):
            client.create("x", {"a": 1}, headers={name: "2"})
        client.request_headers[name] = "2"
        with pytest.raises(ValueError, match=name):
            client.read("x")
        assert server.received == []


ECHOES = {
    "as it is": SECRET,
    "entities": "k3y/0123&#39;456&#34;789",
    "percent": "k3y%2f0123%27456%22789",
    "JSON": "k3y\\/0123'456\\\"789",
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("place", [{"headers": {"X-Pass": SECRET}}, {"params": {"api_key": SECRET}}], ids=str)
def test_what_may_be_a_credential_is_masked(echo: str, place: dict[str, Any]) -> None:
    """What a caller sends in a header or under a telling name is masked where the server says it back."""
    script = reply(400, f"you sent {echo}!".encode(), Content_Type="text/plain")
    with Fault(script) as server, Client(server.url) as client, pytest.raises(ClientError) as caught:
        client.read("x", **place)
    assert str(caught.value).endswith("you sent ***!")


def test_the_token_of_an_earlier_attempt_is_masked() -> None:
    """A token that was replaced on the way is masked as the last one is."""
    tokens = iter(["first-token", "second-token"])
    content = b"neither first-token nor second-token"
    auth = {"scheme": "bearer", "token": lambda: next(tokens)}
    scripts = [reply(503), reply(400, content, Content_Type="text/plain")]
    with Fault(*scripts) as server, Client(server.url, auth) as client, pytest.raises(ClientError) as caught:
        client.read("x")
    assert "neither *** nor ***" in str(caught.value)


def test_a_short_secret_spoils_no_words() -> None:
    """A secret too short to be one is not masked: that would tell it, and spoil the message."""
    script = reply(401, b"all went wrong", Content_Type="text/plain")
    wrong = ("a", "wrong")
    with Fault(script) as server, Client(server.url, wrong) as client, pytest.raises(ClientError) as caught:
        client.read("x")
    assert "all went wrong (sent with Basic credentials)" in str(caught.value)


def test_a_refused_redirect_says_so_without_raise_status() -> None:
    """raise_status speaks of errors: a redirect that is not followed raises without it."""
    script = reply(302, b"", Location="ftp://127.0.0.1/")
    with (
        Fault(script) as server,
        Client(server.url, raise_status=False) as client,
        pytest.raises(RedirectError, match="neither http nor https"),
    ):
        client.read("x")


def test_a_download_touches_no_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download leaves the umask of the process alone, which other threads rely on."""

    def umask(_mask: int) -> int:
        msg = "the umask was touched"
        raise AssertionError(msg)

    monkeypatch.setattr("os.umask", umask)
    with Fault(reply(200, b"1")) as server, Client(server.url) as client:
        assert client.download("x", tmp_path).read_bytes() == b"1"


@pytest.mark.parametrize("content", [b"no certificate", b""], ids=["text", "empty"])
def test_a_file_without_certificates(tmp_path: Path, content: bytes) -> None:
    """A file of CAs that holds none is refused when the Client is made, by its path."""
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ca\.pem.*no PEM file"):
        Client("api.example.com", verify_ssl=path)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_host_that_no_name_can_be(host: str) -> None:
    """A host with an impossible label is refused when the Client is made."""
    with pytest.raises(ValueError, match="label"):
        Client(host)


def test_a_repetition_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Each repetition is a line at INFO, without the query."""
    caplog.set_level(logging.INFO, "cruds_core.transport")
    with Fault(reply(503), reply(200)) as server, Client(server.url, backoff_factor=0) as client:
        client.read("x", {"key": SECRET})
    assert [record.getMessage() for record in caplog.records] == [f"GET {server.url}/x: 503; again in 0.0 s"]
