"""The traps of authlib's client, each as a test of ours, and what a security checklist asks beyond them."""

import base64
import dataclasses
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest
from authlib.oauth2 import client as authlib_client
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from servers.fault import Fault, Received, reply

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuth2Error, OAuthAccessTokenError, OAuthAuthorizationError
from cruds_core import Client, ClientError

REDIRECT_URI = "http://127.0.0.1/back"
ISSUER = "https://issuer.test"


def answer(status: int = 200, **members: Any) -> bytes:
    """Returns an answer with a token, with other members."""
    return reply(status, json.dumps({"access_token": "token-1", "token_type": "Bearer"} | members).encode())


def forms(server: Fault) -> list[dict[str, str]]:
    """Returns the forms that a server was sent."""
    return [dict(parse_qsl(request.content.decode())) for request in server.received]


def of_client(server: Fault) -> OAuth2:
    """Returns a scheme for the client credentials of a client."""
    return OAuth2(server.url, "app", "a secret", "read")


def of_browser(url: str, **options: Any) -> OAuth2:
    """Returns a scheme for sign-ins."""
    return OAuth2(
        url,
        "app",
        "a secret",
        "read",
        authorization_url="http://127.0.0.1:9/authorize",
        redirect_uri=REDIRECT_URI,
        issuer=ISSUER,
        **options,
    )


def parameters(url: str) -> dict[str, str]:
    """Returns the parameters in a URL."""
    return dict(parse_qsl(urlsplit(url).query))


def exchange(scheme: OAuth2, redirect_url: str) -> str:
    """Completes a sign-in, and returns the access token."""
    return scheme.exchange_code_for_token(*scheme.parse_authorization_response(redirect_url))


# The traps


def test_trap_01_a_description_of_any_characters_hides_no_error() -> None:
    """Authlib raises a ValueError for a line break, quote or non-ASCII in it; we raise the error, whole."""
    description = 'AADSTS7000215: "the secret" is wrong.\r\nTrace: é\\n'
    refusal = {"error": "invalid_client", "error_description": description}
    with (
        Fault(reply(401, json.dumps(refusal).encode())) as server,
        pytest.raises(OAuthAccessTokenError, match="invalid_client: AADSTS7000215") as caught,
    ):
        of_client(server).access_token()
    assert (caught.value.error, caught.value.error_description) == ("invalid_client", description)
    assert "\n" not in str(caught.value)


REFUSALS = [
    (200, b'{"message": "nope"}'),
    (401, b'{"message": "nope"}'),
    (401, b'{"access_token": "token-1"}'),
]


@pytest.mark.parametrize(("status", "content"), REFUSALS)
def test_trap_02_a_refusal_is_no_token(status: int, content: bytes) -> None:
    """Authlib takes {"message": "nope"} with a 401 for a token; we look at the status, and for a token."""
    with Fault(reply(status, content)) as server:
        scheme = of_client(server)
        with pytest.raises(OAuthAccessTokenError) as caught:
            scheme.access_token()
    assert caught.value.status == status
    assert scheme.token is None
    assert not scheme.is_valid()


def test_trap_03_a_refused_sign_in_leads_to_no_other_grant() -> None:
    """Authlib answers ?error=access_denied with a client credentials grant; we raise, and send nothing."""
    with Fault(answer()) as server:
        scheme = of_browser(server.url)
        state = parameters(scheme.get_authorization_url())["state"]
        with pytest.raises(OAuthAuthorizationError) as caught:
            exchange(scheme, f"{REDIRECT_URI}?error=access_denied&state={state}")
        assert repr(caught.value.error) == "'access_denied'"
        with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
            scheme.access_token()
        assert server.received == []


@pytest.mark.parametrize("query", ["", "code=x&"])
@pytest.mark.parametrize("place", ["?{}#access_token=EVIL&token_type=bearer", "?{}access_token=EVIL"])
def test_trap_04_a_token_in_the_redirect_url_is_never_taken(place: str, query: str) -> None:
    """Authlib takes the token of a fragment, beside a code as well; we refuse such a URL."""
    with Fault(answer()) as server:
        scheme = of_browser(server.url)
        state = parameters(scheme.get_authorization_url())["state"]
        with pytest.raises(OAuthAuthorizationError, match="never accepted"):
            exchange(scheme, REDIRECT_URI + place.format(f"{query}state={state}&"))
        assert scheme.token is None
        assert server.received == []


