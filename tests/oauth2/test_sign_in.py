"""Sign-ins of many users at a web back end: sealed requests, their answers, and the users' objects."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import (
    AuthorizationRequest,
    OAuth2,
    OAuthAccessTokenError,
    OAuthAuthorizationError,
    OAuthStateError,
)
from cruds_auth_oauth2.authorization import PendingRequests
from cruds_core import Client

CALLBACK = "https://app.example/callback"
FERNET_KEY = base64.urlsafe_b64encode(b"a" * 32).decode()
OTHER_KEY = base64.urlsafe_b64encode(b"b" * 32).decode()
ANSWER = f"{CALLBACK}?code=c&state=s"


def back_end(authority: AuthorizationServer, key: Any = FERNET_KEY, **options: Any) -> OAuth2:
    """Returns what one worker of a web back end has."""
    settings: dict[str, Any] = {
        "authorization_url": authority.authorization_url,
        "redirect_uri": CALLBACK,
        "encryption_key": key,
    }
    return OAuth2(
        authority.token_url, authority.client_id, authority.client_secret, "read", **settings | options
    )


def refused(auth: OAuth2, sealed: str, redirect_url: str) -> OAuthStateError:
    """Asserts that a sign-in is no continuation of the sealed request."""
    with pytest.raises(OAuthStateError) as caught:
        auth.sign_in(sealed, redirect_url)
    assert isinstance(caught.value, RuntimeError)
    return caught.value


def test_a_user_signs_in(authority: AuthorizationServer) -> None:
    """A sign-in gives a new object with the user's token; the first one has none, as before."""
    auth = back_end(authority)
    request = auth.authorization_request()
    user = auth.sign_in(request.sealed, authority.sign_in(request.url))
    assert user is not auth
    assert user.is_valid()
    with DemoAPI(token=authority.is_active) as api, Client(api.url, auth=user, retries=0) as client:
        assert client.read("books") == []
    assert auth.token is None
    assert not auth.is_valid()
    with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
        auth.access_token()
    assert [request["grant_type"] for request in authority.token_requests] == ["authorization_code"]


def test_many_browsers_over_several_workers(authority: AuthorizationServer) -> None:
    """Whichever worker an answer comes to, its user gets a token of their own."""
    workers = [back_end(authority) for _ in range(3)]
    sessions = [workers[number % 3].authorization_request() for number in range(12)]
    users = [
        workers[(number + 1) % 3].sign_in(sealed, authority.sign_in(url))
        for number, (url, sealed) in reversed(list(enumerate(sessions)))
    ]
    tokens = {user.access_token() for user in users}
    assert len(tokens) == 12
    assert all(map(authority.is_active, tokens))
    assert all(worker.token is None for worker in workers)
    assert len(authority.token_requests) == 12


def test_many_browsers_at_one_worker(authority: AuthorizationServer) -> None:
    """Eight threads sign sixteen users in by one object, and every one succeeds."""
    auth, start = back_end(authority), threading.Barrier(8)

    def sign_in(_: int) -> list[str]:
        start.wait()
        requests = [auth.authorization_request() for _ in range(2)]
        users = [auth.sign_in(sealed, authority.sign_in(url)) for url, sealed in reversed(requests)]
        return [user.access_token() for user in users]

    with ThreadPoolExecutor(8) as threads:
        tokens = {token for pair in threads.map(sign_in, range(8)) for token in pair}
    assert len(tokens) == 16
    assert all(map(authority.is_active, tokens))


WORKER = """
import json, sys
from cruds_auth_oauth2 import OAuth2

auth = OAuth2(**json.loads(sys.stdin.readline()))
begun = auth.authorization_request()
print(json.dumps([begun.url, begun.sealed]), flush=True)
user = auth.sign_in(*json.loads(sys.stdin.readline()))
print(json.dumps([user.is_valid(), auth.is_valid()]), flush=True)
"""


