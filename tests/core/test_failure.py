"""Failures: each has its class, says what happened, and shows no secret."""

import gzip
import pickle
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from traceback import TracebackException
from typing import Any

import pytest
import urllib3
import urllib3.exceptions as below
from servers.fault import End, Fault, Script, Step, reply
from servers.nginx import Nginx
from servers.proxy import Proxy
from servers.tls import Certificates

from cruds_auth_basic import ApiKey, Basic
from cruds_core import (
    AuthABC,
    BrokenResponseError,
    Client,
    ClientError,
    ConnectError,
    ConnectionLostError,
    CrudsError,
    DecompressionError,
    NameResolutionError,
    ProxyError,
    RequestError,
    RequestTimeoutError,
    ResponseTooLargeError,
    ServerError,
    TLSError,
    TruncatedResponseError,
)

SECRET = "hidden-7f3a"
HEADER_SECRET = "masked-08bd"
QUERY = "asked-91c4"
BASIC = "YWRhOmhpZGRlbi03ZjNh"  # ada, and SECRET
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 10_000


@dataclass
class Failure:
    """A server that fails, and what a Client should make of it."""

    error: type[RequestError]
    cause: type[Exception] | None
    says: str
    url: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    attempts: int = 2

    def client(self, auth: AuthABC | None = None) -> Client:
        """Returns a Client of the server that repeats once, without a pause."""
        options: dict[str, Any] = {"retries": 1, "backoff_factor": 0, "timeout": 5, "auth": auth}
        return Client(self.url, **options | self.options)

    def raised(self, auth: AuthABC | None = None, **call: Any) -> RequestError:
        """Returns what a read raises."""
        with self.client(auth) as client, pytest.raises(RequestError) as caught:
            client.request("GET", "items", **call)
        return caught.value


# Answers: the script, the error, what urllib3 raises, and what the message says.
ANSWERS: dict[str, tuple[Script, type[RequestError], type[Exception] | None, str]] = {
    "closed": (End.CLOSE, ConnectionLostError, below.ProtocolError, "the connection ended before an answer"),
    "reset": (End.RESET, ConnectionLostError, below.ProtocolError, "reset by peer"),
    "cut head": (
        [OK + b"Content-Type: application/json\r\n", End.CLOSE],
        ConnectionLostError,
        below.ProtocolError,
        "the connection ended before an answer",
    ),
    "not HTTP": (
        [b"SSH-2.0-OpenSSH_9.2\r\n", End.CLOSE],
        BrokenResponseError,
        below.ProtocolError,
        "not HTTP/1; check scheme and port",
    ),
    "many headers": (
        OK + b"X: 1\r\n" * 200 + b"\r\n",
        BrokenResponseError,
        below.ProtocolError,
        "got more than 100 headers",
    ),
    "long header": (OK + b"X: " + b"1" * 70_000 + b"\r\n\r\n", BrokenResponseError, below.ProtocolError, ""),
    "reset content": (
        [OK + b"Content-Length: 9\r\n\r\nabc", 0.05, End.RESET],
        BrokenResponseError,
        below.ProtocolError,
        "the content of the 200 broke off: Connection reset by peer",
    ),
    "cut content": (
        [OK + b"Content-Length: 9\r\n\r\nabc", End.CLOSE],
        TruncatedResponseError,
        below.ProtocolError,
        "ended before its announced length",
    ),
    "cut chunk": (
        [CHUNKED + b"5\r\nab", End.CLOSE],
        TruncatedResponseError,
        below.ProtocolError,
        "ended before",
    ),
    "missing chunk": (
        [CHUNKED + b"2\r\nab\r\n", End.CLOSE],
        TruncatedResponseError,
        below.ProtocolError,
        "ended before",
    ),
    "bad chunk size": (CHUNKED + b"zz\r\nab\r\n0\r\n\r\n", BrokenResponseError, below.ProtocolError, "broke"),
    "negative chunk size": (CHUNKED + b"-2\r\nab\r\n0\r\n\r\n", BrokenResponseError, None, "broke"),
    "bad gzip": (
        reply(200, b"not gzip at all", Content_Encoding="gzip"),
        DecompressionError,
        below.DecodeError,
        "does not fit its Content-Encoding",
    ),
    "bad gzip checksum": (
        reply(200, gzip.compress(b"x" * 900)[:-8] + bytes(8), Content_Encoding="gzip"),
        DecompressionError,
        below.DecodeError,
        "does not fit its Content-Encoding",
    ),
    "cut gzip": (
        reply(200, gzip.compress(b"x" * 900)[:-9], Content_Encoding="gzip"),
        DecompressionError,
        below.DecodeError,
        "Content-Encoding",
    ),
    "cut gzip head": (
        reply(200, gzip.compress(b"x" * 900)[:9], Content_Encoding="gzip"),
        DecompressionError,
        below.DecodeError,
        "Content-Encoding",
    ),
    "two lengths": (
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        BrokenResponseError,
        below.InvalidHeader,
        "",
    ),
    "too large": (reply(200, b"x" * (LIMIT + 1)), ResponseTooLargeError, None, f"max_response_size={LIMIT}"),
    "silent": ([5.0], RequestTimeoutError, below.ReadTimeoutError, "0.1 s; see timeout="),
    "stalled": (
        [OK + b"Content-Length: 9\r\n\r\nabc", 5.0],
        RequestTimeoutError,
        below.ReadTimeoutError,
        "0.1 s; see timeout=",
    ),
}
# What another attempt would not change.
FINAL = (DecompressionError, ResponseTooLargeError)

