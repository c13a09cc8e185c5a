"""Many threads and one token: one token request, or one error for all, whatever the grant."""

import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from servers.fault import End, Fault, Script, reply

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError
from cruds_core import Client, ConnectionLostError
from cruds_core.testing.server import Reply

THREADS = 32
RENEWALS = [
    ("client_credentials", "client_credentials"),
    ("password", "refresh_token"),
    ("authorization_code", "refresh_token"),
]

T = TypeVar("T")


class Crowd:
    """Threads that do the same thing at the same moment."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.executor = executor
        self.barrier = threading.Barrier(THREADS, timeout=30)

    def all(self, call: Callable[[], T]) -> list[T]:
        """Return what the call returned in each thread; raise what it raised in one of them."""
        futures = [self.executor.submit(self.run, call) for _ in range(THREADS)]
        return [future.result(30) for future in futures]

    def errors(self, call: Callable[[], object]) -> list[OAuthAccessTokenError]:
        """Return what the call raised in each thread."""
        futures = [self.executor.submit(self.run, call) for _ in range(THREADS)]
        raised = [future.exception(30) for future in futures]
        errors = [error for error in raised if isinstance(error, OAuthAccessTokenError)]
        assert len(errors) == THREADS, raised
        return errors

    def run(self, call: Callable[[], T]) -> T:
        """Call, when all threads are here."""
        self.barrier.wait()
        return call()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """A crowd of threads, which stay for the test."""
    with ThreadPoolExecutor(THREADS) as executor:
        yield Crowd(executor)


class Ages:
    """Lets the lifetime of every token pass: at the server, and by the clock that we read."""

    def __init__(self, authority: AuthorizationServer, monkeypatch: pytest.MonkeyPatch) -> None:
        now, self.authority, self.passed = time.time, authority, 0.0
        monkeypatch.setattr(time, "time", lambda: now() + self.passed)

    def pass_by(self) -> None:
        """Now."""
        self.authority.expire_all()
        self.passed += self.authority.lifetime


@pytest.fixture
def ages(authority: AuthorizationServer, monkeypatch: pytest.MonkeyPatch) -> Ages:
    """A way to let all tokens expire."""
    return Ages(authority, monkeypatch)


@pytest.fixture
def resource(authority: AuthorizationServer) -> Iterator[DemoAPI]:
    """An API that asks the authorization server about every token."""
    with DemoAPI(token=authority.is_active) as server:
        yield server


def scheme(authority: AuthorizationServer, grant: str) -> OAuth2:
    """Returns a scheme for a grant that has its first token."""
    options: dict[str, Any] = {}
    if grant == "password":
        options = {"username": authority.username, "password": authority.password}
    elif grant == "authorization_code":
        redirect_uri = "http://127.0.0.1:1/callback"
        options = {"authorization_url": authority.authorization_url, "redirect_uri": redirect_uri}
    auth = OAuth2(authority.token_url, authority.client_id, authority.client_secret, "read", **options)
    if grant == "authorization_code":
        location = authority.sign_in(auth.get_authorization_url())
        auth.exchange_code_for_token(*auth.parse_authorization_response(location))
    auth.access_token()
    return auth


def grants(authority: AuthorizationServer) -> list[str]:
    """Returns the grant of each token request."""
    return [request["grant_type"] for request in authority.token_requests]


# One token request


@pytest.mark.parametrize("grant", ["client_credentials", "password"])
def test_no_token(authority: AuthorizationServer, crowd: Crowd, grant: str) -> None:
    """Threads that find no token have the same one, of one token request."""
    auth = scheme(authority, grant)
    auth.clear()
    authority.delay = 0.1
    [token] = set(crowd.all(auth.access_token))
    assert authority.is_active(token)
    assert grants(authority) == [grant, grant]


@pytest.mark.parametrize("rotates", [False, True], ids=["kept", "rotated"])
@pytest.mark.parametrize(("grant", "renewal"), RENEWALS)
def test_an_expired_token(
    authority: AuthorizationServer, crowd: Crowd, ages: Ages, grant: str, renewal: str, rotates: bool
) -> None:
    """Threads that find an expired token have the same new one, of one token request; the next call, too."""
    authority.rotates = rotates
    auth = scheme(authority, grant)
    ages.pass_by()
    authority.delay = 0.1
    [token] = set(crowd.all(auth.access_token))
    assert authority.is_active(token)
    assert auth.access_token() == token
    assert grants(authority) == [grant, renewal]


@pytest.mark.parametrize(("grant", "renewal"), RENEWALS)
def test_a_refused_token(
    authority: AuthorizationServer, resource: DemoAPI, crowd: Crowd, grant: str, renewal: str
) -> None:
    """Calls of two Clients whose token gets a 401 all succeed, with one token request; the next call, too."""
    authority.rotates = True
    auth = scheme(authority, grant)
    authority.expire_all()
    authority.delay = 0.1
    with Client(resource.url, auth, retries=0) as one, Client(resource.url, auth, retries=0) as two:
        assert crowd.all(lambda: (one.read("books"), two.read("books"))) == [([], [])] * THREADS
        assert one.read("books") == []
    assert grants(authority) == [grant, renewal]


@pytest.fixture
def hectic() -> Iterator[None]:
    """Threads are switched so often that their steps come in any order."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_200_rounds_of_expiry(authority: AuthorizationServer, crowd: Crowd, ages: Ages) -> None:
    """200 expired tokens are each renewed by one refresh, where a second one would revoke the family."""
    authority.rotates = True
    auth = scheme(authority, "authorization_code")
    for number in range(200):
        ages.pass_by()
        [token] = set(crowd.all(auth.access_token))
        assert authority.is_active(token)
        assert len(authority.token_requests) == number + 2