def test_another_process(authority: AuthorizationServer) -> None:
    """A sign-in that began in one process ends in another, under the same key, which is no Fernet key."""
    settings: dict[str, Any] = {
        "url": authority.token_url,
        "client_id": authority.client_id,
        "client_secret": authority.client_secret,
        "scope": "read",
        "authorization_url": authority.authorization_url,
        "redirect_uri": CALLBACK,
        "encryption_key": "correct horse battery staple, é",
    }
    auth = OAuth2(**settings)
    begun = auth.authorization_request()
    lines = (json.dumps(settings), json.dumps([begun.sealed, authority.sign_in(begun.url)]))
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input="\n".join(lines), stdout=subprocess.PIPE, text=True, check=True
    )
    asked, said = map(json.loads, done.stdout.splitlines())
    assert said == [True, False]
    assert auth.sign_in(asked[1], authority.sign_in(asked[0])).is_valid()
    assert [request["status"] for request in authority.token_requests] == [200, 200]


def test_request_is_for_a_session(authority: AuthorizationServer) -> None:
    """What the session keeps is a text that fits into a cookie as it is (RFC 6265, section 4.1.1)."""
    for key in (FERNET_KEY, "some text"):
        request = back_end(authority, key, state_length=64).authorization_request()
        assert isinstance(request, AuthorizationRequest)
        assert type(request.url) is type(request.sealed) is str
        assert re.fullmatch(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,1000}", request.sealed)


def test_pkce(authority: AuthorizationServer) -> None:
    """Each user's code is proved with a fresh verifier, whose S256 challenge went before it."""
    auth = back_end(authority)
    for _ in range(2):
        url, sealed = auth.authorization_request()
        auth.sign_in(sealed, authority.sign_in(url))
        verifier = authority.token_requests[-1]["code_verifier"]
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        assert re.fullmatch("[A-Za-z0-9._~-]{43,128}", verifier)
        assert parse_qs(urlsplit(url).query)["code_challenge"] == [digest]
        assert verifier not in url
    assert len({request["code_verifier"] for request in authority.token_requests}) == 2


# What does not belong together


def test_swapped_sessions_are_refused(authority: AuthorizationServer) -> None:
    """The answer of one browser is refused in the session of another, and both can still go on."""
    auth = back_end(authority)
    requests = [auth.authorization_request() for _ in range(2)]
    answers = [authority.sign_in(request.url) for request in requests]
    for request, answer in zip(requests, reversed(answers), strict=True):
        assert "state" in str(refused(auth, request.sealed, answer))
    assert not authority.token_requests
    for request, answer in zip(requests, answers, strict=True):
        assert auth.sign_in(request.sealed, answer).is_valid()


@pytest.mark.parametrize("state", ["", "&state=", "&state=forged", "&state=%ed%a0%80", "&state=\ud800"])
@pytest.mark.parametrize("answer", ["code=c", "error=access_denied"])
def test_forged_state_is_refused(authority: AuthorizationServer, answer: str, state: str) -> None:
    """An answer without the state of the request is refused, be it a code or a refusal."""
    auth = back_end(authority)
    url, sealed = auth.authorization_request()
    with pytest.raises(RuntimeError) as caught:
        auth.sign_in(sealed, f"{CALLBACK}?{answer}{state}")
    assert isinstance(caught.value, (OAuthStateError, OAuthAuthorizationError))
    assert getattr(caught.value, "error", None) is None
    assert not authority.token_requests
    assert auth.sign_in(sealed, authority.sign_in(url)).is_valid()


def tampered(sealed: str) -> list[str]:
    """Returns a sealed request with one bit of each of its bytes turned."""
    octets = base64.urlsafe_b64decode(sealed)
    changed: list[str] = []
    for index in range(len(octets)):
        other = bytearray(octets)
        other[index] ^= 1 << index % 8
        changed.append(base64.urlsafe_b64encode(other).decode())
    return changed


def test_tampered_request_is_refused(authority: AuthorizationServer) -> None:
    """No bit of a sealed request can be changed."""
    auth = back_end(authority)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    for other in tampered(sealed):
        refused(auth, other, answer)
    assert not authority.token_requests
    assert auth.sign_in(sealed, answer).is_valid()


