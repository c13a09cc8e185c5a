"""OAuth2 against django-oauth-toolkit: a refresh ends the tokens before it, and a reuse ends them all."""

import dataclasses
import functools
import io
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from threading import Barrier
from typing import Any, NamedTuple

import pytest
import urllib3
from servers.django import Django
from servers.django_site import accounts
from servers.oidc import Provider

import cruds
from cruds_auth_oauth2 import (
    OAuth2,
    OAuthAccessTokenError,
    OAuthAuthorizationError,
    OAuthDiscoveryError,
    OAuthStateError,
)
from cruds_core import AuthABC, Client, ClientError

KEY = "what all workers know"
LOOPBACK = "http://127.0.0.1:4711/callback"  # the registered one, with a port
THREADS = 32

FLOWS = pytest.mark.parametrize("flow", ["trio", "sealed"])

Sent = Callable[[], list[tuple[str, int]]]


@pytest.fixture
def sent(django: Django) -> Sent:
    """Returns the grant and the status of each token request since it was last called."""
    seen = len(django.token_requests())

    def new() -> list[tuple[str, int]]:
        nonlocal seen
        requests = django.token_requests()[seen:]
        seen += len(requests)
        return [(request.form["grant_type"][0], request.status) for request in requests]

    return new


def own(django: Django, name: str, scope: str | None = "read", **options: Any) -> OAuth2:
    """Returns a scheme by which a client acts for itself."""
    client: accounts.Client = getattr(django, name)
    return OAuth2(django.token_url, client.client_id, client.client_secret, scope, **options)


def trusted(django: Django, password: str | None = None, **options: Any) -> OAuth2:
    """Returns a scheme that has the first user's password, or a wrong one."""
    client, user = django.trusted, (django.username, password or django.password)
    options.setdefault("revocation_url", django.revocation_url)
    return OAuth2(django.token_url, client.client_id, client.client_secret, "read", None, *user, **options)


def for_sign_in(django: Django, name: str = "web", **options: Any) -> OAuth2:
    """Returns a scheme by which users sign in, made from its issuer."""
    client: accounts.Client = getattr(django, name)
    uri = LOOPBACK if name == "native" else client.redirect_uri
    given: dict[str, Any] = {"scope": "read", "redirect_uri": uri, "encryption_key": KEY, **options}
    return OAuth2.from_issuer(django.issuer, client.client_id, client.client_secret, **given)


def signed_in(django: Django, scheme: OAuth2, flow: str = "trio", username: str | None = None) -> OAuth2:
    """Returns a scheme with the tokens of a user who signs in."""
    if flow == "sealed":
        request = scheme.authorization_request()
        return scheme.sign_in(request.sealed, django.sign_in(request.url, username=username))
    redirect = django.sign_in(scheme.get_authorization_url(), username=username)
    scheme.exchange_code_for_token(*scheme.parse_authorization_response(redirect))
    return scheme


def me(django: Django, auth: AuthABC | str) -> Any:
    """Returns what the resource says to who has a scheme or a token."""
    with Client(django.url, auth, retries=0) as client:
        return client.read("api/me")


def is_dead(django: Django, access_token: str) -> bool:
    """Returns whether the resource refuses a token."""
    with Client(django.url, access_token, retries=0, raise_status=False) as client:
        return client.request("GET", "api/me").status == 401


