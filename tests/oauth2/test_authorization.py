"""The code flow of one user: the request and its URL, the answer and its checks, the exchange."""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError, OAuthAuthorizationError, OAuthStateError
from cruds_auth_oauth2.authorization import LIFETIME, MAX_PENDING
from cruds_core import Client, ClientError
from cruds_core.testing.server import Reply

CALLBACK = "https://app.example/callback"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="  # Fernet's form
VERIFIER = re.compile("[A-Za-z0-9._~-]{43,128}")  # RFC 7636, section 4.1

Begin: TypeAlias = Callable[..., str]


def from_trio(auth: OAuth2, params: Any = None) -> str:
    """Begins a sign-in as one user's program does."""
    return auth.get_authorization_url(params)


def from_back_end(auth: OAuth2, params: Any = None) -> str:
    """Begins a sign-in as a web back end does."""
    return auth.authorization_request(params).url


both_ways = pytest.mark.parametrize("begin", [from_trio, from_back_end])


def signing_in(authority: AuthorizationServer, **options: Any) -> OAuth2:
    """Returns an object for a user of the authority, who has not signed in."""
    settings: dict[str, Any] = {
        "authorization_url": authority.authorization_url,
        "redirect_uri": CALLBACK,
        "encryption_key": KEY,
    }
    return OAuth2(
        authority.token_url,
        authority.client_id,
        authority.client_secret or None,
        "read",
        **settings | options,
    )


def offline(**options: Any) -> OAuth2:
    """Returns an object whose authorization server need not run."""
    settings: dict[str, Any] = {
        "authorization_url": "https://as.example/authorize",
        "redirect_uri": CALLBACK,
        "encryption_key": KEY,
        "scope": "read write",
    }
    return OAuth2("https://as.example/token", "client", "secret", **settings | options)


def repeated(url: str) -> dict[str, list[str]]:
    """Returns what the query of a URL says, each name with all its values."""
    return parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)


def query(url: str) -> dict[str, str]:
    """Returns what the query of a URL says, each name once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert len(pairs) == len(dict(pairs)), url
    return dict(pairs)


def complete(auth: OAuth2, redirect_url: str) -> str:
    """Ends a sign-in as the documentation has it."""
    code, state = auth.parse_authorization_response(redirect_url)
    return auth.exchange_code_for_token(code, state)


# The request


def test_a_user_signs_in(authority: AuthorizationServer) -> None:
    """The three documented steps give a token that is held, sent, and accepted by an API."""
    auth = signing_in(authority)
    assert not auth.is_valid()
    token = complete(auth, authority.sign_in(auth.get_authorization_url()))
    assert authority.is_active(token)
    assert auth.is_valid()
    assert auth.access_token() == token
    with DemoAPI(token=authority.is_active) as api, Client(api.url, auth=auth, retries=0) as client:
        assert client.read("books") == []
    assert [request["grant_type"] for request in authority.token_requests] == ["authorization_code"]


@both_ways
def test_request_holds_what_the_rfcs_ask_for_and_nothing_else(begin: Begin) -> None:
    """The URL is the endpoint with RFC 6749's five parameters and RFC 7636's two, each once."""
    url = begin(offline())
    assert url.startswith("https://as.example/authorize?")
    said = query(url)
    fixed = {
        "response_type": "code",
        "client_id": "client",
        "redirect_uri": CALLBACK,
        "scope": "read write",
        "code_challenge_method": "S256",
    }
    assert said == fixed | {"state": said["state"], "code_challenge": said["code_challenge"]}
    assert type(url) is str


def test_no_scope_is_no_parameter() -> None:
    """Who asks for no scope sends none, not an empty one."""
    auth = OAuth2(
        "https://as.example/token",
        "client",
        None,
        None,
        authorization_url="https://as.example/authorize",
        redirect_uri=CALLBACK,
    )
    assert "scope" not in query(auth.get_authorization_url())


@both_ways
@pytest.mark.parametrize("length", [16, 32, 77])
def test_state_is_as_long_as_it_was_asked_to_be(begin: Begin, length: int) -> None:
    """State holds state_length random bytes, in characters that need no escape in a URL."""
    state = query(begin(offline(state_length=length)))["state"]
    assert re.fullmatch("[A-Za-z0-9_-]+", state)
    assert len(base64.urlsafe_b64decode(state + "=" * (-len(state) % 4))) == length


def test_state_has_32_bytes_unless_told() -> None:
    """The documented default of state_length is 32."""
    assert len(query(offline().get_authorization_url())["state"]) == 43


@pytest.mark.parametrize("length", [0, 15, -1])
def test_state_that_could_be_guessed_is_refused(length: int) -> None:
    """RFC 6749, section 10.10: fewer than 128 bits are not enough."""
    with pytest.raises(ValueError, match="state_length"):
        offline(state_length=length)


@both_ways
def test_each_request_has_its_own_state_and_challenge(begin: Begin) -> None:
    """Of a hundred requests of one object no two share a state or a challenge."""
    auth = offline()
    asked = [query(begin(auth)) for _ in range(100)]
    for name in ("state", "code_challenge"):
        assert len({said[name] for said in asked}) == 100


@pytest.mark.parametrize("is_public", [False, True])
def test_pkce(authority: AuthorizationServer, is_public: bool) -> None:
    """Every client proves each code with a fresh verifier, whose S256 challenge went before it."""
    if is_public:
        authority.client_secret = ""
    auth = signing_in(authority)
    verifiers: list[str] = []
    for _ in range(3):
        url = auth.get_authorization_url()
        complete(auth, authority.sign_in(url))
        verifier = authority.token_requests[-1]["code_verifier"]
        digest = hashlib.sha256(verifier.encode()).digest()
        assert VERIFIER.fullmatch(verifier)
        assert query(url)["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
        assert verifier not in url
        verifiers.append(verifier)
    assert len(set(verifiers)) == 3


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://app.example/cb?from=a%20b&to=c%2Fd",
        "https://app.example/cb?bare&blank=",
        "http://127.0.0.1:8765/",
        "http://[::1]:8765/cb",
        "com.example.app:/signed-in",
        "com.example.app:signed-in",
    ],
)
def test_redirect_uri_is_sent_to_the_letter(authority: AuthorizationServer, redirect_uri: str) -> None:
    """RFC 6749, section 4.1.3: both requests name the same redirection URI, as it is registered."""
    authority.redirect_uri = redirect_uri
    auth = signing_in(authority, redirect_uri=redirect_uri)
    url = auth.get_authorization_url()
    assert query(url)["redirect_uri"] == redirect_uri
    assert authority.is_active(complete(auth, authority.sign_in(url)))
    assert authority.token_requests[-1]["redirect_uri"] == redirect_uri


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", {}),
        ("?", {}),
        ("?p=B2C_1", {"p": ["B2C_1"]}),
        ("?p=a%20b%26c", {"p": ["a b&c"]}),
        ("?p=1&p=2&blank=", {"p": ["1", "2"], "blank": [""]}),
    ],
)
@both_ways
def test_query_of_the_endpoint_is_kept(begin: Begin, given: str, wanted: dict[str, list[str]]) -> None:
    """RFC 6749, section 3.1: a query of the authorization endpoint's own is retained."""
    auth = offline(authorization_url=f"https://as.example/authorize{given}")
    said = repeated(begin(auth, {"prompt": "login"}))
    ours = {*query(begin(offline())), "prompt"}
    assert {name: values for name, values in said.items() if name not in ours} == wanted
    assert ours <= said.keys()


