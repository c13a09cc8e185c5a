"""Whatever the token endpoint answers is a token or one error; whatever is sent is read back the same."""

import base64
import codecs
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from servers.fault import End, Fault, reply

from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError, Token
from cruds_core import RequestError, RequestTimeoutError

SECRET = "secret-0123456789"
MARKED = "t0ken-0123456789"  # no other strategy makes it
GRANTED = reply(200, b'{"access_token": "a"}')
NAMES = [
    *("access_token", "token_type", "expires_in", "refresh_token", "scope", "authorization_details"),
    *("error", "error_description", "error_uri", "id_token", "message", "data"),
]
KINDS = [
    *(
        "application/json",
        "application/json; charset=utf-16",
        "application/x-www-form-urlencoded",
        "text/plain",
    ),
    *(
        "text/html; charset=iso-8859-1",
        "text/plain; charset=nonsense",
        "application/problem+json",
        "",
        ";",
        "/",
    ),
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"]

# Alphabets are written out: hypothesis would need seconds for a table of all that Unicode has.
TEXTS = st.text("aZ09 -_.~!\"\\#'%&+=/:;<>{}[]()\0\r\n\t\x1b\x7fäß€\u2028\ufeff\ufffd😀", max_size=12)
# Without what no argument takes: control characters.
SENDABLE = st.text("aZ09 -_.~!\"\\#'%&+=/:;<>{}[]()äß€\u2028\ufeff\ufffd😀", max_size=30)
STATUSES = st.sampled_from([200, 201, 204, 206, 299]) | st.integers(200, 999)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(10**400), 0, 3600, "3600", "-1", "1" * 5000, "0.5"])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
GOOD = st.fixed_dictionaries(
    {"access_token": st.sampled_from([MARKED, "x", "a.b-c~d"])},
    optional={
        "token_type": st.sampled_from(["Bearer", "bearer"]),
        "expires_in": NUMBERS,
        "refresh_token": TEXTS,
        "scope": TEXTS | st.lists(VALUES, max_size=3),
        "authorization_details": VALUES,
        "other": VALUES,
    },
)
ANSWERS = VALUES | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6) | GOOD


@pytest.fixture(scope="module")
def server() -> Iterator[Fault]:
    """A server whose scripts the tests replace."""
    with Fault(GRANTED) as server:
        yield server


def outcome(server: Fault, *script: bytes | End) -> OAuthAccessTokenError | None:
    """Returns the error when the endpoint answers so, and None when there is a token that can be used."""
    server.scripts[:] = [list(script)]
    server.received.clear()
    oauth2 = OAuth2(f"{server.url}/token", "id", SECRET, "read", timeout=5)
    error = None
    try:
        oauth2.access_token()
    except OAuthAccessTokenError as caught:
        error = caught
    assert len(server.received) == 1
    if error is None:
        assert_usable(oauth2.token)
    else:
        assert (oauth2.token, oauth2.is_valid()) == (None, False)
        assert_clear(error)
    return error


def assert_clear(error: OAuthAccessTokenError) -> None:
    """Asserts that an error is of the one kind, says in one line what happened, and came soon."""
    assert type(error) is OAuthAccessTokenError
    assert str(error).isprintable()
    assert len(str(error)) < 2000
    assert SECRET not in str(error) + repr(vars(error))
    assert not isinstance(error.__cause__, RequestTimeoutError)
    assert (error.status is None) is isinstance(error.__cause__, RequestError)


def assert_usable(token: Token | None) -> None:
    """Asserts that there is a token which a header can carry, and that it is what it is said to be."""
    assert token is not None
    assert token.access_token.isascii()
    assert token.access_token.isprintable()
    assert len(token.access_token.split()) == 1
    assert token.token_type == "Bearer"
    assert token.refresh_token is None or token.refresh_token
    assert token.expires_at is None or token.expires_at.utcoffset() == timedelta(0)
    assert token.scope is None or isinstance(token.scope, str)
    assert not {"access_token", "refresh_token"} & set(token.parameters)


@given(ANSWERS, STATUSES, st.sampled_from(ENCODINGS), st.sampled_from(KINDS))
@example({"access_token": "a", "expires_in": 10**400}, 200, "utf-8", "application/json")
@example({"access_token": "a", "authorization_details": "[" * 5000}, 200, "utf-8", "application/json")
@example({"error": {"a": ["b"] * 3}}, 200, "utf-16", "text/plain")
@settings(max_examples=80)
def test_any_json(server: Fault, answer: Any, status: int, encoding: str, kind: str) -> None:
    """Any JSON value with any status is a token or one error; no status but 2xx brings a token."""
    content = json.dumps(answer, ensure_ascii=encoding == "utf-8").encode(encoding, "surrogatepass")
    error = outcome(server, reply(status, content, Content_Type=kind))
    if error is not None:
        assert error.status == status
    else:
        assert status < 300