@pytest.mark.parametrize("key", [FERNET_KEY, "some text"], ids=["fernet", "text"])
def test_truncated_request_is_refused(authority: AuthorizationServer, key: str) -> None:
    """No part of a sealed request is one, and neither are two of them."""
    auth = back_end(authority, key)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    for length in range(0, len(sealed), 7):
        refused(auth, sealed[:length], answer)
        if length:
            refused(auth, sealed[length:], answer)
    refused(auth, sealed + sealed, answer)
    assert not authority.token_requests
    assert auth.sign_in(sealed, answer).is_valid()


@pytest.mark.parametrize(
    "sealed", ["", ".", "none", "é", "\ud800", "\0", "x" * 100_000, f"{'A' * 22}==.none"]
)
@pytest.mark.parametrize("key", [FERNET_KEY, "some text"], ids=["fernet", "text"])
def test_what_was_never_sealed_is_refused(authority: AuthorizationServer, key: str, sealed: str) -> None:
    """A text that no back end gave out is no request."""
    refused(back_end(authority, key), sealed, ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        b"hello",
        b"\xff",
        b"5",
        b"null",
        b"[]",
        b"{}",
        b'["x"]',
        b'["sign-in", {}]',
        b"[" * 100_000,
        b'{"state": "s", "verifier": "v"}',
        pytest.param(Fernet(FERNET_KEY).encrypt(b"nested"), id="sealed twice"),
    ],
    ids=lambda text: text[:20].decode("latin-1"),
)
def test_other_uses_of_the_key_are_refused(authority: AuthorizationServer, text: bytes) -> None:
    """What the application seals under the same key for itself is no request, and is not shown."""
    error = refused(back_end(authority), Fernet(FERNET_KEY).encrypt(text).decode(), ANSWER)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_incomplete_record_is_refused(authority: AuthorizationServer) -> None:
    """A record that was sealed for a sign-in, but holds less than one needs, is no request."""
    auth, fernet = back_end(authority), Fernet(FERNET_KEY)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    purpose, record = json.loads(fernet.decrypt(sealed))
    incomplete: list[Any] = [{}, [], None, *({name: record[name]} for name in record)]
    assert len(incomplete) > 4
    for changed in incomplete:
        refused(auth, fernet.encrypt(json.dumps([purpose, changed]).encode()).decode(), answer)
    refused(auth, fernet.encrypt(json.dumps([purpose]).encode()).decode(), answer)
    assert not authority.token_requests
    assert auth.sign_in(sealed, answer).is_valid()


@pytest.mark.parametrize(
    "other",
    [
        {"client_id": "another"},
        {"url": "http://127.0.0.1:1/token"},
        {"redirect_uri": f"{CALLBACK}2"},
        {"encryption_key": OTHER_KEY},
        {"encryption_key": "some text"},
    ],
    ids=["client_id", "url", "redirect_uri", "key", "kind of key"],
)
def test_foreign_request_is_refused(authority: AuthorizationServer, other: dict[str, Any]) -> None:
    """A request is good for one client, one server, one redirection URI, under one key."""
    settings: dict[str, Any] = {
        "url": authority.token_url,
        "client_id": authority.client_id,
        "client_secret": authority.client_secret,
        "scope": "read",
        "authorization_url": authority.authorization_url,
        "redirect_uri": CALLBACK,
        "encryption_key": FERNET_KEY,
    }
    auth, foreign = OAuth2(**settings), OAuth2(**settings | other)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    refused(foreign, sealed, answer)
    refused(auth, foreign.authorization_request().sealed, answer)
    assert not authority.token_requests
    assert auth.sign_in(sealed, answer).is_valid()


@pytest.mark.parametrize(("seconds", "works"), [(598, True), (602, False)])
@pytest.mark.parametrize("key", [FERNET_KEY, "some text"], ids=["fernet", "text"])
def test_request_expires(
    authority: AuthorizationServer, monkeypatch: pytest.MonkeyPatch, key: str, seconds: int, works: bool
) -> None:
    """A sign-in may take ten minutes, and no longer."""
    auth = back_end(authority, key)
    url, sealed = auth.authorization_request()
    answer, now = authority.sign_in(url), time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    if works:
        assert auth.sign_in(sealed, answer).is_valid()
    else:
        assert "too old" in str(refused(auth, sealed, answer))
        assert not authority.token_requests