def test_endpoint_with_a_query_works(authority: AuthorizationServer) -> None:
    """A sign-in at an endpoint with a query of its own completes."""
    auth = signing_in(authority, authorization_url=f"{authority.authorization_url}?tenant=a%20b")
    assert authority.is_active(complete(auth, authority.sign_in(auth.get_authorization_url())))


DETAILS = [{"type": "payment", "amount": "1 & 2", "to": "é"}, {"type": "account"}]


@both_ways
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (DETAILS, DETAILS),
        (DETAILS[0], DETAILS[:1]),
        (json.dumps(DETAILS), DETAILS),
        (tuple(DETAILS), DETAILS),
    ],
)
def test_authorization_details_are_json(begin: Begin, given: Any, wanted: Any) -> None:
    """RFC 9396, section 3: authorization_details travel as one JSON array in the URL."""
    assert json.loads(query(begin(offline(authorization_details=given)))["authorization_details"]) == wanted


# Further parameters


@both_ways
def test_additional_params_are_for_one_request(begin: Begin) -> None:
    """What is added to a request is escaped, and gone in the next one."""
    auth = offline()
    more = {"prompt": "login consent", "login_hint": "ada&state=é", "uri": "u", "self": "s", "kwargs": "k"}
    said = query(begin(auth, more))
    assert said == said | more
    assert not more.keys() & query(begin(auth)).keys()


@both_ways
@pytest.mark.parametrize("values", [["https://a.example/", "https://b.example/?q=1&r"], ("a", "b")])
def test_additional_params_repeat(begin: Begin, values: Sequence[str]) -> None:
    """RFC 8707, section 2: a parameter with several values is sent once for each."""
    assert repeated(begin(offline(), {"resource": values}))["resource"] == list(values)


@both_ways
@pytest.mark.parametrize(
    "name",
    [
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "redirect_uri",
        "response_type",
        "state",
    ],
)
def test_reserved_names_are_refused(begin: Begin, name: str) -> None:
    """What we set cannot be set beside us, for a request or for all of them."""
    with pytest.raises(ValueError, match=name):
        begin(offline(), {name: "x"})
    with pytest.raises(ValueError, match=name):
        offline(authorization_params={name: "x"})


