"""The authorization server of the fixture `django` does what it promises, seen through plain urllib3."""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import pytest
import urllib3
from servers import django as django_server
from servers.django import Django, SignInError
from servers.django_site.accounts import Client
from urllib3.connection import HTTPConnection

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
STATE = "a b&c=é"
LOOPBACK = "http://127.0.0.1:4711/callback"  # the registered one, with a port
THREADS = 8


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    """A manager that retries nothing and gives up after 20 s."""
    with urllib3.PoolManager(retries=False, timeout=20, maxsize=THREADS) as manager:
        yield manager


def basic(username: str, password: str) -> str:
    """Returns Basic credentials in UTF-8, as they stand."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def post(
    http: urllib3.PoolManager, url: str, client: Client | None, **fields: str | list[str]
) -> urllib3.BaseHTTPResponse:
    """Sends a form, with form-encoded Basic credentials or the identifier of a public client."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if client and client.client_secret:
        headers["Authorization"] = basic(quote_plus(client.client_id), quote_plus(client.client_secret))
    elif client:
        fields["client_id"] = client.client_id
    return http.request("POST", url, body=urlencode(fields, doseq=True), headers=headers)


def password_token(http: urllib3.PoolManager, django: Django) -> dict[str, Any]:
    """Returns the answer to a password grant: an access token and a refresh token."""
    fields = {"grant_type": "password", "username": django.username, "password": django.password}
    token: dict[str, Any] = post(http, django.token_url, django.trusted, **fields).json()
    return token


def refresh(http: urllib3.PoolManager, django: Django, token: dict[str, Any]) -> urllib3.BaseHTTPResponse:
    """Sends the refresh token of an answer."""
    fields = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    return post(http, django.token_url, django.trusted, **fields)


def me(http: urllib3.PoolManager, django: Django, token: dict[str, Any]) -> urllib3.BaseHTTPResponse:
    """Requests the resource with an access token."""
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    return http.request("GET", django.resource_url, headers=headers)


def authorization_url(django: Django, client: Client, redirect_uri: str, **fields: str) -> str:
    """Returns where a client sends the browser."""
    query = {"response_type": "code", "client_id": client.client_id, "redirect_uri": redirect_uri}
    return f"{django.authorization_url}?{urlencode(query | {'state': STATE} | fields)}"


def answered(location: str, redirect_uri: str) -> dict[str, str]:
    """Returns what was added to the query of a redirection URI."""
    assert location.startswith(redirect_uri)
    return dict(parse_qsl(location.removeprefix(redirect_uri)[1:], strict_parsing=True))


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server/o",
        "/o/.well-known/oauth-authorization-server",
        "/o/.well-known/openid-configuration",
    ],
)
def test_metadata(http: urllib3.PoolManager, django: Django, path: str) -> None:
    """Both documents, in the forms that exist, name the issuer and its endpoints; one knows of revocation."""
    document = http.request("GET", django.url + path).json()
    assert document["issuer"] == django.issuer
    assert document["token_endpoint"] == django.token_url
    assert document["authorization_endpoint"] == django.authorization_url
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is True
    revocation = None if path.endswith("openid-configuration") else django.revocation_url
    assert document.get("revocation_endpoint") == revocation


def test_metadata_of_another_issuer(http: urllib3.PoolManager, django: Django) -> None:
    """The document at the root names the issuer with the path: it is not for who asks for the root's."""
    document = http.request("GET", f"{django.url}/.well-known/oauth-authorization-server").json()
    assert document["issuer"] == f"{django.url}/o"


@pytest.mark.parametrize("name", ["service", "awkward"])
def test_client_credentials(http: urllib3.PoolManager, django: Django, name: str) -> None:
    """A client gets a token by form-encoded Basic credentials or by fields, and the resource knows it."""
    client: Client = getattr(django, name)
    fields = {"client_id": client.client_id, "client_secret": client.client_secret}
    for answer in (
        post(http, django.token_url, client, grant_type="client_credentials", scope="read write"),
        post(http, django.token_url, None, **fields, grant_type="client_credentials", scope="read write"),
    ):
        token = answer.json()
        assert token.keys() == {"access_token", "expires_in", "token_type", "scope"}
        assert (token["expires_in"], token["token_type"]) == (django.lifetime, "Bearer")
        assert me(http, django, token).json() == {
            "user": None,
            "client": client.client_id,
            "scope": "read write",
            "method": "GET",
            "length": 0,
        }