def replay(django: Django, client: accounts.Client, refresh_token: str) -> str:
    """Sends a refresh token as somebody else would, and returns the error code."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": client.client_id}
    if client.client_secret:
        form["client_secret"] = client.client_secret
    with urllib3.PoolManager(retries=False, timeout=20) as http:
        answer = http.request("POST", django.token_url, fields=form, encode_multipart=False)
        return str(answer.json()["error"])


def refresh_token_of(scheme: OAuth2) -> str:
    """Returns the refresh token that a scheme has."""
    assert scheme.token is not None
    assert scheme.token.refresh_token is not None
    return scheme.token.refresh_token


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("name", ["service", "awkward"])
def test_client_credentials(django: Django, name: str, method: str) -> None:
    """A client proves itself either way, with any characters in its id and secret, and acts for itself."""
    scheme = own(django, name, "read write", token_endpoint_auth_method=method)
    answer = me(django, scheme)
    client: accounts.Client = getattr(django, name)
    assert (answer["user"], answer["client"], answer["scope"]) == (None, client.client_id, "read write")
    request = django.token_requests()[-1]
    assert bool(request.authorization) is (method == "client_secret_basic")
    assert ("client_secret" in request.form) is (method == "client_secret_post")


def test_token(django: Django) -> None:
    """The token knows what was granted, of what type it is, and until when it lives."""
    scheme = own(django, "service", "read write")
    before = datetime.now(UTC).timestamp()
    scheme.access_token()
    after = datetime.now(UTC).timestamp()
    token = scheme.token
    assert token is not None
    assert token.expires_at is not None
    assert (token.scope, token.token_type, token.expires_at.tzinfo) == ("read write", "Bearer", UTC)
    assert before <= token.expires_at.timestamp() - django.lifetime <= after


def test_default_scope(django: Django) -> None:
    """The scope that a server grants to who asks for none is recorded."""
    scheme = own(django, "service", None)
    scheme.access_token()
    assert scheme.token is not None
    assert scheme.token.scope == "read"
    assert "scope" not in django.token_requests()[-1].form


def test_too_small_a_scope(django: Django, sent: Sent) -> None:
    """A token that the resource finds too small is no reason for another one."""
    with pytest.raises(ClientError, match="403"):
        me(django, own(django, "service", "write"))
    assert sent() == [("client_credentials", 200)]


def test_password_by_configuration(django: Django, sent: Sent) -> None:
    """A Client configured by names signs its user in by password, and then renews by refresh token."""
    options = {
        "scheme": "oauth2",
        "url": django.token_url,
        "client_id": django.trusted.client_id,
        "client_secret": django.trusted.client_secret,
        "scope": "read",
        "username": django.username,
        "password": django.password,
    }
    with cruds.Client(django.url, auth=options) as client:
        assert type(client.auth) is cruds.auth.OAuth2
        for grant in ("password", "refresh_token"):
            answer = client.read("api/me")
            assert (answer["user"], answer["client"]) == (django.username, django.trusted.client_id)
            assert sent() == [(grant, 200)]
            django.expire_access_tokens()


def test_password_after_a_lost_refresh_token(django: Django, sent: Sent) -> None:
    """When its refresh token is revoked, a scheme with a password goes on by password."""
    scheme = trusted(django)
    access = scheme.access_token()
    used = refresh_token_of(scheme)
    scheme.renew(access)
    assert replay(django, django.trusted, used) == "invalid_grant"
    sent()
    assert me(django, scheme)["user"] == django.username
    assert sent() == [("refresh_token", 400), ("password", 200)]


@FLOWS
@pytest.mark.parametrize("name", ["web", "native"])
def test_code(django: Django, sent: Sent, name: str, flow: str) -> None:
    """A user of a confidential or a public client signs in by code, and the tokens are this user's."""
    scheme = for_sign_in(django, name)
    user = signed_in(django, scheme, flow, django.other_username)
    client: accounts.Client = getattr(django, name)
    answer = me(django, user)
    assert (answer["user"], answer["client"]) == (django.other_username, client.client_id)
    assert sent() == [("authorization_code", 200)]
    request = django.token_requests()[-1]
    assert bool(request.authorization) is (name == "web")
    assert (request.form.get("client_id") == [client.client_id]) is (name == "native")
    assert (scheme is user) is (flow == "trio")
    assert scheme.is_valid() is (flow == "trio")


def test_other_parameters(django: Django) -> None:
    """What else comes with a token, such as an ID token, is kept with it."""
    token = signed_in(django, for_sign_in(django, scope=["openid", "read"])).token
    assert token is not None
    assert token.parameters.keys() == {"id_token"}
    assert token.parameters["id_token"].count(".") == 2