REDIRECTS = {
    "no code": "state={state}",
    "no state": "code=x",
    "empty state": "code=x&state=",
    "other state": "code=x&state=y",
    "two codes": "code=x&code=y&state={state}",
    "two states": "code=x&state=y&state={state}",
    "other issuer": "code=x&state={state}&iss=https://elsewhere.test",
    "issuer, almost": "code=x&state={state}&iss=https://issuer.test/",
}


@pytest.mark.parametrize("query", REDIRECTS.values(), ids=REDIRECTS)
@pytest.mark.parametrize("sealed", [True, False], ids=["sign_in", "exchange"])
def test_trap_05_a_redirect_url_is_read_strictly(query: str, *, sealed: bool) -> None:
    """Authlib checks no state that it is not given, takes the last of two codes, and ignores the issuer."""
    with Fault(answer()) as server:
        scheme = of_browser(server.url, encryption_key="a key")
        request = scheme.authorization_request()
        state = parameters(request.url if sealed else scheme.get_authorization_url())["state"]
        url = f"{REDIRECT_URI}?{query.format(state=state)}"

        def complete() -> object:
            return scheme.sign_in(request.sealed, url) if sealed else exchange(scheme, url)

        with pytest.raises(OAuth2Error):
            complete()
        assert server.received == []


@pytest.mark.parametrize("sealed", [True, False], ids=["sign_in", "exchange"])
def test_trap_06_pkce_is_never_dropped(authority: AuthorizationServer, *, sealed: bool) -> None:
    """Authlib drops the challenge unless two settings are right; we send it always, and its verifier."""
    scheme = OAuth2(
        authority.token_url,
        authority.client_id,
        authority.client_secret,
        None,
        encryption_key="a key",
        authorization_url=authority.authorization_url,
        redirect_uri=REDIRECT_URI,
    )
    if sealed:
        request = scheme.authorization_request()
        url, user = request.url, scheme.sign_in(request.sealed, authority.sign_in(request.url))
        token = user.access_token()
    else:
        url = scheme.get_authorization_url()
        token = exchange(scheme, authority.sign_in(url))
    assert authority.is_active(token)
    assert parameters(url)["code_challenge_method"] == "S256"
    # The authority has compared it with the challenge.
    assert 43 <= len(authority.token_requests[0]["code_verifier"]) <= 128
    assert authority.token_requests[0]["code_verifier"] not in url


def test_trap_07_ten_threads_ask_once() -> None:
    """Authlib sends ten requests for ten threads; we send one, and one for ten refusals of one token."""
    barrier = threading.Barrier(10)
    with Fault([0.1, answer()], [0.1, answer(access_token="token-2")], answer(access_token="EVIL")) as server:
        scheme = of_client(server)

        def ask(failed: str | None) -> str:
            barrier.wait(10)
            return scheme.access_token() if failed is None else scheme.renew(failed)

        with ThreadPoolExecutor(10) as threads:
            assert set(threads.map(ask, [None] * 10)) == {"token-1"}
            assert set(threads.map(ask, ["token-1"] * 10)) == {"token-2"}
        # A 401 that comes late is for a token that is no longer the current one.
        assert scheme.renew("token-1") == "token-2"
        assert len(server.received) == 2


@pytest.mark.parametrize(
    ("expires_in", "lives"),
    [(3600, True), ("3601", True), ("3600.0", True), (3599.5, True), (None, True), (0, False), (-5, False)],
)
def test_trap_08_lifetimes_are_read_as_they_are_meant(expires_in: object, *, lives: bool) -> None:
    """Authlib has 0 for "never expires", and a ValueError for "3600.0"; to us a token of 0 s is expired."""
    before = datetime.now(UTC)
    with Fault(answer(expires_in=expires_in)) as server:
        scheme = of_client(server)
        assert [scheme.access_token() for _ in range(2)] == ["token-1", "token-1"]
        assert scheme.is_valid() is lives
        assert len(server.received) == (1 if lives else 2)
    assert scheme.token is not None
    if expires_in is None:
        assert scheme.token.expires_at is None
    else:
        assert scheme.token.expires_at is not None
        assert scheme.token.expires_at >= before + timedelta(seconds=max(0, float(str(expires_in))))


