"""The one token of an object: renewed ahead of its end, used while it lives, replaced after a 401."""

import copy
import gc
import io
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from servers.fault import End, Fault, Script, reply

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError, OAuthSignInRequiredError
from cruds_core import AuthError, Client, ClientError
from cruds_core.lock import RenewalLock

LIFETIME = 1000  # seconds; the last 30 are the leeway

T = TypeVar("T")


class Clock:
    """The time that we read, which can be set forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        for name in ("time", "monotonic"):
            monkeypatch.setattr(time, name, partial(self.read, getattr(time, name)))

    def read(self, clock: Callable[[], float]) -> float:
        """Return the time."""
        return clock() + self.ahead

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that can be set forward."""
    return Clock(monkeypatch)


class Gate:
    """Where a thread, or a script, stops until it is let through."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        """Stop here."""
        self.reached.set()
        self.opened.wait(10)


def begin(call: Callable[[], T]) -> Future[T]:
    """Calls in another thread, and returns what will come of it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def token(number: int, lifetime: float | None = LIFETIME, **members: str) -> bytes:
    """Returns the answer with a token."""
    answer = {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": lifetime, **members}
    return reply(200, json.dumps(answer).encode())


def refreshable(number: int) -> bytes:
    """Returns the answer with a token and a refresh token."""
    return token(number, refresh_token=f"refresh-{number}")


def scheme(server: Fault, grant: str = "client_credentials", **options: Any) -> OAuth2:
    """Returns a scheme that has its first token."""
    if grant == "password":
        options |= {"username": "ada", "password": "a password"}
    elif grant == "authorization_code":
        options |= {"authorization_url": server.url, "redirect_uri": "http://127.0.0.1:1/callback"}
    auth = OAuth2(server.url, "client", "a secret", None, **options)
    if grant == "authorization_code":
        sign_in(auth)
    assert auth.access_token() == "token-1"
    return auth


def sign_in(auth: OAuth2) -> str:
    """Lets the user sign in, with whatever code."""
    [state] = parse_qs(urlsplit(auth.get_authorization_url()).query)["state"]
    return auth.exchange_code_for_token("a code", state)


def forms(server: Fault) -> list[dict[str, str]]:
    """Returns the fields of each token request."""
    return [
        {name: text for name, [text] in parse_qs(request.content.decode()).items()}
        for request in server.received
    ]


def grants(server: Fault) -> list[str]:
    """Returns the grant of each token request."""
    return [form["grant_type"] for form in forms(server)]


def sent(api: Fault) -> list[str]:
    """Returns the token of each request to an API."""
    return [request.headers["Authorization"].removeprefix("Bearer ") for request in api.received]


# Ahead of the end


@pytest.mark.parametrize(
    ("lifetime", "options", "kept", "renewed"),
    [
        (3600, {}, 3569, 3571),
        (100, {}, 89, 91),
        (3600, {"leeway": 100}, 3499, 3501),
        (100, {"leeway": 50}, 89, 91),
        (100, {"leeway": 2}, 97, 99),
        (3600, {"leeway": 0}, 3599, 3601),
    ],
)
def test_when_a_token_is_renewed(
    clock: Clock, lifetime: float, options: dict[str, Any], kept: float, renewed: float
) -> None:
    """A token is renewed 30 s before its end, or as leeway says, and never before its last tenth."""
    with Fault(token(1, lifetime), token(2, lifetime)) as server:
        auth = scheme(server, **options)
        clock.advance(kept)
        assert auth.access_token() == "token-1"
        clock.advance(renewed - kept)
        assert auth.access_token() == "token-2"
        assert len(server.received) == 2


def test_one_thread_renews_ahead(clock: Clock) -> None:
    """While one thread renews a token that still lives, the others use it, and then the new one."""
    gate = Gate()
    with Fault(token(1), [gate, token(2)]) as server, Fault(reply(200)) as api:
        auth = scheme(server)
        clock.advance(LIFETIME - 10)
        renewing = begin(auth.access_token)
        assert gate.reached.wait(10)
        with Client(api.url, auth) as client:
            for call in [begin(lambda: client.read("x")) for _ in range(5)]:
                call.result(5)
            gate.opened.set()
            assert renewing.result(5) == "token-2"
            client.read("x")
        assert sent(api) == ["token-1"] * 5 + ["token-2"]
        assert len(server.received) == 2


def test_a_renewal_that_outlasts_the_token(clock: Clock) -> None:
    """Threads whose token ends while one renews it wait for that renewal, and make none of their own."""
    gate = Gate()
    with Fault(token(1), [gate, token(2)]) as server:
        auth = scheme(server)
        clock.advance(LIFETIME - 10)
        calls = [begin(auth.access_token)]
        assert gate.reached.wait(10)
        clock.advance(11)
        calls += [begin(auth.access_token) for _ in range(5)]
        time.sleep(0.05)
        assert not any(call.done() for call in calls)
        gate.opened.set()
        assert {call.result(5) for call in calls} == {"token-2"}
        assert len(server.received) == 2


FAILURES: dict[str, Script] = {
    "closed": End.CLOSE,
    "slow": [5.0],
    "429": reply(429, Retry_After="1"),
    "500": reply(500),
    "504": reply(504),
    "503": reply(503, b'{"error": "temporarily_unavailable"}'),
    "refused": reply(401, b'{"error": "invalid_client"}'),
    "page": reply(200, b"<html>", Content_Type="text/html"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_the_living_token_is_used(clock: Clock, failure: Script) -> None:
    """A token that cannot be renewed is used until its end, with another try after 10 s and no sooner."""
    with Fault(token(1), failure, failure, token(2)) as server:
        auth = scheme(server, timeout=0.5)
        clock.advance(LIFETIME - 29)
        assert [auth.access_token() for _ in range(3)] == ["token-1"] * 3
        clock.advance(9)
        assert auth.access_token() == "token-1"
        assert len(server.received) == 2
        clock.advance(2)
        assert [auth.access_token() for _ in range(3)] == ["token-1"] * 3
        assert len(server.received) == 3
        clock.advance(11)
        assert auth.access_token() == "token-2"


@pytest.mark.parametrize(
    ("grant", "renewal"),
    [("client_credentials", "client_credentials"), ("authorization_code", "refresh_token")],
)
def test_the_token_endpoint_is_down(
    clock: Clock, caplog: pytest.LogCaptureFixture, grant: str, renewal: str
) -> None:
    """Where nothing listens the living token is used and a warning says why; past its end it is an error."""
    with Fault(refreshable(1)) as server:
        auth = scheme(server, grant)
    clock.advance(LIFETIME - 25)
    for seconds, warnings in ((9, 1), (2, 1), (0, 2), (9, 2)):
        assert auth.access_token() == "token-1"
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * warnings
        assert f"is used until it expires: the {renewal} grant: POST http://127" in caplog.text
        clock.advance(seconds)
    clock.advance(10)
    with pytest.raises(OAuthAccessTokenError, match="no connection"):
        auth.access_token()


def test_a_secret_that_cannot_be_had(clock: Clock) -> None:
    """The living token is used as well where a callable for the secret fails, whatever it raises."""
    faults: list[Exception] = []

    def secret() -> str:
        if faults:
            raise faults.pop()
        return "a secret"

    with Fault(token(1)) as server:
        auth = OAuth2(server.url, "client", secret, None)
        auth.access_token()
        faults.append(OSError("the vault is sealed"))
        clock.advance(LIFETIME - 10)
        assert auth.access_token() == "token-1"
        assert (faults, len(server.received)) == ([], 1)


def test_a_success_ends_the_quiet_time(clock: Clock) -> None:
    """Once a renewal has succeeded, the failure of an earlier one delays nothing."""
    with Fault(token(1), reply(503), token(2, 10), token(3)) as server:
        auth = scheme(server)
        clock.advance(LIFETIME - 5)
        assert auth.access_token() == "token-1"
        assert auth.renew("token-1") == "token-2"
        clock.advance(9.5)
        assert auth.access_token() == "token-3"


def test_a_sign_in_ends_the_quiet_time(clock: Clock) -> None:
    """Once a user has signed in again, the failure of an earlier renewal delays nothing."""
    with Fault(refreshable(1), End.CLOSE, refreshable(2), refreshable(3)) as server:
        auth = scheme(server, "authorization_code")
        clock.advance(LIFETIME - 10)
        assert auth.access_token() == "token-1"
        assert sign_in(auth) == "token-2"
        clock.advance(LIFETIME - 10)
        assert auth.access_token() == "token-3"


def test_the_token_ends_while_its_renewal_fails(clock: Clock) -> None:
    """A token that has expired when its renewal fails is not used: the thread that renewed has the error."""
    with Fault(token(1), [partial(clock.advance, 11), reply(503)]) as server:
        auth = scheme(server)
        clock.advance(LIFETIME - 10)
        with pytest.raises(OAuthAccessTokenError, match="503"):
            auth.access_token()


@pytest.mark.parametrize("grant", ["client_credentials", "authorization_code"])
def test_no_second_try_in_the_quiet_time(clock: Clock, monkeypatch: pytest.MonkeyPatch, grant: str) -> None:
    """A thread that was about to renew when another one failed does not try again."""
    gate, if_free = Gate(), RenewalLock.if_free
    late = threading.local()

    def pause(lock: RenewalLock) -> object:
        if getattr(late, "is_late", False):
            gate()
        return if_free.__get__(lock)

    def come_late() -> str:
        late.is_late = True
        return auth.access_token()

    with Fault(refreshable(1), End.CLOSE) as server:
        auth = scheme(server, grant)
        clock.advance(LIFETIME - 10)
        monkeypatch.setattr(RenewalLock, "if_free", property(pause))
        other = begin(come_late)
        assert gate.reached.wait(10)
        assert auth.access_token() == "token-1"
        gate.opened.set()
        assert other.result(5) == "token-1"
        assert len(server.received) == 2


# Refresh tokens


@pytest.mark.parametrize("failure", ["closed", "slow", "page", "500", "504"])
def test_a_refresh_without_an_answer(clock: Clock, failure: str) -> None:
    """A refresh that may have been carried out is not repeated while the token of a sign-in lives."""
    with Fault(refreshable(1), FAILURES[failure], refreshable(2)) as server:
        auth = scheme(server, "authorization_code", timeout=0.5)
        clock.advance(LIFETIME - 29)
        for _ in range(3):
            assert auth.access_token() == "token-1"
            clock.advance(9)
        assert grants(server) == ["authorization_code", "refresh_token"]
        clock.advance(9)
        assert auth.access_token() == "token-2"
        assert [form.get("refresh_token") for form in forms(server)] == [None, "refresh-1", "refresh-1"]


@pytest.mark.parametrize("failure", ["429", "503"])
def test_a_refresh_that_was_put_off(clock: Clock, failure: str) -> None:
    """A refresh that the server did not carry out is sent again after 10 s."""
    with Fault(refreshable(1), FAILURES[failure], refreshable(2)) as server:
        auth = scheme(server, "authorization_code")
        clock.advance(LIFETIME - 29)
        assert auth.access_token() == "token-1"
        clock.advance(11)
        assert auth.access_token() == "token-2"


@contextmanager
def deaf(url: str) -> Generator[None]:
    """Lets connections to a port that is free time out: somebody listens there, and the queue is full."""
    address = "127.0.0.1", urlsplit(url).port
    with ExitStack() as stack:
        listener, *others = (stack.enter_context(socket.socket()) for _ in range(4))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(0)
        for other in others:
            other.setblocking(False)
            other.connect_ex(address)
        yield


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse connections when a queue is full")
@pytest.mark.parametrize("grant", ["password", "authorization_code"])
def test_a_refresh_that_did_not_connect(clock: Clock, caplog: pytest.LogCaptureFixture, grant: str) -> None:
    """A refresh that timed out before there was a connection is tried again after 10 s, as a refresh."""
    with Fault(refreshable(1)) as server:
        auth = scheme(server, grant, timeout=0.5)
    clock.advance(LIFETIME - 25)
    with deaf(server.url):
        assert auth.access_token() == "token-1"
        clock.advance(11)
        assert auth.access_token() == "token-1"
    assert len(caplog.records) == 2
    assert caplog.text.count("the refresh_token grant") == caplog.text.count("no connection within") == 2


@pytest.mark.parametrize(("left", "is_error"), [(29, False), (-1, True)], ids=["living", "expired"])
def test_a_refresh_without_an_answer_and_a_password(clock: Clock, left: float, is_error: bool) -> None:
    """Where a refresh may have been carried out the password gets the next token, at the next try."""
    with Fault(refreshable(1), End.CLOSE, refreshable(2), refreshable(3)) as server:
        auth = scheme(server, "password")
        clock.advance(LIFETIME - left)
        if is_error:
            with pytest.raises(OAuthAccessTokenError):
                auth.access_token()
        else:
            assert auth.access_token() == "token-1"
            clock.advance(11)
        assert auth.access_token() == "token-2"
        clock.advance(LIFETIME)
        assert auth.access_token() == "token-3"
        assert grants(server) == ["password", "refresh_token", "password", "refresh_token"]
        assert forms(server)[3]["refresh_token"] == "refresh-2"


DEAD = reply(400, b'{"error": "invalid_grant"}')


def test_a_dead_refresh_token_ahead_of_the_end(clock: Clock) -> None:
    """A refresh token that is refused is sent once; the token of the sign-in is used until its end."""
    with Fault(refreshable(1), DEAD) as server:
        auth = scheme(server, "authorization_code")
        clock.advance(LIFETIME - 25)
        assert auth.access_token() == "token-1"
        clock.advance(11)
        assert auth.access_token() == "token-1"
        clock.advance(15)
        with pytest.raises(OAuthSignInRequiredError, match="lead the user through a sign-in"):
            auth.access_token()
        assert grants(server) == ["authorization_code", "refresh_token"]


def test_a_dead_refresh_token_of_a_user(clock: Clock) -> None:
    """The error that has the user sign in again says what the server said; an outage is another error."""
    with Fault(refreshable(1), reply(503), DEAD) as server:
        auth = scheme(server, "authorization_code")
        clock.advance(LIFETIME)
        with pytest.raises(OAuthAccessTokenError, match="503") as outage:
            auth.access_token()
        assert not isinstance(outage.value, OAuthSignInRequiredError)
        with pytest.raises(OAuthSignInRequiredError, match="invalid_grant; lead the user") as ended:
            auth.access_token()
        assert (ended.value.error, ended.value.status) == ("invalid_grant", 400)


def test_a_dead_refresh_token_and_a_failing_password(clock: Clock) -> None:
    """A refresh token that is refused is not sent again, also where the password is of no use at first."""
    with Fault(refreshable(1), DEAD, reply(503), refreshable(2)) as server:
        auth = scheme(server, "password")
        clock.advance(LIFETIME)
        with pytest.raises(OAuthAccessTokenError, match="503"):
            auth.access_token()
        assert auth.access_token() == "token-2"
        assert grants(server) == ["password", "refresh_token", "password", "password"]


def test_a_refresh_token_that_is_kept(clock: Clock) -> None:
    """Where a refresh brings no refresh token the old one stays, and where it brings one that one is next."""
    with Fault(refreshable(1), token(2), refreshable(3), token(4)) as server:
        auth = scheme(server, "authorization_code")
        for number in (2, 3, 4):
            clock.advance(LIFETIME)
            assert auth.access_token() == f"token-{number}"
        assert [form["refresh_token"] for form in forms(server)[1:]] == [
            "refresh-1",
            "refresh-1",
            "refresh-3",
        ]


# A 401


class Pipe(io.BytesIO):
    """A file that cannot seek."""

    def seekable(self) -> bool:
        """It is not."""
        return False


@pytest.mark.parametrize("content", [b"content", "content", io.BytesIO(b"content")], ids=type)
def test_a_401_is_answered_with_a_new_token(content: Any) -> None:
    """A request that gets a 401 is sent once more with a new token, with its whole content."""
    with Fault(token(1), token(2)) as server, Fault(reply(401), reply(200)) as api:
        auth = scheme(server)
        with Client(api.url, auth, timeout=5, retries=0, serialize=False) as client:
            assert client.create("x", content) == b"{}"
        assert sent(api) == ["token-1", "token-2"]
        assert [request.content for request in api.received] == [b"content", b"content"]
        assert len(server.received) == 2


def test_a_401_for_what_cannot_be_sent_again() -> None:
    """A stream that gets a 401 is not sent again: the answer is raised, and the next call has a new token."""
    with Fault(token(1), token(2)) as server, Fault(reply(401), reply(200)) as api:
        auth = scheme(server)
        with Client(api.url, auth, retries=0, serialize=False) as client:
            with pytest.raises(ClientError, match="401"):
                client.create("x", Pipe(b"content"))
            client.create("x", Pipe(b"content"))
        assert sent(api) == ["token-1", "token-2"]
        assert [request.content for request in api.received] == [b"content", b"content"]


def test_a_second_401_is_the_answer() -> None:
    """A 401 for the new token is raised, and neither request is sent a third time."""
    with Fault(token(1), token(2), token(3)) as server, Fault(reply(401)) as api:
        auth = scheme(server)
        with Client(api.url, auth, retries=0) as client, pytest.raises(ClientError) as raised:
            client.read("x")
        assert raised.value.status == 401
        assert sent(api) == ["token-1", "token-2"]
        assert len(server.received) == 2


def test_a_401_for_the_same_token_again() -> None:
    """Where the server gives the refused token again the 401 is raised."""
    with Fault(token(1)) as server, Fault(reply(401)) as api:
        with Client(api.url, scheme(server), retries=0) as client, pytest.raises(ClientError, match="401"):
            client.read("x")
        assert sent(api) == ["token-1"]
        assert len(server.received) == 2


def test_a_401_without_a_way_to_renew() -> None:
    """Where no token is to be had without the user a 401 is raised as it is, and no token is asked for."""
    with Fault(token(1)) as server, Fault(reply(401, b'{"detail": "gone"}')) as api:
        auth = scheme(server, "authorization_code")
        with Client(api.url, auth, retries=0) as client, pytest.raises(ClientError) as raised:
            client.read("x")
        assert raised.value.data == {"detail": "gone"}
        assert (sent(api), grants(server)) == (["token-1"], ["authorization_code"])


def test_a_401_and_a_renewal_that_fails() -> None:
    """Where a 401 leads to a renewal that fails its error is raised, and the next call tries again."""
    with Fault(token(1), reply(503), token(2)) as server, Fault(reply(401), reply(401), reply(200)) as api:
        auth = scheme(server)
        with Client(api.url, auth, retries=0) as client:
            with pytest.raises(OAuthAccessTokenError, match="503") as raised:
                client.read("x")
            assert raised.value.response is not None
            assert raised.value.response.status == 401
            assert client.read("x") == {}
        assert sent(api) == ["token-1", "token-1", "token-2"]


def test_a_401_and_a_refresh_without_an_answer() -> None:
    """A refresh without an answer is sent again by the next call where the token was refused."""
    refused = reply(401)
    with (
        Fault(refreshable(1), End.CLOSE, refreshable(2)) as server,
        Fault(refused, refused, reply(200)) as api,
    ):
        auth = scheme(server, "authorization_code")
        with Client(api.url, auth, retries=0) as client:
            with pytest.raises(OAuthAccessTokenError):
                client.read("x")
            assert client.read("x") == {}
        assert sent(api) == ["token-1", "token-1", "token-2"]


def test_a_401_for_a_token_that_was_replaced() -> None:
    """A 401 for a token that is no longer the current one leads to no renewal: the current one is sent."""
    with Fault(token(1), token(2)) as server:
        auth = scheme(server)
        replaced: Script = [lambda: auth.renew("token-1"), reply(401)]
        with Fault(replaced, reply(200)) as api, Client(api.url, auth, retries=0) as client:
            assert client.read("x") == {}
            assert sent(api) == ["token-1", "token-2"]
        assert len(server.received) == 2


@pytest.mark.parametrize("grant", ["client_credentials", "authorization_code"])
def test_a_401_after_clear(grant: str) -> None:
    """A token that was forgotten during the request is replaced after a 401, where that needs no user."""
    with Fault(refreshable(1), refreshable(2)) as server:
        auth = scheme(server, grant)
        with Fault([auth.clear, reply(401)], reply(200)) as api, Client(api.url, auth, retries=0) as client:
            if grant == "client_credentials":
                assert client.read("x") == {}
                assert sent(api) == ["token-1", "token-2"]
            else:
                with pytest.raises(ClientError, match="401"):
                    client.read("x")
                assert len(server.received) == 1


# The lock


def test_a_slow_resource_delays_no_renewal(clock: Clock) -> None:
    """While a request waits for its answer another thread renews the token and uses it."""
    gate = Gate()
    with Fault(token(1), token(2)) as server, Fault([gate, reply(200)], reply(200)) as api:
        auth = scheme(server)
        with Client(api.url, auth) as one, Client(api.url, auth) as two:
            slow = begin(lambda: one.read("slow"))
            assert gate.reached.wait(10)
            clock.advance(LIFETIME)
            assert begin(lambda: two.read("fast")).result(5) == {}
            assert not slow.done()
            gate.opened.set()
            assert slow.result(5) == {}
        assert sent(api) == ["token-1", "token-2"]


def test_a_slow_renewal_delays_no_living_token() -> None:
    """While a thread replaces a token that was refused, others still send the one that lives by the clock."""
    gate = Gate()
    with Fault(token(1), [gate, token(2)]) as server, Fault(reply(200)) as api:
        auth = scheme(server)
        with Client(api.url, auth) as client:
            renewing = begin(lambda: auth.renew("token-1"))
            assert gate.reached.wait(10)
            assert begin(lambda: client.read("x")).result(5) == {}
            gate.opened.set()
            assert renewing.result(5) == "token-2"
        assert sent(api) == ["token-1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=["interrupt", "exit"])
@pytest.mark.parametrize("earlier", [reply(503), b""], ids=["after a failure", "at first"])
def test_a_renewal_that_is_interrupted(error: BaseException, earlier: bytes) -> None:
    """Threads that waited for a renewal that was interrupted try themselves, whatever failed before."""
    gate, interrupts = Gate(), threading.local()

    def secret() -> str:
        if getattr(interrupts, "is_here", False):
            gate()
            raise error
        return "a secret"

    def interrupted() -> str:
        interrupts.is_here = True
        return auth.access_token()

    with Fault(*([earlier] if earlier else []), token(1)) as server:
        auth = OAuth2(server.url, "client", secret, None)
        if earlier:
            with pytest.raises(OAuthAccessTokenError):
                auth.access_token()
        first = begin(interrupted)
        assert gate.reached.wait(10)
        waiting = [begin(auth.access_token) for _ in range(3)]
        time.sleep(0.05)
        gate.opened.set()
        assert first.exception(5) is error
        assert [call.exception(5) for call in waiting] == [None] * 3
        assert {call.result() for call in waiting} == {"token-1"}


class VaultError(AuthError):
    """An error that cannot be made from its text alone."""

    def __init__(self, *, path: str) -> None:
        super().__init__(f"no secret at {path}")
        self.path = path


class AnswerError(Exception):
    """A cause of the same kind."""

    def __init__(self, *, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def test_an_error_of_the_callers_own() -> None:
    """What a callable for the secret raises is what all threads have, with its cause, whatever its class."""
    gate = Gate()

    def secret() -> str:
        gate()
        raise VaultError(path="/secret") from AnswerError(status=403)

    auth = OAuth2("http://127.0.0.1:1/token", "client", secret, None)
    calls = [begin(auth.access_token)]
    assert gate.reached.wait(10)
    calls += [begin(auth.access_token) for _ in range(2)]
    time.sleep(0.05)
    gate.opened.set()
    errors = [call.exception(5) for call in calls]
    for error in errors:
        assert isinstance(error, VaultError)
        assert (str(error), error.path) == ("no secret at /secret", "/secret")
        assert isinstance(error.__cause__, AnswerError)
        assert (str(error.__cause__), error.__cause__.status) == ("status 403", 403)
    assert len(set(map(id, errors))) == 3


class PanicError(Exception):
    """Such as those of libraries in Rust, of which only they make objects."""

    def __new__(cls, *args: object) -> Self:
        """Make none."""
        if args != (made,):
            raise TypeError("No constructor defined")
        return super().__new__(cls)


made = object()


def circle() -> Exception:
    """Returns an error that is the cause of its own cause."""
    error, cause = ValueError("first"), ValueError("second")
    error.__cause__, cause.__cause__ = cause, error
    return error


@pytest.mark.parametrize("cause", [PanicError(made), circle()], ids=["of its own", "in a circle"])
def test_a_cause_that_cannot_be_copied(cause: Exception) -> None:
    """A secret whose callable raises any error at all is an AuthError, which all threads have."""
    gate = Gate()

    def secret() -> str:
        gate()
        raise cause

    auth = OAuth2("http://127.0.0.1:1/token", "client", secret, None)
    calls = [begin(auth.access_token)]
    assert gate.reached.wait(10)
    calls += [begin(auth.access_token) for _ in range(2)]
    time.sleep(0.05)
    gate.opened.set()
    told = f"the callable given as client_secret raised {type(cause).__name__}"
    assert [repr(call.exception(5)) for call in calls] == [repr(AuthError(told))] * 3


def test_a_secret_that_fails_for_all() -> None:
    """Threads that wait for a secret that cannot be had are told so, each with the cause, and ask no more."""
    gate, asked = Gate(), Counter[str]()

    def secret() -> str:
        asked["secret"] += 1
        gate()
        raise OSError(5, "the vault is sealed")

    auth = OAuth2("http://127.0.0.1:1/token", "client", secret, None)
    calls = [begin(auth.access_token)]
    assert gate.reached.wait(10)
    calls += [begin(auth.access_token) for _ in range(3)]
    time.sleep(0.05)
    gate.opened.set()
    for error in [call.exception(5) for call in calls]:
        assert isinstance(error, AuthError)
        assert str(error.__cause__) == "[Errno 5] the vault is sealed"
    assert asked["secret"] == 1


def test_another_try_in_the_handler_of_the_first() -> None:
    """A program that asks again where it handles the error of a lost token request gets an answer."""

    def ask() -> str:
        try:
            return auth.access_token()
        except OAuthAccessTokenError:
            try:
                return auth.access_token()
            except OAuthAccessTokenError:
                return auth.access_token()

    with Fault(End.CLOSE, End.CLOSE, token(1)) as server:
        auth = OAuth2(server.url, "client", "a secret", None)
        assert begin(ask).result(5) == "token-1"


def test_no_frame_outlives_its_error() -> None:
    """What is remembered of an error for other threads keeps nothing alive of the call that raised it."""
    auth = OAuth2("http://127.0.0.1:1/token", "client", "a secret", None)

    def fail() -> weakref.ref[Gate]:
        held = Gate()
        with suppress(OAuthAccessTokenError):
            auth.access_token()
        return weakref.ref(held)

    reference = fail()
    gc.collect()
    assert reference() is None


def test_a_secret_that_needs_the_token() -> None:
    """A callable for the secret that needs the token gets an error and does not hang; later calls work."""
    with Fault(token(1)) as server, Fault(reply(200, b'"a secret"')) as vault:
        asks = True

        def secret() -> str:
            return str(client.read("secret")) if asks else "a secret"

        auth = OAuth2(server.url, "client", secret, None)
        with Client(vault.url, auth) as client:
            error = begin(auth.access_token).exception(10)
            assert isinstance(error, AuthError)
            assert str(error) == "OAuth2 needs its own token to get one; let it use a Client of its own"
            assert (server.received, vault.received) == ([], [])
            asks = False
            assert begin(auth.access_token).result(10) == "token-1"


def test_a_secret_that_needs_the_living_token(clock: Clock) -> None:
    """A callable for the secret may need the token while it lives: it has it, and the renewal goes on."""
    with Fault(token(1), token(2)) as server, Fault(reply(200, b'"a secret"')) as vault:
        asks = False

        def secret() -> str:
            return str(client.read("secret")) if asks else "a secret"

        auth = OAuth2(server.url, "client", secret, None)
        with Client(vault.url, auth) as client:
            auth.access_token()
            clock.advance(LIFETIME - 10)
            asks = True
            assert begin(auth.access_token).result(10) == "token-2"
        assert sent(vault) == ["token-1"]


# What else can happen meanwhile


def test_clear_while_a_renewal_runs(clock: Clock) -> None:
    """After clear() no token is held, whatever a renewal that was under way brought; the next call asks."""
    gate = Gate()
    with Fault(token(1), [gate, token(2)], token(3)) as server:
        auth = scheme(server)
        clock.advance(LIFETIME - 10)
        renewing = begin(auth.access_token)
        assert gate.reached.wait(10)
        clearing = begin(auth.clear)
        time.sleep(0.05)
        gate.opened.set()
        clearing.result(5)
        assert (renewing.result(5), auth.token, auth.is_valid()) == ("token-2", None, False)
        assert auth.access_token() == "token-3"


def test_revoke_while_a_renewal_runs(authority: AuthorizationServer, clock: Clock) -> None:
    """After revoke() no token is held, and what a renewal that was under way brought is revoked."""
    url, secret, revocation_url = authority.token_url, authority.client_secret, authority.revocation_url
    auth = OAuth2(url, authority.client_id, secret, None, revocation_url=revocation_url)
    auth.access_token()
    clock.advance(authority.lifetime - 10)
    authority.delay = 0.2
    renewing = begin(auth.access_token)
    while not renewing.done() and len(authority.token_requests) < 2:
        time.sleep(0.005)
    auth.revoke()
    assert not authority.is_active(renewing.result(5))
    assert auth.token is None


def test_a_sign_in_while_a_refresh_runs(clock: Clock) -> None:
    """The token of a user who signs in again is held, whatever a refresh that was under way brought."""
    gate = Gate()
    with Fault(refreshable(1), [gate, refreshable(2)], refreshable(3), refreshable(4)) as server:
        auth = scheme(server, "authorization_code")
        clock.advance(LIFETIME)
        refreshing = begin(auth.access_token)
        assert gate.reached.wait(10)
        signing_in = begin(lambda: sign_in(auth))
        time.sleep(0.05)
        gate.opened.set()
        assert (refreshing.result(5), signing_in.result(5)) == ("token-2", "token-3")
        assert auth.access_token() == "token-3"
        clock.advance(LIFETIME)
        assert auth.access_token() == "token-4"
        assert forms(server)[3]["refresh_token"] == "refresh-3"


def test_use_and_clear_in_any_order(authority: AuthorizationServer) -> None:
    """Threads that use, refuse and forget the token of one object in any order have no error, and end."""
    auth = OAuth2(authority.token_url, authority.client_id, authority.client_secret, None)

    def use() -> None:
        for number in range(30):
            assert authority.is_active(auth.renew(auth.access_token()) if number % 3 else auth.access_token())
            if number % 10 == 0:
                auth.clear()

    for call in [begin(use) for _ in range(8)]:
        call.result(20)


FORK = """
import os, signal, sys, threading
from cruds_auth_oauth2 import OAuth2

def secret():
    if threading.current_thread() is not threading.main_thread():
        held.set()
        forked.wait(10)
    return "a secret"

held, forked = threading.Event(), threading.Event()
auth = OAuth2(sys.argv[1], "client", secret, None)
thread = threading.Thread(target=auth.access_token)
thread.start()
held.wait(10)
child = os.fork()
if not child:
    signal.alarm(20)  # ends a child that waits for ever
    print(auth.access_token(), flush=True)
    sys.exit()
_, status = os.waitpid(child, 0)
forked.set()
thread.join()
print(auth.access_token(), status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_in_the_middle_of_a_renewal() -> None:
    """A child that was forked while a thread of its parent renewed gets a token; the parent goes on."""
    # Newer Pythons warn of a fork while there are threads, which is what this is about.
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORK]
    with Fault(token(1), token(2)) as server:
        done = subprocess.run([*command, server.url], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == ["token-1", "token-2 0"]
        assert len(server.received) == 2


def test_a_copy_that_was_pickled_in_the_middle_of_a_renewal() -> None:
    """A pickled copy has no token and a free lock, and gets a token of its own."""
    gate = Gate()
    with Fault([gate, token(1)], token(2)) as server:
        auth = OAuth2(server.url, "client", None, None, token_endpoint_auth_method="none")
        renewing = begin(auth.access_token)
        assert gate.reached.wait(10)
        other = pickle.loads(pickle.dumps(auth))  # noqa: S301 - our own
        assert (other.token, begin(other.access_token).result(5)) == (None, "token-2")
        gate.opened.set()
        assert renewing.result(5) == auth.access_token() == "token-1"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_has_the_same_token(clock: Clock, duplicate: Callable[[OAuth2], OAuth2]) -> None:
    """A copy in this process shares the token and its renewals: its refresh token may be used but once."""
    with Fault(refreshable(1), refreshable(2)) as server:
        auth = scheme(server, "authorization_code")
        other = duplicate(auth)
        assert other.access_token() == "token-1"
        clock.advance(LIFETIME)
        assert (other.access_token(), auth.access_token()) == ("token-2", "token-2")
        assert len(server.received) == 2
