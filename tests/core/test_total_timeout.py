"""total_timeout: no call takes longer than it says, whatever the call waits for."""

import gzip
import io
import math
import pickle
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from servers.fault import End, Fault, Script, Step, reply
from servers.tls import Certificates

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError
from cruds_core import AuthABC, Client, CrudsError, RequestTimeoutError, ServerError
from cruds_core.deadline import Deadline, OutOfTime
from cruds_core.retry import RetryPolicy

OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 0.15  # seconds that a call has
AMPLE = 1.5  # seconds that one has which is to get somewhere first, on a busy machine
SOON = 10.0  # seconds that it may take on a busy machine
LONG = 60.0  # seconds that it would take without a limit, at least


def drip(content: bytes) -> list[Step]:
    """Returns a script that sends content byte by byte, over 60 s and more."""
    steps: list[Step] = []
    for byte in content:
        steps += [bytes([byte]), 0.05]
    return steps * math.ceil(LONG / 0.05 / len(content))


def late(call: Callable[[], object], limit: float = LIMIT) -> RequestTimeoutError:
    """Returns the error of a call, which has to come soon, and not before the time."""
    began = time.monotonic()
    with pytest.raises(RequestTimeoutError) as caught:
        call()
    assert limit <= time.monotonic() - began < SOON
    return caught.value


@pytest.fixture
def certificate(tls: Certificates, request: pytest.FixtureRequest) -> Path | None:
    """The certificate of a server, or None for one without TLS."""
    return tls.good_path if request.param == "https" else None


SLOW_HEAD: dict[str, Script] = {
    "nothing": [LONG],
    "status line": drip(OK),
    "headers": [OK, *drip(b"X: y\r\n")],
    "interim answers": drip(b"HTTP/1.1 102 Processing\r\n\r\n"),
}
SLOW_CONTENT: dict[str, Script] = {
    "content": [OK + b"Content-Length: 9999\r\n\r\n", *drip(b"x")],
    "content without a length": [OK + b"\r\n", *drip(b"x")],
    "chunks": [OK + b"Transfer-Encoding: chunked\r\n\r\n", *drip(b"1\r\nx\r\n")],
    "size of a chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\n", *drip(b"0")],
    "trailers": [OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", *drip(b"X: y\r\n")],
    "compressed": [OK + b"Content-Encoding: gzip\r\n\r\n", *drip(gzip.compress(b"x" * 9999))],
}
SLOW = SLOW_HEAD | SLOW_CONTENT


@pytest.mark.parametrize(
    ("what", "certificate"),
    [*((what, "http") for what in SLOW), *((what, "https") for what in ("headers", "content", "trailers"))],
    indirect=["certificate"],
)
def test_slow_answer(what: str, certificate: Path | None, tls: Certificates, tmp_path: Path) -> None:
    """An answer that goes on coming is given up when the time is over, by each verb, with no file left."""
    with (
        Fault(SLOW[what], certificate=certificate) as server,
        Client(server.url, total_timeout=LIMIT, verify_ssl=tls.ca_path) as client,
    ):
        verbs: list[Callable[[], object]] = [
            lambda: client.read("items"),
            lambda: client.create("items", {}),
            lambda: client.download("items", tmp_path),
        ]
        errors = [str(late(verb)) for verb in verbs]
        assert all(f"within {LIMIT:g} s; see total_timeout=" in error for error in errors)
        # On a busy machine one of them may end before the head has come.
        assert any("the 200 answer was not whole" in error for error in errors) == (what in SLOW_CONTENT)
        assert len(server.received) <= len(verbs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["nothing", *SLOW_CONTENT])
def test_slow_answer_to_a_manager(what: str) -> None:
    """With a manager of the user's, silence and slow content are given up as well."""
    manager = urllib3.PoolManager(timeout=urllib3.Timeout(connect=30, read=30))
    with Fault(SLOW[what]) as server, Client(server.url, manager=manager, total_timeout=LIMIT) as client:
        assert f"{LIMIT:g} s; see total_timeout=" in str(late(lambda: client.read("items")))