def test_trap_08_a_short_token_is_used_more_than_once() -> None:
    """Authlib's leeway of 60 s renews a token of 30 s at each call; ours is at most a tenth of its life."""
    with Fault(answer(expires_in=30)) as server:
        scheme = OAuth2(server.url, "app", "a secret", "read", leeway=60)
        assert {scheme.access_token() for _ in range(5)} == {"token-1"}
        assert len(server.received) == 1


def test_trap_08_a_lifetime_that_is_no_number_is_an_error() -> None:
    """Authlib raises a bare ValueError for "abc"; we raise the one error that says what is wrong."""
    with (
        Fault(answer(expires_in="abc")) as server,
        pytest.raises(OAuthAccessTokenError, match="expires_in"),
    ):
        of_client(server).access_token()


@pytest.mark.parametrize(("expires_in", "expires_at", "lives"), [(3600, 1, True), (0, 99999999999, False)])
def test_trap_09_the_end_is_counted_from_the_lifetime(
    expires_in: int, expires_at: int, *, lives: bool
) -> None:
    """Authlib trusts an expires_at of the server's own clock; we count expires_in from our request on."""
    with Fault(answer(expires_in=expires_in, expires_at=expires_at)) as server:
        scheme = of_client(server)
        scheme.access_token()
        assert scheme.is_valid() is lives


def test_trap_10_a_renewal_is_the_grant_again_whole() -> None:
    """Authlib forgets an explicit grant type, and extra parameters; we send the same request again."""
    with Fault(answer(expires_in=0)) as server:
        scheme = OAuth2(
            server.url, "app", "a secret", "read", token_params={"audience": "x", "resource": ["a", "b"]}
        )
        scheme.access_token()
        scheme.access_token()
        first, second = (sorted(parse_qsl(request.content.decode())) for request in server.received)
    assert first == second
    wanted = {("grant_type", "client_credentials"), ("audience", "x"), ("resource", "a"), ("resource", "b")}
    assert wanted < set(first)


def test_trap_11_no_token_is_no_crash() -> None:
    """Authlib raises AttributeError where there is no token yet; each of our methods knows what to do."""
    with Fault(answer()) as server:
        scheme = OAuth2(server.url, "app", "a secret", "read", revocation_url=server.url)
        assert (scheme.token, scheme.is_valid()) == (None, False)
        scheme.clear()
        scheme.revoke()
        assert server.received == []
        assert scheme.renew("a token of before") == "token-1"
        scheme.clear()
        assert scheme.access_token() == "token-1"
        assert len(server.received) == 2


def test_trap_12_no_secret_reaches_another_client() -> None:
    """Authlib writes client A's Authorization into headers that all clients share; ours are each its own."""
    with Fault(answer()) as server:
        of_client(server).access_token()
        OAuth2(server.url, "other", None, None, None, "ada", "a password").access_token()
        first, second = server.received
    assert first.headers["Authorization"].startswith("Basic ")
    assert second.headers["Authorization"] is None
    assert "Authorization" not in authlib_client.DEFAULT_HEADERS


KEYS: dict[str, tuple[Any, Any]] = {
    "RS256": (rsa.generate_private_key(65537, 2048), RSAKey),
    "ES256": (ec.generate_private_key(ec.SECP256R1()), ECKey),
}


@pytest.mark.parametrize("algorithm", KEYS)
def test_trap_13_each_assertion_is_good_for_once(algorithm: str) -> None:
    """Authlib repeats a jti, lives for 1 h, leaves client_id out and takes any PEM for RSA; we do not."""
    key, kind = KEYS[algorithm]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with Fault(answer(expires_in=0)) as server:
        scheme = OAuth2(server.url, "app", None, None, private_key=pem, issuer=ISSUER)
        for _ in range(3):
            scheme.access_token()
        sent = forms(server)
    claims = [
        jwt.decode(form["client_assertion"], kind.import_key(pem), algorithms=[algorithm]).claims
        for form in sent
    ]
    assert {form["client_id"] for form in sent} == {"app"}
    assert len({each["jti"] for each in claims}) == 3
    assert {each["exp"] - each["iat"] for each in claims} == {60}
    assert {each["aud"] for each in claims} == {ISSUER}