@both_ways
@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("prompt=login", TypeError),
        ([("prompt", "login")], TypeError),
        ({"max_age": 5.5}, TypeError),
        ({"ui_locales": ["de", None]}, TypeError),
        ({"": "x"}, ValueError),
        ({5: "x"}, ValueError),
        ({"prompt": "login\r\nX: y"}, ValueError),
        ({"prompt": "\ud800"}, ValueError),
    ],
)
def test_params_that_cannot_be_sent_are_refused(begin: Begin, more: Any, error: type[Exception]) -> None:
    """A parameter that no query could carry is an error that says where it was given."""
    with pytest.raises(error, match="additional_params"):
        begin(offline(), more)


@both_ways
def test_authorization_params_are_for_all_requests(begin: Begin) -> None:
    """What the object was given is on each request, beside what a request adds."""
    params: Mapping[str, Any] = {"audience": "https://api.example/", "resource": ["a", "b"]}
    auth = offline(authorization_params=params)
    for more in (None, {"prompt": "login"}):
        said = repeated(begin(auth, more))
        assert (said["audience"], said["resource"]) == (["https://api.example/"], ["a", "b"])


@both_ways
def test_additional_params_go_before_authorization_params(begin: Begin) -> None:
    """RFC 6749, section 3.1: no parameter twice; the one of this request replaces the one of all."""
    auth = offline(authorization_params={"prompt": "login", "resource": ["a", "b"], "ui_locales": "de"})
    said = repeated(begin(auth, {"prompt": "none", "resource": "c"}))
    assert (said["prompt"], said["resource"], said["ui_locales"]) == (["none"], ["c"], ["de"])


@pytest.mark.parametrize("name", ["scope", "authorization_details"])
def test_what_has_a_place_of_its_own_is_refused(name: str) -> None:
    """What the object takes by name cannot be given a second time for all its requests."""
    with pytest.raises(ValueError, match=name):
        offline(authorization_params={name: "x"})


@pytest.mark.parametrize("is_repeated", [True, False])
def test_scope_of_one_request(authority: AuthorizationServer, is_repeated: bool) -> None:
    """A request may ask for another scope than the object, and its token has it (RFC 6749, section 5.1)."""
    auth = signing_in(authority)
    url = auth.get_authorization_url({"scope": "write"})
    back_end_url, sealed = auth.authorization_request({"scope": "write"})
    assert query(url)["scope"] == query(back_end_url)["scope"] == "write"
    if not is_repeated:  # by a server that grants what it was asked for
        authority.answers.extend(Reply(200, b'{"access_token": "t", "token_type": "Bearer"}') for _ in "12")
    complete(auth, authority.sign_in(url))
    user = auth.sign_in(sealed, authority.sign_in(back_end_url))
    for token in (auth.token, user.token):
        assert token is not None
        assert token.scope == "write"
    assert auth.scope == user.scope == "read"
    assert query(auth.get_authorization_url())["scope"] == "read"


@both_ways
@pytest.mark.parametrize("names", [["admin", "audit"], ("admin", "audit"), "admin audit"])
def test_scope_of_one_request_may_be_a_list(begin: Begin, names: Any) -> None:
    """A request takes a scope as the object does: names in a list are all asked for, in one parameter."""
    assert query(begin(offline(), {"scope": names}))["scope"] == "admin audit"


@both_ways
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scope", 'a"b'),
        ("scope", "é"),
        ("authorization_details", "not JSON"),
        ("authorization_details", "[{}]"),
        ("authorization_details", ['[{"type": "a"}]', '[{"type": "b"}]']),
    ],
    ids=["sign", "letter", "no JSON", "no type", "two"],
)
def test_scope_and_details_of_one_request_are_checked(begin: Begin, name: str, value: Any) -> None:
    """A request refuses what the object would refuse: no scope (RFC 6749), no details (RFC 9396)."""
    with pytest.raises(ValueError, match=name):
        offline(**{name: value})
    with pytest.raises(ValueError, match=name):
        begin(offline(), {name: value})


# The state


def test_state_works_once(authority: AuthorizationServer) -> None:
    """A second exchange with the same state is refused before anything is sent."""
    auth = signing_in(authority)
    code, state = auth.parse_authorization_response(authority.sign_in(auth.get_authorization_url()))
    token = auth.exchange_code_for_token(code, state)
    with pytest.raises(OAuthStateError, match="used before"):
        auth.exchange_code_for_token(code, state)
    assert len(authority.token_requests) == 1
    assert auth.access_token() == token