@FLOWS
def test_denied(django: Django, sent: Sent, flow: str) -> None:
    """A user who denies is an error with the server's code, though the server does not name itself in it."""
    scheme = for_sign_in(django)
    request = scheme.authorization_request()
    redirect = django.sign_in(request.url if flow == "sealed" else scheme.get_authorization_url(), deny=True)
    assert "iss=" not in redirect
    take_up = (
        functools.partial(scheme.sign_in, request.sealed)
        if flow == "sealed"
        else scheme.parse_authorization_response
    )
    with pytest.raises(OAuthAuthorizationError, match="refused: access_denied") as caught:
        take_up(redirect)
    assert caught.value.error == "access_denied"
    with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
        me(django, scheme)
    assert sent() == []


@FLOWS
def test_wrong_issuer(django: Django, sent: Sent, flow: str) -> None:
    """An answer from another issuer than the configured one gets no token request (RFC 9207)."""
    client = django.web
    scheme = OAuth2(
        django.token_url,
        client.client_id,
        client.client_secret,
        "read",
        encryption_key=KEY,
        authorization_url=django.authorization_url,
        redirect_uri=client.redirect_uri,
        issuer=django.url,
    )
    with pytest.raises(OAuthAuthorizationError, match=f'names the issuer "{django.issuer}"'):
        signed_in(django, scheme, flow)
    assert sent() == []


@FLOWS
def test_second_exchange(django: Django, sent: Sent, flow: str) -> None:
    """A sign-in is completed once; the second time is an error without a token request."""
    scheme = for_sign_in(django)
    request = scheme.authorization_request()
    if flow == "trio":
        redirect = django.sign_in(scheme.get_authorization_url())
        scheme.exchange_code_for_token(*scheme.parse_authorization_response(redirect))
        user = scheme
        with pytest.raises(OAuthStateError, match="used before"):
            scheme.exchange_code_for_token(*scheme.parse_authorization_response(redirect))
    else:
        redirect = django.sign_in(request.url)
        user = scheme.sign_in(request.sealed, redirect)
        with pytest.raises(OAuthStateError, match="completed before"):
            scheme.sign_in(request.sealed, redirect)
    assert sent() == [("authorization_code", 200)]
    assert me(django, user)["user"] == django.username


def test_stolen_code(django: Django, sent: Sent) -> None:
    """A code put into the answer to another sign-in is refused: the verifier is not its own (RFC 7636)."""
    victim, thief = for_sign_in(django, "native"), for_sign_in(django, "native")
    code, _ = victim.parse_authorization_response(django.sign_in(victim.get_authorization_url()))
    redirect = django.sign_in(thief.get_authorization_url(), username=django.other_username)
    _, state = thief.parse_authorization_response(redirect)
    with pytest.raises(OAuthAccessTokenError, match="invalid_grant") as caught:
        thief.exchange_code_for_token(code, state)
    assert (caught.value.error, caught.value.status) == ("invalid_grant", 400)
    assert code not in str(caught.value)
    assert thief.token is None
    assert sent() == [("authorization_code", 400)]


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        ("secret", "invalid_client", 401),
        ("client", "invalid_client", 401),
        ("password", "invalid_grant", 400),
        ("scope", "invalid_scope", 400),
        ("grant", "unauthorized_client", 400),
        ("code", "invalid_grant", 400),
    ],
)
def test_refusals(django: Django, sent: Sent, fault: str, error: str, status: int) -> None:
    """What the server refuses is an error with its code and status, and is asked for once."""
    wrong = "wrong-s3cret"
    id_, secret = django.service.client_id, django.service.client_secret
    match fault:
        case "secret":
            get = OAuth2(django.token_url, id_, wrong, "read").access_token
        case "client":
            get = OAuth2(django.token_url, "nobody", wrong, "read").access_token
        case "password":
            get = trusted(django, wrong).access_token
        case "scope":
            get = OAuth2(django.token_url, id_, secret, "read all").access_token
        case "grant":
            get = own(django, "web").access_token
        case _:
            scheme = for_sign_in(django)
            redirect = django.sign_in(scheme.get_authorization_url())
            state = scheme.parse_authorization_response(redirect)[1]

            get = functools.partial(scheme.exchange_code_for_token, wrong, state)
    sent()
    with pytest.raises(OAuthAccessTokenError, match=error) as caught:
        get()
    assert (caught.value.error, caught.value.status) == (error, status)
    assert wrong not in str(caught.value)
    assert [status for _, status in sent()] == [status]


