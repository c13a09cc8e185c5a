"""Any redirect URL and any sealed request: a code with its state, a user, or one clear error."""

import base64
import binascii
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus, urlencode, urlsplit, urlunsplit

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError, OAuthAuthorizationError, OAuthStateError

CALLBACK = "https://app.example/callback"
ISSUER = "https://as.example"
KEYS = [base64.urlsafe_b64encode(octet * 32).decode() for octet in (b"a", b"b")]

# Alphabets are written out: hypothesis would need seconds for a table of all that Unicode has.
SIGNS = string.printable + "\0\x1b\x7f\x80é\u2028\u2100漢🙂\ud800\udfff"
TEXTS = st.text(SIGNS, max_size=12)
WORDS = st.text(SIGNS.replace("\ud800", "").replace("\udfff", ""), max_size=12)
NAMES = st.sampled_from(
    ["code", "state", "iss", "error", "error_description", "access_token", "id_token", "token_type", "x", ""]
)
VALUES = TEXTS | st.sampled_from(["c", "s", ISSUER, ISSUER + "/", "%zz", "%ed%a0%80", "%00", "a&b=c", "a;b"])
RAW = st.tuples(NAMES | TEXTS, st.sampled_from(["=", "", "=="]), VALUES).map("".join)
ENCODED = st.tuples(NAMES, TEXTS).map(lambda pair: f"{pair[0]}={quote_plus(pair[1], errors='surrogatepass')}")
QUERIES = st.lists(RAW | ENCODED, max_size=6).map("&".join)
BASES = st.sampled_from(
    [CALLBACK, "", "/callback", "http://[::1", "https://\u2100.example/", "app:/cb", "//"]
)
PLACES = st.integers(0, 500)  # more than a sealed request has characters
URLS = TEXTS | st.tuples(BASES, st.sampled_from("?#&"), QUERIES, st.sampled_from(["", "#"]), QUERIES).map(
    "".join
)


def unconnected(**options: Any) -> OAuth2:
    """Returns an object whose authorization server is never asked: nothing listens there."""
    given: dict[str, Any] = {
        "authorization_url": "http://127.0.0.1:1/authorize",
        "redirect_uri": CALLBACK,
        "encryption_key": KEYS,
    }
    return OAuth2("http://127.0.0.1:1/token", "client", "secret", "read", **given | options)


PARSERS = [unconnected(), unconnected(issuer=ISSUER), unconnected(issuer=ISSUER, requires_issuer=True)]


@pytest.mark.parametrize("auth", PARSERS, ids=["no issuer", "an issuer", "a required issuer"])
@given(URLS)
@example(f"{CALLBACK}?code=\ud800&state=s")
@example(f"{CALLBACK}?code=c&state=\ud800&iss={ISSUER}")
@settings(max_examples=200)
def test_any_url_gives_a_code_and_a_state_or_one_error(auth: OAuth2, url: str) -> None:
    """A redirect URL gives two texts that are not empty, or OAuthAuthorizationError, and nothing else."""
    answer: tuple[str, str] | None = None
    message = "fits on a line"
    try:
        answer = auth.parse_authorization_response(url)
    except OAuthAuthorizationError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 3000
    for text in answer or ():
        assert isinstance(text, str)
        assert text
    if answer:
        answer[0].encode()  # the code can be sent


@given(WORDS, WORDS, st.dictionaries(st.sampled_from(["x", "session_state", "tag"]), WORDS), WORDS)
@settings(max_examples=100)
def test_any_answer_is_read_as_it_was_written(
    code: str, state: str, others: dict[str, str], fragment: str
) -> None:
    """Whatever the code and the state are made of, they come out as a server encoded them."""
    assume(code and state and "token" not in fragment)
    assume(code.isprintable())  # no server gives a code with control characters, and we send none
    for encode in (quote, quote_plus):
        pairs = [*others.items(), ("code", code), ("state", state)]
        query = urlencode(pairs, quote_via=encode)
        url = urlunsplit((*urlsplit(CALLBACK)[:3], query, quote(fragment)))
        assert PARSERS[0].parse_authorization_response(url) == (code, state)


