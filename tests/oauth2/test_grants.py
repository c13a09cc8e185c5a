"""Token requests: the exact form of each grant, and what a renewal repeats."""

import base64
import hashlib
import json
from enum import Enum
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from servers.fault import Fault, reply

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2
from cruds_core import AuthError

ODD = "a b&c=d+e%f/g?h#i;j\"k'l\\m<n>ü€😀"
CALLBACK = "http://127.0.0.1:1/callback?kept=1"
DETAILS = [{"type": "payment", "amount": "5 €", "to": {"iban": "DE&=+"}}]
ALWAYS: dict[str, Any] = {
    "token_params": {
        "audience": "https://api.example.com/a?b=c&d",
        "resource": ["https://one.example.com", "https://two.example.com"],
        "tenant": ODD,
        "hint": "",
    }
}
ALWAYS_SENT = [
    ("audience", "https://api.example.com/a?b=c&d"),
    ("resource", "https://one.example.com"),
    ("resource", "https://two.example.com"),
    ("tenant", ODD),
    ("hint", ""),
]
# Every token has expired when it comes, so that the next call asks for another.
ANSWER = reply(200, b'{"access_token": "a", "expires_in": 0, "refresh_token": "r 1&2=3"}')


def form_of(content: bytes) -> list[tuple[str, str]]:
    """Returns the fields of a form in the order of their names; the content is ASCII, and nothing else."""
    return sorted(parse_qsl(content.decode("ascii"), keep_blank_values=True, strict_parsing=True))


def forms(calls: int = 1, answer: bytes = ANSWER, **options: Any) -> list[list[tuple[str, str]]]:
    """Returns the forms that a client sends, by client_secret_basic, asked so often for a token."""
    with Fault(answer) as server:
        oauth2 = OAuth2(f"{server.url}/token", "id", "secret-0123", options.pop("scope", None), **options)
        for _ in range(calls):
            oauth2.access_token()
    assert {(request.method, request.target) for request in server.received} == {("POST", "/token")}
    return [form_of(request.content) for request in server.received]


def sent(**fields: str) -> list[tuple[str, str]]:
    """Returns these fields as `form_of` does."""
    return sorted(fields.items())


# The forms


def test_client_credentials() -> None:
    """The client's own grant names itself and the scope, and nothing else (RFC 6749, section 4.4.2)."""
    assert forms(scope="read write") == [sent(grant_type="client_credentials", scope="read write")]


@pytest.mark.parametrize("scope", [None, "", "  ", []])
def test_no_scope(scope: Any) -> None:
    """Where no scope is asked for, the form has none, not even an empty one."""
    assert forms(scope=scope) == [sent(grant_type="client_credentials")]


@pytest.mark.parametrize("scope", [["read", "write"], ("read", "write"), " read \n write "])
def test_scope_in_other_forms(scope: Any) -> None:
    """A list of names, or names with any white space between, is sent with one space between them."""
    assert forms(scope=scope) == [sent(grant_type="client_credentials", scope="read write")]


@pytest.mark.parametrize("password", [ODD, "", " ", "+"])
def test_password(password: str) -> None:
    """The password grant sends username and password as they are, in UTF-8 (RFC 6749, section 4.3.2)."""
    form = sent(grant_type="password", username=ODD, password=password, scope="read")
    assert forms(scope="read", username=ODD, password=password) == [form]


def test_texts_of_an_enumeration() -> None:
    """The text of a member of an Enum is sent, and not its name."""
    text = cast("Any", Enum("text", {"USER": "ada", "PASSWORD": "pw-0123456", "NAME": "audience"}, type=str))
    user: dict[str, Any] = {
        "username": text.USER,
        "password": text.PASSWORD,
        "token_params": {text.NAME: text.USER},
    }
    form = sent(grant_type="password", username="ada", password="pw-0123456", audience="ada")
    assert forms(**user) == [form]


def test_password_of_a_callable() -> None:
    """A callable that returns the password is asked at each request that sends it."""
    passwords = iter(["first-pw", "second-pw"])
    answer = reply(200, b'{"access_token": "a", "expires_in": 0}')
    found = forms(2, answer, username="ada", password=lambda: next(passwords))
    assert [dict(form)["password"] for form in found] == ["first-pw", "second-pw"]


@pytest.mark.parametrize("wrong", [None, b"bytes", 5, "line\nbreak", "\ud800"])
def test_password_that_cannot_be_sent(wrong: Any) -> None:
    """Where the callable does not return a password, the error says so and no request is made."""
    with Fault(ANSWER) as server:
        oauth2 = OAuth2(server.url, "id", "secret-0123", None, username="ada", password=lambda: wrong)
        with pytest.raises(AuthError, match="the callable given as password"):
            oauth2.access_token()
    assert not server.received


def test_authorization_code() -> None:
    """A code is sent with the redirect URI and the verifier of its challenge (RFC 7636, section 4.5)."""
    with Fault(ANSWER) as server:
        options: dict[str, Any] = {"authorization_url": f"{server.url}/authorize", "redirect_uri": CALLBACK}
        oauth2 = OAuth2(f"{server.url}/token", "id", "secret-0123", "read", **options)
        query = parse_qs(urlsplit(oauth2.get_authorization_url()).query)
        oauth2.exchange_code_for_token(ODD, query["state"][0])
    (request,) = server.received
    form = form_of(request.content)
    verifier = dict(form)["code_verifier"]
    assert form == sent(
        grant_type="authorization_code", code=ODD, redirect_uri=CALLBACK, code_verifier=verifier
    )
    digest = hashlib.sha256(verifier.encode()).digest()
    assert query["code_challenge"] == [base64.urlsafe_b64encode(digest).decode().rstrip("=")]


