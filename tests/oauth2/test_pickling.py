"""OAuth2 in other processes, pickled or forked, and its copies: what travels, and what is refused."""

import copy
import functools
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey
from servers.environment import PASSWORD, password_of_environment
from servers.fault import Fault, reply
from servers.oauth2_environment import (
    CLIENT_SECRET,
    ENCRYPTION_KEY,
    PRIVATE_KEY,
    client_secret_of_environment,
    encryption_key_of_environment,
    private_key_of_environment,
)

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError, OAuthStateError
from cruds_core import Client, RequestTimeoutError

SECRET = "hunter2-hunter2"
PEM = (
    generate_private_key(SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
REDIRECT_URI = "http://127.0.0.1/back"


def unpickled(value: Any) -> Any:
    """Returns what another process gets."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


# In a process that was spawned


@pytest.fixture(scope="module")
def worker() -> Iterator[Callable[..., Any]]:
    """Calls a function in a process that was spawned, and returns or raises what it does."""
    secrets = {PASSWORD: SECRET, CLIENT_SECRET: SECRET, PRIVATE_KEY: PEM, ENCRYPTION_KEY: SECRET}
    with (
        pytest.MonkeyPatch.context() as patch,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        for name, value in secrets.items():
            patch.setenv(name, value)

        def call(function: Callable[..., Any], *args: Any) -> Any:
            return pool.submit(function, *args).result(timeout=120)

        yield call


def as_client(server: AuthorizationServer) -> OAuth2:
    """Returns a scheme for client credentials."""
    return OAuth2(server.token_url, server.client_id, client_secret_of_environment, "read")


def as_user(server: AuthorizationServer) -> OAuth2:
    """Returns a scheme for the password of a user of a confidential client."""
    return OAuth2(
        server.token_url,
        server.client_id,
        client_secret_of_environment,
        "read",
        username="ada",
        password=password_of_environment,
    )


def as_user_of_public_client(server: AuthorizationServer) -> OAuth2:
    """Returns a scheme for the password of a user of a public client."""
    server.client_secret = ""
    return OAuth2(
        server.token_url, server.client_id, None, "read", username="ada", password=password_of_environment
    )


@pytest.mark.parametrize("made_by", [as_client, as_user, as_user_of_public_client])
def test_it_works_in_a_worker(
    worker: Callable[..., Any], made_by: Callable[[AuthorizationServer], OAuth2]
) -> None:
    """A scheme whose secrets are importable callables gets a token of its own in a spawned process."""
    with (
        AuthorizationServer(client_secret=SECRET, username="ada", password=SECRET) as server,
        DemoAPI(token=server.is_active) as api,
        Client(api.url, made_by(server), retries=0) as client,
    ):
        assert client.read("things") == worker(client.read, "things") == []
        first, second = server.token_requests
        assert first == second
        assert first["scope"] == "read"
        assert len({request.headers["Authorization"] for request in api.requests}) == 2


def test_a_private_key_works_in_a_worker(worker: Callable[..., Any]) -> None:
    """A scheme whose private key is an importable callable signs in a spawned process."""
    token = {"access_token": "token-1", "token_type": "Bearer"}
    with Fault(reply(200, json.dumps(token).encode())) as server:
        scheme = OAuth2(server.url, "app", None, None, private_key=private_key_of_environment)
        assert worker(scheme.access_token) == "token-1"
    fields = dict(parse_qsl(server.received[0].content.decode()))
    key = ECKey.import_key(PEM)
    assert jwt.decode(fields["client_assertion"], key, algorithms=["ES256"]).claims["sub"] == "app"


def test_an_encryption_key_works_in_a_worker(worker: Callable[..., Any]) -> None:
    """What one process seals under a key that is an importable callable is opened by another one."""
    with AuthorizationServer(client_secret=SECRET) as server:
        scheme = OAuth2(
            server.token_url,
            server.client_id,
            client_secret_of_environment,
            "read",
            encryption_key=encryption_key_of_environment,
            authorization_url=server.authorization_url,
            redirect_uri=REDIRECT_URI,
        )
        url, sealed = worker(scheme.authorization_request)
        token = scheme.sign_in(sealed, server.sign_in(url)).access_token()
        assert server.is_active(token)


# What is refused

PLAIN: dict[str, dict[str, Any]] = {
    "client_secret": {"client_secret": SECRET},
    "password": {"username": "ada", "password": SECRET},
    "private_key": {"private_key": PEM},
    "encryption_key": {"encryption_key": SECRET},
    "encryption_key, older": {"encryption_key": [encryption_key_of_environment, SECRET]},
    'token_params["api_key"]': {"token_params": {"api_key": SECRET}},
    'token_params["subject_token"]': {"token_params": {"subject_token": [SECRET]}},
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_secret_does_not_travel(name: str) -> None:
    """A secret that was given as text, whatever for, is a TypeError that names its parameter and not it."""
    given: dict[str, Any] = {"client_secret": client_secret_of_environment, "scope": None}
    if name == "private_key":
        given["client_secret"] = None
    scheme = OAuth2("http://127.0.0.1:9", "app", **{**given, **PLAIN[name]})
    for refused in (scheme, Client("127.0.0.1", scheme)):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(refused)
        assert str(caught.value).startswith(name.partition(",")[0])
        assert SECRET not in str(caught.value)
        assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [lambda: SECRET, functools.partial(str, SECRET), SECRET.strip],
    ids=["lambda", "partial", "method"],
)
def test_a_callable_that_cannot_be_imported_does_not_travel(source: Callable[[], str]) -> None:
    """A callable that is no function of a module is refused by name: it may hold the secret itself."""
    scheme = OAuth2("http://127.0.0.1:9", "app", source, None)
    with pytest.raises(TypeError, match="client_secret is no importable function"):
        pickle.dumps(scheme)


def test_a_manager_of_the_users_does_not_travel() -> None:
    """A manager of the user's own is a TypeError that says so."""
    scheme = OAuth2(
        "http://127.0.0.1:9", "app", client_secret_of_environment, None, manager=urllib3.PoolManager()
    )
    with pytest.raises(TypeError, match="manager="):
        pickle.dumps(scheme)


# Those who have signed in


@pytest.fixture
def public() -> Iterator[AuthorizationServer]:
    """An authorization server with a public client, so that nothing but tokens is a secret."""
    with AuthorizationServer(client_secret="", rotates=True) as server:
        yield server


def browser_scheme(server: AuthorizationServer, **options: Any) -> OAuth2:
    """Returns a scheme for sign-ins."""
    return OAuth2(
        server.token_url,
        server.client_id,
        None,
        "read",
        authorization_url=server.authorization_url,
        redirect_uri=REDIRECT_URI,
        **options,
    )


def exchange(scheme: OAuth2, server: AuthorizationServer, url: str) -> str:
    """Signs in at an authorization URL, and returns the access token."""
    return scheme.exchange_code_for_token(*scheme.parse_authorization_response(server.sign_in(url)))


def test_a_user_does_not_travel(public: AuthorizationServer) -> None:
    """An object, or its Client, that was signed in by code is a TypeError that says so, and goes on."""
    scheme = browser_scheme(public)
    token = exchange(scheme, public, scheme.get_authorization_url())
    for refused in (scheme, Client("127.0.0.1", scheme)):
        with pytest.raises(TypeError, match="signed in") as caught:
            pickle.dumps(refused)
        assert token not in str(caught.value)
    assert scheme.access_token() == token
    scheme.clear()
    with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
        unpickled(scheme).access_token()


def test_a_user_of_a_sealed_sign_in_does_not_travel(public: AuthorizationServer) -> None:
    """The object that sign_in() returns is refused, too; the one that it is from still travels."""
    scheme = browser_scheme(public, encryption_key=encryption_key_of_environment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENCRYPTION_KEY, SECRET)
        request = scheme.authorization_request()
        user = scheme.sign_in(request.sealed, public.sign_in(request.url))
    with pytest.raises(TypeError, match="signed in"):
        pickle.dumps(user)
    assert unpickled(scheme).token is None


def test_a_token_does_not_travel(public: AuthorizationServer) -> None:
    """A token is never pickled, by itself either."""
    scheme = browser_scheme(public)
    exchange(scheme, public, scheme.get_authorization_url())
    with pytest.raises(TypeError, match="a token is never pickled"):
        pickle.dumps(scheme.token)


def test_tokens_of_other_grants_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that can get its tokens anew travels without those that it holds."""
    monkeypatch.setenv(PASSWORD, SECRET)
    monkeypatch.setenv(CLIENT_SECRET, SECRET)
    with AuthorizationServer(client_secret=SECRET, username="ada", password=SECRET) as server:
        scheme = as_user(server)
        scheme.access_token()
        held = scheme.token
        assert held is not None
        pickled = pickle.dumps(scheme)
        other = pickle.loads(pickled)  # noqa: S301 - our own
        assert other.token is None
        for secret in (held.access_token, held.refresh_token, SECRET):
            assert secret is not None
            assert secret.encode() not in pickled
        assert server.is_active(other.access_token())
        assert [request["grant_type"] for request in server.token_requests] == ["password"] * 2
        assert scheme.access_token() == held.access_token


# What travels


def test_pending_sign_ins_stay_here(public: AuthorizationServer) -> None:
    """A sign-in that has begun is completed here, and is not known in the pickled copy."""
    scheme = browser_scheme(public)
    redirect = public.sign_in(scheme.get_authorization_url())
    other = unpickled(scheme)
    answer = scheme.parse_authorization_response(redirect)
    with pytest.raises(OAuthStateError):
        other.exchange_code_for_token(*answer)
    assert public.is_active(scheme.exchange_code_for_token(*answer))
    assert public.is_active(exchange(other, public, other.get_authorization_url()))


def test_settings_of_sign_ins_travel(public: AuthorizationServer) -> None:
    """The pickled copy of a pickled copy sends the browser to the same place with the same parameters."""
    scheme = browser_scheme(
        public,
        state_length=50,
        authorization_details={"type": "account"},
        authorization_params={"prompt": "login", "login_token": "x", "resource": ["a", "b"]},
        issuer=public.issuer,
        requires_issuer=True,
    )
    urls = [urlsplit(each.get_authorization_url()) for each in (scheme, unpickled(unpickled(scheme)))]
    queries = [parse_qs(url.query) for url in urls]
    states = [query.pop("state")[0] for query in queries]
    challenges = [query.pop("code_challenge") for query in queries]
    assert queries[0] == queries[1]
    assert queries[0]["resource"] == ["a", "b"]
    assert urls[0].path == urls[1].path
    assert len(states[0]) == len(states[1]) > 60
    assert states[0] != states[1]
    assert challenges[0] != challenges[1]


def test_the_issuer_travels(public: AuthorizationServer) -> None:
    """The pickled copy refuses the answer of another issuer, and one that names none."""
    other: OAuth2 = unpickled(browser_scheme(public, issuer=public.issuer, requires_issuer=True))
    state = parse_qs(urlsplit(other.get_authorization_url()).query)["state"][0]
    for issuer in ("", "&iss=https://elsewhere.test"):
        with pytest.raises(OAuthAccessTokenError, match="9207"):
            other.parse_authorization_response(f"{REDIRECT_URI}?code=x&state={state}{issuer}")


def test_settings_of_token_requests_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickled copy sends the same token request, in the same way, and reads its answer alike."""
    monkeypatch.setenv(CLIENT_SECRET, "a+b c")
    token = {"access_token": "token-1", "token_type": "Bearer", "expires_in": 100}
    with Fault(reply(200, json.dumps(token).encode())) as server:
        scheme = OAuth2(
            f"{server.url}/token?tenant=1",
            "app",
            client_secret_of_environment,
            ["read", "write"],
            [{"type": "account"}],
            token_params={"audience": "x", "resource": ["a", "b"]},
            form_encode_basic=False,
            revocation_url=f"{server.url}/revoke",
            leeway=0,
        )
        other = unpickled(scheme)
        for each in (scheme, other):
            each.access_token()
            each.revoke()
    sent = [(one.target, one.content, one.headers.items()) for one in server.received]
    assert len(sent) == 4
    assert sorted(sent[0][1].split(b"&")) == sorted(sent[2][1].split(b"&"))
    assert (sent[0][0], sent[0][2]) == (sent[2][0], sent[2][2])
    assert sent[1] == sent[3]
    assert repr(other) == repr(scheme)


def test_the_timeout_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickled copy waits no longer for the authorization server."""
    monkeypatch.setenv(CLIENT_SECRET, SECRET)
    with Fault([5.0]) as server:
        scheme = unpickled(OAuth2(server.url, "app", client_secret_of_environment, None, timeout=0.2))
        with pytest.raises(OAuthAccessTokenError) as caught:
            scheme.access_token()
    assert isinstance(caught.value.__cause__, RequestTimeoutError)


# Copies

COPIES = [copy.copy, copy.deepcopy]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_works(authority: AuthorizationServer, copied: Callable[[Any], Any]) -> None:
    """A copy of a scheme, or of its Client, has the secrets, and works after its original is closed."""
    scheme = OAuth2(
        authority.token_url,
        authority.client_id,
        authority.client_secret,
        "read",
        username=authority.username,
        password=authority.password,
        encryption_key=SECRET,
        token_params={"api_key": SECRET},
    )
    with DemoAPI(token=authority.is_active) as api:
        with Client(api.url, scheme, retries=0) as client:
            client.read("things")
            other, other_client = copied(scheme), copied(client)
            scheme.close()
        assert authority.is_active(other.access_token())
        with other_client:
            assert other_client.read("things") == []
    assert authority.token_requests[-1]["api_key"] == SECRET


@pytest.mark.parametrize("copied", COPIES)
def test_copies_of_a_user_share_the_tokens(public: AuthorizationServer, copied: Callable[[Any], Any]) -> None:
    """A copy of a signed-in object has the same tokens, and the two never use one refresh token twice."""
    scheme = browser_scheme(public)
    exchange(scheme, public, scheme.get_authorization_url())
    other = copied(scheme)
    with (
        DemoAPI(token=public.is_active) as api,
        Client(api.url, scheme, retries=0) as client,
        Client(api.url, other, retries=0) as other_client,
    ):
        for _ in range(2):
            for each in (client, other_client):
                assert each.read("things") == []
                assert scheme.access_token() == other.access_token()
                public.expire_all()  # the next one is refused, and renews
        assert {request["status"] for request in public.token_requests} == {200}
        assert len(public.token_requests) == 4


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_a_token(public: AuthorizationServer, copied: Callable[[Any], Any]) -> None:
    """A copy of a token says the same, and can be opened."""
    scheme = browser_scheme(public)
    exchange(scheme, public, scheme.get_authorization_url())
    token = scheme.token
    assert token is not None
    other = copied(token)
    assert repr(other) == repr(token)
    assert (other.access_token, other.refresh_token) == (token.access_token, token.refresh_token)


# Forks

FORKED = """
import os, signal, sys
from cruds_auth_oauth2 import OAuth2
from cruds_core import Client

token_url, authorization_url, client_id, api_url = sys.argv[1:]
auth = OAuth2(token_url, client_id, None, "read", authorization_url=authorization_url,
              redirect_uri="http://127.0.0.1/back")
client = Client(api_url, auth, retries=0)

def sign_in(url):
    print(url, flush=True)
    return auth.exchange_code_for_token(*auth.parse_authorization_response(input()))

first = sign_in(auth.get_authorization_url())
client.read("things")
later = auth.get_authorization_url()
child = os.fork()
if not child:
    signal.alarm(10)  # ends a child that waits for ever
    same = auth.access_token() == first and client.read("things") == []
    new = sign_in(later)  # which the parent began
    client.read("things")
    print(same, new != first, auth.access_token() == new, flush=True)
    sys.exit()
_, status = os.waitpid(child, 0)
print(client.read("things"), auth.access_token() == first, status, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child(public: AuthorizationServer) -> None:
    """A forked child has the tokens and pending sign-ins of its parent, and connections of its own."""
    with DemoAPI(token=public.is_active) as api:
        arguments = [public.token_url, public.authorization_url, public.client_id, api.url]
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", FORKED, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for _ in range(2):
                process.stdin.write(public.sign_in(process.stdout.readline().strip()) + "\n")
                process.stdin.flush()
            printed, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert printed.splitlines() == ["True True True", "[] True 0"]
        assert api.connections == 2
        assert len(api.requests) == 4
    assert len(public.token_requests) == 2