@pytest.mark.parametrize(("seconds", "works"), [(LIFETIME - 2, True), (LIFETIME + 1, False)])
def test_state_expires(
    authority: AuthorizationServer, monkeypatch: pytest.MonkeyPatch, seconds: int, works: bool
) -> None:
    """A sign-in may take ten minutes, and no longer."""
    assert LIFETIME == 600
    auth = signing_in(authority)
    url = auth.get_authorization_url()
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + seconds)
    redirect_url = authority.sign_in(url)
    if works:
        assert authority.is_active(complete(auth, redirect_url))
    else:
        with pytest.raises(OAuthStateError, match="600 s old"):
            complete(auth, redirect_url)
        assert not authority.token_requests


def test_pending_requests_are_bounded(authority: AuthorizationServer) -> None:
    """Beyond 1000 pending sign-ins the oldest gives way, and only that one."""
    assert MAX_PENDING == 1000
    auth = signing_in(authority)
    urls = [auth.get_authorization_url() for _ in range(MAX_PENDING + 1)]
    for url in (urls[1], urls[-1]):
        assert authority.is_active(complete(auth, authority.sign_in(url)))
    with pytest.raises(OAuthStateError):
        complete(auth, authority.sign_in(urls[0]))
    assert len(authority.token_requests) == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_pending_requests_both_complete(authority: AuthorizationServer, order: tuple[int, int]) -> None:
    """Two requests of one object are answered in any order; the last token is the one that is held."""
    auth = signing_in(authority)
    urls = [auth.get_authorization_url() for _ in range(2)]
    answers = [authority.sign_in(urls[index]) for index in order]
    parsed = [auth.parse_authorization_response(answer) for answer in answers]
    tokens = [auth.exchange_code_for_token(*one) for one in parsed]
    assert len(set(tokens)) == 2
    assert all(map(authority.is_active, tokens))
    assert auth.access_token() == tokens[-1]


def test_many_threads_sign_in_at_once(authority: AuthorizationServer) -> None:
    """Sixteen threads begin and complete sign-ins on one object, and every one succeeds."""
    auth, start = signing_in(authority), threading.Barrier(8)

    def sign_in(_: int) -> list[str]:
        start.wait()
        urls = [auth.get_authorization_url() for _ in range(2)]
        return [complete(auth, authority.sign_in(url)) for url in reversed(urls)]

    with ThreadPoolExecutor(8) as threads:
        tokens = [token for pair in threads.map(sign_in, range(8)) for token in pair]
    assert len(set(tokens)) == 16
    assert all(map(authority.is_active, tokens))
    assert auth.access_token() in tokens


def test_one_of_many_threads_has_the_state(authority: AuthorizationServer) -> None:
    """Of eight threads that exchange the same code one sends it; the others learn that it is used."""
    auth, start = signing_in(authority), threading.Barrier(8)
    code, state = auth.parse_authorization_response(authority.sign_in(auth.get_authorization_url()))
    authority.delay = 0.05

    def exchange(_: int) -> str | None:
        start.wait()
        try:
            return auth.exchange_code_for_token(code, state)
        except OAuthStateError:
            return None

    with ThreadPoolExecutor(8) as threads:
        tokens = [token for token in threads.map(exchange, range(8)) if token]
    assert tokens == [auth.access_token()]
    assert len(authority.token_requests) == 1


@pytest.mark.parametrize(
    "state",
    ["forged", "", "\ud800", "é", "x" * 100_000],
    ids=["forged", "empty", "surrogate", "letter", "long"],
)
def test_unknown_state_is_parsed_and_then_refused(authority: AuthorizationServer, state: str) -> None:
    """Parsing returns any state; the exchange refuses one that is not pending, and sends nothing."""
    auth = signing_in(authority)
    auth.get_authorization_url()
    if state:
        url = f"{CALLBACK}?code=c&state={quote(state, errors='surrogatepass')}"
        assert auth.parse_authorization_response(url)[0] == "c"
    with pytest.raises(OAuthStateError) as caught:
        auth.exchange_code_for_token("c", state)
    assert isinstance(caught.value, RuntimeError)
    assert not authority.token_requests


def test_clear_forgets_what_is_pending(authority: AuthorizationServer) -> None:
    """After clear() no answer to an earlier request is taken, and used requests stay used."""
    auth = signing_in(authority)
    url, sealed = auth.authorization_request()
    used = authority.sign_in(url)
    auth.sign_in(sealed, used)
    answer = authority.sign_in(auth.get_authorization_url())
    auth.clear()
    with pytest.raises(OAuthStateError):
        complete(auth, answer)
    with pytest.raises(OAuthStateError, match="completed before"):
        auth.sign_in(sealed, used)
    assert len(authority.token_requests) == 1