@pytest.mark.usefixtures("hectic")
def test_20_rounds_of_refusal(authority: AuthorizationServer, resource: DemoAPI, crowd: Crowd) -> None:
    """20 tokens that get a 401 are each renewed by one refresh, and no call fails, in any order of steps."""
    authority.rotates = True
    auth = scheme(authority, "authorization_code")
    with Client(resource.url, auth, retries=0) as client:
        for number in range(20):
            authority.expire_all()
            assert crowd.all(lambda: client.read("books")) == [[]] * THREADS
            assert len(authority.token_requests) == number + 2


# One error


@pytest.mark.parametrize(("grant", "renewal"), RENEWALS)
def test_a_failure(
    authority: AuthorizationServer, crowd: Crowd, ages: Ages, grant: str, renewal: str
) -> None:
    """Threads that wait for a renewal that fails all have its error, of one request; the next call tries."""
    auth = scheme(authority, grant)
    ages.pass_by()
    authority.delay = 0.3
    authority.answers.append(Reply(503, b'{"error": "temporarily_unavailable"}'))
    errors = crowd.errors(auth.access_token)
    assert {(error.status, error.error, str(error)) for error in errors} == {
        (503, "temporarily_unavailable", str(errors[0]))
    }
    assert grants(authority) == [grant, renewal]
    authority.delay = 0
    assert authority.is_active(auth.access_token())
    assert grants(authority) == [grant, renewal, renewal]


def test_a_failure_after_a_refusal(authority: AuthorizationServer, resource: DemoAPI, crowd: Crowd) -> None:
    """Calls with a 401 whose token cannot be renewed have one error, of one request; a later one works."""
    auth = scheme(authority, "client_credentials")
    authority.expire_all()
    authority.delay = 0.4
    authority.answers.append(Reply(503))
    with Client(resource.url, auth, retries=0) as client:
        assert {error.status for error in crowd.errors(lambda: client.read("books"))} == {503}
        assert len(authority.token_requests) == 2
        authority.delay = 0
        assert client.read("books") == []


def test_a_dead_refresh_token(authority: AuthorizationServer, crowd: Crowd, ages: Ages) -> None:
    """A refresh token that is refused is sent once, and a user who signed in must do so again."""
    auth = scheme(authority, "authorization_code")
    ages.pass_by()
    authority.revoke_all()
    authority.delay = 0.3
    assert {error.error for error in crowd.errors(auth.access_token)} == {"invalid_grant"}
    for error in crowd.errors(auth.access_token):
        assert "lead the user through a sign-in" in str(error)
    assert grants(authority) == ["authorization_code", "refresh_token"]


def test_a_dead_refresh_token_of_a_password(authority: AuthorizationServer, crowd: Crowd, ages: Ages) -> None:
    """A refresh token that is refused is sent once, and the password gets one token for all."""
    auth = scheme(authority, "password")
    ages.pass_by()
    authority.revoke_all()
    authority.delay = 0.1
    [token] = set(crowd.all(auth.access_token))
    assert authority.is_active(token)
    assert grants(authority) == ["password", "refresh_token", "password"]


def test_nobody_has_signed_in(authority: AuthorizationServer, crowd: Crowd) -> None:
    """Threads that need a user to sign in all have the error, and no token is asked for."""
    auth = scheme(authority, "authorization_code")
    auth.clear()
    assert {"nobody has signed in" in str(error) for error in crowd.errors(auth.access_token)} == {True}
    assert grants(authority) == ["authorization_code"]


def test_each_thread_has_its_own_error(crowd: Crowd) -> None:
    """No error, nor its chain of causes, is shared: each has the whole chain, and its own traceback."""
    lost: Script = [0.3, End.CLOSE]
    with Fault(lost) as server:
        auth = OAuth2(server.url, "client", "secret", "read")
        depths: list[list[int]] = []
        for number in range(3):
            errors = crowd.errors(auth.access_token)
            assert len(server.received) == number + 1
            chains = [[error, *causes_of(error)] for error in errors]
            assert {tuple(map(type, chain[1:])) for chain in chains} == {tuple(map(type, chains[0][1:]))}
            assert {type(chain[1]) for chain in chains} == {ConnectionLostError}
            assert len({id(error) for chain in chains for error in chain}) == sum(map(len, chains))
            depths.append(sorted(len(traceback.extract_tb(error.__traceback__)) for error in errors))
    assert depths[0] == depths[1] == depths[2]


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Returns the cause, its cause, and so on."""
    while (cause := error.__cause__) is not None:
        yield cause
        error = cause


# Odd lifetimes


@pytest.mark.parametrize(
    ("lifetime", "is_kept"),
    [(0, False), (-5, False), (1e-9, False), (None, True)],
    ids=["zero", "negative", "tiny", "missing"],
)
def test_an_odd_lifetime(api: DemoAPI, crowd: Crowd, lifetime: float | None, is_kept: bool) -> None:
    """Every call works with a token that has expired at once, or never does, and no thread asks twice."""
    answer = {"access_token": api.token, "token_type": "Bearer"}
    content = json.dumps(answer if lifetime is None else answer | {"expires_in": lifetime}).encode()
    with Fault([0.2, reply(200, content)], reply(200, content)) as server:
        auth = OAuth2(server.url, "client", "secret", "read")
        with Client(api.url, auth, retries=0) as client:
            assert crowd.all(lambda: client.read("books")) == [[]] * THREADS
            assert len(server.received) == 1  # all of them waited for it
            assert crowd.all(lambda: client.read("books")) == [[]] * THREADS
        assert (len(server.received) == 1) is is_kept
        assert len(server.received) <= 1 + THREADS
        assert auth.is_valid() is is_kept