@given(WORDS, st.none() | WORDS)
@settings(max_examples=150)
def test_any_refusal_is_read_as_it_was_written(error: str, description: str | None) -> None:
    """Whatever a refusal says, the error says it too, and a code beside it changes nothing."""
    said = {"error": error, "state": "s", "code": "c"}
    if description is not None:
        said["error_description"] = description
    with pytest.raises(OAuthAuthorizationError) as caught:
        PARSERS[0].parse_authorization_response(f"{CALLBACK}?{urlencode(said)}")
    assert caught.value.error == error
    assert caught.value.error_description == (description or None)
    assert str(caught.value).isprintable()


@given(TEXTS, TEXTS)
@settings(max_examples=100)
def test_any_state_that_is_not_pending_is_refused(code: str, state: str) -> None:
    """An exchange with a state that nobody waits for is a RuntimeError, before anything is sent."""
    with pytest.raises((OAuthStateError, OAuthAuthorizationError)):
        PARSERS[0].exchange_code_for_token(code, state)


@pytest.fixture(scope="module")
def server() -> Iterator[AuthorizationServer]:
    """An authorization server for all examples of a test."""
    with AuthorizationServer() as server:
        yield server


@given(TEXTS)
@settings(max_examples=60)
def test_any_code_that_was_not_given_is_one_error(server: AuthorizationServer, code: str) -> None:
    """A code that the server never gave is OAuthAccessTokenError, and no token is held."""
    auth = OAuth2(
        server.token_url,
        server.client_id,
        server.client_secret,
        "read",
        authorization_url=server.authorization_url,
        redirect_uri=CALLBACK,
    )
    state = urlsplit(auth.get_authorization_url()).query.partition("state=")[2].partition("&")[0]
    with pytest.raises(OAuthAccessTokenError):
        auth.exchange_code_for_token(code, state)
    assert auth.token is None


def octets(text: str) -> bytes:
    """Returns what Fernet reads of a text: it overlooks what is not base64."""
    try:
        return base64.urlsafe_b64decode(text.encode("ascii", "replace"))
    except binascii.Error:
        return b""


@given(TEXTS | st.tuples(TEXTS, st.sampled_from([".", "..", "=="]), TEXTS).map("".join))
@settings(max_examples=200)
def test_any_text_is_no_sealed_request(text: str) -> None:
    """A text that nobody sealed is OAuthStateError."""
    with pytest.raises(OAuthStateError, match="cannot be opened"):
        PARSERS[0].sign_in(text, f"{CALLBACK}?code=c&state=s")


@given(PLACES, PLACES, TEXTS | st.sampled_from([".", "=="]))
@example(0, 0, ".")
@example(0, 0, "=.")
@example(1000, 1000, ".")
@settings(max_examples=200)
def test_any_other_sealed_request_is_refused(start: int, end: int, other: str) -> None:
    """A sealed request with something else in place of any part of it is OAuthStateError."""
    sealed = PARSERS[0].authorization_request().sealed
    changed = sealed[:start] + other + sealed[end:]
    assume("." in changed or octets(changed) != octets(sealed))
    with pytest.raises(OAuthStateError, match="cannot be opened"):
        PARSERS[0].sign_in(changed, f"{CALLBACK}?code=c&state=s")


@given(URLS)
@settings(max_examples=200)
def test_any_other_url_is_refused(url: str) -> None:
    """A sealed request with a URL that does not answer it is one of two errors, and nothing is sent."""
    with pytest.raises((OAuthStateError, OAuthAuthorizationError)) as caught:
        PARSERS[0].sign_in(PARSERS[0].authorization_request().sealed, url)
    assert isinstance(caught.value, RuntimeError)