@pytest.mark.parametrize("first", [200, 400])
def test_request_works_once(authority: AuthorizationServer, first: int) -> None:
    """A request that was answered is used, whether the server took the code or not."""
    auth = back_end(authority)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    if first == 200:
        auth.sign_in(sealed, answer)
    else:
        with pytest.raises(OAuthAccessTokenError):
            auth.sign_in(sealed, re.sub("code=[^&]+", "code=wrong", answer))
    assert "completed before" in str(refused(auth, sealed, answer))
    assert [request["status"] for request in authority.token_requests] == [first]


def test_used_request_stays_used(authority: AuthorizationServer) -> None:
    """Nobody makes a used request new by an error that names its state."""
    auth = back_end(authority)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    auth.sign_in(sealed, answer)
    with pytest.raises(OAuthAuthorizationError):
        auth.parse_authorization_response(answer.replace("code=", "error="))
    refused(auth, sealed, answer)
    assert len(authority.token_requests) == 1


def test_used_request_stays_used_while_others_sign_in(authority: AuthorizationServer) -> None:
    """Neither 1100 other sign-ins nor as many that are pending make a used request new."""
    auth = back_end(authority)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    auth.sign_in(sealed, answer)
    for _ in range(1100):
        other_url, other = auth.authorization_request()
        state = parse_qs(urlsplit(other_url).query)["state"][0]
        with pytest.raises(OAuthAuthorizationError, match="refused"):
            auth.sign_in(other, f"{CALLBACK}?error=access_denied&state={state}")
        auth.get_authorization_url()
    assert "completed before" in str(refused(auth, sealed, answer))


def test_used_requests_take_bounded_memory() -> None:
    """Beyond 100 000 used requests the oldest is forgotten, and only that one."""
    used = PendingRequests()
    for number in range(100_001):
        used.spend(f"state {number}")
    used.spend("state 0")
    with pytest.raises(OAuthStateError):
        used.spend("state 2")


def test_user_object_does_not_know_what_was_used(authority: AuthorizationServer) -> None:
    """A request of the back end that is answered twice, once at a user's object, is stopped by the server."""
    auth = back_end(authority)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    user = auth.sign_in(sealed, answer)
    with pytest.raises(OAuthAccessTokenError) as caught:
        user.sign_in(sealed, answer)
    assert caught.value.error == "invalid_grant"


def test_request_works_once_for_many_threads(authority: AuthorizationServer) -> None:
    """Of eight threads with the same request and answer one signs the user in."""
    auth, start = back_end(authority), threading.Barrier(8)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    authority.delay = 0.05

    def sign_in(_: int) -> OAuth2 | None:
        start.wait()
        try:
            return auth.sign_in(sealed, answer)
        except OAuthStateError:
            return None

    with ThreadPoolExecutor(8) as threads:
        users = [user for user in threads.map(sign_in, range(8)) if user]
    assert len(users) == len(authority.token_requests) == 1
    assert users[0].is_valid()


def test_refusal_ends_its_request(authority: AuthorizationServer) -> None:
    """A user who says no is an error with the server's code, and that request is used."""
    auth = back_end(authority, issuer=authority.issuer, requires_issuer=True)
    url, sealed = auth.authorization_request()
    authority.denies = True
    with pytest.raises(OAuthAuthorizationError) as caught:
        auth.sign_in(sealed, authority.sign_in(url))
    assert caught.value.error == "access_denied"
    assert isinstance(caught.value, RuntimeError)
    authority.denies = False
    refused(auth, sealed, authority.sign_in(url))
    assert not authority.token_requests


@pytest.mark.parametrize("named", ["", "&iss=https%3A%2F%2Fevil.example"])
def test_issuer_is_checked(authority: AuthorizationServer, named: str) -> None:
    """RFC 9207: an answer of another issuer, or of none, is refused, and the request stays good."""
    auth = back_end(authority, issuer=authority.issuer, requires_issuer=True)
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    with pytest.raises(OAuthAuthorizationError, match="issuer"):
        auth.sign_in(sealed, answer.partition("&iss=")[0] + named)
    assert not authority.token_requests
    assert auth.sign_in(sealed, answer).is_valid()


