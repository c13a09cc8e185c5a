"""Discovery: where an issuer's metadata are looked for, which are believed, and what they decide."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from servers.django import Django
from servers.fault import End, Fault, Script, reply
from servers.oidc import Provider
from servers.tls import Certificates

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError, OAuthAuthorizationError, OAuthDiscoveryError
from cruds_core import RequestError, RequestTimeoutError, TLSError

CALLBACK = "https://app.example/callback"
TOKEN = reply(200, b'{"access_token": "t", "token_type": "Bearer"}')
PLACES = [  # for an issuer with a path
    "/.well-known/oauth-authorization-server/tenant",
    "/tenant/.well-known/openid-configuration",
    "/.well-known/openid-configuration/tenant",
]


def document(url: str, **members: Any) -> bytes:
    """Returns metadata of the issuer at a URL; a member that is None is left out."""
    origin = "/".join(url.split("/")[:3])
    described = {"issuer": url, "token_endpoint": f"{origin}/token"} | members
    return json.dumps({name: value for name, value in described.items() if value is not None}).encode()


@contextmanager
def publishing(path: str = "", *, before: tuple[Script, ...] = (), **members: Any) -> Generator[Fault]:
    """Serves metadata, after some other answers, and then tokens."""
    with Fault(b"") as server:
        server.scripts[:] = [*before, reply(200, document(server.url + path, **members)), TOKEN]
        yield server


def targets(server: Fault) -> list[str]:
    """Returns what was requested."""
    return [request.target for request in server.received]


def fails(url: str, **options: Any) -> OAuthDiscoveryError:
    """Asserts that an issuer's metadata cannot be used."""
    with pytest.raises(OAuthDiscoveryError) as caught:
        OAuth2.from_issuer(url, "client", "secret", "read", **options)
    return caught.value


# Real servers


@pytest.mark.parametrize("path", ["", "/tenant"])
def test_oidc_provider(oidc: Provider, path: str) -> None:
    """oidc-provider's two issuers, one with a path, each lead to their own endpoints."""
    issuer = oidc.issuer + path
    auth = OAuth2.from_issuer(
        issuer, oidc.basic.id, oidc.basic.secret, "read", redirect_uri=oidc.basic.redirect_uri
    )
    assert auth.url == f"{issuer}/token"
    assert auth.get_authorization_url().startswith(f"{issuer}/auth?")
    service = OAuth2.from_issuer(issuer, oidc.basic.id, oidc.basic.secret, "read")
    assert service.access_token()
    service.revoke()
    assert service.token is None


def test_django(django: Django) -> None:
    """django-oauth-toolkit's issuer with a path leads to its endpoints."""
    client = django.service
    auth = OAuth2.from_issuer(django.issuer, client.client_id, client.client_secret, "read")
    assert auth.url == django.token_url
    assert auth.access_token()
    auth.revoke()
    assert auth.token is None


@pytest.mark.parametrize("path", ["", "/", "/tenant", "/o/", "/o/token"])
def test_django_publishes_metadata_in_other_places(django: Django, path: str) -> None:
    """A document that names another issuer is not used, though the server shows it for any path."""
    error = fails(django.url + path)
    assert f'"{django.issuer}"' in str(error)


def test_embedded_authority(authority: AuthorizationServer) -> None:
    """The embedded server's metadata give a whole sign-in, with the check of its name, and a revocation."""
    auth = OAuth2.from_issuer(
        authority.issuer, authority.client_id, authority.client_secret, "read", redirect_uri=CALLBACK
    )
    answer = authority.sign_in(auth.get_authorization_url())
    with pytest.raises(OAuthAuthorizationError, match="issuer"):
        auth.parse_authorization_response(answer.partition("&iss=")[0])
    token = auth.exchange_code_for_token(*auth.parse_authorization_response(answer))
    assert authority.is_active(token)
    auth.revoke()
    assert not authority.is_active(token)


# Places


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("", ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]),
        ("/", ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]),
        ("/tenant", PLACES),
        ("/tenant/", PLACES),
        (
            "/a/b",
            [
                "/.well-known/oauth-authorization-server/a/b",
                "/a/b/.well-known/openid-configuration",
                "/.well-known/openid-configuration/a/b",
            ],
        ),
    ],
)
def test_places(path: str, places: list[str]) -> None:
    """RFC 8414, section 3.1, and OpenID Connect Discovery, section 4.1: each place is tried once."""
    with Fault(reply(404)) as server:
        message = str(fails(server.url + path))
    assert targets(server) == places
    assert {request.method for request in server.received} == {"GET"}
    for place in places:
        assert f"{server.url}{place} answered 404" in message