PLACES = (
    "refused",
    "unresolved",
    "unanswered",
    "no handshake",
    "unknown authority",
    "expired",
    "wrong name",
    "wrong fingerprint",
    "plain port",
    "proxy refused",
    "proxy unresolved",
    "proxy asks",
    "proxy fails",
)


@pytest.fixture(scope="module", params=[*ANSWERS, *PLACES])
def failure(request: pytest.FixtureRequest) -> Iterator[Failure]:
    """Each way in which a request can get no usable answer."""
    name: str = request.param
    if name in PLACES:
        yield from place(name, request)
        return
    script, error, cause, says = ANSWERS[name]
    options = {"max_response_size": LIMIT, "timeout": 0.1 if error is RequestTimeoutError else 5}
    final = error in FINAL or cause is below.InvalidHeader
    with Fault(script) as server:
        yield Failure(error, cause, says, server.url, options, attempts=1 if final else 2)


# Longer than a name can be (RFC 1035, section 2.3.4): the resolver refuses it without asking anybody.
UNRESOLVABLE = ".".join(["x" * 60] * 5)


def place(name: str, request: pytest.FixtureRequest) -> Iterator[Failure]:
    """Yields a failure of the way to the server."""
    nowhere = "http://127.0.0.1:1"  # a port of the system, which nobody has listened at for decades
    match name:
        case "refused":
            yield Failure(ConnectError, below.NewConnectionError, "Connection refused; check host", nowhere)
            return
        case "unresolved":
            url = f"http://{UNRESOLVABLE}"
            yield Failure(NameResolutionError, below.NameResolutionError, f'"{UNRESOLVABLE}" has no', url)
            return
        case "unanswered":
            with full_queue() as port:
                yield Failure(
                    RequestTimeoutError,
                    below.ConnectTimeoutError,
                    "0.1 s; see timeout=",
                    f"http://127.0.0.1:{port}",
                    {"timeout": urllib3.Timeout(connect=0.1, read=60)},
                )
            return
        case "no handshake":
            with socket.create_server(("127.0.0.1", 0)) as mute:
                yield Failure(
                    RequestTimeoutError,
                    below.TimeoutError,
                    "0.1 s",
                    f"https://127.0.0.1:{mute.getsockname()[1]}",
                    {"timeout": urllib3.Timeout(connect=0.1, read=60)},
                )
            return
        case _:
            nginx: Nginx = request.getfixturevalue("nginx")
            tls: Certificates = request.getfixturevalue("tls")
    trusting = {"verify_ssl": tls.ca_path}
    context = ssl.create_default_context(cafile=tls.ca_path)
    match name:
        case "unknown authority":
            yield Failure(TLSError, below.SSLError, "pass the path of its PEM", nginx.tls_url, {}, 1)
        case "expired":
            yield Failure(TLSError, below.SSLError, "has expired", nginx.expired_url, trusting, 1)
        case "wrong name":
            says = "certificate is not valid for '127.0.0.1'"
            yield Failure(TLSError, below.SSLError, says, nginx.wrong_name_url, trusting, 1)
        case "wrong fingerprint":
            manager = urllib3.PoolManager(ssl_context=context, assert_fingerprint="00" * 32)
            yield Failure(TLSError, below.SSLError, "ertificate", nginx.tls_url, {"manager": manager}, 1)
        case "plain port":
            url = nginx.url.replace("http:", "https:")
            yield Failure(TLSError, below.SSLError, "TLS", url, {}, 1)
        case "proxy refused":
            options = {"manager": urllib3.ProxyManager(nowhere)}
            yield Failure(ProxyError, below.ProxyError, "Connection refused", nginx.url, options)
        case "proxy unresolved":
            options = {"manager": urllib3.ProxyManager(f"http://{UNRESOLVABLE}:3128")}
            yield Failure(ProxyError, below.ProxyError, "proxy", nginx.tls_url, options)
        case "proxy asks":
            auth_proxy: Proxy = request.getfixturevalue("auth_proxy")
            options = {"manager": urllib3.ProxyManager(auth_proxy.url, ssl_context=context)}
            yield Failure(
                ProxyError, below.ProxyError, "407 Proxy Authentication Required", nginx.tls_url, options, 1
            )
        case _:
            with Fault([b"HTTP/1.1 502 Bad Gateway\r\n\r\n", End.CLOSE]) as server:
                options = {"manager": urllib3.ProxyManager(server.url)}
                yield Failure(ProxyError, below.ProxyError, "502 Bad Gateway", nginx.tls_url, options)


