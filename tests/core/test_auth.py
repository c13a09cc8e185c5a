"""What every auth scheme has from AuthABC, the bearer token, and how secrets are held."""

import copy
import logging
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3
from servers.fault import Fault, reply

from cruds.demo.api import DemoAPI
from cruds_core import AuthABC, AuthError, BearerToken, Client, ClientError, Request, Secret

THREADS = 32


class Token(AuthABC):
    """A scheme of the token form, which calls no __init__ but its own."""

    def __init__(self, *tokens: Any, seconds: float = 0.0) -> None:
        self.tokens = list(tokens)
        self.seconds = seconds
        self.valid = True
        self.asked = 0

    def access_token(self) -> Any:
        """Give the next token, and the last one for good."""
        time.sleep(self.seconds)
        self.asked += 1
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]

    def is_valid(self) -> bool:
        """Say what the test wants said."""
        return self.valid


class Renewing(Token):
    """A scheme that can renew a token that was refused."""

    def __init__(self, *tokens: Any, renewed: Any, seconds: float = 0.0) -> None:
        super().__init__(*tokens, seconds=seconds)
        self.renewed = renewed
        self.failed: list[str] = []

    def renew(self, failed: str) -> Any:
        """Give the new token, and remember what for."""
        self.failed.append(failed)
        time.sleep(self.seconds)
        return self.renewed


def sent(server: Fault) -> list[str]:
    """Returns the credentials of each request that arrived."""
    return [received.headers["Authorization"] for received in server.received]


def test_a_token_is_sent() -> None:
    """A scheme that defines access_token and is_valid sends its token as RFC 6750 says."""
    with Fault(reply(200)) as server, Client(server.url, Token("s3cret"), retries=0) as client:
        client.read("x")
    assert sent(server) == ["Bearer s3cret"]


@pytest.mark.parametrize(("kind", "prefix"), [("", ""), ("Key", "Key ")])
def test_token_header(kind: str, prefix: str) -> None:
    """A token goes into the header that the class names, and is renewed by what stood there."""

    class Elsewhere(AuthABC):
        """Sends its token in a header of its own."""

        token_header = "X-Auth-Token"
        token_type = kind
        tokens = 0

        def access_token(self) -> str:
            self.tokens += 1
            return f"token {self.tokens}"

        def is_valid(self) -> bool:
            return True

    with Fault(reply(401), reply(200), reply(401), reply(401)) as server:
        with Client(server.url, Elsewhere(), retries=0) as client:
            client.read("thing")
            with pytest.raises(ClientError):
                client.read("thing")
        tokens = [request.headers["X-Auth-Token"] for request in server.received]
        assert tokens == [f"{prefix}token {number}" for number in (1, 2, 2, 3)]
        assert not any(request.headers["Authorization"] for request in server.received)


def test_token_type() -> None:
    """The token is sent under the token_type of the class."""

    class Own(Token):
        token_type = "Token"

    with Fault(reply(401), reply(200)) as server, Client(server.url, Own("one", "two"), retries=0) as client:
        client.read("x")
    assert sent(server) == ["Token one", "Token two"]


def test_a_valid_token_is_asked_for_once() -> None:
    """A token that is valid serves all requests."""
    scheme = Token("one", "two")
    with Fault(reply(200)) as server, Client(server.url, scheme, retries=0) as client:
        for _ in range(3):
            client.read("x")
    assert sent(server) == ["Bearer one"] * 3
    assert scheme.asked == 1


def test_a_token_that_is_not_valid_is_asked_for_again() -> None:
    """Where is_valid is false, a request asks for a new token first."""
    scheme = Token("one", "two", "three")
    with Fault(reply(200)) as server, Client(server.url, scheme, retries=0) as client:
        client.read("x")
        scheme.valid = False
        client.read("x")
        scheme.valid = True
        client.read("x")
    assert sent(server) == ["Bearer one", "Bearer two", "Bearer two"]


def test_is_valid_is_not_asked_before_there_is_a_token() -> None:
    """A scheme is asked whether its token is valid only once it has given one."""

    class Strict(Token):
        def is_valid(self) -> bool:
            assert self.asked
            return super().is_valid()

    with Fault(reply(200)) as server, Client(server.url, Strict("one"), retries=0) as client:
        client.read("x")
    assert sent(server) == ["Bearer one"]


