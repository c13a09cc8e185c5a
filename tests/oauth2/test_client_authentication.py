"""How the client proves itself: what each method sends, and which one is taken."""

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from servers.fault import Fault, Received, reply

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError
from cruds_core import AuthError

METHODS = ["client_secret_basic", "client_secret_post"]
ODD = "a b&c=d+e%f/g?h#i;j\"k'l\\m<n>ü€😀:o~*"
# Every token has expired when it comes, so that the next call asks for another.
ANSWER = reply(200, b'{"access_token": "a", "expires_in": 0, "refresh_token": "r"}')


def requests(
    client_id: str, client_secret: str | Callable[[], str] | None, calls: int = 1, **options: Any
) -> list[Received]:
    """Returns the token requests of a client that is asked so often for a token."""
    with Fault(ANSWER) as server:
        oauth2 = OAuth2(server.url, client_id, client_secret, None, **options)
        for _ in range(calls):
            oauth2.access_token()
    return server.received


def credentials(request: Received) -> str:
    """Returns what stands behind Basic in the Authorization of a request, decoded."""
    scheme, _, encoded = request.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    return base64.b64decode(encoded, validate=True).decode()


def form_of(request: Received) -> dict[str, str]:
    """Returns the fields of a request, each of which must stand once."""
    pairs = parse_qsl(request.content.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


# client_secret_basic


def test_basic_of_the_rfc() -> None:
    """The example of RFC 6749, section 2.3.1, is sent as it stands there."""
    (request,) = requests("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw")
    assert request.headers["Authorization"] == "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
    assert form_of(request) == {"grant_type": "client_credentials"}


@pytest.mark.parametrize(
    ("client_id", "client_secret", "sent"),
    [
        ("id", " %&+£€", "id:+%25%26%2B%C2%A3%E2%82%AC"),  # RFC 6749, appendix B
        (" %&+£€", "secret", "+%25%26%2B%C2%A3%E2%82%AC:secret"),
        ("a:b", "c:d", "a%3Ab:c%3Ad"),
        ("https://app.example.com/", "a=b/c==", "https%3A%2F%2Fapp.example.com%2F:a%3Db%2Fc%3D%3D"),
        ("a%3Ab", "%20", "a%253Ab:%2520"),
        ("a-b_c.d", "0-9_Z.z", "a-b_c.d:0-9_Z.z"),
        ("ü", "😀", "%C3%BC:%F0%9F%98%80"),
    ],
)
def test_basic_is_form_encoded(client_id: str, client_secret: str, sent: str) -> None:
    """Id and secret are form-encoded in UTF-8 before they are joined (RFC 6749, section 2.3.1)."""
    (request,) = requests(client_id, client_secret)
    assert credentials(request) == sent


@pytest.mark.parametrize(
    ("client_id", "client_secret"), [("id", " %&+£€"), ("a b", "c:d"), ("ü", "😀"), ("a%3Ab", "%20")]
)
def test_basic_that_is_not_form_encoded(client_id: str, client_secret: str) -> None:
    """For servers that do not decode them, id and secret are sent as they are, in UTF-8."""
    (request,) = requests(client_id, client_secret, form_encode_basic=False)
    assert credentials(request) == f"{client_id}:{client_secret}"


def test_basic_of_an_id_with_a_colon() -> None:
    """An id with a colon, of which Basic would make another one (RFC 7617, section 2), is refused as such."""
    with pytest.raises(ValueError, match="client_id holds a colon"):
        OAuth2("https://as.example.com", "a:b", "c", None, form_encode_basic=False)


# The other methods


def test_post() -> None:
    """Id and secret stand in the form, once, and nowhere else."""
    (request,) = requests(ODD, ODD, token_endpoint_auth_method="client_secret_post")
    assert form_of(request) == {"grant_type": "client_credentials", "client_id": ODD, "client_secret": ODD}
    assert "Authorization" not in request.headers


@pytest.mark.parametrize("secret", [None, ""])
@pytest.mark.parametrize("method", [None, "none"])
def test_public_client(secret: str | None, method: str | None) -> None:
    """A client without a secret says who it is, and proves nothing (RFC 6749, section 3.2.1)."""
    user: dict[str, Any] = {"username": "ada", "password": "pw-0123456"}
    (request,) = requests(ODD, secret, token_endpoint_auth_method=method, **user)
    assert form_of(request) == {"grant_type": "password", "client_id": ODD, **user}
    assert "Authorization" not in request.headers


@pytest.mark.parametrize("secret", [None, ""])
def test_client_credentials_of_a_public_client(secret: str | None) -> None:
    """Without a secret the client's own grant must be asked for by name (RFC 6749, section 4.4)."""
    with pytest.raises(ValueError, match=r"^client_secret or private_key is missing"):
        OAuth2("https://as.example.com", "id", secret, None)
    (request,) = requests("id", secret, token_endpoint_auth_method="none")
    assert form_of(request) == {"grant_type": "client_credentials", "client_id": "id"}


@pytest.mark.parametrize(
    ("secret", "method", "found"),
    [
        ("secret-0123", None, "basic"),
        ("secret-0123", "client_secret_basic", "basic"),
        ("secret-0123", "client_secret_post", "post"),
        (None, None, "none"),
        (None, "none", "none"),
    ],
)
def test_every_request(secret: str | None, method: str | None, found: str) -> None:
    """The client proves itself in one way at each token request, those that refresh too."""
    user: dict[str, Any] = {"username": "ada", "password": "pw-0123456"}
    first, second = requests("id", secret, calls=2, token_endpoint_auth_method=method, **user)
    assert form_of(second)["grant_type"] == "refresh_token"
    for request in (first, second):
        ways = {
            "basic": "Authorization" in request.headers,
            "post": "client_secret" in form_of(request),
            "none": "client_id" in form_of(request) and "client_secret" not in form_of(request),
        }
        assert [way for way in ways if ways[way]] == [found]


# A server that checks them


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("secret", [ODD, "a+b c", "100%", "x" * 4000])
def test_server_accepts_each(method: str, secret: str) -> None:
    """A server that keeps the RFC accepts any id and secret by either method, and no other secret."""
    options: dict[str, Any] = {"token_endpoint_auth_method": method}
    with AuthorizationServer(client_id=ODD, client_secret=secret) as authority:
        assert authority.is_active(OAuth2(authority.token_url, ODD, secret, None, **options).access_token())
        with pytest.raises(OAuthAccessTokenError) as caught:
            OAuth2(authority.token_url, ODD, f"{secret}.", None, **options).access_token()
    assert caught.value.error == "invalid_client"


def test_server_accepts_a_public_client() -> None:
    """A server accepts a public client for the password grant, and for the refresh."""
    with AuthorizationServer(client_secret="", lifetime=0) as authority:
        user: dict[str, Any] = {"username": authority.username, "password": authority.password}
        oauth2 = OAuth2(authority.token_url, authority.client_id, None, None, **user)
        assert oauth2.access_token() != oauth2.access_token()
    assert [request["grant_type"] for request in authority.token_requests] == ["password", "refresh_token"]


# A secret that a callable returns


def test_secret_of_a_callable() -> None:
    """A callable that returns the secret is asked at each request: a secret that was replaced is followed."""
    secrets = iter(["first-secret", "second-secret"])
    found = requests("id", lambda: next(secrets), calls=2)
    assert [credentials(request) for request in found] == ["id:first-secret", "id:second-secret"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [None, b"bytes", 5, "line\nbreak", "\ud800"])
def test_secret_that_cannot_be_sent(method: str, wrong: Any) -> None:
    """Where the callable does not return a secret, the error says so and no request is made."""
    options: dict[str, Any] = {"token_endpoint_auth_method": method}
    with Fault(ANSWER) as server:
        oauth2 = OAuth2(server.url, "id", lambda: wrong, None, **options)
        with pytest.raises(AuthError, match="the callable given as client_secret"):
            oauth2.access_token()
    assert not server.received


@pytest.mark.parametrize("method", METHODS)
def test_secret_that_is_not_there(method: str) -> None:
    """A callable that returns nothing, as for an unset variable, sends no request without the credentials."""
    options: dict[str, Any] = {"token_endpoint_auth_method": method}
    with Fault(ANSWER) as server:
        oauth2 = OAuth2(server.url, "id", lambda: "", None, **options)
        with pytest.raises(AuthError, match="client_secret"):
            oauth2.access_token()
    assert not server.received


# What does not go together


@pytest.mark.parametrize(
    ("secret", "method", "said"),
    [
        (None, "client_secret_basic", '"client_secret_basic" sends the client_secret, which is missing'),
        ("", "client_secret_post", '"client_secret_post" sends the client_secret, which is missing'),
        ("s", "none", 'client_secret is given, which token_endpoint_auth_method "none" does not send'),
        ("s", "private_key_jwt", "private_key_jwt"),
        (None, "private_key_jwt", "private_key"),
        ("s", "basic", 'token_endpoint_auth_method must be one of "client_secret_basic", '),
        ("s", "CLIENT_SECRET_BASIC", "token_endpoint_auth_method must be one of "),
        ("s", "", "token_endpoint_auth_method must be one of "),
        ("s", 5, "token_endpoint_auth_method must be one of "),
        ("s", False, "token_endpoint_auth_method must be one of "),
    ],
)
def test_method_that_cannot_work(secret: str | None, method: Any, said: str) -> None:
    """A method that lacks what it sends, or would leave out what was given, is refused with both names."""
    with pytest.raises(ValueError, match=said):
        OAuth2("https://as.example.com", "id", secret, None, token_endpoint_auth_method=method)


@pytest.mark.parametrize("secret", [b"secret", b"", 5, 0, False, True, [], {}, object()])
def test_secret_of_a_wrong_type(secret: Any) -> None:
    """What is no text is never taken for a client without a secret."""
    with pytest.raises(TypeError, match=r"client_secret must be a str or a callable"):
        OAuth2("https://as.example.com", "id", secret, None)


@pytest.mark.parametrize("client_id", [None, b"id", 5, ["id"]])
def test_id_of_a_wrong_type(client_id: Any) -> None:
    """The client identifier is a str."""
    with pytest.raises(TypeError, match="client_id must be a str"):
        OAuth2("https://as.example.com", client_id, "secret", None)


@pytest.mark.parametrize("name", ["client_id", "client_secret"])
@pytest.mark.parametrize("value", ["x\n", "x\r\ny", "\0", "\ud800"])
def test_credentials_that_cannot_be_sent(name: str, value: str) -> None:
    """An id or secret that cannot be sent, or was read with its line break, is refused by its name."""
    options: dict[str, Any] = {"client_id": "id", "client_secret": "secret"} | {name: value}
    with pytest.raises(ValueError, match=f"^{name} ") as caught:
        OAuth2("https://as.example.com", scope=None, **options)
    assert value not in str(caught.value)


def test_empty_id() -> None:
    """A client has an identifier."""
    with pytest.raises(ValueError, match="client_id is empty"):
        OAuth2("https://as.example.com", "", "secret", None)