@pytest.mark.parametrize("details", [DETAILS, DETAILS[0], tuple(DETAILS), json.dumps(DETAILS)])
def test_details(details: Any) -> None:
    """Authorization details are sent as a JSON array, however they were given (RFC 9396, section 2)."""
    (form,) = forms(authorization_details=details)
    assert {name for name, _ in form} == {"grant_type", "authorization_details"}
    assert json.loads(dict(form)["authorization_details"]) == DETAILS


def test_no_details() -> None:
    """Where no details are asked for, the form has none."""
    assert forms(authorization_details=[]) == forms(authorization_details="[]") == forms()


def test_details_with_a_password() -> None:
    """The password grant asks for authorization details, too."""
    (form,) = forms(authorization_details=DETAILS, username="ada", password="pw-0123456")
    assert json.loads(dict(form)["authorization_details"]) == DETAILS


# Renewals


def test_client_credentials_again() -> None:
    """The client's own token is renewed by the same request; a refresh token is of no use for that."""
    first, second = forms(2, scope="read", authorization_details=DETAILS, **ALWAYS)
    assert first == second
    assert dict(first)["grant_type"] == "client_credentials"


def test_refresh() -> None:
    """A user's token is refreshed, and the scope is left out: it stays as it was granted (section 6)."""
    _, second = forms(2, scope="read", authorization_details=DETAILS, username="ada", password="pw-0123456")
    assert second == sent(grant_type="refresh_token", refresh_token="r 1&2=3")


def test_refresh_after_a_sign_in() -> None:
    """A token that came of a sign-in is refreshed in the same way, with the further parameters."""
    with Fault(ANSWER) as server:
        options: dict[str, Any] = {"authorization_url": f"{server.url}/authorize", "redirect_uri": CALLBACK}
        oauth2 = OAuth2(f"{server.url}/token", "id", "secret-0123", "read", **options, **ALWAYS)
        query = parse_qs(urlsplit(oauth2.get_authorization_url()).query)
        oauth2.exchange_code_for_token("code", query["state"][0])
        oauth2.access_token()
    code, refresh = (form_of(request.content) for request in server.received)
    assert refresh == sorted([("grant_type", "refresh_token"), ("refresh_token", "r 1&2=3"), *ALWAYS_SENT])
    assert set(ALWAYS_SENT) <= set(code)


def test_password_again() -> None:
    """Where the server gives no refresh token, the password is sent again, with everything else."""
    answer = reply(200, b'{"access_token": "a", "expires_in": 0}')
    first, second = forms(2, answer, username="ada", password="pw-0123456", **ALWAYS)
    assert first == second
    assert dict(first)["grant_type"] == "password"


# Further parameters


@pytest.mark.parametrize("user", [{}, {"username": "ada", "password": "pw-0123456"}])
def test_further_parameters(user: dict[str, Any]) -> None:
    """What a server wants beside is in each request, renewals too, and a list repeats its name."""
    for form in forms(3, **user, **ALWAYS):
        names = {name for name, _ in ALWAYS_SENT}
        assert [(name, value) for name, value in form if name in names] == sorted(ALWAYS_SENT)


def test_order_of_a_repeated_parameter() -> None:
    """The values of a parameter that stands in several are sent in the order in which they were given."""
    with Fault(ANSWER) as server:
        params = {"resource": ["https://b.example.com", "https://c.example.com", "https://a.example.com"]}
        OAuth2(server.url, "id", "secret-0123", None, token_params=params).access_token()
    (request,) = server.received
    assert parse_qs(request.content.decode())["resource"] == params["resource"]


def test_parameters_are_read_once() -> None:
    """Parameters that a program changes after it gave them stay as they were given."""
    with Fault(ANSWER) as server:
        resources = ["https://a.example.com"]
        params: dict[str, str | list[str]] = {"resource": resources, "audience": "a"}
        oauth2 = OAuth2(server.url, "id", "secret-0123", None, token_params=params)
        resources.append("https://b.example.com")
        del params["audience"]
        oauth2.access_token()
    (request,) = server.received
    assert form_of(request.content) == sent(
        grant_type="client_credentials", resource="https://a.example.com", audience="a"
    )


# A server that reads them


def test_server_grants_each(authority: AuthorizationServer) -> None:
    """An authorization server understands the request of every grant and the refresh."""
    authority.lifetime, authority.rotates = 0, True
    client = (authority.token_url, authority.client_id, authority.client_secret, "read")
    user: dict[str, Any] = {"username": authority.username, "password": authority.password}
    signs_in: dict[str, Any] = {"authorization_url": authority.authorization_url, "redirect_uri": CALLBACK}
    OAuth2(*client).access_token()
    by_password, by_code = OAuth2(*client, **user), OAuth2(*client, **signs_in)
    by_password.access_token()
    by_password.access_token()
    location = authority.sign_in(by_code.get_authorization_url())
    by_code.exchange_code_for_token(*by_code.parse_authorization_response(location))
    by_code.access_token()
    assert [(request["grant_type"], request["status"]) for request in authority.token_requests] == [
        ("client_credentials", 200),
        ("password", 200),
        ("refresh_token", 200),
        ("authorization_code", 200),
        ("refresh_token", 200),
    ]


def test_url_with_a_query() -> None:
    """A query in the URL of the token endpoint is kept, and no parameter is added to it (section 3.2)."""
    with Fault(ANSWER) as server:
        OAuth2(f"{server.url}/token?tenant=a%20b&x", "id", "secret-0123", "read").access_token()
    (request,) = server.received
    assert request.target == "/token?tenant=a%20b&x"
    assert form_of(request.content) == sent(grant_type="client_credentials", scope="read")