def test_rotation(django: Django, sent: Sent) -> None:
    """A refresh replaces both tokens, and what they replace is dead."""
    scheme = signed_in(django, for_sign_in(django, "native"))
    access, refresh = scheme.access_token(), refresh_token_of(scheme)
    sent()
    assert scheme.renew(access) == scheme.access_token()
    assert sent() == [("refresh_token", 200)]
    assert me(django, scheme)["user"] == django.username
    assert is_dead(django, access)
    assert scheme.token is not None
    assert (refresh_token_of(scheme) != refresh, scheme.token.scope) == (True, "read")


def test_recovery_sends_the_content_again(django: Django, sent: Sent) -> None:
    """A token that the server has ended is renewed at its 401, and a file goes out again, whole."""
    scheme = signed_in(django, for_sign_in(django))
    django.expire_access_tokens()
    sent()
    with Client(django.url, scheme, timeout=10, retries=0, serialize=False) as client:
        response = client.request("PUT", "api/me", io.BytesIO(b"x" * 100_000))
    assert response.attempts == 2
    assert sent() == [("refresh_token", 200)]
    answer = json.loads(response.content)
    assert (answer["user"], answer["method"], answer["length"]) == (django.username, "PUT", 100_000)


def test_threads_refresh_once(django: Django, sent: Sent) -> None:
    """Of many threads with one dead token one refreshes, none fails, and the refresh token lives on."""
    scheme = signed_in(django, for_sign_in(django))
    sent()
    start = Barrier(THREADS)
    with Client(django.url, scheme, retries=0) as client, ThreadPoolExecutor(THREADS) as pool:

        def ask(_: int) -> str:
            start.wait(20)
            return str(client.read("api/me")["user"])

        for _ in range(2):
            django.expire_access_tokens()
            assert list(pool.map(ask, range(THREADS))) == [django.username] * THREADS
            assert sent() == [("refresh_token", 200)]


def test_reuse_by_a_thief(django: Django, sent: Sent) -> None:
    """When somebody else uses a refresh token again the user must sign in anew: no other grant is tried."""
    scheme = signed_in(django, for_sign_in(django))
    stolen = refresh_token_of(scheme)
    scheme.renew(scheme.access_token())
    assert replay(django, django.web, stolen) == "invalid_grant"
    sent()
    with pytest.raises(OAuthAccessTokenError, match="invalid_grant") as caught:
        me(django, scheme)
    assert caught.value.error == "invalid_grant"
    with pytest.raises((OAuthAccessTokenError, ClientError)):
        me(django, scheme)
    assert sent() == [("refresh_token", 400)]
    signed_in(django, scheme)
    assert me(django, scheme)["user"] == django.username


@pytest.mark.parametrize("name", ["web", "native", "trusted", "service"])
def test_revocation(django: Django, sent: Sent, name: str) -> None:
    """A revocation ends the access token and the refresh token, and the scheme has neither any more."""
    if name == "trusted":
        scheme = trusted(django)
    elif name == "service":
        scheme = own(django, name, revocation_url=django.revocation_url)
    else:
        scheme = signed_in(django, for_sign_in(django, name))
    access = scheme.access_token()
    refresh = None if name == "service" else refresh_token_of(scheme)
    assert not is_dead(django, access)
    scheme.revoke()
    assert (scheme.token, scheme.is_valid()) == (None, False)
    assert is_dead(django, access)
    if refresh:
        assert replay(django, getattr(django, name), refresh) == "invalid_grant"
    sent()
    if name in ("trusted", "service"):
        assert scheme.access_token() != access
    else:
        with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
            scheme.access_token()
        assert sent() == []