@given(GOOD, STATUSES, st.sampled_from(KINDS[2:4]))
@settings(max_examples=40)
def test_any_form(server: Fault, members: dict[str, Any], status: int, kind: str) -> None:
    """Any form with any status is a token or one error."""
    content = urlencode(members, errors="replace").encode()
    error = outcome(server, reply(status, content, Content_Type=kind))
    assert (error is None) <= (status < 300)


@given(st.binary(max_size=60), STATUSES, st.sampled_from(KINDS))
@example(codecs.BOM_UTF16_LE, 200, "application/json")
@example(b"\xef\xbb\xbf", 500, "application/json")
@settings(max_examples=60)
def test_any_content(server: Fault, content: bytes, status: int, kind: str) -> None:
    """Any bytes as the content of an answer are one error."""
    error = outcome(server, reply(status, content, Content_Type=kind))
    assert error is not None
    assert error.status == status


@given(
    st.sampled_from(
        [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain"]
    ),
    st.binary(max_size=60),
    st.sampled_from([End.CLOSE, End.RESET]),
)
@example(b"HTTP/1.1 ", b"100 Continue\r\n\r\n", End.CLOSE)
@example(b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", End.CLOSE)
@example(b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", End.CLOSE)
@settings(max_examples=60)
def test_any_bytes(server: Fault, head: bytes, noise: bytes, end: End) -> None:
    """Any bytes in place of an answer are one error."""
    assert outcome(server, head + noise, end) is not None


def holder(tokens: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Returns an object of these members, the tokens before all."""
    return {**others, **tokens}


def marked(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Returns what holds tokens: objects in which members for credentials have them, and lists of these."""
    names = st.sampled_from(["access_token", "refresh_token", "id_token", "accessToken"])
    return st.lists(inner, max_size=3) | st.builds(
        holder,
        st.dictionaries(names, st.just(MARKED) | st.just([MARKED]), max_size=3),
        st.dictionaries(
            TEXTS | st.sampled_from(["error", "message", "detail", "token_type"]), inner, max_size=3
        ),
    )


HOLDERS = st.recursive(st.none() | TEXTS, marked, max_leaves=8)


@given(HOLDERS, STATUSES, st.sampled_from(ENCODINGS), st.sampled_from(KINDS))
@example([{"access_token": MARKED}], 500, "utf-16", "application/json")
@settings(max_examples=100)
def test_no_token_in_an_error(server: Fault, answer: Any, status: int, encoding: str, kind: str) -> None:
    """Where tokens come with an error, wherever in its JSON, none of them is in what the error says."""
    error = outcome(server, reply(status, json.dumps(answer).encode(encoding), Content_Type=kind))
    if error is not None:
        assert MARKED not in (str(error) + repr(error) + repr(vars(error))).replace(" ", "")


@given(HOLDERS, STATUSES, st.sampled_from(KINDS), st.integers(1, 3))
@settings(max_examples=60)
def test_no_token_in_half_an_error(server: Fault, answer: Any, status: int, kind: str, missing: int) -> None:
    """Where the end of the JSON is missing, no token is in what the error says, either."""
    error = outcome(server, reply(status, json.dumps(answer).encode()[:-missing], Content_Type=kind))
    if error is not None:
        assert MARKED not in str(error) + repr(error) + repr(vars(error))


@given(SENDABLE.filter(bool), SENDABLE.filter(bool))
@settings(max_examples=40)
def test_any_credentials(server: Fault, client_id: str, secret: str) -> None:
    """Any id and secret are read back the same by a server that decodes them (RFC 6749, section 2.3.1)."""
    server.scripts[:] = [GRANTED]
    for method in ("client_secret_basic", "client_secret_post"):
        options: dict[str, Any] = {"token_endpoint_auth_method": method}
        OAuth2(server.url, client_id, secret, None, **options).access_token()
    basic, post = server.received[-2:]
    encoded = base64.b64decode(basic.headers["Authorization"].removeprefix("Basic "), validate=True).decode()
    sent, _, proof = encoded.partition(":")
    assert (unquote_plus(sent, errors="strict"), unquote_plus(proof, errors="strict")) == (client_id, secret)
    form = parse_qsl(post.content.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert sorted(form) == sorted(
        [("grant_type", "client_credentials"), ("client_id", client_id), ("client_secret", secret)]
    )


@given(
    SENDABLE.filter(bool),
    SENDABLE,
    st.dictionaries(SENDABLE.filter(bool), SENDABLE | st.lists(SENDABLE, max_size=3)),
)
@settings(max_examples=40)
def test_any_parameters(server: Fault, username: str, password: str, params: dict[str, Any]) -> None:
    """Any username, password and further parameters are read back the same, in their order."""
    server.scripts[:] = [GRANTED]
    user: dict[str, Any] = {"username": username, "password": password}
    OAuth2(server.url, "id", SECRET, None, token_params=params, **user).access_token()
    form = parse_qsl(server.received[-1].content.decode("ascii"), keep_blank_values=True)
    given = [
        (name, one)
        for name, value in params.items()
        for one in ([value] if isinstance(value, str) else value)
    ]
    assert [pair for pair in form if pair[0] not in ("grant_type", *user)] == given
    assert {name: value for name, value in form if name in user} == user
