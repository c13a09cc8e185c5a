"""oidc-provider does what its fixture promises, seen through plain urllib3."""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import pytest
import urllib3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from servers import oidc as oidc_server
from servers.oidc import Client, Provider
from servers.process import ServerError

CONFIDENTIAL = ("basic", "an id: 100%+", "post", "rs256", "es256", "eddsa")
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
PAYMENT = {"type": "payment_initiation", "instructedAmount": {"currency": "EUR", "amount": "123.50"}}


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    """A manager that retries and redirects nothing and gives up after 20 s."""
    with urllib3.PoolManager(retries=False, timeout=20, maxsize=16) as manager:
        yield manager


def unpadded(octets: bytes) -> str:
    """Returns base64url as RFC 7515 writes it."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def assertion(client: Client, audience: str, **claims: object) -> str:
    """Returns a client assertion (RFC 7523, section 2.2) that lives for a minute; None drops a claim."""
    now = int(time.time())
    given: dict[str, object] = {
        "iss": client.id,
        "sub": client.id,
        "aud": audience,
        "iat": now,
        "exp": now + 60,
    }
    given |= {"jti": secrets.token_urlsafe()} | claims
    payload = {name: value for name, value in given.items() if value is not None}
    parts = ({"alg": client.algorithm, "kid": client.kid}, payload)
    signed = ".".join(unpadded(json.dumps(part).encode()) for part in parts)
    match load_pem_private_key((client.private_key or "").encode(), None):
        case rsa.RSAPrivateKey() as key:
            signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey() as key:
            r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        case ed25519.Ed25519PrivateKey() as key:
            signature = key.sign(signed.encode())
        case key:
            raise TypeError(type(key))
    return f"{signed}.{unpadded(signature)}"


def post(
    http: urllib3.PoolManager, url: str, client: Client, **parameters: str | list[str]
) -> urllib3.BaseHTTPResponse:
    """Posts a form as the client, authenticated as it is registered."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    form: dict[str, str | list[str]] = dict(parameters)
    match client.auth_method:
        case "client_secret_basic":
            pair = f"{quote_plus(client.id)}:{quote_plus(client.secret or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        case "client_secret_post":
            form |= {"client_id": client.id, "client_secret": client.secret or ""}
        case "private_key_jwt":
            form.setdefault("client_assertion", assertion(client, url))
            form["client_assertion_type"] = ASSERTION_TYPE
        case _:
            form["client_id"] = client.id
    return http.request("POST", url, body=urlencode(form, doseq=True), headers=headers)


def get_me(http: urllib3.PoolManager, provider: Provider, access_token: str) -> urllib3.BaseHTTPResponse:
    """Asks the API whose the token is."""
    return http.request("GET", provider.api_url, headers={"Authorization": f"Bearer {access_token}"})


def authorization_url(endpoint: str, client: Client, **parameters: str | list[str]) -> str:
    """Returns the URL of an authorization request with PKCE."""
    query: dict[str, str | list[str]] = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": client.redirect_uri,
        "scope": "read",
        "state": "a state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"{endpoint}?{urlencode(query | parameters, doseq=True)}"


def query_of(url: str) -> dict[str, str]:
    """Returns the query of a redirect, whose names appear once."""
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def exchange(
    http: urllib3.PoolManager, token_url: str, client: Client, redirect: str, **parameters: str | list[str]
) -> urllib3.BaseHTTPResponse:
    """Exchanges the code of a redirect."""
    fixed = {
        "grant_type": "authorization_code",
        "code": query_of(redirect)["code"],
        "redirect_uri": client.redirect_uri,
        "code_verifier": VERIFIER,
    }
    return post(http, token_url, client, **(fixed | parameters))


def signed_in(
    http: urllib3.PoolManager, provider: Provider, client: Client, **parameters: str | list[str]
) -> dict[str, Any]:
    """Returns the answer of the token endpoint at the end of a sign-in."""
    redirect = provider.sign_in(authorization_url(provider.authorization_url, client, **parameters))
    answer = exchange(http, provider.token_url, client, redirect)
    assert answer.status == 200
    content: dict[str, Any] = answer.json()
    return content