@pytest.mark.parametrize(
    ("request_", "url", "named"),
    [
        (None, ANSWER, "request .*NoneType"),
        (b"x", ANSWER, "request .*bytes"),
        (AuthorizationRequest("https://as.example", "x"), ANSWER, "request .*AuthorizationRequest"),
        ("x", None, "redirect_url .*NoneType"),
        ("x", b"x", "redirect_url .*bytes"),
    ],
    ids=["no request", "bytes", "the whole request", "no URL", "URL of bytes"],
)
def test_what_is_no_text_is_a_type_error(
    authority: AuthorizationServer, request_: Any, url: Any, named: str
) -> None:
    """Anything but a str is a mistake of the program's, and the error says what was given."""
    with pytest.raises(TypeError, match=named):
        back_end(authority).sign_in(request_, url)


# Keys


def test_without_a_key_nothing_leaves(authority: AuthorizationServer) -> None:
    """Without encryption_key there is no request to give out, and none to take."""
    auth = back_end(authority, None)
    calls: Sequence[Callable[[], object]] = (auth.authorization_request, lambda: auth.sign_in("x", ANSWER))
    for call in calls:
        with pytest.raises(OAuthAuthorizationError, match="encryption_key") as caught:
            call()
        assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("new", [OTHER_KEY, "new text"], ids=["fernet", "text"])
@pytest.mark.parametrize("old", [FERNET_KEY, "old text"], ids=["fernet", "text"])
def test_keys_rotate(authority: AuthorizationServer, old: str, new: str) -> None:
    """A list opens what any of its keys has sealed, and seals by the first."""
    before, now, after = (back_end(authority, keys) for keys in (old, [new, old], [new]))
    url, sealed = before.authorization_request()
    assert now.sign_in(sealed, authority.sign_in(url)).is_valid()
    url, sealed = now.authorization_request()
    answer = authority.sign_in(url)
    refused(before, sealed, answer)
    assert after.sign_in(sealed, answer).is_valid()
    url, sealed = before.authorization_request()
    refused(after, sealed, authority.sign_in(url))


def test_key_from_a_callable(authority: AuthorizationServer) -> None:
    """A key that a callable returns is asked for at each use, so it can change under the program."""
    keys = [FERNET_KEY]
    auth = back_end(authority, lambda: keys[0])
    url, sealed = auth.authorization_request()
    answer = authority.sign_in(url)
    keys[0] = OTHER_KEY
    refused(auth, sealed, answer)
    keys[0] = FERNET_KEY
    assert auth.sign_in(sealed, answer).is_valid()