def test_error() -> None:
    """The error is a TimeoutError, says where, counts attempts, chains what was below, and can be pickled."""
    script: list[Script] = [End.CLOSE, [LONG]]
    with Fault(*script) as server, Client(server.url, total_timeout=AMPLE) as client:
        error = late(lambda: client.read("items", {"q": "hidden"}), AMPLE)
        url = f"{server.url}/items"
    assert str(error) == f"GET {url}: no answer within {AMPLE} s; see total_timeout= (2 attempts)"
    assert (error.method, error.url, error.attempts) == ("GET", url, 2)
    assert isinstance(error, TimeoutError)
    assert isinstance(error.__cause__, urllib3.exceptions.ReadTimeoutError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


def test_redirects_and_repetitions_share_the_time() -> None:
    """Each attempt is short enough, and all of them together are not."""
    step = AMPLE / 3
    there: Script = [step, reply(302, Location="/items")]
    again: Script = [step, reply(503, Retry_After="0")]
    lost: Script = [step, End.CLOSE]
    for script in (there, again, lost):
        options: dict[str, Any] = {
            "total_timeout": AMPLE,
            "timeout": SOON,
            "backoff_factor": 0,
            "retries": 99,
        }
        with Fault(script) as server, Client(server.url, **options) as client:
            assert late(lambda: client.read("items"), AMPLE).attempts > 1


@pytest.mark.parametrize("seconds", ["61", "119"])
def test_pause_that_would_outlast_the_time(seconds: str) -> None:
    """The refusal is raised at once where Retry-After leaves no time for another attempt."""
    began = time.monotonic()
    with Fault(reply(503, Retry_After=seconds)) as server, Client(server.url, total_timeout=LONG) as client:
        with pytest.raises(ServerError) as caught:
            client.read("items")
        assert time.monotonic() - began < SOON
        assert (caught.value.retry_after, len(server.received)) == (float(seconds), 1)


def test_back_off_that_would_outlast_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between two attempts, here never short by chance, does not reach over the end of the time."""
    monkeypatch.setattr(RetryPolicy, "get_backoff_time", urllib3.Retry.get_backoff_time)
    options: dict[str, Any] = {"total_timeout": LONG, "retries": 3, "backoff_factor": 1e6}
    began = time.monotonic()
    for script in (reply(503), End.RESET):
        with Fault(script) as server, Client(server.url, **options) as client:
            with pytest.raises(CrudsError, match="2 attempts"):
                client.read("items")
            assert len(server.received) == 2  # there is no pause before the first repetition
    assert time.monotonic() - began < SOON


def test_slow_refusal_is_a_refusal() -> None:
    """An error status is raised as such, with what had come of its content by the end of the time."""
    script: Script = [b"HTTP/1.1 404 Not Found\r\nContent-Length: 9999\r\n\r\n", *drip(b"x")]
    with Fault(script) as server, Client(server.url, total_timeout=AMPLE) as client:
        began = time.monotonic()
        with pytest.raises(CrudsError, match=r"404 Not Found: x+$"):
            client.read("items")
        assert time.monotonic() - began < SOON


def growing(status: bytes) -> bytes:
    """Returns an answer that is short enough to be read in one go, and 1 GiB: blocks of gzip, in gzip."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    content = gzip.compress(head + block * 1023)
    fields = b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(content)
    return b"HTTP/1.1 %b\r\n%b%b" % (status, fields, content)


def test_content_that_grows(tmp_path: Path) -> None:
    """What is decompressed without another read of the connection ends with the time; no file is left."""
    with Fault(growing(b"200 OK")) as server, Client(server.url, total_timeout=LIMIT) as client:
        late(lambda: client.read("items"))
        late(lambda: client.download("items", tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_refusal_that_grows() -> None:
    """An error status is raised with what was decompressed of its content by the end of the time."""
    with (
        Fault(growing(b"404 Not Found")) as server,
        Client(server.url, total_timeout=LIMIT) as client,
        pytest.raises(CrudsError, match="404") as caught,
    ):
        client.read("items")
    assert 0 < len(getattr(caught.value, "content", b"")) < 512 << 20  # bytes: max_response_size


@pytest.mark.parametrize("content", [bytes(1 << 25), io.BytesIO(bytes(1 << 25))])
@pytest.mark.parametrize("certificate", ["http", "https"], indirect=True)
def test_slow_reader(certificate: Path | None, tls: Certificates, content: Any) -> None:
    """A server that takes the request slowly is given up, be it bytes or a file that it takes."""
    ended = threading.Event()

    def sip() -> None:
        connection, _ = server.accept()
        with context.wrap_socket(connection, server_side=True) if context else connection as reader:
            while not ended.wait(0.05):
                reader.recv(1 << 16)  # 32 MB take 25 s

    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=sip)
        thread.start()
        url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.getsockname()[1]}"
        options: dict[str, Any] = {"serialize": False, "verify_ssl": tls.ca_path, "total_timeout": LIMIT}
        try:
            with Client(url, **options) as client:
                late(lambda: client.create("items", content))
        finally:
            ended.set()
            thread.join()


def test_slow_handshake() -> None:
    """A server that does not answer the handshake of TLS is given up."""
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        Client(f"https://127.0.0.1:{mute.getsockname()[1]}", total_timeout=LIMIT) as client,
    ):
        late(lambda: client.read("items"))