def test_state_of_another_object_is_refused(authority: AuthorizationServer) -> None:
    """One user's answer is of no use at the object of another, even with the same settings."""
    one, other = signing_in(authority), signing_in(authority)
    answer = authority.sign_in(one.get_authorization_url())
    with pytest.raises(OAuthStateError):
        complete(other, answer)
    assert not authority.token_requests
    assert authority.is_active(complete(one, answer))


def test_code_is_bound_to_its_request(authority: AuthorizationServer) -> None:
    """A code that is brought with the state of another request fails by PKCE."""
    auth = signing_in(authority)
    answers = [authority.sign_in(auth.get_authorization_url()) for _ in range(2)]
    (_, state), (injected, _) = map(auth.parse_authorization_response, answers)
    with pytest.raises(OAuthAccessTokenError) as caught:
        auth.exchange_code_for_token(injected, state)
    assert caught.value.error == "invalid_grant"
    assert not auth.is_valid()


def test_refused_code_changes_nothing_that_is_held(authority: AuthorizationServer) -> None:
    """A code that the server refuses uses up its state, and leaves the token of an earlier sign-in."""
    auth = signing_in(authority)
    token = complete(auth, authority.sign_in(auth.get_authorization_url()))
    _, state = auth.parse_authorization_response(authority.sign_in(auth.get_authorization_url()))
    for error in (OAuthAccessTokenError, OAuthStateError):
        with pytest.raises(error):
            auth.exchange_code_for_token("forged", state)
    assert len(authority.token_requests) == 2
    assert auth.access_token() == token


@pytest.mark.parametrize(
    "code",
    ["", "\ud800", "a\r\nb\x00", "é %&+", "x" * 10_000],
    ids=["empty", "surrogate", "controls", "signs", "long"],
)
def test_code_of_any_characters_gives_one_error(authority: AuthorizationServer, code: str) -> None:
    """A code that no server ever gave is OAuthAccessTokenError, whatever it is made of."""
    auth = signing_in(authority)
    state = query(auth.get_authorization_url())["state"]
    with pytest.raises(OAuthAccessTokenError):
        auth.exchange_code_for_token(code, state)


def test_code_reaches_the_server_as_it_came(authority: AuthorizationServer) -> None:
    """A code is decoded once and encoded once: escapes, blanks and signs survive."""
    auth = signing_in(authority)
    state = query(auth.get_authorization_url())["state"]
    authority.answers.append(Reply(400, b"{}"))
    with pytest.raises(OAuthAccessTokenError):
        complete(auth, f"{CALLBACK}?code=4%2F0A+b%2Bc%25252F%25&state={state}")
    assert authority.token_requests[0]["code"] == "4/0A b+c%252F%"


# The issuer (RFC 9207)


def answer_of(redirect_url: str, issuer: str | None) -> str:
    """Returns a redirect URL as it would be if the server named another issuer, or none."""
    url, mark, _ = redirect_url.partition("&iss=")
    assert mark
    return url if issuer is None else f"{url}&iss={quote(issuer, safe='')}"


@pytest.mark.parametrize("requires_issuer", [False, True])
@pytest.mark.parametrize(
    "named", ["https://evil.example", "{}/", "{}?", "HTTP{}", "", " {}", "{} ", "{}\n", "{}%20"]
)
def test_another_issuer_is_refused(authority: AuthorizationServer, named: str, requires_issuer: bool) -> None:
    """An answer that names another issuer, by a letter, is refused, and no code is sent."""
    named = "HTTP" + authority.issuer[4:] if named == "HTTP{}" else named.format(authority.issuer)
    auth = signing_in(authority, issuer=authority.issuer, requires_issuer=requires_issuer)
    answer = authority.sign_in(auth.get_authorization_url())
    with pytest.raises(OAuthAuthorizationError, match="issuer") as caught:
        auth.parse_authorization_response(answer_of(answer, named))
    assert caught.value.error is None
    assert authority.is_active(complete(auth, answer))  # the request still waits for its answer


@pytest.mark.parametrize(
    ("knows", "requires", "named", "works"),
    [
        (True, True, True, True),
        (True, True, False, False),
        (True, False, True, True),
        (True, False, False, True),
        (False, False, True, True),
        (False, False, False, True),
    ],
)
def test_issuer_is_named(
    authority: AuthorizationServer, knows: bool, requires: bool, named: bool, works: bool
) -> None:
    """An answer must name the issuer where the server promises it, and may where it does not."""
    issuer = authority.issuer
    auth = signing_in(authority, issuer=issuer if knows else None, requires_issuer=requires)
    answer = answer_of(authority.sign_in(auth.get_authorization_url()), issuer if named else None)
    if works:
        assert authority.is_active(complete(auth, answer))
    else:
        with pytest.raises(OAuthAuthorizationError, match="no issuer"):
            complete(auth, answer)
        assert not authority.token_requests


