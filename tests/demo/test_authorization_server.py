"""The embedded authorization server keeps the RFCs and its promises, seen through plain urllib3."""

import base64
import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import pytest
import urllib3
from authlib.oauth2 import rfc8414, rfc9207

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_core.testing.server import Reply

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CALLBACK = "http://127.0.0.1:1/callback?kept=1"


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    """A manager that retries nothing and gives up after 10 s."""
    with urllib3.PoolManager(maxsize=4, retries=False, timeout=10) as manager:
        yield manager


@pytest.fixture
def server() -> Iterator[AuthorizationServer]:
    """A server with what is its default."""
    with AuthorizationServer() as server:
        yield server


class Caller:
    """Asks for tokens by client_secret_post, or as a public client."""

    def __init__(self, http: urllib3.PoolManager, server: AuthorizationServer) -> None:
        self.http, self.server = http, server

    def post(self, url: str, **fields: str) -> urllib3.BaseHTTPResponse:
        """Send a form with the client's credentials; an empty field is left out."""
        credentials = {"client_id": self.server.client_id, "client_secret": self.server.client_secret}
        fields = {name: text for name, text in (credentials | fields).items() if text}
        return self.http.request("POST", url, fields=fields, encode_multipart=False)

    def ask(self, grant_type: str, **fields: str) -> urllib3.BaseHTTPResponse:
        """Send a token request."""
        return self.post(self.server.token_url, grant_type=grant_type, **fields)

    def token(self, grant_type: str, **fields: str) -> dict[str, Any]:
        """Return the successful answer to a token request."""
        answer = self.ask(grant_type, **fields)
        assert answer.status == 200, answer.data
        token: dict[str, Any] = answer.json()
        assert self.server.is_active(token["access_token"])
        return token

    def password(self) -> dict[str, Any]:
        """Return a token of the password grant."""
        return self.token("password", username=self.server.username, password=self.server.password)

    def refresh(self, token: dict[str, Any], **fields: str) -> urllib3.BaseHTTPResponse:
        """Send a refresh."""
        return self.ask("refresh_token", refresh_token=token["refresh_token"], **fields)

    def authorization_url(self, **fields: str) -> str:
        """Return the URL of an authorization request; an empty field is left out."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
        wanted = {
            "response_type": "code",
            "client_id": self.server.client_id,
            "redirect_uri": CALLBACK,
            "state": "a state & more",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        query = urlencode({name: text for name, text in (wanted | fields).items() if text})
        return f"{self.server.authorization_url}?{query}"

    def sign_in(self, **fields: str) -> dict[str, str]:
        """Return what the redirect of an authorization request adds to the query of the callback."""
        location = self.server.sign_in(self.authorization_url(**fields))
        assert location.startswith(CALLBACK)
        return {name: text for name, [text] in parse_qs(urlsplit(location).query).items() if name != "kept"}

    def exchange(self, code: str, **fields: str) -> urllib3.BaseHTTPResponse:
        """Exchange a code."""
        wanted = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return self.ask("authorization_code", **wanted | fields)


@pytest.fixture
def caller(http: urllib3.PoolManager, server: AuthorizationServer) -> Caller:
    """A caller of the default server."""
    return Caller(http, server)


def refused(answer: urllib3.BaseHTTPResponse, error: str, status: int = 400) -> None:
    """Asserts an error response of RFC 6749, section 5.2."""
    assert (answer.status, answer.json()["error"]) == (status, error), answer.data
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def basic(username: str, password: str) -> dict[str, str]:
    """Returns Basic credentials that are encoded no further."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def test_the_metadata_is_valid(http: urllib3.PoolManager, server: AuthorizationServer) -> None:
    """The metadata is as RFC 8414 and RFC 9207 ask for it and names every endpoint."""
    answer = http.request("GET", f"{server.issuer}/.well-known/oauth-authorization-server")
    metadata = rfc8414.AuthorizationServerMetadata(answer.json())
    metadata.validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    names = ("issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint")
    urls = [server.url, server.authorization_url, server.token_url, server.revocation_url]
    assert [metadata[name] for name in names] == urls
    assert metadata["code_challenge_methods_supported"] == ["S256"]