def test_many_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with many addresses, none of which answers, has the time of one call for all of them."""
    name_addresses(monkeypatch, "many.test", ["127.0.0.1"] * round(LONG / LIMIT))
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        Waiting(full),
        Client(f"http://many.test:{full.getsockname()[1]}", total_timeout=LIMIT, retries=0) as client,
    ):
        error = late(lambda: client.read("items"))
    assert error.url.startswith("http://many.test:")


def name_addresses(monkeypatch: pytest.MonkeyPatch, name: str, addresses: list[str]) -> None:
    """Give a host addresses, as a resolver would."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **options: Any) -> list[Any]:
        hosts = addresses if host == name else [host]
        return [info for each in hosts for info in resolve(each, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


class Waiting:
    """Connections that fill the queue of a server, so that a further one is not answered."""

    def __init__(self, server: socket.socket) -> None:
        self.sockets = [socket.socket() for _ in range(4)]
        for waiting in self.sockets:
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for waiting in self.sockets:
            waiting.close()


def test_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose first address refuses is reached at the next one, under its name."""
    name_addresses(monkeypatch, "two.test", ["127.0.0.2", "127.0.0.1"])
    with Fault(reply(200)) as server:
        port = int(server.url.rpartition(":")[2])
        with Client(f"http://two.test:{port}", total_timeout=SOON) as client:
            assert client.read("items") == {}
        assert server.received[0].headers["Host"] == f"two.test:{port}"


def test_connection_of_a_pool_that_is_used_up() -> None:
    """A pool of the user's that has no connection left is waited for no longer than the time."""
    manager = urllib3.PoolManager(maxsize=1, block=True)
    options: dict[str, Any] = {"manager": manager, "total_timeout": LIMIT, "retries": 0}
    with Fault([OK + b"\r\n", LONG]) as server, Client(server.url, **options) as client:
        held = manager.request("GET", server.url, preload_content=False)
        assert "total_timeout=" in str(late(lambda: client.read("items")))
        assert len(server.received) == 1
        held.close()


def test_each_call_has_its_own_time() -> None:
    """A kept connection serves many calls, each as long as the limit, and is none the slower for it."""
    with Fault([0.2, reply(200)]) as server, Client(server.url, total_timeout=SOON) as client:
        began = time.monotonic()
        while time.monotonic() - began < 1:
            assert client.read("items") == {}
        assert server.connections == 1


def test_quick_call_is_as_without() -> None:
    """A limit that is not reached changes nothing: large content goes up and comes down whole."""
    content = bytes(range(256)) * 20_000
    with Fault(reply(200, content, Content_Type="application/octet-stream")) as server:
        with Client(server.url, total_timeout=LONG) as client:
            assert client.create("items", content) == content
        assert server.received[0].content == content


class Slow(AuthABC):
    """A scheme that gets a token when it is allowed to, behind a lock at which threads wait."""

    def __init__(self) -> None:
        self.asked = 0
        self.allowed = threading.Event()

    def access_token(self) -> str:
        """A token, after a while."""
        self.asked += 1
        self.allowed.wait(LONG)
        return "a-token"

    def is_valid(self) -> bool:
        """Whether it is there."""
        return True


def test_slow_token() -> None:
    """What a scheme takes for a token counts: the request is not sent any more, and the token is kept."""
    auth = Slow()
    with Fault(reply(200)) as server, Client(server.url, auth=auth, total_timeout=LIMIT) as client:
        threading.Timer(2 * LIMIT, auth.allowed.set).start()
        late(lambda: client.read("items"))
        assert server.received == []
        with Client(server.url, auth=auth) as patient:
            assert patient.read("items") == {}
    assert auth.asked == 1


def test_waiting_for_the_token_of_another() -> None:
    """Who waits while another thread gets the token waits no longer than the time of its own call."""
    auth = Slow()
    with Fault(reply(200)) as server, Client(server.url, auth=auth, total_timeout=2 * LONG) as patient:
        thread = threading.Thread(target=patient.read, args=["items"])
        thread.start()
        while not auth.asked:
            time.sleep(0.01)
        with Client(server.url, auth=auth, total_timeout=LIMIT) as client:
            late(lambda: client.read("items"))
        assert server.received == []
        auth.allowed.set()
        thread.join()
        assert len(server.received) == 1
    assert auth.asked == 1


def test_wait_is_cut_to_what_is_left() -> None:
    """No wait is longer than what is left of the time, and with nothing left there is none."""
    deadline = Deadline(LONG)
    assert deadline.cut(2 * LONG) <= LONG
    assert deadline.cut() <= LONG
    assert deadline.cut(0.01) == 0.01
    with pytest.raises(OutOfTime):
        Deadline(0.0).cut(LONG)


@pytest.fixture
def authority() -> Iterator[AuthorizationServer]:
    """A server that gives tokens."""
    with AuthorizationServer() as server:
        yield server


@pytest.mark.parametrize("what", SLOW)
def test_slow_token_endpoint(what: str) -> None:
    """A token request takes twice its timeout at most, however its answer drips, and says so."""
    with Fault(SLOW[what]) as server:
        auth = OAuth2(f"{server.url}/token", "a-client", "a-secret", "read", timeout=LIMIT)
        began = time.monotonic()
        with pytest.raises(OAuthAccessTokenError, match=r"[.\d]+ s; see timeout=") as caught:
            auth.access_token()
        assert time.monotonic() - began < SOON
        assert isinstance(caught.value.__cause__, RequestTimeoutError)
        assert len(server.received) <= 1


def test_renewal_is_not_cut_off(authority: AuthorizationServer) -> None:
    """A token request that has begun is not ended by the time of the call: its token would be lost."""
    with Fault([3 * LIMIT, reply(200, b'{"access_token": "t-1234567", "token_type": "Bearer"}')]) as tokens:
        auth = OAuth2(f"{tokens.url}/token", "a-client", "a-secret", "read", timeout=SOON)
        with Fault(reply(200)) as server, Client(server.url, auth=auth, total_timeout=LIMIT) as client:
            late(lambda: client.read("items"))
            with Client(server.url, auth=auth) as patient:
                assert patient.read("items") == {}
        assert len(tokens.received) == 1


@pytest.mark.parametrize(
    ("value", "error"),
    [
        *((value, ValueError) for value in (0, -1.0, math.nan, math.inf, 1e10)),  # no system waits as long
        *((value, TypeError) for value in ("5", True, urllib3.Timeout(5))),
    ],
)
def test_bad_value(value: Any, error: type[Exception]) -> None:
    """A limit that is no positive number of seconds, or too large, is refused when the Client is made."""
    with pytest.raises(error, match=r"^total_timeout must be a[ t]"):
        Client("localhost", total_timeout=value)


def test_copy_has_the_limit() -> None:
    """A Client that was pickled has the limit that it had."""
    with (
        Fault([LONG]) as server,
        Client(server.url, total_timeout=LIMIT) as client,
        pickle.loads(pickle.dumps(client)) as copy,  # noqa: S301
    ):
        late(lambda: copy.read("items"))