def test_exchange_needs_the_check_of_a_required_issuer(authority: AuthorizationServer) -> None:
    """A program that takes the code out of the URL itself cannot pass by the check of the issuer."""
    auth = signing_in(authority, issuer=authority.issuer, requires_issuer=True)
    answer = authority.sign_in(auth.get_authorization_url())
    said = query(answer)
    with pytest.raises(RuntimeError, match="parse_authorization_response"):
        auth.exchange_code_for_token(said["code"], said["state"])
    assert not authority.token_requests
    assert authority.is_active(complete(auth, answer))


def test_check_of_one_answer_is_not_that_of_another(authority: AuthorizationServer) -> None:
    """The issuer is checked for each request by itself."""
    auth = signing_in(authority, issuer=authority.issuer, requires_issuer=True)
    answers = [authority.sign_in(auth.get_authorization_url()) for _ in range(2)]
    auth.parse_authorization_response(answers[0])
    said = query(answers[1])
    with pytest.raises(OAuthStateError):
        auth.exchange_code_for_token(said["code"], said["state"])
    assert not authority.token_requests


def test_issuer_need_not_be_checked_where_none_is_required(authority: AuthorizationServer) -> None:
    """Without a promise of the server, a code and a state from elsewhere are exchanged."""
    auth = signing_in(authority, issuer=authority.issuer)
    said = query(authority.sign_in(auth.get_authorization_url()))
    assert authority.is_active(auth.exchange_code_for_token(said["code"], said["state"]))


# Refusals


@pytest.mark.parametrize("named", ["right", "none"])
@pytest.mark.parametrize("requires_issuer", [False, True])
def test_refusal(authority: AuthorizationServer, named: str, requires_issuer: bool) -> None:
    """A user who says no is an error with the server's code, with or without the issuer's name."""
    authority.denies = True
    auth = signing_in(authority, issuer=authority.issuer, requires_issuer=requires_issuer)
    answer = authority.sign_in(auth.get_authorization_url())
    with pytest.raises(OAuthAuthorizationError, match="access_denied") as caught:
        auth.parse_authorization_response(answer if named == "right" else answer_of(answer, None))
    assert caught.value.error == "access_denied"
    assert caught.value.error_description
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, OAuthAccessTokenError)
    assert not authority.token_requests


def test_refusal_of_another_issuer_is_none(authority: AuthorizationServer) -> None:
    """An error that names another issuer is not taken for the server's, and ends nothing."""
    auth = signing_in(authority, issuer=authority.issuer)
    url = auth.get_authorization_url()
    forged = f"{CALLBACK}?error=access_denied&state={query(url)['state']}&iss=https%3A%2F%2Fevil.example"
    with pytest.raises(OAuthAuthorizationError, match="issuer") as caught:
        auth.parse_authorization_response(forged)
    assert caught.value.error is None
    assert authority.is_active(complete(auth, authority.sign_in(url)))


def test_refusal_ends_its_own_request(authority: AuthorizationServer) -> None:
    """A refused request is forgotten, and no other with it."""
    auth = signing_in(authority)
    refused, other = auth.get_authorization_url(), auth.get_authorization_url()
    authority.denies = True
    with pytest.raises(OAuthAuthorizationError):
        auth.parse_authorization_response(authority.sign_in(refused))
    authority.denies = False
    with pytest.raises(OAuthStateError):
        complete(auth, authority.sign_in(refused))
    assert not authority.token_requests
    assert authority.is_active(complete(auth, authority.sign_in(other)))


def test_error_goes_before_a_code(authority: AuthorizationServer) -> None:
    """An answer with both an error and a code is a refusal."""
    auth = signing_in(authority)
    answer = authority.sign_in(auth.get_authorization_url()) + "&error=server_error"
    with pytest.raises(OAuthAuthorizationError) as caught:
        complete(auth, answer)
    assert caught.value.error == "server_error"
    assert not authority.token_requests