@contextmanager
def full_queue() -> Generator[int]:
    """A port whose queue of connections is full, so that a further one is not answered."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


# What is raised


@dataclass
class Raised:
    """What a failure raised from a call with a password and a query, both of them not to be shown."""

    failure: Failure
    error: RequestError


@pytest.fixture(scope="module")
def raised(failure: Failure) -> Raised:
    """What one failure raises."""
    return Raised(failure, failure.raised(Basic("ada", SECRET), params={"q": QUERY}))


def test_class(raised: Raised) -> None:
    """Each failure raises its own class, which says what happened, chained from the error of urllib3."""
    assert type(raised.error) is raised.failure.error
    assert raised.failure.says in str(raised.error)
    if raised.failure.cause is not None:
        assert isinstance(raised.error.__cause__, raised.failure.cause)


def test_says_where(raised: Raised) -> None:
    """A failure names method, URL and number of attempts, in its message and as attributes."""
    error, url, attempts = raised.error, f"{raised.failure.url}/items", raised.failure.attempts
    assert (error.method, error.url, error.attempts) == ("GET", url, attempts)
    assert str(error).startswith(f"GET {url}: ")
    assert ("(2 attempts)" in str(error)) == (attempts == 2)


def test_is_caught_by_documented_names(raised: Raised) -> None:
    """A failure is a CrudsError, urllib3's HTTPError, and a TimeoutError just when it is one."""
    assert isinstance(raised.error, CrudsError)
    assert isinstance(raised.error, below.HTTPError)
    assert isinstance(raised.error, TimeoutError) == (raised.failure.error is RequestTimeoutError)


def test_pickles(raised: Raised) -> None:
    """A failure comes out of a pickle as it went in."""
    copy = pickle.loads(pickle.dumps(raised.error))  # noqa: S301
    assert type(copy) is type(raised.error)
    assert (str(copy), vars(copy)) == (str(raised.error), vars(raised.error))


def test_shows_no_credentials(raised: Raised) -> None:
    """No message, attribute or local in the whole chain holds the password, as given or as sent."""
    text = told(raised.error)
    assert "<Client " in text  # a local of the call: locals are looked at
    assert SECRET not in text
    assert BASIC not in text


