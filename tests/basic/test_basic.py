"""Basic: what it sends, what it refuses, and who lets it in."""

import base64
import copy
import pickle
import traceback
from collections.abc import Callable
from enum import Enum
from typing import Any, cast

import pytest
import urllib3
from servers.apache import Apache
from servers.nginx import Nginx

from cruds.demo.api import DemoAPI
from cruds_auth_basic import Basic
from cruds_core import AuthABC, AuthError, Client, ClientError, Request

PASSWORD = "0pen.sesame"


def header(auth: AuthABC) -> str:
    """Returns the Authorization that the scheme adds to a request."""
    request = Request("GET", "https://api.example.com/x", urllib3.HTTPHeaderDict({"Authorization": "old"}))
    auth.authenticate(request)
    (value,) = request.headers.getlist("Authorization")
    return value


def told(error: BaseException) -> str:
    """Returns what an error says: its text with those of its causes, its repr and attributes."""
    return "".join([*traceback.format_exception(error), repr(error), repr(vars(error))])


def left(error: BaseException) -> str:
    """Returns the local variables of the frames that an error passed, our own ones aside."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return repr([frame.f_locals for frame in frames if frame.f_globals is not globals()])


@pytest.mark.parametrize(
    ("username", "password", "expected"),
    [
        ("Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617, section 2
        ("test", "123£", "dGVzdDoxMjPCow=="),  # RFC 7617, section 2.1
    ],
)
def test_examples_of_the_rfc(username: str, password: str, expected: str) -> None:
    """The examples of RFC 7617 are sent as they are printed, in place of an Authorization that was there."""
    assert header(Basic(username, password)) == f"Basic {expected}"


def test_texts_of_an_enumeration() -> None:
    """The texts of members of an Enum are sent, and not their names."""
    text = cast("Any", Enum("text", {"USER": "Aladdin", "PASSWORD": "open sesame"}, type=str))
    assert header(Basic(text.USER, text.PASSWORD)) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ada", ""),
        ("", "s3cret"),
        ("", ""),
        ("ada", ":s3cret:ü:"),
        (" ada lovelace ", " s3cret "),
        ("jäger\u00a0", "€\u00a0"),  # RFC 7617 has nothing against these: they are no control characters
        ("\u0645\u06cc\u200c\u0631", "👩\u200d💻"),
        ("x" * 2000, "y" * 2000),
    ],
)
def test_any_text_arrives(username: str, password: str) -> None:
    """Username and password arrive in UTF-8, empty ones too, and the password with its colons and spaces."""
    with (
        DemoAPI(username=username, password=password) as api,
        Client(api.url, Basic(username, password)) as client,
    ):
        assert client.read("items") == []
    decoded = base64.b64decode(api.requests[0].headers["Authorization"].removeprefix("Basic "))
    assert decoded == f"{username}:{password}".encode()


@pytest.mark.parametrize(
    ("username", "text"),
    [
        ("a:da", "username holds a colon, which Basic cannot send"),
        (":", "username holds a colon"),
        ("a\nda", "username holds a control character"),
        ("ada\x7f", "username .*control character"),
        ("\x00", "username .*control character"),
        ("ada\r\n", r"username .*line break.*strip\(\)"),
        ("\udcff", "username "),
    ],
)
def test_unusable_username(username: str, text: str) -> None:
    """A username that cannot be sent is refused when the scheme is made, and the password is not told."""
    with pytest.raises(ValueError, match=text) as caught:
        Basic(username, PASSWORD)
    assert PASSWORD not in told(caught.value)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        pytest.param(lambda: PASSWORD + "\n", r"line break.*strip\(\)", id="line break"),
        pytest.param(lambda: f"\t{PASSWORD}", r"control character; strip\(\)", id="tab"),
        pytest.param(lambda: f"{PASSWORD}\x00{PASSWORD}", "holds a control character", id="NUL"),
        pytest.param(lambda: f"{PASSWORD}\x7f{PASSWORD}", "holds a control character", id="DEL"),
        pytest.param(lambda: f"{PASSWORD}\udcff{PASSWORD}", "", id="surrogate"),
    ],
)
def test_unusable_password(spoil: Callable[[], str], text: str) -> None:
    """A password that cannot be sent is refused where it shows: at once, or when its callable returns it."""
    with pytest.raises(ValueError, match=f"^password {text}|^password .*{text}") as plain:
        Basic("ada", spoil())
    with pytest.raises(AuthError, match=f"the callable given as password returned .*{text}") as late:
        header(Basic("ada", spoil))
    assert PASSWORD not in told(plain.value)
    assert PASSWORD not in told(late.value) + left(late.value)


@pytest.mark.parametrize("returned", [None, b"bytes", 7])
def test_callable_that_returns_no_text(returned: Any) -> None:
    """A callable that returns something else than a str is an AuthError that names the parameter."""
    with pytest.raises(AuthError, match="the callable given as password must return a str"):
        header(Basic("ada", lambda: returned))


@pytest.mark.parametrize(
    ("username", "password", "text"),
    [
        (1, PASSWORD, r"username must be a str \(got int\)"),
        (None, PASSWORD, r"username must be a str \(got NoneType\)"),
        (b"ada", PASSWORD, r"username must be a str \(got bytes\)"),
        ("ada", None, r"password must be a str or a callable .*\(got NoneType\)"),
        ("ada", PASSWORD.encode(), r"password must be a str or a callable .*\(got bytes\)"),
    ],
)
def test_wrong_types(username: Any, password: Any, text: str) -> None:
    """Another type is refused when the scheme is made, by its name and never by its value."""
    with pytest.raises(TypeError, match=text) as caught:
        Basic(username, password)
    assert PASSWORD not in str(caught.value)


def test_callable_is_asked_at_each_request(api: DemoAPI) -> None:
    """A callable is asked at each request, so a password that changes is followed."""
    passwords = iter([api.password, "old", api.password])
    with Client(api.url, Basic(api.username, lambda: next(passwords))) as client:
        client.read("items")
        client.status_ignore.add(401)
        client.read("items")
        client.read("items")
    assert [seen.status for seen in api.requests] == [200, 401, 200]


def test_retries_are_authenticated(api: DemoAPI) -> None:
    """Each attempt carries the credentials."""
    with Client(api.url, (api.username, api.password), backoff_factor=0) as client:
        client.read("flaky", {"key": "k", "times": 2})
    assert [seen.status for seen in api.requests] == [503, 503, 200]


@pytest.mark.parametrize("kind", [tuple, list])
def test_pair(api: DemoAPI, kind: type[tuple[Any, ...]] | type[list[Any]]) -> None:
    """A pair given as auth is username and password of Basic, of which the password may be a callable."""
    for secret in (api.password, lambda: api.password):
        with Client(api.url, kind((api.username, secret))) as client:
            assert isinstance(client.auth, Basic)
            assert client.read("items") == []


def test_mapping(api: DemoAPI) -> None:
    """A mapping given as auth names the scheme and its options, and a wrong option is named."""
    options = {"scheme": "basic", "username": api.username, "password": api.password}
    with Client(api.url, options) as client:
        assert client.read("items") == []
    with pytest.raises(TypeError, match=r'scheme "basic".*it takes username, password') as caught:
        Client(api.url, {**options, "pasword": PASSWORD})
    assert api.password not in told(caught.value)


@pytest.mark.parametrize(
    "pair", [("ada",), ("ada", PASSWORD, "more"), (), ("ada", None), (None, PASSWORD), (1, 2)]
)
def test_no_pair(pair: Any) -> None:
    """What is no pair of username and password never makes a Client without credentials."""
    with pytest.raises(TypeError, match="must be") as caught:
        Client("localhost", pair)
    assert PASSWORD not in str(caught.value)


def test_wrong_password(api: DemoAPI) -> None:
    """A wrong password is a ClientError with status 401, after one request."""
    refused = pytest.raises(ClientError, match="401 Unauthorized: the credentials are missing or wrong")
    with Client(api.url, (api.username, PASSWORD), backoff_factor=0) as client, refused as caught:
        client.create("items", {"name": "a"})
    assert (caught.value.status, caught.value.attempts, len(api.requests)) == (401, 1, 1)
    assert caught.value.headers["WWW-Authenticate"].startswith("Basic")
    assert PASSWORD not in told(caught.value) + left(caught.value)


def test_nginx(nginx: Nginx) -> None:
    """The right user is let in by nginx, and the wrong one refused once."""
    with Client(f"{nginx.url}/basic", (nginx.user, nginx.password)) as client:
        assert client.read("small.json")["records"]
    with (
        Client(f"{nginx.url}/basic", (nginx.user, "s3cret:u")) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.read("small.json")
    assert (caught.value.status, caught.value.attempts) == (401, 1)


def test_apache(apache: Apache) -> None:
    """The right user is let in by Apache, which tells the name, and the wrong one refused once."""
    with Client(f"{apache.url}/basic", (apache.user, apache.password)) as client:
        answer = client.create("echo", {"a": "ü"}, {"q": 1})
    assert (answer["user"], answer["method"], answer["query"]) == (apache.user, "POST", "q=1")
    with (
        Client(f"{apache.url}/basic", (apache.user, PASSWORD)) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.create("echo", {"a": "ü"})
    assert (caught.value.status, caught.value.attempts) == (401, 1)


def test_httpbin(httpbin: str) -> None:
    """The right user is let in by httpbin, and the wrong one refused once."""
    with Client(f"{httpbin}/basic-auth", ("jäger", "s3cret:ü")) as client:
        assert client.read("jäger/s3cret:ü") == {"authenticated": True, "user": "jäger"}
        with pytest.raises(ClientError) as caught:
            client.read("jäger/other")
    assert (caught.value.status, caught.value.attempts) == (401, 1)


def password() -> str:
    """Returns the password: a callable that can be imported."""
    return PASSWORD


def test_pickle() -> None:
    """A scheme whose password is an importable callable goes through a pickle; a plain password does not."""
    auth = Basic("ada", password)
    restored = pickle.loads(pickle.dumps(auth))  # noqa: S301 - our own
    assert header(restored) == header(auth)
    with pytest.raises(TypeError, match="password is a plain text, which is never pickled") as caught:
        pickle.dumps(Basic("ada", PASSWORD))
    assert PASSWORD not in told(caught.value)


def test_nothing_shows_the_password() -> None:
    """No repr and no copy shows the password, and the username is there to read."""
    auth = Basic("ada", PASSWORD)
    for one in (auth, copy.copy(auth), copy.deepcopy(auth)):
        assert repr(one) == "Basic(username='ada', password=***)"
        assert PASSWORD not in repr(vars(one))
        assert header(one) == header(auth)
    assert auth.username == "ada"