@pytest.mark.parametrize("tried", range(3))
@pytest.mark.parametrize(
    "other",
    [reply(404), reply(500), reply(200, b"<html>", Content_Type="text/html"), reply(200, b'{"issuer": "x"}')],
    ids=["404", "500", "HTML", "another issuer"],
)
def test_first_good_document_is_used(other: bytes, tried: int) -> None:
    """A place that has nothing of use is passed over, and after a good one no other is asked."""
    with publishing("/tenant", before=(other,) * tried) as server:
        auth = OAuth2.from_issuer(f"{server.url}/tenant", "client", "secret")
        assert targets(server) == PLACES[: tried + 1]
        assert auth.access_token() == "t"
    assert targets(server)[-1] == "/token"


@pytest.mark.parametrize("path", ["/", "/tenant/"])
def test_issuer_with_a_trailing_slash(path: str) -> None:
    """An issuer whose identifier ends with a slash is found, and compared with it."""
    with publishing(path, authorization_response_iss_parameter_supported=True) as server:
        endpoint = f"{server.url}/authorize"
        issuer = server.url + path
        options: dict[str, Any] = {"authorization_url": endpoint, "redirect_uri": CALLBACK}
        auth = OAuth2.from_issuer(issuer, "client", "secret", **options)
    assert auth.parse_authorization_response(f"{CALLBACK}?code=c&state=s&iss={issuer}") == ("c", "s")
    with pytest.raises(OAuthAuthorizationError):
        auth.parse_authorization_response(f"{CALLBACK}?code=c&state=s&iss={issuer.rstrip('/')}")


@pytest.mark.parametrize(("asked", "named"), [("", "/"), ("/", ""), ("/tenant", "/tenant/"), ("/a", "/A")])
def test_issuer_is_compared_to_the_letter(asked: str, named: str) -> None:
    """RFC 8414, section 3.3: identifiers that are not identical are different, and the error shows both."""
    with Fault(b"") as server:
        server.scripts[:] = [reply(200, document(server.url + named))]
        message = str(fails(server.url + asked))
    assert f'"{server.url}{asked}"' in message
    assert f'"{server.url}{named}"' in message


# What is not believed


@pytest.mark.parametrize(
    "answer",
    [
        *(reply(status) for status in (204, 400, 401, 404, 500, 503)),
        reply(200, b""),
        reply(200, b"<html>It works!</html>", Content_Type="text/html"),
        reply(200, b"not JSON"),
        reply(200, b"[]"),
        reply(200, b'["token_endpoint"]'),
        reply(200, b'"text"'),
        reply(200, b"null"),
        reply(200, b"5"),
        reply(200, b"{}"),
        reply(200, b"{}}"),
        reply(200, b"\xff\xfe\x00"),
        reply(200, b"[" * 100_000),
        reply(200, b'{"issuer": ' + b"9" * 5000 + b"}"),
        reply(200, b'{"token_endpoint": "https://evil.example/token"}'),
        reply(200, b'{"issuer": null, "token_endpoint": "https://evil.example/token"}'),
        reply(200, b'{"issuer": ["https://as.example"], "token_endpoint": "https://evil.example/token"}'),
        reply(200, b'{"issuer": ' + b"[" * 1020 + b"]" * 1020 + b"}"),
        reply(200, b'{"issuer": "https://evil.example", "token_endpoint": "https://evil.example/token"}'),
    ],
    ids=lambda answer: answer[9:12].decode() + " " + answer.partition(b"\r\n\r\n")[2][:30].decode("latin-1"),
)
def test_what_is_no_metadata_is_an_error(answer: bytes) -> None:
    """Whatever a server shows in place of its metadata, there is one error that names the places."""
    with Fault(answer) as server:
        message = str(fails(server.url))
    assert targets(server) == ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]
    for target in targets(server):
        assert f"{server.url}{target}" in message


def test_other_issuer_is_shown_on_one_short_line() -> None:
    """What a server says in place of its identifier cannot forge lines of a log, or fill it."""
    with Fault(b"") as server:
        server.scripts[:] = [reply(200, document(server.url, issuer="a\r\nb\x1b" + "x" * 100_000))]
        message = str(fails(server.url))
    assert message.isprintable()
    assert len(message) < 5000