def in_threads(count: int, function: Callable[[], Any]) -> list[Any]:
    """Calls the function in so many threads at once, and returns what they return."""
    barrier = threading.Barrier(count)

    def call(_: int) -> Any:
        barrier.wait()
        return function()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_one_token_for_all_threads(api: DemoAPI) -> None:
    """However many threads start at once, the token is asked for once."""
    scheme = Token(api.token, seconds=0.05)
    with Client(api.url, scheme, retries=0) as client:
        assert in_threads(THREADS, lambda: client.read("things")) == [[]] * THREADS
    assert scheme.asked == 1


def test_one_new_token_for_all_threads(api: DemoAPI) -> None:
    """When the token is no longer valid, one thread asks for the next one, and all use it."""

    class Expiring(Token):
        def is_valid(self) -> bool:
            return self.asked == 2

    scheme = Expiring("expired", api.token, seconds=0.05)
    with Client(api.url, scheme, retries=0) as client:
        scheme.authenticate(Request("GET", api.url, urllib3.HTTPHeaderDict()))
        assert in_threads(THREADS, lambda: client.read("things")) == [[]] * THREADS
    assert scheme.asked == 2


def test_a_scheme_is_shared_by_clients(api: DemoAPI) -> None:
    """Two Clients with one scheme send its token, which is asked for once."""
    scheme = Token(api.token)
    with Client(api.url, scheme, retries=0) as one, Client(api.url, scheme, retries=0) as two:
        assert one.read("things") == two.read("things") == []
    assert scheme.asked == 1


def test_a_refused_token_is_renewed_once() -> None:
    """A 401 asks for another token, and the request is sent once more with it."""
    scheme = Token("one", "two", "three")
    with Fault(reply(401), reply(200)) as server, Client(server.url, scheme, retries=0) as client:
        client.read("x")
        client.read("x")
    assert sent(server) == ["Bearer one", "Bearer two", "Bearer two"]


def test_a_second_refusal_is_final() -> None:
    """When the new token is refused, too, the call raises: it is never sent a third time."""
    scheme = Token("one", "two", "three")
    with (
        Fault(reply(401)) as server,
        Client(server.url, scheme, retries=4, backoff_factor=0) as client,
        pytest.raises(ClientError, match="401") as caught,
    ):
        client.read("x")
    assert sent(server) == ["Bearer one", "Bearer two"]
    assert caught.value.attempts == 2


def test_the_same_token_is_not_sent_twice() -> None:
    """When renewing gives the token that was refused, the call raises without another request."""
    with (
        Fault(reply(401)) as server,
        Client(server.url, Token("one"), retries=0) as client,
        pytest.raises(ClientError, match="401"),
    ):
        client.read("x")
    assert sent(server) == ["Bearer one"]


def test_renew_is_told_what_failed() -> None:
    """A scheme's own renew gets the token that was refused, and what it returns is used from then on."""
    scheme = Renewing("one", renewed="two")
    with Fault(reply(401), reply(200)) as server, Client(server.url, scheme, retries=0) as client:
        client.read("x")
        client.read("x")
    assert sent(server) == ["Bearer one", "Bearer two", "Bearer two"]
    assert scheme.failed == ["one"]
    assert scheme.asked == 1


@pytest.mark.parametrize("status", [400, 403, 407, 500])
def test_no_other_status_renews(status: int) -> None:
    """Only a 401 says that the credentials were refused."""
    scheme = Token("one", "two")
    with Fault(reply(status)) as server, Client(server.url, scheme, retries=0, raise_status=False) as client:
        client.read("x")
    assert sent(server) == ["Bearer one"]


def test_threads_renew_a_refused_token_once(api: DemoAPI) -> None:
    """When many threads were refused with one token, one renews it, and all succeed."""
    barrier = threading.Barrier(THREADS)

    class Together(Renewing):
        def authenticate(self, request: Request) -> None:
            super().authenticate(request)
            if request.headers["Authorization"] == "Bearer stale":
                barrier.wait()  # nobody is refused before all have the stale token

    scheme = Together("stale", renewed=api.token, seconds=0.02)
    with Client(api.url, scheme, retries=0) as client:
        assert in_threads(THREADS, lambda: client.read("things")) == [[]] * THREADS
    assert scheme.failed == ["stale"]
    assert [seen.status for seen in api.requests].count(401) == THREADS