def refresh(
    http: urllib3.PoolManager, provider: Provider, client: Client, refresh_token: str
) -> urllib3.BaseHTTPResponse:
    """Sends a refresh token."""
    parameters = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return post(http, provider.token_url, client, **parameters)


def test_discovery(http: urllib3.PoolManager, oidc: Provider) -> None:
    """Both issuers serve both documents where OpenID Connect and RFC 8414 put them, and say what they can."""
    for issuer, path in ((oidc.issuer, ""), (oidc.path_issuer, "/tenant")):
        openid = f"{issuer}/.well-known/openid-configuration"
        oauth = f"{oidc.issuer}/.well-known/oauth-authorization-server{path}"
        for url in (openid, oauth):
            metadata = http.request("GET", url).json()
            assert metadata["issuer"] == issuer
            assert metadata["authorization_endpoint"] == f"{issuer}/auth"
            assert metadata["token_endpoint"] == f"{issuer}/token"
            assert metadata["revocation_endpoint"] == f"{issuer}/token/revocation"
            assert metadata["authorization_response_iss_parameter_supported"] is True
            assert metadata["authorization_details_types_supported"] == ["payment_initiation"]
            assert metadata["code_challenge_methods_supported"] == ["S256"]
    between = f"{oidc.issuer}/.well-known/tenant/oauth-authorization-server"
    assert http.request("GET", between).status == 404


@pytest.mark.parametrize("client_id", CONFIDENTIAL)
def test_client_credentials(http: urllib3.PoolManager, oidc: Provider, client_id: str) -> None:
    """Every confidential client gets a token by its own method, and the record of the request shows which."""
    client = next(client for client in oidc.clients if client.id == client_id)
    for issuer in (oidc.issuer, oidc.path_issuer):
        answer = post(http, f"{issuer}/token", client, grant_type="client_credentials", scope="read unknown")
        assert answer.status == 200
        token = answer.json()
        assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 600, "read")
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        me = http.request("GET", f"{issuer}/api/me", headers=headers).json()
        assert (me["sub"], me["client_id"], me["scope"]) == (None, client.id, "read")
        received = oidc.token_requests()[-1]
        assert (received.issuer, received.client_id, received.status) == (issuer, client.id, 200)
        assert (received.auth_method, received.answer) == (client.auth_method, token)
        assert received.parameters["scope"] == ["read unknown"]


def test_issuers_share_no_tokens(http: urllib3.PoolManager, oidc: Provider) -> None:
    """A token of one issuer is unknown at the API of the other."""
    answer = post(http, f"{oidc.path_issuer}/token", oidc.basic, grant_type="client_credentials")
    assert get_me(http, oidc, answer.json()["access_token"]).status == 401


def test_credentials_are_decoded(http: urllib3.PoolManager, oidc: Provider) -> None:
    """The client whose id and secret need form-encoding is refused without it."""
    client = oidc.encoded
    raw = base64.b64encode(f"{client.id}:{client.secret}".encode()).decode()
    headers = {"Authorization": f"Basic {raw}", "Content-Type": "application/x-www-form-urlencoded"}
    answer = http.request("POST", oidc.token_url, body="grant_type=client_credentials", headers=headers)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


def test_wrong_credentials(http: urllib3.PoolManager, oidc: Provider) -> None:
    """A wrong secret, another method than the registered one and an unknown client are invalid_client."""
    for wrong in (
        Client("basic", secret="wrong"),
        Client("post", "client_secret_basic", secret="wrong"),
        Client("basic", "none"),
        Client("nobody", "client_secret_post", secret="any"),
    ):
        answer = post(http, oidc.token_url, wrong, grant_type="client_credentials")
        assert (answer.status, answer.json()["error"]) == (401, "invalid_client")
        assert ("WWW-Authenticate" in answer.headers) is (wrong.auth_method == "client_secret_basic")
        received = oidc.token_requests()[-1]
        assert (received.auth_method, received.status) == (wrong.auth_method, 401)
    assert received.client_id is None