@pytest.mark.parametrize("token_type", ["bearer", "BEARER", "Bearer", None])
def test_trap_14_the_type_is_sent_as_registered(token_type: str | None) -> None:
    """Authlib raises AttributeError for a type of null; we take it, like any case, for Bearer."""
    with Fault(answer(token_type=token_type), reply(200, b"1")) as server:
        with Client(server.url, of_client(server), retries=0) as client:
            assert client.read("x") == 1
        assert server.received[1].headers["Authorization"] == "Bearer token-1"


@pytest.mark.parametrize("token_type", ["DPoP", "mac", 5, ["Bearer"]])
def test_trap_14_another_type_is_one_clear_error(token_type: object) -> None:
    """Authlib raises KeyError for a type that it does not know; we raise an error that names the member."""
    with (
        Fault(answer(token_type=token_type)) as server,
        pytest.raises(OAuthAccessTokenError, match="its token_type is"),
    ):
        of_client(server).access_token()


def test_trap_15_reprs_and_pickles_hold_no_secret() -> None:
    """Authlib's client and token show their secrets in repr and pickle; ours show none, or refuse."""
    with Fault(answer(refresh_token="refresh-1", id_token="id-1", expires_in=3600)) as server:
        scheme = of_client(server)
        scheme.access_token()
    token = scheme.token
    assert token is not None
    fields = [getattr(token, field.name) for field in dataclasses.fields(token)]
    shown = f"{scheme!r} {scheme} {vars(scheme)} {token!r} {token} {fields}"
    for secret in ("a secret", "token-1", "refresh-1", "id-1"):
        assert secret not in shown
    with pytest.raises(TypeError, match="client_secret"):
        pickle.dumps(scheme)
    with pytest.raises(TypeError, match="token"):
        pickle.dumps(token)


def test_trap_16_a_server_error_with_an_error_code_has_both() -> None:
    """Authlib raises the transport's error for a 503; ours has the code of the answer, and the status."""
    with Fault(reply(503, b'{"error": "temporarily_unavailable", "error_description": "later"}')) as server:
        with pytest.raises(OAuthAccessTokenError) as caught:
            of_client(server).access_token()
        assert len(server.received) == 1
    assert (caught.value.error, caught.value.status) == ("temporarily_unavailable", 503)


def test_trap_17_basic_is_form_encoded() -> None:
    """Authlib does not form-encode, and fails for what is not Latin-1; we do as RFC 6749, 2.3.1, asks."""
    client_id, secret = "an: app", "p%ss+wörd/λ"
    with Fault(answer()) as server:
        OAuth2(server.url, client_id, secret, "read").access_token()
        sent = base64.b64decode(server.received[0].headers["Authorization"].removeprefix("Basic ")).decode()
    assert sent.isascii()
    assert [unquote_plus(part) for part in sent.split(":")] == [client_id, secret]


def test_trap_18_only_what_is_meant_for_it_is_sent() -> None:
    """Authlib sends an unknown argument, such as timeout, to the server; ours are what they are called."""
    with Fault(answer()) as server:
        OAuth2(
            server.url, "app", "a secret", "read", timeout=3, token_params={"audience": "x"}
        ).access_token()
        assert set(forms(server)[0]) == {"grant_type", "scope", "audience"}
        given: dict[str, Any] = {"tenant": "x"}
        with pytest.raises(TypeError, match="tenant"):
            OAuth2(server.url, "app", "a secret", "read", **given)


# The checklist, where no other test has the claim


def test_state_and_pkce_are_sent_whatever_the_metadata_say() -> None:
    """A server whose metadata do not speak of PKCE is sent a state and a challenge like any other."""

    class Metadata(Fault):
        def take(self, request: Received) -> list[Any]:
            super().take(request)
            found = {name: self.url for name in ("issuer", "token_endpoint", "authorization_endpoint")}
            return [reply(200, json.dumps(found).encode())]

    with Metadata(b"") as server:
        scheme = OAuth2.from_issuer(server.url, "app", "a secret", redirect_uri=REDIRECT_URI)
    sent = parameters(scheme.get_authorization_url())
    assert {"state", "code_challenge", "code_challenge_method"} < set(sent)
    assert sent["response_type"] == "code"