def test_client_credentials(caller: Caller) -> None:
    """A client with its secret gets the access token of RFC 6749, section 5.1, and no refresh token."""
    answer = caller.ask("client_credentials")
    token = answer.json()
    assert caller.server.is_active(token.pop("access_token"))
    assert token == {"token_type": "Bearer", "expires_in": 3600, "scope": "read write"}
    assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (
        "application/json",
        "no-store",
    )


def test_basic_credentials_are_form_decoded(http: urllib3.PoolManager) -> None:
    """Identifier and secret are right when form-encoded (RFC 6749, section 2.3.1), and only then."""
    form = {"grant_type": "client_credentials"}
    client_id, secret = "a client: é+1", "100%25 \u2713 &=/+"
    with AuthorizationServer(client_id=client_id, client_secret=secret) as server:
        for headers, status in (
            (basic(quote_plus(client_id), quote_plus(secret)), 200),
            (basic(quote_plus(client_id), secret), 401),
            ({"Authorization": "Basic ?"}, 401),
            ({"Authorization": "Bearer x"}, 401),
        ):
            answer = http.request(
                "POST", server.token_url, fields=form, encode_multipart=False, headers=headers
            )
            assert answer.status == status
        refused(answer, "invalid_client", 401)


def test_a_client_that_does_not_prove_itself(caller: Caller) -> None:
    """A wrong, missing or doubled proof of the client is refused by the right error."""
    refused(caller.ask("client_credentials", client_secret="wrong"), "invalid_client", 401)
    refused(caller.ask("client_credentials", client_secret=""), "invalid_client", 401)
    user = {"username": caller.server.username, "password": caller.server.password}
    refused(caller.ask("password", client_secret="", **user), "invalid_client", 401)
    refused(caller.ask("client_credentials", client_id="unknown"), "invalid_client")
    form = {"grant_type": "client_credentials", "client_secret": caller.server.client_secret}
    headers = basic(caller.server.client_id, caller.server.client_secret)
    url = caller.server.token_url
    both = caller.http.request("POST", url, fields=form, encode_multipart=False, headers=headers)
    refused(both, "invalid_request")


def test_a_public_client(http: urllib3.PoolManager) -> None:
    """A client without a secret gets tokens for a user and refreshes them, and none for itself."""
    with AuthorizationServer(client_secret="") as server:
        caller = Caller(http, server)
        assert server.auth_methods == ["none"]
        assert caller.refresh(caller.password()).status == 200
        assert caller.exchange(caller.sign_in()["code"]).status == 200
        refused(caller.ask("client_credentials"), "invalid_client", 401)
        refused(caller.ask("client_credentials", client_secret="any"), "invalid_client", 401)


def test_password(caller: Caller) -> None:
    """The user's password gives both tokens, and another one the error of RFC 6749, section 5.2."""
    assert caller.password()["refresh_token"]
    server = caller.server
    refused(caller.ask("password", username=server.username, password="wrong"), "invalid_grant")
    refused(caller.ask("password", username="nobody", password=server.password), "invalid_grant")
    refused(caller.ask("password", username=server.username), "invalid_request")


def test_scope(caller: Caller) -> None:
    """What may be granted is granted and said, and asking for nothing of it is an error."""
    caller.server.scope = "read write"
    for asked, granted in (("write", "write"), ("read admin", "read"), ("", "read write")):
        assert caller.token("client_credentials", scope=asked)["scope"] == granted
    refused(caller.ask("client_credentials", scope="admin"), "invalid_scope")
    assert caller.sign_in(scope="admin")["error"] == "invalid_scope"
    caller.server.scope = ""
    assert "scope" not in caller.token("client_credentials")


def test_authorization_code(caller: Caller) -> None:
    """The redirect has code, state and iss, and the code is exchanged for the scope that was asked for."""
    callback = caller.sign_in(scope="read")
    code = callback.pop("code")
    assert callback == {"state": "a state & more", "iss": caller.server.issuer}
    token = caller.exchange(code).json()
    assert token["scope"] == "read"
    assert caller.server.is_active(token["access_token"])
    assert caller.refresh(token).json()["scope"] == "read"


def test_a_code_is_used_once(caller: Caller) -> None:
    """The second use of a code is refused and revokes what came of the first."""
    code = caller.sign_in()["code"]
    token, other = caller.exchange(code).json(), caller.password()
    refused(caller.exchange(code), "invalid_grant")
    assert not caller.server.is_active(token["access_token"])
    refused(caller.refresh(token), "invalid_grant")
    assert caller.server.is_active(other["access_token"])


