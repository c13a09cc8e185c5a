"""OAuth2 against oidc-provider: two issuers, keys in place of secrets, details, resources and short lives."""

import functools
import io
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
from servers import oidc as oidc_server
from servers.oidc import Provider

import cruds
from cruds_auth_oauth2 import (
    OAuth2,
    OAuthAccessTokenError,
    OAuthAuthorizationError,
    OAuthDiscoveryError,
    OAuthRevocationError,
    Token,
)
from cruds_core import AuthABC, Client, ClientError

KEY = "a key for sealed requests"
PAYMENT = {"type": "payment_initiation", "instructedAmount": {"currency": "EUR", "amount": "123.50"}}
GRANTED = [PAYMENT | {"status": "accepted"}]
THREADS = 32

ALGORITHMS = ("RS256", "ES256", "EdDSA")
FLOWS = pytest.mark.parametrize("flow", ["trio", "sealed"])

Sent = Callable[[], list[tuple[str, int]]]


@pytest.fixture
def sent(oidc: Provider) -> Sent:
    """Returns the grant and the status of each token request since it was last called."""
    seen = len(oidc.token_requests())

    def new() -> list[tuple[str, int]]:
        nonlocal seen
        requests = oidc.token_requests()[seen:]
        seen += len(requests)
        return [(request.parameters["grant_type"][0], request.status) for request in requests]

    return new


def known(oidc: Provider, name: str) -> oidc_server.Client:
    """Returns a registered client, by its name or its algorithm."""
    found: oidc_server.Client = oidc.private_key_jwt.get(name) or getattr(oidc, name)
    return found


def scheme_of(oidc: Provider, name: str, issuer: str | None = None, **options: Any) -> OAuth2:
    """Returns the scheme of a client, made from its issuer."""
    client = known(oidc, name)
    if client.private_key:
        options |= {"private_key": client.private_key, "private_key_id": client.kid}
    else:
        options["token_endpoint_auth_method"] = client.auth_method
    options.setdefault("scope", "read")
    return OAuth2.from_issuer(issuer or oidc.issuer, client.id, client.secret, **options)


def for_sign_in(oidc: Provider, name: str = "basic", issuer: str | None = None, **options: Any) -> OAuth2:
    """Returns the scheme of a client whose users sign in."""
    uri = known(oidc, name).redirect_uri
    return scheme_of(oidc, name, issuer, redirect_uri=uri, encryption_key=KEY, **options)


def signed_in(oidc: Provider, scheme: OAuth2, flow: str = "trio") -> OAuth2:
    """Returns a scheme with the tokens of the user, who signs in."""
    if flow == "sealed":
        request = scheme.authorization_request()
        return scheme.sign_in(request.sealed, oidc.sign_in(request.url))
    redirect = oidc.sign_in(scheme.get_authorization_url())
    scheme.exchange_code_for_token(*scheme.parse_authorization_response(redirect))
    return scheme


def take_up(scheme: OAuth2, flow: str, sealed: str, redirect: str) -> None:
    """Gives a scheme the answer to a sign-in."""
    if flow == "sealed":
        scheme.sign_in(sealed, redirect)
    else:
        scheme.parse_authorization_response(redirect)


def me(issuer: str, auth: AuthABC | str | Mapping[str, Any]) -> Any:
    """Returns what the API of an issuer says to who has a scheme or a token."""
    with Client(issuer, auth, retries=0) as client:
        return client.read("api/me")


def is_dead(issuer: str, access_token: str) -> bool:
    """Returns whether the API of an issuer refuses a token."""
    with Client(issuer, access_token, retries=0, raise_status=False) as client:
        return client.request("GET", "api/me").status == 401


def replay(oidc: Provider, name: str, refresh_token: str) -> str:
    """Sends a refresh token as somebody else would, and returns the error code."""
    client = known(oidc, name)
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    if client.secret:
        headers = urllib3.make_headers(basic_auth=f"{client.id}:{client.secret}")
    else:
        headers = {}
        form["client_id"] = client.id
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    with urllib3.PoolManager(retries=False, timeout=20) as http:
        answer = http.request("POST", oidc.token_url, body=urlencode(form), headers=headers)
        return str(answer.json()["error"])