@pytest.mark.parametrize("name", ["token_endpoint", "authorization_endpoint", "revocation_endpoint"])
@pytest.mark.parametrize(
    "value",
    [
        "http://as.example/endpoint",
        "https://ada:pw@as.example/endpoint",
        "https://as.example/endpoint#part",
        "/endpoint",
        "ftp://as.example/",
        "",
        5,
        ["https://as.example/endpoint"],
    ],
)
def test_endpoint_where_no_credentials_may_go(name: str, value: Any) -> None:
    """RFC 6749, section 3.2: metadata with an endpoint that is not https are not used."""
    with publishing(**{name: value}) as server:
        server.scripts.pop()
        assert name in str(fails(server.url))


def test_authorization_endpoint_that_says_what_we_say() -> None:
    """An endpoint whose query names the client, or anything else of ours, is the server's fault."""
    with publishing(authorization_endpoint="https://as.example/authorize?tenant=a&client_id=b") as server:
        assert "authorization_endpoint holds 'client_id', which is set by us" in str(
            fails(server.url, redirect_uri=CALLBACK)
        )


def test_token_endpoint_is_needed() -> None:
    """Metadata without a token endpoint are of no use."""
    with publishing(token_endpoint=None) as server:
        server.scripts.pop()
        assert "token_endpoint" in str(fails(server.url))


@pytest.mark.parametrize("name", ["authorization_endpoint", "revocation_endpoint"])
def test_other_endpoints_may_be_missing(name: str) -> None:
    """An issuer may publish null for an endpoint that it does not have."""
    with Fault(b"") as server:
        metadata = json.loads(document(server.url)) | {name: None}
        server.scripts[:] = [reply(200, json.dumps(metadata).encode()), TOKEN]
        assert OAuth2.from_issuer(server.url, "client", "secret").access_token() == "t"


def test_endpoints_may_be_elsewhere() -> None:
    """The endpoints may be at another origin than the issuer, if that is https."""
    with publishing(token_endpoint="https://elsewhere.example/token") as server:
        assert OAuth2.from_issuer(server.url, "client", "secret").url == "https://elsewhere.example/token"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    """Metadata come from the issuer itself: a redirect is an answer without any."""
    with Fault(b"") as elsewhere:
        elsewhere.scripts[:] = [reply(200, document(elsewhere.url))]
        with Fault(reply(status, Location=f"{elsewhere.url}/")) as server:
            assert f"answered {status}" in str(fails(server.url))
    assert not elsewhere.received


def test_endless_document_is_not_read_to_its_end() -> None:
    """Metadata are read up to 1 MB."""
    blanks = b" " * (1 << 20)
    with Fault(b"") as server:
        server.scripts[:] = [reply(200, document(server.url) + blanks)]
        error = fails(server.url)
    assert isinstance(error.__cause__, RequestError)
    with Fault(b"") as server:
        text = document(server.url)
        server.scripts[:] = [reply(200, text + blanks[len(text) :])]
        assert OAuth2.from_issuer(server.url, "client", "secret").url == f"{server.url}/token"


@pytest.mark.parametrize(
    "script",
    [
        End.CLOSE,
        End.RESET,
        b"nonsense\r\n\r\n",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", End.CLOSE],
        reply(200, b"no gzip", Content_Encoding="gzip"),
    ],
    ids=["closed", "reset", "nonsense", "truncated", "broken coding"],
)
def test_broken_answer_is_an_error(script: Script) -> None:
    """A connection that breaks is one error, with the cause behind it."""
    with Fault(script) as server:
        assert isinstance(fails(server.url).__cause__, RequestError)
    assert len(server.received) == 1


def test_refused_connection_is_an_error() -> None:
    """A server that does not run is one error, with the cause behind it."""
    with Fault(b"") as server:
        pass
    error = fails(server.url)
    assert server.url in str(error)
    assert isinstance(error.__cause__, RequestError)


def test_timeout_is_kept() -> None:
    """A server that does not answer is given up after `timeout` seconds."""
    with Fault([10.0]) as server:
        began = time.monotonic()
        assert isinstance(fails(server.url, timeout=0.1).__cause__, RequestTimeoutError)
        assert 0.1 <= time.monotonic() - began < 5