def test_assertion_is_used_once(http: urllib3.PoolManager, oidc: Provider) -> None:
    """A client assertion is refused the second time, and what it said can be read from the record."""
    client = oidc.private_key_jwt["ES256"]
    for audience in (oidc.issuer, oidc.token_url):
        given = assertion(client, audience)
        for status in (200, 401):
            parameters = {"grant_type": "client_credentials", "client_assertion": given}
            assert post(http, oidc.token_url, client, **parameters).status == status
            received = oidc.token_requests()[-1]
            assert received.assertion_header == {"alg": "ES256", "kid": "key-of-es256"}
            assert received.assertion_claims["aud"] == audience
            assert received.assertion_claims["exp"] - received.assertion_claims["iat"] == 60


@pytest.mark.parametrize(
    "claims", [{"aud": "https://elsewhere.test"}, {"exp": 1}, {"jti": None}, {"iss": "basic"}]
)
def test_assertion_is_checked(http: urllib3.PoolManager, oidc: Provider, claims: dict[str, object]) -> None:
    """A client assertion for another server, expired, without jti or of another issuer is refused."""
    client = oidc.private_key_jwt["EdDSA"]
    given = assertion(client, oidc.issuer, **claims)
    answer = post(http, oidc.token_url, client, grant_type="client_credentials", client_assertion=given)
    assert (answer.status, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("client_id", ["public", "basic", "rs256"])
def test_sign_in(http: urllib3.PoolManager, oidc: Provider, client_id: str) -> None:
    """A sign-in at either issuer ends with code, state and iss, and the code gives both tokens, once."""
    client = next(client for client in oidc.clients if client.id == client_id)
    for issuer in (oidc.issuer, oidc.path_issuer):
        redirect = oidc.sign_in(authorization_url(f"{issuer}/auth", client))
        assert redirect.startswith(f"{client.redirect_uri}?")
        query = query_of(redirect)
        assert (query["state"], query["iss"], set(query)) == ("a state", issuer, {"code", "state", "iss"})
        answer = exchange(http, f"{issuer}/token", client, redirect)
        assert answer.status == 200
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        me = http.request("GET", f"{issuer}/api/me", headers=headers).json()
        assert (me["sub"], me["client_id"], me["scope"]) == (oidc.user, client.id, "read")
        again = exchange(http, f"{issuer}/token", client, redirect)
        assert (again.status, again.json()["error"]) == (400, "invalid_grant")


def test_loopback_port_is_free(oidc: Provider) -> None:
    """The public client may come back to any port of 127.0.0.1 (RFC 8252, section 7.3), but no other path."""
    redirect_uri = "http://127.0.0.1:61234/callback"
    url = authorization_url(oidc.authorization_url, oidc.public, redirect_uri=redirect_uri)
    assert oidc.sign_in(url).startswith(f"{redirect_uri}?code=")
    url = authorization_url(oidc.authorization_url, oidc.public, redirect_uri=f"{redirect_uri}/other")
    with pytest.raises(ServerError, match="invalid_redirect_uri"):
        oidc.sign_in(url)


def test_denied_sign_in(oidc: Provider) -> None:
    """A refused consent ends with access_denied, with state and iss."""
    url = authorization_url(f"{oidc.path_issuer}/auth", oidc.basic)
    query = query_of(oidc.sign_in(url, deny=True))
    assert query.pop("error_description")
    assert query == {"error": "access_denied", "state": "a state", "iss": oidc.path_issuer}


def test_pkce_is_required(http: urllib3.PoolManager, oidc: Provider) -> None:
    """No client signs in without a challenge, or gets a token without the verifier."""
    for client in (oidc.public, oidc.basic):
        url = authorization_url(oidc.authorization_url, client, code_challenge="", code_challenge_method="")
        assert query_of(oidc.sign_in(url))["error"] == "invalid_request"
        for verifier in ("", VERIFIER[::-1]):
            redirect = oidc.sign_in(authorization_url(oidc.authorization_url, client))
            answer = exchange(http, oidc.token_url, client, redirect, code_verifier=verifier)
            assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("client_id", ["public", "basic"])
def test_rotation(http: urllib3.PoolManager, oidc: Provider, client_id: str) -> None:
    """A refresh token works once; its second use revokes all that came of the sign-in."""
    client = next(client for client in oidc.clients if client.id == client_id)
    first = signed_in(http, oidc, client)
    second = refresh(http, oidc, client, first["refresh_token"]).json()
    third = refresh(http, oidc, client, second["refresh_token"]).json()
    tokens = [first, second, third]
    assert len({token["refresh_token"] for token in tokens}) == 3
    assert [get_me(http, oidc, token["access_token"]).status for token in tokens] == [200] * 3
    for token in (first, third):
        answer = refresh(http, oidc, client, token["refresh_token"])
        assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")
    assert [get_me(http, oidc, token["access_token"]).status for token in tokens] == [401] * 3


def test_refresh_token_is_kept(http: urllib3.PoolManager, oidc: Provider) -> None:
    """The client that does not rotate gets the same refresh token with each new access token."""
    first = signed_in(http, oidc, oidc.kept)
    for _ in range(2):
        token = refresh(http, oidc, oidc.kept, first["refresh_token"]).json()
        assert token["refresh_token"] == first["refresh_token"]
        assert token["access_token"] != first["access_token"]


def test_race_has_one_winner(http: urllib3.PoolManager, oidc: Provider) -> None:
    """Of many uses of one refresh token at a time one succeeds, and what it got is revoked by the others."""
    token = signed_in(http, oidc, oidc.basic)
    start = Barrier(8)

    def use() -> tuple[int, dict[str, Any]]:
        start.wait(10)
        answer = refresh(http, oidc, oidc.basic, token["refresh_token"])
        return answer.status, answer.json()

    with ThreadPoolExecutor(8) as pool:
        answers = [future.result() for future in [pool.submit(use) for _ in range(8)]]
    assert sorted(status for status, _ in answers) == [200] + [400] * 7
    (won,) = (content for status, content in answers if status == 200)
    assert get_me(http, oidc, won["access_token"]).status == 401
    assert refresh(http, oidc, oidc.basic, won["refresh_token"]).status == 400


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revocation(http: urllib3.PoolManager, oidc: Provider, kind: str) -> None:
    """Revoking either token of a sign-in ends both; the record shows the request."""
    token = signed_in(http, oidc, oidc.basic)
    answer = post(http, oidc.revocation_url, oidc.basic, token=token[kind], token_type_hint=kind)
    assert (answer.status, answer.data) == (200, b"")
    received = oidc.revocation_requests()[-1]
    assert (received.client_id, received.status) == ("basic", 200)
    assert received.parameters == {"token": [token[kind]], "token_type_hint": [kind]}
    assert get_me(http, oidc, token["access_token"]).status == 401
    assert refresh(http, oidc, oidc.basic, token["refresh_token"]).status == 400


def test_forgotten_token(http: urllib3.PoolManager, oidc: Provider) -> None:
    """A forgotten access token is refused, and the refresh token that came with it still works."""
    token = signed_in(http, oidc, oidc.public)
    oidc.forget(token["access_token"])
    assert get_me(http, oidc, token["access_token"]).status == 401
    renewed = refresh(http, oidc, oidc.public, token["refresh_token"]).json()
    assert get_me(http, oidc, renewed["access_token"]).status == 200
    with pytest.raises(ServerError, match="not valid"):
        oidc.forget(token["access_token"])


@pytest.mark.parametrize("parameter", ["resource", "audience"])
def test_resource(http: urllib3.PoolManager, oidc: Provider, parameter: str) -> None:
    """A token for a resource is good there only, whether asked for by `resource` or `audience`."""
    for resource, status in ((oidc.resource, 200), (oidc.elsewhere, 401)):
        chosen = {"scope": "write", parameter: resource}
        credentials = post(http, oidc.token_url, oidc.post, grant_type="client_credentials", **chosen)
        assert credentials.json()["scope"] == "write"
        for token in (credentials.json(), signed_in(http, oidc, oidc.post, **chosen)):
            answer = get_me(http, oidc, token["access_token"])
            assert answer.status == status
            assert status == 401 or answer.json()["aud"] == resource
    unknown = {"grant_type": "client_credentials", parameter: "https://unknown.test/"}
    answer = post(http, oidc.token_url, oidc.post, **unknown)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_target")


def test_several_resources(http: urllib3.PoolManager, oidc: Provider) -> None:
    """A sign-in may name several resources: a token is for one of them, the first or the one asked for."""
    both = [oidc.resource, oidc.elsewhere]
    url = authorization_url(oidc.authorization_url, oidc.basic, resource=both)
    cases: tuple[tuple[list[str], int], ...] = (([], 200), (both, 200), ([oidc.elsewhere], 401))
    for resource, status in cases:
        answer = exchange(http, oidc.token_url, oidc.basic, oidc.sign_in(url), resource=resource)
        assert get_me(http, oidc, answer.json()["access_token"]).status == status
        assert oidc.token_requests()[-1].parameters.get("resource", []) == resource
    answer = post(http, oidc.token_url, oidc.basic, grant_type="client_credentials", resource=both)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_target")


def test_authorization_details(http: urllib3.PoolManager, oidc: Provider) -> None:
    """The granted details come with every token of either grant, enriched, and are bound to the API."""
    details = json.dumps([PAYMENT])
    granted = [PAYMENT | {"status": "accepted"}]
    token = signed_in(http, oidc, oidc.public, authorization_details=details)
    renewed = refresh(http, oidc, oidc.public, token["refresh_token"]).json()
    parameters = {"grant_type": "client_credentials", "authorization_details": details}
    own = post(http, oidc.token_url, oidc.basic, **parameters).json()
    for answer in (token, renewed, own):
        assert answer["authorization_details"] == granted
        me = get_me(http, oidc, answer["access_token"]).json()
        assert (me["authorization_details"], me["aud"]) == (granted, oidc.resource)
    for wrong in ("{", '[{"type": "unknown"}]', '[{"type": "payment_initiation"}]'):
        refused = post(http, oidc.token_url, oidc.basic, **(parameters | {"authorization_details": wrong}))
        assert (refused.status, refused.json()["error"]) == (400, "invalid_authorization_details")


def test_short_token_expires(http: urllib3.PoolManager, oidc: Provider) -> None:
    """A token of the short-lived client is refused after its second."""
    token = post(http, oidc.token_url, oidc.short, grant_type="client_credentials").json()
    assert token["expires_in"] == 1
    time.sleep(1.1)
    assert get_me(http, oidc, token["access_token"]).status == 401


def test_api(http: urllib3.PoolManager, oidc: Provider) -> None:
    """The API challenges without a token, says when one is bad, and echoes what comes with a good one."""
    asked = http.request("GET", oidc.api_url)
    assert (asked.status, asked.headers["WWW-Authenticate"]) == (401, 'Bearer realm="api"')
    refused = get_me(http, oidc, "unknown")
    assert refused.status == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    token = post(http, oidc.token_url, oidc.basic, grant_type="client_credentials").json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    answer = http.request("PUT", oidc.api_url, body="größer".encode(), headers=headers)
    assert answer.status == 200
    assert (answer.json()["method"], answer.json()["content"]) == ("PUT", "größer")


def test_lifetime_is_an_argument(http: urllib3.PoolManager, tmp_path: Path) -> None:
    """A server can be started with another lifetime of access tokens."""
    with oidc_server.serve(tmp_path, seconds=7) as provider:
        token = post(http, provider.token_url, provider.basic, grant_type="client_credentials").json()
    assert token["expires_in"] == 7


@pytest.mark.parametrize("missing", ["node", "oidc-provider"])
def test_missing_part_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without Node or the package a test is skipped, with the command that helps."""
    monkeypatch.delenv("CRUDS_TEST_REQUIRE", raising=False)
    if missing == "node":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(oidc_server, "FOLDER", tmp_path)
    reason = rf"^{missing} is missing: .*npm install --no-package-lock --prefix tests/servers/oidc_provider$"
    with pytest.raises(pytest.skip.Exception, match=reason), oidc_server.serve(tmp_path):
        pass