def token_of(scheme: OAuth2) -> Token:
    """Returns the token that a scheme holds."""
    assert scheme.token is not None
    return scheme.token


def refresh_token_of(scheme: OAuth2) -> str:
    """Returns the refresh token that a scheme holds."""
    refresh = token_of(scheme).refresh_token
    assert refresh is not None
    return refresh


@pytest.mark.parametrize(
    ("name", "tenant"),
    [
        ("basic", False),
        ("encoded", True),
        ("post", False),
        ("RS256", True),
        ("ES256", False),
        ("EdDSA", True),
    ],
)
def test_client_credentials(oidc: Provider, name: str, tenant: bool) -> None:
    """A client proves itself to either issuer by its registered method, and its token is good there alone."""
    issuer, other = (oidc.path_issuer, oidc.issuer) if tenant else (oidc.issuer, oidc.path_issuer)
    scheme = scheme_of(oidc, name, issuer)
    answer = me(issuer, scheme)
    client = known(oidc, name)
    assert (answer["sub"], answer["client_id"], answer["scope"]) == (None, client.id, "read")
    received = oidc.token_requests()[-1]
    assert (received.issuer, received.auth_method) == (issuer, client.auth_method)
    assert is_dead(other, scheme.access_token())


@pytest.mark.parametrize("form", ["issuer", "url"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_assertions(oidc: Provider, name: str, form: str) -> None:
    """Each assertion is new, lives a minute, and is for the issuer, or else for the token endpoint."""
    client = known(oidc, name)
    scheme = (
        scheme_of(oidc, name)
        if form == "issuer"
        else OAuth2(oidc.token_url, client.id, None, "read", private_key=client.private_key)
    )
    scheme.access_token()
    scheme.clear()
    scheme.access_token()
    received = oidc.token_requests()[-2:]
    kid = {"kid": client.kid} if form == "issuer" else {}
    for request in received:
        header, claims = request.assertion_header, request.assertion_claims
        assert {part: header[part] for part in header if part != "typ"} == {"alg": name, **kid}
        assert (claims["iss"], claims["sub"]) == (client.id, client.id)
        assert claims["aud"] == (oidc.issuer if form == "issuer" else oidc.token_url)
        assert claims["exp"] - claims["iat"] == 60
    assert len({request.assertion_claims["jti"] for request in received}) == 2


def test_configuration(oidc: Provider) -> None:
    """A Client configured by names gets its token with further parameters, and the resource sees them."""
    options = {
        "scheme": "oauth2",
        "url": oidc.token_url,
        "client_id": oidc.post.id,
        "client_secret": oidc.post.secret,
        "scope": ["read", "write"],
        "authorization_details": json.dumps([PAYMENT]),
        "token_endpoint_auth_method": "client_secret_post",
        "token_params": {"audience": oidc.resource},
    }
    with cruds.Client(oidc.issuer, auth=options) as client:
        assert type(client.auth) is cruds.auth.OAuth2
        answer = client.read("api/me")
    assert (answer["client_id"], answer["scope"], answer["aud"]) == ("post", "read write", oidc.resource)
    assert answer["authorization_details"] == GRANTED


@pytest.mark.parametrize("parameter", ["resource", "audience"])
def test_resource(oidc: Provider, sent: Sent, parameter: str) -> None:
    """A token is asked for the resource that is named; another one refuses it, after one renewal."""
    scheme = scheme_of(oidc, "basic", token_params={parameter: oidc.resource})
    assert me(oidc.issuer, scheme)["aud"] == oidc.resource
    assert sent() == [("client_credentials", 200)]
    scheme = scheme_of(oidc, "basic", token_params={parameter: oidc.elsewhere})
    with pytest.raises(ClientError, match="401"):
        me(oidc.issuer, scheme)
    assert sent() == [("client_credentials", 200)] * 2


def test_several_resources(oidc: Provider) -> None:
    """Resources that are listed are named one by one, in the sign-in and in every token request."""
    both = {"resource": [oidc.resource, oidc.elsewhere]}
    scheme = for_sign_in(oidc, authorization_params=both, token_params=both)
    assert me(oidc.issuer, signed_in(oidc, scheme))["aud"] == oidc.resource
    scheme.renew(scheme.access_token())
    for received in oidc.token_requests()[-2:]:
        assert received.parameters["resource"] == both["resource"]
    assert me(oidc.issuer, scheme)["aud"] == oidc.resource


@FLOWS
@pytest.mark.parametrize(
    ("name", "tenant"),
    [
        ("basic", False),
        ("basic", True),
        ("encoded", False),
        ("post", True),
        ("public", False),
        ("public", True),
        ("RS256", False),
        ("ES256", True),
        ("EdDSA", False),
    ],
)
def test_code(oidc: Provider, sent: Sent, name: str, tenant: bool, flow: str) -> None:
    """The user of any client signs in at either issuer by code, and the tokens are this user's."""
    issuer = oidc.path_issuer if tenant else oidc.issuer
    scheme = for_sign_in(oidc, name, issuer)
    user = signed_in(oidc, scheme, flow)
    answer = me(issuer, user)
    assert (answer["sub"], answer["client_id"], answer["scope"]) == (oidc.user, known(oidc, name).id, "read")
    assert sent() == [("authorization_code", 200)]
    assert oidc.token_requests()[-1].auth_method == known(oidc, name).auth_method
    assert (scheme is user, scheme.is_valid()) == (flow == "trio", flow == "trio")


def test_two_sign_ins_at_once(oidc: Provider, sent: Sent) -> None:
    """Two sign-ins pending on one object are both completed, in any order."""
    scheme = for_sign_in(oidc, "public")
    redirects = [
        oidc.sign_in(url) for url in (scheme.get_authorization_url(), scheme.get_authorization_url())
    ]
    answers = [scheme.parse_authorization_response(redirect) for redirect in redirects]
    for code, state in reversed(answers):
        assert scheme.exchange_code_for_token(code, state) == scheme.access_token()
        assert me(oidc.issuer, scheme)["sub"] == oidc.user
    assert sent() == [("authorization_code", 200)] * 2


def test_parameter_of_one_request(oidc: Provider) -> None:
    """A further parameter of one sign-in reaches the server, whose refusal says so."""
    scheme = for_sign_in(oidc)
    redirect = oidc.sign_in(scheme.get_authorization_url({"prompt": "none"}))
    with pytest.raises(OAuthAuthorizationError, match="login_required") as caught:
        scheme.parse_authorization_response(redirect)
    assert caught.value.error == "login_required"


@FLOWS
def test_denied(oidc: Provider, sent: Sent, flow: str) -> None:
    """A user who denies ends the sign-in: an error with code and description, and no token request."""
    scheme = for_sign_in(oidc)
    request = scheme.authorization_request()
    redirect = oidc.sign_in(request.url if flow == "sealed" else scheme.get_authorization_url(), deny=True)

    with pytest.raises(OAuthAuthorizationError, match="refused: access_denied: End-User aborted") as caught:
        take_up(scheme, flow, request.sealed, redirect)
    assert (caught.value.error, caught.value.error_description) == (
        "access_denied",
        "End-User aborted interaction",
    )
    with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
        me(oidc.issuer, scheme)
    assert sent() == []


@FLOWS
def test_mixed_up_issuers(oidc: Provider, sent: Sent, flow: str) -> None:
    """The code of one issuer is never sent to the other, though state and client are right (RFC 9207)."""
    scheme = for_sign_in(oidc)
    request = scheme.authorization_request()
    url = request.url if flow == "sealed" else scheme.get_authorization_url()
    redirect = oidc.sign_in(url.replace(f"{oidc.issuer}/", f"{oidc.path_issuer}/", 1))

    with pytest.raises(OAuthAuthorizationError, match=f'names the issuer "{oidc.path_issuer}"'):
        take_up(scheme, flow, request.sealed, redirect)
    assert sent() == []


class Unaware(urllib3.PoolManager):
    """Reaches a server as if it did not know RFC 8414."""

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        """Sends a request, but for other metadata than OpenID Connect's, which are not there."""
        missing = url.replace("oauth-authorization-server", "none")
        return super().urlopen(method, missing, *args, **options)


@pytest.mark.parametrize("tenant", [False, True])
def test_openid_discovery(oidc: Provider, tenant: bool) -> None:
    """Where the metadata of RFC 8414 are missing, those of OpenID Connect do for a whole sign-in."""
    issuer = oidc.path_issuer if tenant else oidc.issuer
    with Unaware(retries=False) as manager:
        scheme = signed_in(oidc, for_sign_in(oidc, issuer=issuer, manager=manager))
        assert me(issuer, scheme)["sub"] == oidc.user
        access = scheme.access_token()
        scheme.revoke()
    assert is_dead(issuer, access)


@pytest.mark.parametrize("path", ["/", "/tenant/"])
def test_issuer_to_the_letter(oidc: Provider, path: str) -> None:
    """Metadata of an issuer with another name are not used, though the two differ by a slash alone."""
    with pytest.raises(OAuthDiscoveryError, match="no metadata that can be used"):
        OAuth2.from_issuer(oidc.issuer + path, oidc.basic.id, oidc.basic.secret, "read")


@pytest.mark.parametrize("flow", ["credentials", "trio", "sealed"])
def test_authorization_details(oidc: Provider, flow: str) -> None:
    """Details are asked for and granted as JSON, and stay with the token when it is renewed (RFC 9396)."""
    if flow == "credentials":
        scheme = scheme_of(oidc, "basic", authorization_details=[PAYMENT])
    else:
        scheme = signed_in(oidc, for_sign_in(oidc, authorization_details=PAYMENT), flow)
    for _ in range(2):
        assert me(oidc.issuer, scheme)["authorization_details"] == GRANTED
        assert token_of(scheme).authorization_details == GRANTED
        scheme.renew(scheme.access_token())


@pytest.mark.parametrize("details", [{"type": "unknown"}, {"type": "payment_initiation"}])
def test_refused_details(oidc: Provider, details: dict[str, str]) -> None:
    """Details that the server refuses are an error with its code, in both of the places where it answers."""
    with pytest.raises(OAuthAccessTokenError) as caught:
        scheme_of(oidc, "basic", authorization_details=[details]).access_token()
    assert (caught.value.error, caught.value.status) == ("invalid_authorization_details", 400)
    scheme = for_sign_in(oidc, authorization_details=[details])
    redirect = oidc.sign_in(scheme.get_authorization_url())
    with pytest.raises(OAuthAuthorizationError) as caught:
        scheme.parse_authorization_response(redirect)
    assert caught.value.error == "invalid_authorization_details"


@pytest.mark.parametrize("name", ["basic", "public", "kept", "EdDSA"])
def test_refresh(oidc: Provider, sent: Sent, name: str) -> None:
    """A refresh token that is replaced is used once, and one that is kept again; the client proves itself."""
    scheme = signed_in(oidc, for_sign_in(oidc, name))
    access, refresh = [scheme.access_token()], [refresh_token_of(scheme)]
    sent()
    for _ in range(3):
        access.append(scheme.renew(access[-1]))
        refresh.append(refresh_token_of(scheme))
        received = oidc.token_requests()[-1]
        assert received.parameters["refresh_token"] == [refresh[-2]]
        assert received.auth_method == known(oidc, name).auth_method
    assert sent() == [("refresh_token", 200)] * 3
    assert (len(set(access)), len(set(refresh))) == (4, 1 if name == "kept" else 4)
    assert me(oidc.issuer, scheme)["scope"] == token_of(scheme).scope == "read"


def test_threads_refresh_once(oidc: Provider, sent: Sent) -> None:
    """Of many threads whose token has expired none fails, and none repeats a refresh: that would end all."""
    scheme = signed_in(oidc, for_sign_in(oidc, "short"))
    start = Barrier(THREADS)
    with Client(oidc.issuer, scheme, retries=0) as client, ThreadPoolExecutor(THREADS) as pool:

        def ask(_: int) -> str:
            start.wait(20)
            return str(client.read("api/me")["sub"])

        time.sleep(1.05)
        assert not scheme.is_valid()
        sent()
        assert list(pool.map(ask, range(THREADS))) == [oidc.user] * THREADS
        requests = sent()
        assert set(requests) == {("refresh_token", 200)}
        assert len(requests) <= 2  # of a second in the server's clock, less than one may be left
    scheme.renew(scheme.access_token())
    assert me(oidc.issuer, scheme)["sub"] == oidc.user


@pytest.mark.parametrize("grant", ["client_credentials", "refresh_token"])
def test_short_life(oidc: Provider, sent: Sent, grant: str) -> None:
    """A token that lives for a second, or less by the server's clock, is renewed while a program goes on."""
    scheme = (
        scheme_of(oidc, "short")
        if grant == "client_credentials"
        else signed_in(oidc, for_sign_in(oidc, "short"))
    )
    scheme.access_token()
    sent()
    end = time.monotonic() + 1.2
    with Client(oidc.issuer, scheme, retries=0) as client:
        while time.monotonic() < end:
            assert client.read("api/me")["client_id"] == "short"
            assert scheme.is_valid()
            time.sleep(0.02)
    requests = sent()
    assert set(requests) == {(grant, 200)}
    assert 1 <= len(requests) <= 4


def test_reuse_by_a_thief(oidc: Provider, sent: Sent) -> None:
    """When somebody else uses a refresh token again the user must sign in anew: no other grant is tried."""
    scheme = signed_in(oidc, for_sign_in(oidc))
    stolen = refresh_token_of(scheme)
    scheme.renew(scheme.access_token())
    assert replay(oidc, "basic", stolen) == "invalid_grant"
    sent()
    with pytest.raises(OAuthAccessTokenError, match="invalid_grant") as caught:
        me(oidc.issuer, scheme)
    assert caught.value.error == "invalid_grant"
    assert sent() == [("refresh_token", 400)]
    signed_in(oidc, scheme)
    assert me(oidc.issuer, scheme)["sub"] == oidc.user


def test_replayed_sign_in(oidc: Provider, sent: Sent) -> None:
    """A sign-in that another process completes again is refused, and ends what the first one got."""
    one, two = for_sign_in(oidc), for_sign_in(oidc)
    request = one.authorization_request()
    redirect = oidc.sign_in(request.url)
    user = one.sign_in(request.sealed, redirect)
    assert me(oidc.issuer, user)["sub"] == oidc.user
    sent()
    with pytest.raises(OAuthAccessTokenError, match="invalid_grant") as caught:
        two.sign_in(request.sealed, redirect)
    assert (caught.value.error, caught.value.status) == ("invalid_grant", 400)
    with pytest.raises(OAuthAccessTokenError, match="invalid_grant"):
        me(oidc.issuer, user)
    assert sent() == [("authorization_code", 400), ("refresh_token", 400)]


def test_stolen_code(oidc: Provider) -> None:
    """A code put into the answer to another sign-in is refused: the verifier is not its own (RFC 7636)."""
    victim, thief = for_sign_in(oidc, "public"), for_sign_in(oidc, "public")
    code, _ = victim.parse_authorization_response(oidc.sign_in(victim.get_authorization_url()))
    _, state = thief.parse_authorization_response(oidc.sign_in(thief.get_authorization_url()))
    with pytest.raises(OAuthAccessTokenError, match="invalid_grant") as caught:
        thief.exchange_code_for_token(code, state)
    assert caught.value.error == "invalid_grant"
    assert code not in str(caught.value)
    assert thief.token is None


@pytest.mark.parametrize("name", ["basic", "encoded", "public", "EdDSA"])
def test_revocation(oidc: Provider, name: str) -> None:
    """A revocation ends the access token and the refresh token, by a client that proves itself."""
    scheme = signed_in(oidc, for_sign_in(oidc, name))
    access, refresh = scheme.access_token(), refresh_token_of(scheme)
    assert not is_dead(oidc.issuer, access)
    scheme.revoke()
    assert (scheme.token, scheme.is_valid()) == (None, False)
    assert is_dead(oidc.issuer, access)
    received = oidc.revocation_requests()[-2:]
    assert [request.parameters["token"] for request in received] == [[refresh], [access]]
    assert {request.auth_method for request in received} == {known(oidc, name).auth_method}
    if name in ("basic", "public"):
        assert replay(oidc, name, refresh) == "invalid_grant"
    with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
        scheme.access_token()


def test_refused_revocation(oidc: Provider) -> None:
    """A revocation that the server refuses is an error, and the token is still there."""
    scheme = OAuth2(
        oidc.token_url, oidc.basic.id, oidc.basic.secret, "read", revocation_url=oidc.issuer + "/none"
    )
    access = scheme.access_token()
    with pytest.raises(OAuthRevocationError, match="404") as caught:
        scheme.revoke()
    assert caught.value.status == 404
    assert access not in str(caught.value)
    assert scheme.access_token() == access


@pytest.mark.parametrize("kind", ["data", "form", "file"])
@pytest.mark.parametrize("grant", ["client_credentials", "refresh_token"])
def test_recovery_sends_the_content_again(oidc: Provider, sent: Sent, grant: str, kind: str) -> None:
    """A token that the server has forgotten is renewed at its 401, and the content goes out again, whole."""
    scheme = scheme_of(oidc, "basic") if grant == "client_credentials" else signed_in(oidc, for_sign_in(oidc))
    oidc.forget(scheme.access_token())
    sent()
    text = "größer " * 5000
    with Client(oidc.issuer, scheme, timeout=10, retries=0, serialize=kind != "file") as client:
        match kind:
            case "data":
                response = client.request("POST", "api/me", {"text": text})
                assert json.loads(response.data["content"]) == {"text": text}
            case "form":
                files = {"file": ("x.txt", io.BytesIO(text.encode()))}
                response = client.request("POST", "api/me", files=files)
                assert text in response.data["content"]
            case _:
                response = client.request("PATCH", "api/me", io.BytesIO(text.encode()))
                assert json.loads(response.content)["content"] == text
    assert response.attempts == 2
    assert sent() == [(grant, 200)]


def test_narrower_scope(oidc: Provider, caplog: pytest.LogCaptureFixture) -> None:
    """A scope that is granted in part is recorded and logged, and raises nothing."""
    scheme = scheme_of(oidc, "basic", scope="read write all")
    assert me(oidc.issuer, scheme)["scope"] == "read write"
    assert token_of(scheme).scope == "read write"
    assert 'grants the scope "read write", not "read write all"' in caplog.text


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        ("basic", "invalid_client", 401),
        ("post", "invalid_client", 401),
        ("method", "invalid_client", 401),
        ("key", "invalid_client", 401),
        ("audience", "invalid_client", 401),
        ("resource", "invalid_target", 400),
        ("grant", "invalid_request", 400),
        ("password", "unsupported_grant_type", 400),
        ("code", "invalid_grant", 400),
    ],
)
def test_refusals(oidc: Provider, sent: Sent, fault: str, error: str, status: int) -> None:
    """What the server refuses is an error with its code and status, and is asked for once."""
    url, wrong, basic = oidc.token_url, "wrong-secret", oidc.basic
    elliptic = oidc.private_key_jwt["ES256"]
    match fault:
        case "basic":
            get = OAuth2(url, basic.id, wrong, "read").access_token
        case "post":
            get = OAuth2(
                url, "post", wrong, "read", token_endpoint_auth_method="client_secret_post"
            ).access_token
        case "method":
            get = OAuth2(url, basic.id, None, "read", token_endpoint_auth_method="none").access_token
        case "key":
            key = oidc.private_key_jwt["EdDSA"].private_key
            get = OAuth2(url, elliptic.id, None, "read", private_key=key).access_token
        case "audience":
            get = scheme_of(oidc, "ES256", assertion_audience=oidc.elsewhere).access_token
        case "resource":
            get = scheme_of(oidc, "basic", token_params={"resource": "https://unknown.test/"}).access_token
        case "grant":
            id_ = oidc.public.id
            get = OAuth2(url, id_, None, "read", token_endpoint_auth_method="none").access_token
        case "password":
            get = OAuth2(url, basic.id, basic.secret, "read", None, oidc.user, wrong).access_token
        case _:
            scheme = for_sign_in(oidc)
            redirect = oidc.sign_in(scheme.get_authorization_url())
            state = scheme.parse_authorization_response(redirect)[1]
            get = functools.partial(scheme.exchange_code_for_token, wrong, state)
    sent()
    with pytest.raises(OAuthAccessTokenError, match=error) as caught:
        get()
    assert (caught.value.error, caught.value.status) == (error, status)
    assert wrong not in str(caught.value)
    assert [status for _, status in sent()] == [status]