def test_a_code_expires(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A code is refused when its time is over."""
    monkeypatch.setattr("cruds.demo.authority.CODE_LIFETIME", 0.0)
    refused(caller.exchange(caller.sign_in()["code"]), "invalid_grant")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"code_verifier": VERIFIER[::-1]}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"redirect_uri": CALLBACK + "&more"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"code": "unknown"}, "invalid_grant"),
    ],
)
def test_a_code_belongs_to_its_request(caller: Caller, fields: dict[str, str], error: str) -> None:
    """A code is exchanged only with the verifier and the redirect URI of its authorization request."""
    refused(caller.exchange(**{"code": caller.sign_in()["code"], **fields}), error)


@pytest.mark.parametrize(
    "fields",
    [
        {"code_challenge": "", "code_challenge_method": ""},
        {"code_challenge": ""},
        {"code_challenge_method": ""},
        {"code_challenge_method": "plain"},
    ],
)
def test_pkce_is_required(caller: Caller, fields: dict[str, str]) -> None:
    """An authorization request without an S256 challenge is refused at the callback, with state and iss."""
    callback = caller.sign_in(**fields)
    assert callback.pop("error_description")
    wanted = {"error": "invalid_request", "state": "a state & more", "iss": caller.server.issuer}
    assert callback == wanted


def test_the_user_denies(caller: Caller) -> None:
    """A user who denies sends the browser back with the error, state and iss, and no code."""
    caller.server.denies = True
    callback = caller.sign_in()
    assert callback.pop("error_description")
    assert callback == {"error": "access_denied", "state": "a state & more", "iss": caller.server.issuer}
    caller.server.denies = False
    assert "code" in caller.sign_in()


def test_another_response_type(caller: Caller) -> None:
    """A response type other than "code" is an error at the callback, with state and iss."""
    callback = caller.sign_in(response_type="token")
    assert (callback["error"], callback["iss"]) == ("unsupported_response_type", caller.server.issuer)
    assert callback["state"] == "a state & more"


@pytest.mark.parametrize(
    "fields",
    [
        {"client_id": "unknown"},
        {"client_id": ""},
        {"redirect_uri": ""},
        {"redirect_uri": "/relative"},
        {"redirect_uri": CALLBACK + "#fragment"},
        {"response_type": "é"},
        {"redirect_uri": "é"},
    ],
)
def test_nobody_is_redirected_on_suspicion(caller: Caller, fields: dict[str, str]) -> None:
    """Without a known client and a sound redirect URI the answer is an error, and no redirect."""
    with pytest.raises(ValueError, match=r'{"error": "invalid_(client|request)"'):
        caller.server.sign_in(caller.authorization_url(**fields))


def test_a_registered_redirect_uri(caller: Caller) -> None:
    """The redirect URI that is registered may be left out, and no other one is accepted."""
    caller.server.redirect_uri = CALLBACK
    code = caller.sign_in(redirect_uri="")["code"]
    assert caller.exchange(code, redirect_uri="").status == 200
    with pytest.raises(ValueError, match="invalid_request"):
        caller.sign_in(redirect_uri=f"{CALLBACK}0")


def test_a_refresh_token_that_is_kept(caller: Caller) -> None:
    """Without rotation a refresh token is good again and again, and is not repeated in the answer."""
    token = caller.password()
    for _ in range(2):
        renewed = caller.refresh(token).json()
        assert caller.server.is_active(renewed["access_token"])
        assert "refresh_token" not in renewed
    refused(caller.ask("refresh_token", refresh_token=token["access_token"]), "invalid_grant")
    refused(caller.ask("refresh_token"), "invalid_request")


def test_rotation(caller: Caller) -> None:
    """A rotated refresh token is good once; its reuse revokes its family (RFC 9700, section 4.14.2) alone."""
    caller.server.rotates = True
    first, other = caller.password(), caller.password()
    second = caller.refresh(first).json()
    third = caller.refresh(second).json()
    family = [first, second, third]
    assert len({token["refresh_token"] for token in family}) == 3
    assert all(caller.server.is_active(token["access_token"]) for token in family)
    refused(caller.refresh(first), "invalid_grant")
    assert not any(caller.server.is_active(token["access_token"]) for token in family)
    refused(caller.refresh(third), "invalid_grant")
    assert caller.refresh(other).status == 200


def test_a_refresh_narrows_the_scope_of_one_token(caller: Caller) -> None:
    """A refresh may ask for less, the next one for all that was granted first, and none for more."""
    caller.server.rotates = True
    token = caller.token(
        "password", username=caller.server.username, password=caller.server.password, scope="read write"
    )
    narrow = caller.refresh(token, scope="read").json()
    assert narrow["scope"] == "read"
    refused(caller.refresh(narrow, scope="read admin"), "invalid_scope")
    assert caller.refresh(narrow).json()["scope"] == "read write"


def test_which_grants_give_refresh_tokens(http: urllib3.PoolManager) -> None:
    """The grants that give a refresh token can be chosen."""
    with AuthorizationServer(issues_refresh_tokens=["client_credentials"]) as server:
        caller = Caller(http, server)
        assert "refresh_token" not in caller.password()
        assert caller.refresh(caller.token("client_credentials")).status == 200


def test_revocation(caller: Caller) -> None:
    """An access token is revoked alone, a refresh token with its family (RFC 7009, section 2.1)."""
    url, token = caller.server.revocation_url, caller.password()
    hint = {"token_type_hint": "access_token"}
    assert caller.post(url, token=token["access_token"], **hint).status == 200
    assert not caller.server.is_active(token["access_token"])
    renewed = caller.refresh(token).json()
    assert caller.post(url, token=token["refresh_token"], token_type_hint="odd").status == 200
    assert not caller.server.is_active(renewed["access_token"])
    refused(caller.refresh(token), "invalid_grant")


def test_revocation_of_nothing(caller: Caller) -> None:
    """Revoking an unknown token succeeds (section 2.2), no token at all fails, and so does a stranger."""
    url, token = caller.server.revocation_url, caller.password()
    assert caller.post(url, token="unknown").status == 200
    refused(caller.post(url), "invalid_request")
    refused(caller.post(url, token=token["access_token"], client_secret="wrong"), "invalid_client", 401)
    assert caller.server.is_active(token["access_token"])


def test_lifetime(caller: Caller) -> None:
    """A token lives as long as the server said when it was issued."""
    long = caller.password()
    caller.server.lifetime = 1.5
    short = caller.refresh(long).json()
    assert (long["expires_in"], short["expires_in"]) == (3600, 1.5)
    assert caller.server.is_active(short["access_token"])
    time.sleep(1.55)
    assert not caller.server.is_active(short["access_token"])
    assert caller.server.is_active(long["access_token"])


def test_expire_all(caller: Caller) -> None:
    """Every access token is expired, and its refresh token still good."""
    token = caller.password()
    caller.server.expire_all()
    assert not caller.server.is_active(token["access_token"])
    assert caller.server.is_active(caller.refresh(token).json()["access_token"])


def test_revoke_all(caller: Caller) -> None:
    """Every token is revoked, refresh tokens too; the next grant is not."""
    token = caller.password()
    caller.server.revoke_all()
    assert not caller.server.is_active(token["access_token"])
    refused(caller.refresh(token), "invalid_grant")
    caller.password()


def test_only_access_tokens_are_active(caller: Caller) -> None:
    """A refresh token, a code or any other text is no active token."""
    for text in (caller.password()["refresh_token"], caller.sign_in()["code"], "", "é"):
        assert not caller.server.is_active(text)


def test_answers_replace_the_next_ones(caller: Caller) -> None:
    """Each given answer is sent once, as it is, and its request is not carried out."""
    caller.server.rotates = True
    token = caller.password()
    caller.server.answers += [Reply(503, b"later", {"Retry-After": "7"}), Reply(200, b"<html>")]
    first, second = caller.refresh(token), caller.refresh(token)
    assert (first.status, first.data, first.headers["Retry-After"]) == (503, b"later", "7")
    assert (second.status, second.data) == (200, b"<html>")
    assert caller.refresh(token).status == 200


def test_token_requests_are_kept(caller: Caller) -> None:
    """The fields of each token request are kept in order, with the status of the answer."""
    caller.token("client_credentials", scope="read")
    body = "grant_type=refresh_token&resource=a&resource=b&scope="
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    caller.http.request("POST", caller.server.token_url, body=body, headers=headers)
    client = {"client_id": caller.server.client_id, "client_secret": caller.server.client_secret}
    assert caller.server.token_requests == [
        {**client, "grant_type": "client_credentials", "scope": "read", "status": 200},
        {"grant_type": "refresh_token", "resource": ["a", "b"], "scope": "", "status": 401},
    ]


def test_parameters_come_once(caller: Caller) -> None:
    """A parameter that comes twice is an error at each endpoint (RFC 6749, section 3), but for a resource."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    client = {"client_id": caller.server.client_id, "client_secret": caller.server.client_secret}
    body = urlencode({**client, "grant_type": "client_credentials"})
    url = caller.server.token_url
    twice = caller.http.request("POST", url, body=f"{body}&scope=read&scope=read", headers=headers)
    refused(twice, "invalid_request")
    assert (
        caller.http.request("POST", url, body=f"{body}&resource=a&resource=b", headers=headers).status == 200
    )
    with pytest.raises(ValueError, match="repeated"):
        caller.server.sign_in(caller.authorization_url() + "&state=2")


def test_other_requests(caller: Caller) -> None:
    """A wrong path, method, content type and grant type each get the status that they deserve."""
    url, token_url = caller.server.url, caller.server.token_url
    assert caller.http.request("GET", f"{url}/tokens").status == 404
    assert caller.http.request("GET", token_url).headers["Allow"] == "POST"
    assert caller.http.request("POST", token_url, json={"grant_type": "password"}).status == 415
    refused(caller.ask("implicit"), "unsupported_grant_type")
    refused(caller.ask("é"), "unsupported_grant_type")


def test_a_delay_holds_up_nothing_else(caller: Caller) -> None:
    """A token request is carried out at once and answered later, while other requests are answered."""
    delay = caller.server.delay = 2.0
    answers: list[urllib3.BaseHTTPResponse] = []
    start = time.monotonic()
    thread = threading.Thread(target=lambda: answers.append(caller.ask("client_credentials")))
    thread.start()
    while thread.is_alive() and not caller.server.token_requests:
        time.sleep(0.005)
    assert caller.server.sign_in(caller.authorization_url())
    assert not caller.server.is_active("")
    assert time.monotonic() - start < delay
    assert not answers
    thread.join()
    assert time.monotonic() - start > delay
    assert caller.server.is_active(answers[0].json()["access_token"])
    assert len(caller.server.token_requests) == 1


def test_it_protects_the_api(caller: Caller) -> None:
    """The demo's API accepts the tokens of this server while they are active, and no other ones."""
    token = caller.password()["access_token"]
    with DemoAPI(token=caller.server.is_active) as api:

        def read(authorization: str) -> urllib3.BaseHTTPResponse:
            headers = {"Authorization": authorization}
            return caller.http.request("GET", f"{api.url}/books", headers=headers)

        assert read(f"Bearer {token}").json() == read(f"bearer {token}").json() == []
        assert read(basic(api.username, api.password)["Authorization"]).status == 200
        assert read(f"Bearer {api.token}").status == 401
        caller.server.revoke_all()
        answer = read(f"Bearer {token}")
        assert (answer.status, 'error="invalid_token"' in answer.headers["WWW-Authenticate"]) == (401, True)


def test_nothing_secret_is_logged(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """No token, code or secret is in the log at DEBUG, so that a test may listen to the client's."""
    caplog.set_level(logging.DEBUG)
    code = caller.sign_in()["code"]
    tokens = [caller.exchange(code).json(), caller.password(), caller.token("client_credentials")]
    tokens.append(caller.refresh(tokens[0]).json())
    caller.post(caller.server.revocation_url, token=tokens[0]["access_token"])
    server = caller.server
    issued = [text for token in tokens for name, text in token.items() if name.endswith("_token")]
    secrets = [code, VERIFIER, server.client_secret, server.password, *issued]
    log = "\n".join(
        record.getMessage() for record in caplog.records if record.name != "urllib3.connectionpool"
    )
    assert "/token: 200" in log
    assert not [secret for secret in secrets if secret in log]
    assert not [secret for secret in secrets if secret in repr(server)]


def test_what_is_random_differs() -> None:
    """Two servers share no credentials, and what is given is what they use."""
    names = ("client_id", "client_secret", "username", "password", "url")
    with AuthorizationServer() as one, AuthorizationServer(username="ada") as two:
        assert not [name for name in names if getattr(one, name) == getattr(two, name)]
        assert two.username == "ada"
        assert json.dumps([two.lifetime, two.rotates, two.scope]) == '[3600, false, "read write"]'