def test_shows_no_query(raised: Raised) -> None:
    """No message or attribute holds the query, and no local below the calls that were given it."""
    assert QUERY not in told(raised.error, below=("client.py", "test_failure.py"))


def test_earlier_attempts_are_forgotten(raised: Raised) -> None:
    """The error of the last attempt is not chained to those of earlier ones."""
    assert sum(isinstance(each, RequestError) for each in chain(raised.error)) == 1


def test_shows_no_query_key(failure: Failure) -> None:
    """Neither an API key in the query nor one in the headers for every request is shown anywhere."""
    with failure.client(ApiKey("key", SECRET, location="query")) as client:
        client.request_headers["X-Api-Key"] = HEADER_SECRET
        with pytest.raises(RequestError) as caught:
            client.read("items")
    text = told(caught.value)
    assert SECRET not in text
    assert HEADER_SECRET not in text


def test_shows_no_size_of_a_chunk() -> None:
    """A secret that a server says back as the size of a chunk is not shown, nor with a caller's pool."""
    script = OK + b"Transfer-Encoding: chunked\r\n\r\n" + SECRET.encode() + b"\r\n"
    with Fault([script, End.CLOSE]) as server, urllib3.PoolManager() as manager:
        client = Client(server.url, ApiKey("X-Api-Key", SECRET), manager=manager, retries=0)
        with pytest.raises(RequestError) as caught:
            client.read("items")
    assert SECRET not in told(caught.value, below=("test_failure.py",))


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and all that hang on it: causes, contexts, and errors among the arguments."""
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException):
            yield each
            waiting += [each.__cause__, each.__context__, *each.args]


def told(error: BaseException, below: tuple[str, ...] = ()) -> str:
    """Returns all that a crash report could show of a chain, but for the locals in files of these names."""
    texts: list[str] = []
    for each in chain(error):
        texts += [str(each), repr(each), repr(vars(each))]
        for frame in TracebackException.from_exception(each, capture_locals=True).stack:
            texts += [frame.name]
            if not frame.filename.endswith(below):
                texts += (frame.locals or {}).values()
    return "\n".join(texts)


# Time-outs


def test_sending_times_out() -> None:
    """A server that stops reading a request makes it time out, and a PUT is not taken for lost."""
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        Client(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2, retries=0) as client,
        pytest.raises(RequestTimeoutError) as caught,
    ):
        client.update("items/1", bytes(1 << 24), replace=True)
    assert isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("timeout", [1e-05, 0.0625])
def test_message_says_how_long_was_waited(timeout: float) -> None:
    """The message of a time-out has the seconds that were waited, however they are written."""
    with (
        Fault([60.0]) as server,
        Client(server.url, timeout=timeout, retries=0) as client,
        pytest.raises(RequestTimeoutError, match=rf"(for|within) {timeout} s; see timeout="),
    ):
        client.read("x")


def test_timeout_is_of_each_piece() -> None:
    """An answer that goes on coming may take longer than the timeout as a whole."""
    pieces: list[Step] = [OK + b"Content-Length: 4\r\n\r\n"]
    for _ in range(4):
        pieces += [0.4, b"1"]
    with Fault(pieces) as server, Client(server.url, timeout=1.5, retries=0) as client:
        start = time.monotonic()
        assert client.read("items") == 1111
        assert time.monotonic() - start > 1.5


# Proxies


def test_proxy_refuses_plain_request(auth_proxy: Proxy, nginx: Nginx) -> None:
    """The 407 of a proxy to a plain request is an answer: there is no tunnel that could fail."""
    with (
        Client(nginx.url, manager=urllib3.ProxyManager(auth_proxy.url)) as client,
        pytest.raises(ClientError, match="407") as caught,
    ):
        client.read("small.json")
    assert caught.value.status == 407


def test_words_of_a_proxy() -> None:
    """What a proxy says when it refuses a tunnel is not repeated: it can be the credentials of the proxy."""
    refusal = f"HTTP/1.1 407 \x1b{BASIC}{'y' * 9999}\r\n\r\n".encode()
    with Fault([refusal, End.CLOSE]) as server:
        manager = urllib3.ProxyManager(server.url, proxy_headers={"Proxy-Authorization": f"Basic {BASIC}"})
        with Client("https://api.test", manager=manager) as client, pytest.raises(ProxyError) as caught:
            client.read("x")
    assert str(caught.value).endswith("407 Proxy Authentication Required")
    assert BASIC not in "".join(TracebackException.from_exception(caught.value).format())


def test_what_a_proxy_is_sent_is_masked() -> None:
    """What was meant for a proxy is masked where a server says back what the proxy handed on to it."""
    heads = urllib3.make_headers(proxy_basic_auth=f"ada:{SECRET}") | {"X-Ticket": HEADER_SECRET}
    with Fault(reply(400, f"{heads}, which is ada:{SECRET}".encode())) as server:
        manager = urllib3.ProxyManager(server.url, proxy_headers=heads)
        with Client("http://api.test", manager=manager) as client, pytest.raises(ClientError) as caught:
            client.read("x")
    (received,) = server.received
    assert received.headers["Proxy-Authorization"] == f"Basic {BASIC}"
    assert "***" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (BASIC, SECRET, HEADER_SECRET))


def test_tls_failure_behind_a_proxy(proxy: Proxy, nginx: Nginx) -> None:
    """A bad certificate of the server is a TLS failure, not one of the proxy that led there."""
    with (
        Client(nginx.tls_url, manager=urllib3.ProxyManager(proxy.url)) as client,
        pytest.raises(TLSError, match="not trusted"),
    ):
        client.read("small.json")


# Sizes


def answer_of(form: str, size: int) -> list[Step]:
    """Returns the script for an answer of so many bytes, in one of the ways to say where it ends."""
    content = b"x" * size
    match form:
        case "length":
            return [OK + f"Content-Length: {size}\r\n\r\n".encode() + content]
        case "chunks":
            return [CHUNKED + f"{size:x}\r\n".encode() + content + b"\r\n0\r\n\r\n"]
        case "gzip":
            return [reply(200, gzip.compress(content), Content_Encoding="gzip", Content_Type="text/plain")]
        case "gzip that is larger than its content":
            packed = gzip.compress(content, compresslevel=0)
            return [reply(200, packed, Content_Encoding="gzip", Content_Type="text/plain")]
        case "gzip in chunks":
            packed = gzip.compress(content)
            head = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
            return [head + f"{len(packed):x}\r\n".encode() + packed + b"\r\n0\r\n\r\n"]
        case _:
            return [OK + b"\r\n" + content, End.CLOSE]


@pytest.mark.parametrize(
    "form",
    ["length", "chunks", "gzip", "gzip that is larger than its content", "gzip in chunks", "close"],
)
def test_size_limit(form: str) -> None:
    """An answer of exactly max_response_size bytes is returned, and one of a byte more is not."""
    scripts = [answer_of(form, LIMIT), answer_of(form, LIMIT + 1), reply(200, b"1")]
    with Fault(*scripts) as server, Client(server.url, max_response_size=LIMIT) as client:
        assert client.read("items") == b"x" * LIMIT
        with pytest.raises(ResponseTooLargeError, match=f"max_response_size={LIMIT} bytes"):
            client.read("items")
        assert client.read("items") == 1


@pytest.mark.parametrize(("status", "error"), [(200, ResponseTooLargeError), (500, ServerError)])
def test_gzip_bomb(status: int, error: type[CrudsError]) -> None:
    """A small answer that would decompress to much is given up before it fills the memory."""
    bomb = gzip.compress(bytes(64 << 20), compresslevel=1)
    with (
        Fault(reply(status, bomb, Content_Encoding="gzip")) as server,
        Client(server.url, max_response_size=1 << 20, retries=0) as client,
    ):
        tracemalloc.start()
        try:
            with pytest.raises(error):
                client.read("items")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 8 << 20


def test_announced_size_is_not_read() -> None:
    """An answer that announces too much is given up at its head."""
    endless = OK + b"Content-Length: 1000000000000\r\n\r\n"
    with Fault([endless, 5.0]) as server, Client(server.url, timeout=5) as client:
        start = time.monotonic()
        with pytest.raises(ResponseTooLargeError):
            client.read("items")
        assert time.monotonic() - start < 3


REFUSALS: dict[str, tuple[Script, bytes, type[RequestError]]] = {
    "cut": ([reply(500, b"cut here")[:-5], End.CLOSE], b"cut", TruncatedResponseError),
    "not gzip": (reply(500, b"not gzip at all", Content_Encoding="gzip"), b"", DecompressionError),
    "large": (reply(500, b"x" * (LIMIT + 1)), b"x" * LIMIT, ResponseTooLargeError),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_is_what_its_status_says(name: str) -> None:
    """An error status is raised as such, with as much of its content as could be had."""
    script, content, _ = REFUSALS[name]
    with (
        Fault(script, reply(200, b"1")) as server,
        Client(server.url, retries=0, max_response_size=LIMIT) as client,
    ):
        with pytest.raises(ServerError) as caught:
            client.read("items")
        assert (caught.value.status, caught.value.content) == (500, content)
        assert client.read("items") == 1


@pytest.mark.parametrize("name", REFUSALS)
def test_tolerated_refusal_is_whole(name: str) -> None:
    """Where an error status is no error its content is data, which is returned whole or not at all."""
    script, _, error = REFUSALS[name]
    with Fault(script) as server, Client(server.url, retries=0, max_response_size=LIMIT) as client:
        client.status_ignore.add(500)
        with pytest.raises(error):
            client.read("items")


# Codings


@pytest.mark.parametrize(
    "field", ["Content-Encoding: gzip", "Transfer-Encoding: chunked", "Content-Length: 9"]
)
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_no_content_whatever_is_announced(method: str, status: int, field: str) -> None:
    """An answer that cannot have content ends with its head, whatever that says (RFC 9112, section 6.3)."""
    head = f"HTTP/1.1 {status} Status\r\n{field}\r\n\r\n".encode()
    with Fault(head, reply(200, b"1")) as server, Client(server.url, timeout=5, retries=0) as client:
        assert client.request(method, "items").content == b""
        assert client.read("items") == 1


def test_no_content_needs_no_decoding() -> None:
    """Empty content is not held against the coding that its head names."""
    with Fault(reply(200, b"", Content_Encoding="gzip")) as server, Client(server.url) as client:
        assert client.read("items") == b""


CODED = {
    "gzip": ("gzip", gzip.compress(b"[1,2]")),
    "members": ("gzip", gzip.compress(b"[1,") + gzip.compress(b"2]")),  # RFC 1952, section 2.2
    "padded": ("gzip", gzip.compress(b"[1,2]") + bytes(8)),  # as some servers do
    "deflate": ("deflate", zlib.compress(b"[1,2]")),
    "raw deflate": ("deflate", zlib.compress(b"[1,2]")[2:-4]),  # as other servers do
    "both": ("deflate, gzip", gzip.compress(zlib.compress(b"[1,2]"))),
    "none": ("identity", b"[1,2]"),
}


@pytest.mark.parametrize("name", CODED)
def test_coded_content_is_read(name: str) -> None:
    """Content in each coding that is asked for is decoded."""
    coding, packed = CODED[name]
    with Fault(reply(200, packed, Content_Encoding=coding)) as server, Client(server.url) as client:
        assert client.read("items") == [1, 2]
    assert {"gzip", "deflate"} <= set(server.received[0].headers["Accept-Encoding"].split(","))


# After a failure


@pytest.mark.parametrize("head", [b"", OK + b"Content-Length: 15\r\n\r\n"])
def test_rest_of_late_answer_is_not_the_next(head: bytes) -> None:
    """What a server sends after its time is up is not taken for the answer to the next call."""
    over = threading.Event()
    late: list[Step] = [head, partial(over.wait, 10), reply(200, b'"late"')]
    with Fault(late, reply(200, b'"next"')) as server, Client(server.url, retries=0, timeout=1) as client:
        with pytest.raises(RequestTimeoutError):
            client.read("late")
        over.set()
        time.sleep(0.2)
        assert client.read("next") == "next"