@pytest.mark.parametrize(
    "text",
    [
        "AADSTS65004: declined.\r\nTrace ID: 1",
        'He said "no" \\ <b>&amp;</b>',
        "zażółć 漢字 🙂",
        "\x00\x1b[31m\x7f",
        "two  blanks ",
        "x" * 5000,
    ],
    ids=["lines", "signs", "unicode", "controls", "blanks", "long"],
)
def test_error_of_any_characters(text: str) -> None:
    """The error keeps code and description as the server wrote them; its message is one short line."""
    url = f"{CALLBACK}?state=s&error={quote(text)}&error_description={quote(text)}"
    with pytest.raises(OAuthAuthorizationError) as caught:
        offline().parse_authorization_response(url)
    assert (caught.value.error, caught.value.error_description) == (text, text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


def test_error_without_a_description() -> None:
    """A refusal that explains nothing has None for a description."""
    with pytest.raises(OAuthAuthorizationError) as caught:
        offline().parse_authorization_response(f"{CALLBACK}?state=s&error=access_denied")
    assert (caught.value.error, caught.value.error_description) == ("access_denied", None)


# Redirect URLs


@pytest.mark.parametrize("name", ["code", "state", "iss", "error", "error_description"])
@pytest.mark.parametrize("second", ["same", "other", ""])
def test_repeated_parameters_are_refused(name: str, second: str) -> None:
    """RFC 6749, section 3.1: no parameter more than once, be it with the same value."""
    said = {"code": "same", "state": "same", "iss": "same"}
    if name.startswith("error"):
        said |= {"error": "same", "error_description": "same"}
    url = f"{CALLBACK}?" + "&".join(f"{one}={value}" for one, value in said.items()) + f"&{name}={second}"
    with pytest.raises(OAuthAuthorizationError, match=f'more than one "{name}"'):
        offline().parse_authorization_response(url)


def test_other_parameters_may_repeat() -> None:
    """What is not ours, such as a query of the redirection URI's own, is left alone."""
    url = f"{CALLBACK}?tag=a&tag=b&code=c&state=s&session_state=x&scope=read"
    assert offline().parse_authorization_response(url) == ("c", "s")


@pytest.mark.parametrize("name", ["access_token", "id_token"])
@pytest.mark.parametrize(
    "place",
    ["?{}=evil", "?code=c&state=s&{}=evil", "?code=c&state=s#{}=evil", "?code=c&state=s#{}=", "#{}=evil"],
)
def test_token_in_the_url_is_refused(name: str, place: str) -> None:
    """RFC 9700, section 2.1.2: a token that a URL brings is never taken, beside a code or alone."""
    with pytest.raises(OAuthAuthorizationError, match=name):
        offline().parse_authorization_response(CALLBACK + place.format(name))


@pytest.mark.parametrize("fragment", ["#_=_", "#", "#/home", "#code=other&state=other", "#?access_token=x"])
def test_other_fragments_change_nothing(fragment: str) -> None:
    """What some servers and browsers put behind the query is not looked at."""
    url = f"{CALLBACK}?code=c&state=s{fragment}"
    assert offline().parse_authorization_response(url) == ("c", "s")


@pytest.mark.parametrize("base", ["", "/callback", "callback", "com.example.app:/cb", "http://[::1]:80/"])
def test_any_base_will_do(base: str) -> None:
    """Frameworks give the URL without its origin, and applications have schemes of their own."""
    assert offline().parse_authorization_response(f"{base}?code=c%2F1&state=s%2B") == ("c/1", "s+")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hello",
        CALLBACK,
        f"{CALLBACK}?",
        f"{CALLBACK}?code=c",
        f"{CALLBACK}?state=s",
        f"{CALLBACK}?code=&state=s",
        f"{CALLBACK}?code=c&state=",
        f"{CALLBACK}?code&state",
        f"{CALLBACK}?Code=c&State=s",
        f"{CALLBACK}#code=c&state=s",
        f"{CALLBACK}/code=c&state=s",
        "https://[::1/?code=c&state=s",
        "https://\u2100.example/?code=c&state=s",
        "\ud800",
    ],
)
def test_incomplete_url_is_an_error(url: str) -> None:
    """A URL that lacks a code or a state, or is none, is a RuntimeError that repeats nothing of it."""
    with pytest.raises(OAuthAuthorizationError, match="redirect URL") as caught:
        offline().parse_authorization_response(url)
    assert isinstance(caught.value, RuntimeError)
    assert not url or url not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("url", [None, 5, b"https://app.example/callback?code=c&state=s"])
def test_url_that_is_no_text_is_a_type_error(url: Any) -> None:
    """Anything but a str is a mistake of the program's."""
    with pytest.raises(TypeError, match="redirect_url"):
        offline().parse_authorization_response(url)


# What is configured


STEPS: dict[str, Callable[[OAuth2], object]] = {
    "get_authorization_url": OAuth2.get_authorization_url,
    "exchange_code_for_token": lambda auth: auth.exchange_code_for_token("c", "s"),
    "authorization_request": OAuth2.authorization_request,
    "sign_in": lambda auth: auth.sign_in("sealed", f"{CALLBACK}?code=c&state=s"),
}