def test_certificate_is_checked(tls: Certificates) -> None:
    """Metadata are taken from a server with a certificate that `verify_ssl` accepts, and from no other."""
    with Fault(b"", certificate=tls.good_path) as server:
        server.scripts[:] = [reply(200, document(server.url)), TOKEN]
        assert isinstance(fails(server.url).__cause__, TLSError)
        auth = OAuth2.from_issuer(server.url, "client", "secret", verify_ssl=tls.ca_path)
        assert auth.access_token() == "t"


def test_manager_is_used() -> None:
    """A manager of one's own carries the metadata and the tokens, and stays open."""
    manager = urllib3.PoolManager(headers={"X-Mine": "1"})
    with publishing() as server, manager:
        auth = OAuth2.from_issuer(server.url, "client", "secret", manager=manager)
        assert len(manager.pools) == 1
        assert auth.access_token() == "t"
        auth.close()
        assert len(manager.pools) == 1


@pytest.mark.parametrize(
    ("issuer", "error"),
    [
        ("http://as.example", ValueError),
        ("https://as.example/?tenant=1", ValueError),
        ("https://as.example/?", ValueError),
        ("https://as.example/#tenant", ValueError),
        ("https://as.example/#", ValueError),
        ("https://ada:pw@as.example/", ValueError),
        ("as.example", ValueError),
        ("ftp://as.example", ValueError),
        ("https://", ValueError),
        ("https:///tenant", ValueError),
        ("https://as.example/.well-known/openid-configuration", ValueError),
        ("", ValueError),
        (None, TypeError),
        (b"https://as.example", TypeError),
    ],
)
def test_issuer_that_cannot_be_one_is_refused(issuer: Any, error: type[Exception]) -> None:
    """RFC 8414, section 2: an issuer is an https URL without query and fragment; others are asked nothing."""
    with pytest.raises(error, match="issuer"):
        OAuth2.from_issuer(issuer, "client", "secret")


# What the metadata decide


def sent_to_token_endpoint(methods: Any, **options: Any) -> str:
    """Returns how the client authenticates after metadata have named the server's methods."""
    with publishing(token_endpoint_auth_methods_supported=methods) as server:
        OAuth2.from_issuer(server.url, "client", "secret", **options).access_token()
    request = server.received[-1]
    assert request.target == "/token"
    if request.headers.get("Authorization", "").startswith("Basic "):
        return "client_secret_basic"
    return "client_secret_post" if "client_secret" in parse_qs(request.content.decode()) else "none"