def test_no_endpoint_is_taken_from_an_answer() -> None:
    """What a redirect URL or a token's answer says of endpoints changes nothing (RFC 9700, section 4.4)."""
    with Fault(answer()) as evil:
        named: dict[str, Any] = {
            "token_endpoint": evil.url,
            "url": evil.url,
            "client_id": "other",
            "redirect_uri": evil.url,
        }
        with Fault(answer(expires_in=0, refresh_token="refresh-1", **named)) as server:
            scheme = of_browser(server.url)
            state = parameters(scheme.get_authorization_url())["state"]
            query = "&".join(f"{name}={value}" for name, value in named.items())
            exchange(scheme, f"{evil.url}/back?code=x&state={state}&{query}")
            scheme.access_token()
            assert [form["grant_type"] for form in forms(server)] == ["authorization_code", "refresh_token"]
            assert forms(server)[0]["redirect_uri"] == REDIRECT_URI
        assert evil.received == []


def test_a_token_is_never_in_a_url(authority: AuthorizationServer) -> None:
    """The token goes into Authorization alone: no URL has it (RFC 9700, section 4.3.2)."""
    scheme = OAuth2(authority.token_url, authority.client_id, authority.client_secret, None)
    with DemoAPI(token=authority.is_active) as api, Client(api.url, scheme, retries=0) as client:
        client.create("things", {"name": "lamp"})
        client.read("things", {"name": "lamp"})
        assert len(api.requests) == 2
        for request in [*api.requests, *authority.requests]:
            assert scheme.access_token() not in request.target
        assert all(scheme.access_token() in request.headers["Authorization"] for request in api.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_does_not_follow_a_redirect_elsewhere(status: int) -> None:
    """Another origin gets no token, and its 401 renews none (RFC 9700, section 4.9.1)."""
    with (
        Fault(reply(401)) as elsewhere,
        Fault(answer(), reply(status, Location=f"{elsewhere.url}/x")) as server,
        Client(server.url, of_client(server), retries=0) as client,
    ):
        with pytest.raises(ClientError):
            client.read("thing")
        assert [request.headers["Authorization"] for request in elsewhere.received] == [None]
        assert len(server.received) == 2


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/v1/x", "https://elsewhere.test/v1/x", "../x"])
def test_a_token_stays_with_its_api(uri: str) -> None:
    """A URL outside of the Client's host is refused before a token is asked for (RFC 9700, section 2.3)."""
    with Fault(answer()) as server, Client(f"{server.url}/v1", of_client(server), retries=0) as client:
        with pytest.raises(ValueError, match="uri"):
            client.read(uri)
        assert server.received == []


def test_no_variable_turns_tls_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variable by which authlib takes plain http anywhere changes nothing here."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    with pytest.raises(ValueError, match="url must be https"):
        OAuth2("http://elsewhere.test/token", "app", "a secret", None)


def test_the_password_grant_is_for_those_who_ask_for_it() -> None:
    """Nothing leads to the password grant but a username and a password (RFC 9700, section 2.4)."""
    with Fault(answer()) as server:
        with pytest.raises(ValueError, match="need each other"):
            OAuth2(server.url, "app", "a secret", None, username="ada")
        of_client(server).access_token()
        OAuth2(server.url, "app", None, None, None, "ada", "a password").access_token()
        assert [form["grant_type"] for form in forms(server)] == ["client_credentials", "password"]
    assert "MUST NOT" in (OAuth2.__doc__ or "")


@pytest.mark.parametrize(
    "redirect_uri",
    ["http://127.0.0.1:49152/", "http://[::1]:49152/back", "com.example.app:/back", "https://app.test/back"],
)
def test_redirect_uris_of_native_apps(authority: AuthorizationServer, redirect_uri: str) -> None:
    """Each redirect URI of RFC 8252, section 7, is sent to the letter, by a public client with PKCE."""
    authority.client_secret = ""
    scheme = OAuth2(
        authority.token_url,
        authority.client_id,
        None,
        None,
        authorization_url=authority.authorization_url,
        redirect_uri=redirect_uri,
    )
    redirect = authority.sign_in(scheme.get_authorization_url())
    assert redirect.startswith(f"{redirect_uri}?")
    assert authority.is_active(exchange(scheme, redirect))
    assert authority.token_requests[0]["redirect_uri"] == redirect_uri
    assert "client_secret" not in authority.token_requests[0]
    assert [seen.headers["Authorization"] for seen in authority.requests] == [None, None]