def test_a_stream_is_not_sent_twice() -> None:
    """Content that cannot be sent again is not, after a 401; the new token is there for the next call."""
    scheme = Token("one", "two")
    with (
        Fault(reply(401), reply(200)) as server,
        Client(server.url, scheme, retries=0, serialize=False) as client,
    ):
        with pytest.raises(ClientError, match="401"):
            client.create("x", Once(b"content"))
        client.create("x", b"content")
    assert sent(server) == ["Bearer one", "Bearer two"]


class Once:
    """A reader that cannot seek."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, size: int = -1, /) -> bytes:
        """Give all of the content, once."""
        content, self.content = self.content, b""
        return content


def test_a_class_that_is_no_scheme() -> None:
    """A class with neither authenticate nor access_token and is_valid is refused when it is instantiated."""

    class Nothing(AuthABC): ...

    class OnlyToken(AuthABC):
        def access_token(self) -> str:
            return "x"

    class OnlyValid(AuthABC):
        def is_valid(self) -> bool:
            return True

    for cls in (AuthABC, Nothing, OnlyToken, OnlyValid):
        with pytest.raises(
            TypeError, match=rf"{cls.__name__} must define authenticate\(\), or access_token\(\)"
        ):
            cls()


def test_a_scheme_that_authenticates_itself() -> None:
    """A scheme with authenticate alone sees the final request and decides what is sent; it has no token."""
    seen: list[Request] = []

    class Signing(AuthABC):
        def authenticate(self, request: Request) -> None:
            seen.append(request.copy())
            request.headers["Signature"] = "s3cret"

    scheme = Signing()
    with (
        Fault(reply(401)) as server,
        Client(server.url, scheme, retries=0) as client,
        pytest.raises(ClientError, match="401"),
    ):
        client.create("x y", {"a": 1}, {"q": "ü"})
    (received,) = server.received
    assert received.headers["Signature"] == "s3cret"
    assert (seen[0].method, seen[0].url) == ("POST", f"{server.url}/x%20y?q=%C3%BC")
    assert (seen[0].content, seen[0].headers["content-type"]) == (b'{"a":1}', "application/json")
    assert scheme.is_valid()
    with pytest.raises(AuthError, match="Signing has no access token"):
        scheme.access_token()


def test_every_attempt_is_authenticated_anew() -> None:
    """Each attempt gets a request that no earlier one has changed."""

    class Counting(AuthABC):
        count = 0

        def authenticate(self, request: Request) -> None:
            self.count += 1
            request.headers.add("X-Proof", str(self.count))
            request.url += f"?n={self.count}"

    with (
        Fault(reply(503), reply(503), reply(200)) as server,
        Client(server.url, Counting(), backoff_factor=0) as client,
    ):
        client.read("x")
    assert [(seen.target, seen.headers.get_all("X-Proof")) for seen in server.received] == [
        (f"/x?n={number}", [str(number)]) for number in (1, 2, 3)
    ]


BAD_TOKENS: dict[str, tuple[Any, str]] = {
    "empty": ("", "is empty"),
    "line break": ("hunter2\n", "begins or ends with a line break"),
    "header": ("hunter2\r\nX-Own: 1", "control character"),
    "NUL": ("hunter2\x00x", "control character"),
    "not ASCII": ("hunter2ü", "not ASCII"),
    "surrogate": ("hunter2\udcff", "not ASCII|surrogate"),
    "bytes": (b"hunter2", "must return a str"),
    "None": (None, "must return a str"),
    "number": (5, "must return a str"),
}


@pytest.mark.parametrize(("token", "message"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_token_of_a_scheme(token: Any, message: str) -> None:
    """What access_token must not return is an AuthError without the token, and nothing is sent."""
    with Fault(reply(200)) as server, Client(server.url, Token(token), retries=0) as client:
        with pytest.raises(AuthError, match=message) as caught:
            client.read("x")
        assert server.received == []
    assert "access_token()" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("token", "message"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_renewed_token(token: Any, message: str) -> None:
    """What renew must not return is an AuthError without the token, and is not sent."""
    scheme = Renewing("one", renewed=token)
    with (
        Fault(reply(401)) as server,
        Client(server.url, scheme, retries=0) as client,
        pytest.raises(AuthError, match=message) as caught,
    ):
        client.read("x")
    assert sent(server) == ["Bearer one"]
    assert "renew()" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("token", "message"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_bearer_token_from_a_callable(token: Any, message: str) -> None:
    """What a callable must not return is an AuthError without the token, and nothing is sent."""
    with Fault(reply(200)) as server, Client(server.url, BearerToken(lambda: token), retries=0) as client:
        with pytest.raises(AuthError, match=f"{message}|control character|surrogate") as caught:
            client.read("x")
        assert server.received == []
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("token", [value for value, _ in BAD_TOKENS.values()], ids=BAD_TOKENS)
def test_a_bad_bearer_token(token: Any) -> None:
    """What cannot be a token is refused when the scheme is made, without being shown."""
    error = ValueError if isinstance(token, str) else TypeError
    with pytest.raises(error, match="token") as caught:
        BearerToken(token)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_an_error_of_the_scheme_comes_through() -> None:
    """What a scheme raises reaches the caller as it is, and the next call asks again."""

    class Failing(Token):
        def access_token(self) -> Any:
            token = super().access_token()
            if token == "none":
                raise LookupError("no token in the vault")
            return token

    with Fault(reply(200)) as server, Client(server.url, Failing("none", "two"), backoff_factor=0) as client:
        with pytest.raises(LookupError, match="vault"):
            client.read("x")
        client.read("x")
    assert sent(server) == ["Bearer two"]


def test_bearer_token() -> None:
    """A plain bearer token is sent, and a 401 with it is final."""
    with (
        Fault(reply(200), reply(401)) as server,
        Client(server.url, BearerToken("s3cret"), retries=0) as client,
    ):
        client.read("x")
        with pytest.raises(ClientError, match="401"):
            client.read("x")
    assert sent(server) == ["Bearer s3cret"] * 2


def test_bearer_token_from_a_callable() -> None:
    """A callable is asked at each request, and a 401 is answered only with another token."""
    tokens = iter(["one", "two", "three", "four", "four"])
    with (
        Fault(reply(200), reply(200), reply(401), reply(401)) as server,
        Client(server.url, BearerToken(lambda: next(tokens)), retries=0) as client,
    ):
        client.read("x")
        client.read("x")
        with pytest.raises(ClientError, match="401"):
            client.read("x")
    assert sent(server) == ["Bearer one", "Bearer two", "Bearer three", "Bearer four"]


def test_no_repr_shows_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a scheme nor a secret nor a log of a request shows the token."""
    caplog.set_level(logging.DEBUG)
    scheme = BearerToken("s3cret")
    with (
        Fault(reply(400)) as server,
        Client(server.url, scheme, retries=0) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.read("x")
    shown = [repr(scheme), str(scheme), f"{scheme}", repr(client), repr(vars(scheme)), str(caught.value)]
    assert "s3cret" not in " ".join([*shown, caplog.text])
    assert caplog.text


def test_secret() -> None:
    """A secret reveals its text on request alone."""
    secret = Secret("hunter2", "password")
    assert secret.reveal() == "hunter2"
    assert [repr(secret), str(secret), f"{secret}", repr(secret.reveal())] == ["***"] * 4
    assert copy.deepcopy(secret).reveal() == copy.copy(secret).reveal() == "hunter2"


def test_secret_from_a_callable() -> None:
    """A callable is asked at each use."""
    secrets = iter(["one", "two"])
    secret = Secret(lambda: next(secrets), "password")
    assert [secret.reveal(), secret.reveal()] == ["one", "two"]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (None, TypeError),
        (b"hunter2", TypeError),
        (5, TypeError),
        ("hunter2\n", ValueError),
        ("a\x00b", ValueError),
    ],
)
def test_bad_secret(source: Any, error: type[Exception]) -> None:
    """What cannot be a secret is refused under the name of the argument that took it, and is not shown."""
    with pytest.raises(error, match="password") as caught:
        Secret(source, "password")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [None, b"hunter2", "hunter2\n"])
def test_bad_secret_from_a_callable(value: Any) -> None:
    """What a callable must not return is an AuthError that names the argument, and is not shown."""
    with pytest.raises(AuthError, match="callable given as password") as caught:
        Secret(lambda: value, "password").reveal()
    assert "hunter2" not in str(caught.value)


def test_arguments_of_a_scheme_without_init() -> None:
    """A scheme that takes no arguments refuses them, as any class does."""

    class Simple(AuthABC):
        def authenticate(self, request: Request) -> None: ...

    cls: Any = Simple
    with pytest.raises(TypeError, match="argument"):
        cls(token="x")