@pytest.mark.parametrize(
    ("methods", "chosen"),
    [
        (None, "client_secret_basic"),  # RFC 8414, section 2: the default
        ([], "client_secret_basic"),
        (["client_secret_basic"], "client_secret_basic"),
        (["client_secret_post"], "client_secret_post"),
        (["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["none", "private_key_jwt", "client_secret_post"], "client_secret_post"),
        (["private_key_jwt"], "client_secret_basic"),
        ("client_secret_post", "client_secret_basic"),
        (5, "client_secret_basic"),
        (True, "client_secret_basic"),
        ({"client_secret_post": True}, "client_secret_basic"),
        ([["client_secret_post"], None, 5], "client_secret_basic"),
    ],
)
def test_method_is_chosen(methods: Any, chosen: str) -> None:
    """The secret goes in the form where the server takes it there alone; what is no list is ignored."""
    assert sent_to_token_endpoint(methods) == chosen


@pytest.mark.parametrize("methods", [None, ["client_secret_post"], ["none"]])
def test_public_client_sends_no_secret(methods: Any) -> None:
    """A client without a secret chooses no method that would send one, and proves its code by PKCE."""
    endpoint = "https://as.example/authorize"
    with publishing(authorization_endpoint=endpoint, token_endpoint_auth_methods_supported=methods) as server:
        auth = OAuth2.from_issuer(server.url, "client", redirect_uri=CALLBACK)
        state = parse_qs(urlsplit(auth.get_authorization_url()).query)["state"][0]
        assert auth.exchange_code_for_token("c", state) == "t"
    form = parse_qs(server.received[-1].content.decode())
    assert "Authorization" not in server.received[-1].headers
    assert "client_secret" not in form
    assert form["client_id"] == ["client"]
    assert "code_verifier" in form


def test_published_authorization_endpoint_makes_no_sign_in() -> None:
    """A client that names no redirection URI has its own tokens, though the server could sign users in."""
    with publishing(authorization_endpoint="https://as.example/authorize") as server:
        assert OAuth2.from_issuer(server.url, "client", "secret").access_token() == "t"
    assert parse_qs(server.received[-1].content.decode())["grant_type"] == ["client_credentials"]


def test_method_that_is_named_goes_first() -> None:
    """A method that the program names is used whatever the server names."""
    method = {"token_endpoint_auth_method": "client_secret_basic"}
    assert sent_to_token_endpoint(["client_secret_post"], **method) == "client_secret_basic"
    method = {"token_endpoint_auth_method": "client_secret_post"}
    assert sent_to_token_endpoint(["client_secret_basic"], **method) == "client_secret_post"


@pytest.mark.parametrize(
    ("flag", "options", "requires"),
    [
        (True, {}, True),
        (False, {}, False),
        (None, {}, False),
        ("true", {}, False),
        (1, {}, False),
        (True, {"requires_issuer": False}, False),
        (False, {"requires_issuer": True}, True),
    ],
)
def test_whether_answers_name_the_issuer(flag: Any, options: dict[str, Any], requires: bool) -> None:
    """RFC 9207, section 3: answers must name the issuer where the metadata promise it, or the program."""
    with publishing(
        authorization_endpoint="https://as.example/authorize",
        authorization_response_iss_parameter_supported=flag,
    ) as server:
        auth = OAuth2.from_issuer(server.url, "client", "secret", redirect_uri=CALLBACK, **options)
    answer = f"{CALLBACK}?code=c&state=s"
    with pytest.raises(OAuthAuthorizationError, match="issuer"):
        auth.parse_authorization_response(f"{answer}&iss=https://evil.example")
    if requires:
        with pytest.raises(OAuthAuthorizationError, match="no issuer"):
            auth.parse_authorization_response(answer)
    else:
        assert auth.parse_authorization_response(answer) == ("c", "s")


def test_options_go_before_the_metadata() -> None:
    """An endpoint that the program gives is used in place of the published one."""
    with publishing(
        authorization_endpoint="https://as.example/authorize", revocation_endpoint="https://as.example/revoke"
    ) as server:
        auth = OAuth2.from_issuer(
            server.url,
            "client",
            "secret",
            "read",
            redirect_uri=CALLBACK,
            authorization_url="https://other.example/authorize",
            revocation_url=f"{server.url}/other",
            state_length=16,
        )
        url = auth.get_authorization_url()
        state = parse_qs(urlsplit(url).query)["state"][0]
        auth.exchange_code_for_token("c", state)
        auth.revoke()
    assert url.startswith("https://other.example/authorize?")
    assert len(state) == 22
    assert targets(server)[-1] == "/other"


def test_no_endpoint_to_sign_in_at() -> None:
    """Where the issuer has no authorization endpoint, a sign-in is an error, and no other grant is tried."""
    with publishing() as server:
        auth = OAuth2.from_issuer(server.url, "client", "secret", redirect_uri=CALLBACK)
        with pytest.raises(RuntimeError, match="authorization_url"):
            auth.get_authorization_url()
        with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
            auth.access_token()
    assert len(server.received) == 1


@pytest.mark.parametrize("options", [{"no_such_option": 1}, {"issuer": "https://as.example"}])
def test_unknown_option_is_a_type_error(options: dict[str, Any]) -> None:
    """What the class does not take, from_issuer does not take either."""
    with publishing() as server, pytest.raises(TypeError):
        OAuth2.from_issuer(server.url, "client", "secret", **options)


def test_assertions_are_for_the_issuer(oidc: Provider) -> None:
    """After discovery, what a private key signs is for the issuer, which oidc-provider accepts."""
    client = oidc.private_key_jwt["ES256"]
    auth = OAuth2.from_issuer(
        oidc.path_issuer, client.id, None, "read", private_key=client.private_key, private_key_id=client.kid
    )
    assert auth.access_token()
    assert oidc.token_requests()[-1].assertion_claims["aud"] == oidc.path_issuer


class Tenant(OAuth2):
    """A scheme of somebody's own."""


def test_subclass_is_made() -> None:
    """A subclass makes objects of its own class."""
    with publishing() as server:
        assert type(Tenant.from_issuer(server.url, "client", "secret")) is Tenant