@pytest.mark.parametrize("missing", ["authorization_url", "redirect_uri"])
@pytest.mark.parametrize("step", STEPS)
def test_missing_configuration(missing: str, step: str) -> None:
    """Without an authorization endpoint or a redirection URI every step is a RuntimeError that says so."""
    with pytest.raises(OAuthAuthorizationError, match=missing) as caught:
        STEPS[step](offline(**{missing: None}))
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"redirect_uri": "/callback"}, "redirect_uri"),
        ({"redirect_uri": "app.example/callback"}, "redirect_uri"),
        ({"redirect_uri": f"{CALLBACK}#part"}, "redirect_uri"),
        ({"redirect_uri": f"{CALLBACK} "}, "redirect_uri"),
        ({"redirect_uri": "https://app.example/é"}, "redirect_uri"),
        ({"redirect_uri": ""}, "redirect_uri"),
        ({"authorization_url": "http://as.example/authorize"}, "authorization_url"),
        ({"authorization_url": "https://as.example/authorize#part"}, "authorization_url"),
        ({"authorization_url": "https://ada:pw@as.example/authorize"}, "authorization_url"),
        ({"authorization_url": "/authorize"}, "authorization_url"),
        ({"authorization_url": "https://as.example/authorize?p=1&scope=all"}, "authorization_url"),
        ({"authorization_url": "https://as.example/authorize?state=fixed"}, "authorization_url"),
        ({"requires_issuer": True}, "requires_issuer"),
        ({"issuer": "http://as.example"}, "issuer"),
        ({"username": "ada", "password": "pw"}, "username"),
    ],
)
def test_configuration_that_cannot_work_is_refused(options: dict[str, Any], named: str) -> None:
    """A setting with which no sign-in could succeed, or be safe, is refused when the object is made."""
    with pytest.raises(ValueError, match=named):
        offline(**options)


# No other grant


def with_token(authority: AuthorizationServer) -> OAuth2:
    """Returns an object with the token of a user."""
    auth = signing_in(authority)
    complete(auth, authority.sign_in(auth.get_authorization_url()))
    return auth


def without_token(authority: AuthorizationServer) -> OAuth2:
    """Returns an object that nobody has signed in."""
    return signing_in(authority)


def without_endpoint(authority: AuthorizationServer) -> OAuth2:
    """Returns an object that is meant for a user, but does not know where users sign in."""
    return signing_in(authority, authorization_url=None)


def without_redirect_uri(authority: AuthorizationServer) -> OAuth2:
    """Returns an object that is meant for a user, whom nobody could send back."""
    return signing_in(authority, redirect_uri=None)


def with_expired_token(authority: AuthorizationServer) -> OAuth2:
    """Returns an object whose token has expired and cannot be refreshed."""
    authority.issues_refresh_tokens = ()
    authority.lifetime = 0
    return with_token(authority)


def with_revoked_refresh_token(authority: AuthorizationServer) -> OAuth2:
    """Returns an object whose token has expired and is refused to be refreshed."""
    authority.lifetime = 0
    auth = with_token(authority)
    authority.revoke_all()
    return auth


def cleared(authority: AuthorizationServer) -> OAuth2:
    """Returns an object that has been told to forget its tokens."""
    auth = with_token(authority)
    auth.clear()
    return auth


@pytest.mark.parametrize(
    ("made", "grants"),
    [
        (without_token, []),
        (without_endpoint, []),
        (without_redirect_uri, []),
        (with_expired_token, ["authorization_code"]),
        (with_revoked_refresh_token, ["authorization_code", "refresh_token"]),
        (cleared, ["authorization_code"]),
    ],
)
def test_no_other_grant_without_a_token(
    authority: AuthorizationServer, made: Callable[[AuthorizationServer], OAuth2], grants: list[str]
) -> None:
    """An object for a user asks for no token of another kind, and sends no request without one."""
    auth = made(authority)
    with DemoAPI(token=authority.is_active) as api, Client(api.url, auth=auth, backoff_factor=0) as client:
        for call in (auth.access_token, lambda: client.read("books")) * 2:
            with pytest.raises(OAuthAccessTokenError):
                call()
        assert not api.requests
    assert not auth.is_valid()
    assert [request["grant_type"] for request in authority.token_requests] == grants


def test_no_other_grant_after_a_401(authority: AuthorizationServer) -> None:
    """A 401 that cannot be mended by a refresh is the answer."""
    authority.issues_refresh_tokens = ()
    auth = with_token(authority)
    authority.revoke_all()
    with DemoAPI(token=authority.is_active) as api, Client(api.url, auth=auth, backoff_factor=0) as client:
        with pytest.raises(ClientError) as caught:
            client.read("books")
        assert len(api.requests) == 1
    assert caught.value.status == 401
    assert [request["grant_type"] for request in authority.token_requests] == ["authorization_code"]


def test_user_can_sign_in_again(authority: AuthorizationServer) -> None:
    """After the tokens are of no more use, a new sign-in on the same object makes it work again."""
    auth = with_revoked_refresh_token(authority)
    with pytest.raises(OAuthAccessTokenError):
        auth.access_token()
    authority.lifetime = 3600
    complete(auth, authority.sign_in(auth.get_authorization_url()))
    assert authority.is_active(auth.access_token())