@pytest.mark.parametrize("whose", ["ours", "user's"])
def test_connections(django: Django, whose: str) -> None:
    """Requests that follow each other closely get through, though the server ends each connection."""
    with urllib3.PoolManager() as manager:
        scheme = trusted(django, manager=None if whose == "ours" else manager)
        for _ in range(8):
            assert scheme.access_token()
            scheme.revoke()


def test_issuer_of_another(django: Django) -> None:
    """The document at the root names the issuer with the path: it is not taken for the root's."""
    with pytest.raises(OAuthDiscoveryError, match=f'belongs to the issuer "{django.issuer}"'):
        OAuth2.from_issuer(django.url, django.service.client_id, django.service.client_secret)


def test_renewal_during_use(django: Django, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads go on while a token is renewed ahead of its end, though that ends the one that they use."""
    scheme = signed_in(django, for_sign_in(django))
    sent()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + django.lifetime - 20)  # inside of the leeway
    start = Barrier(8)

    def use(_: int) -> set[str]:
        start.wait(20)
        with Client(django.url, scheme, retries=0) as client:
            return {client.read("api/me")["user"] for _ in range(6)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [{django.username}] * 8
    assert sent() == [("refresh_token", 200)]


class Registration(NamedTuple):
    """What each worker is configured with."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str


@functools.cache
def worker_scheme(registration: Registration) -> OAuth2:
    """Returns the one scheme that a worker has for a registration."""
    issuer, client_id, secret, uri = registration
    return OAuth2.from_issuer(issuer, client_id, secret, "read", redirect_uri=uri, encryption_key=KEY)


def begin(registration: Registration) -> tuple[str, str]:
    """Begins a sign-in in a worker."""
    url, sealed = worker_scheme(registration).authorization_request()
    return url, sealed


def complete(registration: Registration, origin: str, sealed: str, redirect: str) -> Any:
    """Completes a sign-in in a worker, and asks the resource whose token it got."""
    user = worker_scheme(registration).sign_in(sealed, redirect)
    with Client(origin, user, retries=0) as client:
        return client.read("api/me")


@pytest.fixture(scope="module")
def workers(pytestconfig: pytest.Config) -> Iterator[list[Callable[..., Any]]]:
    """Three processes; each calls a function of this module, and returns or raises what it does."""
    context = multiprocessing.get_context("spawn")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        # They find this module by its name in what they have for sys.path.
        patch.setattr(sys, "path", [str(pytestconfig.rootpath), *sys.path])
        pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for _ in range(3)]
        for pool in pools:
            pool.submit(int)  # starts the process

        def call(pool: ProcessPoolExecutor, function: Callable[..., Any], *args: object) -> Any:
            return pool.submit(function, *args).result(timeout=60)

        yield [functools.partial(call, pool) for pool in pools]


@pytest.mark.parametrize("server", ["django", "oidc"])
def test_workers(django: Django, oidc: Provider, workers: list[Callable[..., Any]], server: str) -> None:
    """Sign-ins that one process begins another completes, and each has the user of its browser."""
    one, two, three = workers
    if server == "django":
        client = django.web
        ours = Registration(django.issuer, client.client_id, client.client_secret, client.redirect_uri)
        origin, member = django.url, "user"
    else:
        ours = Registration(oidc.issuer, oidc.basic.id, oidc.basic.secret or "", oidc.basic.redirect_uri)
        origin, member = oidc.issuer, "sub"

    def browse(url: str, user: str) -> str:
        if server == "django":
            return django.sign_in(url, username=user)
        other = dataclasses.replace(oidc, user=user)
        return other.sign_in(url)

    (adas_url, adas), (graces_url, graces) = one(begin, ours), two(begin, ours)
    graces_redirect, adas_redirect = browse(graces_url, "grace"), browse(adas_url, "ada")
    with pytest.raises(OAuthStateError, match="not the one of this request"):
        three(complete, ours, origin, adas, graces_redirect)
    assert two(complete, ours, origin, adas, adas_redirect)[member] == "ada"
    assert three(complete, ours, origin, graces, graces_redirect)[member] == "grace"
    with pytest.raises(OAuthAccessTokenError, match="invalid_grant"):
        one(complete, ours, origin, adas, adas_redirect)