def test_scrypt_runs_once_for_a_key(authority: AuthorizationServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is stretched once in a process, however many objects and sign-ins use it; a Fernet key never."""
    salts: list[bytes] = []
    scrypt = hashlib.scrypt

    def counted(password: bytes, *, salt: bytes, **options: Any) -> bytes:
        salts.append(salt)
        return scrypt(password, salt=salt, **options)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    old, new = token_urlsafe(), token_urlsafe()
    for keys, runs in ((FERNET_KEY, 0), (old, 1), (old, 1), ([new, old], 2), ([new, FERNET_KEY], 2)):
        for auth in (back_end(authority, keys), back_end(authority, keys)):
            for _ in range(2):
                url, sealed = auth.authorization_request()
                assert auth.sign_in(sealed, authority.sign_in(url)).is_valid()
        assert len(salts) == runs
    url, sealed = back_end(authority, old).authorization_request()
    assert back_end(authority, [new, old]).sign_in(sealed, authority.sign_in(url)).is_valid()
    assert len(salts) == 2
    assert len(set(salts)) == 1  # made of the client, not of what a browser sends


# The user's object


def signed_in(auth: OAuth2, authority: AuthorizationServer) -> OAuth2:
    """Returns the object of a new user."""
    url, sealed = auth.authorization_request()
    return auth.sign_in(sealed, authority.sign_in(url))


def test_user_has_the_same_configuration(authority: AuthorizationServer) -> None:
    """The user's object sends what the first one was told to, on renewals and revocations too."""
    authority.lifetime = 0
    auth = back_end(
        authority,
        token_endpoint_auth_method="client_secret_post",
        token_params={"audience": "https://api.example/"},
        revocation_url=authority.revocation_url,
    )
    user = signed_in(auth, authority)
    assert (user.url, user.client_id, user.scope) == (auth.url, auth.client_id, auth.scope)
    assert user.access_token()
    assert [request["grant_type"] for request in authority.token_requests] == [
        "authorization_code",
        "refresh_token",
    ]
    for request in authority.token_requests:
        assert request["audience"] == "https://api.example/"
        assert request["client_secret"] == authority.client_secret
    user.revoke()
    assert user.token is None
    assert sum(seen.target == "/revoke" for seen in authority.requests) == 2


def test_users_are_apart(authority: AuthorizationServer) -> None:
    """What becomes of one user's tokens changes nothing for another, or for the back end."""
    auth = back_end(authority, revocation_url=authority.revocation_url)
    one, other = signed_in(auth, authority), signed_in(auth, authority)
    first, token = one.access_token(), other.access_token()
    assert one.renew(first) not in (first, token)
    one.revoke()
    assert other.access_token() == token
    assert authority.is_active(token)
    assert auth.token is None


def test_user_never_tries_another_grant(authority: AuthorizationServer) -> None:
    """When the user's tokens are of no more use, the object asks for no others."""
    authority.issues_refresh_tokens = ()
    authority.lifetime = 0
    user = signed_in(back_end(authority), authority)
    with pytest.raises(OAuthAccessTokenError, match="cannot be refreshed"):
        user.access_token()
    user.clear()
    with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
        user.access_token()
    assert [request["grant_type"] for request in authority.token_requests] == ["authorization_code"]


def test_user_can_sign_in_again(authority: AuthorizationServer) -> None:
    """The user's object can begin sign-ins of its own, which neither it nor the first one confuses."""
    auth = back_end(authority)
    user = signed_in(auth, authority)
    token = user.access_token()
    code, state = user.parse_authorization_response(authority.sign_in(user.get_authorization_url()))
    with pytest.raises(OAuthStateError):
        auth.exchange_code_for_token(code, state)
    assert user.exchange_code_for_token(code, state) not in ("", token)
    assert signed_in(user, authority).access_token() != user.access_token()


def test_sign_in_of_one_user_is_not_pending_elsewhere(authority: AuthorizationServer) -> None:
    """A request that is sealed for a session is not remembered: its answer alone is of no use."""
    auth = back_end(authority)
    url, _ = auth.authorization_request()
    code, state = auth.parse_authorization_response(authority.sign_in(url))
    with pytest.raises(OAuthStateError):
        auth.exchange_code_for_token(code, state)
    assert not authority.token_requests


class Tenant(OAuth2):
    """A scheme of somebody's own: with arguments, a name and a method of its own."""

    def __init__(self, authority: AuthorizationServer, name: str) -> None:
        super().__init__(
            authority.token_url,
            authority.client_id,
            authority.client_secret,
            "read",
            authorization_url=authority.authorization_url,
            redirect_uri=CALLBACK,
            encryption_key=FERNET_KEY,
        )
        self.name = name

    def access_token(self) -> str:
        """The token, asked for by name."""
        return f"{self.name} {super().access_token()}"


def test_subclass_signs_in(authority: AuthorizationServer) -> None:
    """A user of a subclass is an object of that subclass, with its attributes and methods."""
    auth = Tenant(authority, "blue")
    url, sealed = auth.authorization_request()
    user = auth.sign_in(sealed, authority.sign_in(url))
    assert type(user) is Tenant
    assert user.name == "blue"
    kind, token = user.access_token().split()
    assert kind == "blue"
    assert authority.is_active(token)
    assert auth.token is None