def test_client_is_refused(http: urllib3.PoolManager, django: Django) -> None:
    """A wrong secret is refused with 401, and so are awkward credentials that are not form-encoded."""
    for client_id, secret in (
        (django.service.client_id, "wrong"),
        (django.awkward.client_id, django.awkward.client_secret),
    ):
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": basic(client_id, secret),
        }
        body = "grant_type=client_credentials"
        answer = http.request("POST", django.token_url, body=body, headers=headers)
        assert (answer.status, answer.json()) == (401, {"error": "invalid_client"})


def test_password_grant(http: urllib3.PoolManager, django: Django) -> None:
    """The right password gets a token of the user's with the default scope, another password none."""
    token = password_token(http, django)
    assert token["scope"] == "read"
    assert me(http, django, token).json()["user"] == django.username
    wrong = {"username": django.username, "password": "wrong"}
    answer = post(http, django.token_url, django.trusted, grant_type="password", **wrong)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("name", ["web", "native"])
def test_code(http: urllib3.PoolManager, django: Django, name: str) -> None:
    """A user who signs in and consents sends the client a code with state and issuer, good for one token."""
    client: Client = getattr(django, name)
    uri = LOOPBACK if name == "native" else client.redirect_uri
    url = authorization_url(django, client, uri, scope="openid read", **PKCE)
    username = django.other_username if name == "native" else django.username
    query = answered(django.sign_in(url, username=username), uri)
    assert query.keys() == {"code", "state", "iss"}
    assert (query["state"], query["iss"]) == (STATE, django.issuer)
    code = {"grant_type": "authorization_code", "code": query["code"], "redirect_uri": uri}
    token = post(http, django.token_url, client, code_verifier=VERIFIER, **code).json()
    assert token.keys() >= {"refresh_token", "id_token"}
    assert me(http, django, token).json()["user"] == username
    again = post(http, django.token_url, client, code_verifier=VERIFIER, **code)
    assert (again.status, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("name", ["web", "native"])
def test_pkce_is_required(http: urllib3.PoolManager, django: Django, name: str) -> None:
    """There is no code without a challenge or with a plain one, and no token without the verifier."""
    client: Client = getattr(django, name)
    plain = {"code_challenge": VERIFIER, "code_challenge_method": "plain"}
    for fields in ({}, plain):
        url = authorization_url(django, client, client.redirect_uri, **fields)
        query = answered(django.sign_in(url), client.redirect_uri)
        assert query["error"] == "invalid_request"
        assert "code" not in query
    url = authorization_url(django, client, client.redirect_uri, **PKCE)
    query = answered(django.sign_in(url), client.redirect_uri)
    code = {"grant_type": "authorization_code", "code": query["code"], "redirect_uri": client.redirect_uri}
    answer = post(http, django.token_url, client, code_verifier="w" * 43, **code)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")


def test_consent_is_denied(django: Django) -> None:
    """A user who refuses sends the client an error and the state, without the issuer that is promised."""
    url = authorization_url(django, django.web, django.web.redirect_uri, **PKCE)
    query = answered(django.sign_in(url, deny=True), django.web.redirect_uri)
    assert query == {"error": "access_denied", "state": STATE}


@pytest.mark.parametrize("fault", ["client", "uri", "user"])
def test_nobody_is_sent_anywhere(django: Django, fault: str) -> None:
    """An unknown client, redirection URI or user is an error that shows the last page."""
    client = Client("unknown", "") if fault == "client" else django.native
    uri = "https://elsewhere.example/" if fault == "uri" else django.native.redirect_uri
    username = "nobody" if fault == "user" else None
    page = "Please enter a correct username" if username else "invalid_request"
    with pytest.raises(SignInError, match=page):
        django.sign_in(authorization_url(django, client, uri, **PKCE), username=username)


def test_refresh_token_rotates(http: urllib3.PoolManager, django: Django) -> None:
    """A refresh ends both tokens that were; the old one, brought again, ends those that came of it."""
    first = password_token(http, django)
    second = refresh(http, django, first).json()
    assert first["refresh_token"] != second["refresh_token"]
    assert (me(http, django, first).status, me(http, django, second).status) == (401, 200)
    for token in (first, second):
        answer = refresh(http, django, token)
        assert (answer.status, answer.json()) == (400, {"error": "invalid_grant"})
        assert me(http, django, second).status == 401


def test_one_refresh_of_many_succeeds(http: urllib3.PoolManager, django: Django) -> None:
    """Of threads that bring one refresh token at once, one gets a token, and the others revoke it."""
    token = password_token(http, django)
    barrier = threading.Barrier(THREADS)

    def bring(_: int) -> urllib3.BaseHTTPResponse:
        barrier.wait()
        return refresh(http, django, token)

    with ThreadPoolExecutor(THREADS) as pool:
        answers = sorted(pool.map(bring, range(THREADS)), key=lambda answer: answer.status)
    assert [answer.status for answer in answers] == [200] + [400] * (THREADS - 1)
    assert me(http, django, answers[0].json()).status == 401


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_revocation(http: urllib3.PoolManager, django: Django, name: str) -> None:
    """Whichever token of a pair is revoked, both end."""
    token = password_token(http, django)
    assert me(http, django, token).status == 200
    assert post(http, django.revocation_url, django.trusted, token=token[name]).status == 200
    assert me(http, django, token).status == 401
    assert refresh(http, django, token).json() == {"error": "invalid_grant"}


def test_lifetime(http: urllib3.PoolManager, tmp_path: Path) -> None:
    """A token of a server with a lifetime of a second is good for that long."""
    with django_server.serve(tmp_path, lifetime=1) as server:
        token = password_token(http, server)
        assert token["expires_in"] == 1
        assert me(http, server, token).status == 200
        time.sleep(1.05)
        assert me(http, server, token).status == 401


def test_access_tokens_expire_early(http: urllib3.PoolManager, django: Django) -> None:
    """A token can be made to expire ahead of its time, and its refresh token works on."""
    token = password_token(http, django)
    django.expire_access_tokens()
    answer = me(http, django, token)
    assert (answer.status, answer.json()["error_description"]) == (401, "The access token has expired.")
    assert me(http, django, refresh(http, django, token).json()).status == 200


def test_resource_challenges(http: urllib3.PoolManager, django: Django) -> None:
    """Without a token, with a wrong one and with one of too small a scope, the challenge says which it is."""
    write = post(http, django.token_url, django.service, grant_type="client_credentials", scope="write")
    for headers, status, error in (
        ({}, 401, ""),
        ({"Authorization": "Bearer wrong"}, 401, ',error="invalid_token"'),
        ({"Authorization": f"Bearer {write.json()['access_token']}"}, 403, ',error="insufficient_scope"'),
    ):
        answer = http.request("GET", django.resource_url, headers=headers)
        assert answer.status == status
        challenge = answer.headers["WWW-Authenticate"]
        assert challenge.startswith(f'Bearer realm="api"{error}')
        assert ("error=" in challenge) == bool(error)


def test_resource_takes_any_method(http: urllib3.PoolManager, django: Django) -> None:
    """The resource answers a POST as well, and says how much came."""
    headers = {"Authorization": f"Bearer {password_token(http, django)['access_token']}"}
    seen = http.request("POST", django.resource_url, body=b"12345", headers=headers).json()
    assert (seen["method"], seen["length"]) == ("POST", 5)


def test_token_requests_are_written_down(http: urllib3.PoolManager, django: Django) -> None:
    """Each token request is there as soon as it is answered: with its status, authorization and fields."""
    before = len(django.token_requests())
    resource = ["https://one.example/é", "https://two.example/&+"]
    post(http, django.token_url, django.service, grant_type="client_credentials", resource=resource)
    post(http, django.token_url, django.native, grant_type="refresh_token", refresh_token="wrong")
    post(http, django.revocation_url, django.service, token="unknown")
    first, second = django.token_requests()[before:]
    assert (first.status, second.status) == (200, 400)
    assert first.authorization == basic(django.service.client_id, django.service.client_secret)
    assert first.form == {"grant_type": ["client_credentials"], "resource": resource}
    assert (second.authorization, second.form["refresh_token"]) == ("", ["wrong"])


def test_connection_persists(django: Django) -> None:
    """The server keeps a connection, for token requests and others."""
    connection = HTTPConnection(urlsplit(django.url).netloc, timeout=20)
    ports: list[int] = []
    for method, url in (("POST", django.token_url), ("GET", django.resource_url), ("GET", django.issuer)):
        connection.request(method, urlsplit(url).path)
        connection.getresponse().close()
        assert connection.sock, f"closed after {method} {url}"
        ports.append(connection.sock.getsockname()[1])
    connection.close()
    assert len(set(ports)) == 1
