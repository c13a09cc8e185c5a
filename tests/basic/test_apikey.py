"""ApiKey: where the key goes, what it replaces, and where it is never seen."""

import copy
import logging
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Literal, cast, get_args
from urllib.parse import quote, quote_plus

import pytest
import urllib3

from cruds.demo.api import DemoAPI
from cruds_auth_basic import ApiKey
from cruds_core import (
    AuthError,
    Client,
    ClientError,
    Plugins,
    RedirectError,
    Request,
    RequestEvent,
    RequestTimeoutError,
    hookimpl,
)
from cruds_core.testing.server import Connection, Reply, Server, encode

Location = Literal["header", "query", "cookie"]

LOCATIONS: tuple[Location, ...] = get_args(Location)
KEY = "k3y-0123456789abcdef"
ODD_KEY = 'k3y 0123/4567+89%"=\\'  # it looks otherwise once it is encoded, for a URL or as JSON
NAME = "X-Key"


def authenticated(auth: ApiKey, url: str = "https://api.example.com/x", **headers: str) -> Request:
    """Returns a request after the scheme has seen it."""
    request = Request("GET", url, urllib3.HTTPHeaderDict(headers))
    auth.authenticate(request)
    return request


def told(error: BaseException) -> str:
    """Returns what an error says: its text with those of its causes, its repr and attributes."""
    return "".join([*traceback.format_exception(error), repr(error), repr(vars(error))])


def left(error: BaseException) -> str:
    """Returns the local variables of the frames that an error and its causes passed, our own ones aside."""
    locals_: list[dict[str, Any]] = []
    cause: BaseException | None = error
    while cause is not None:
        frames = [frame for frame, _ in traceback.walk_tb(cause.__traceback__)]
        locals_ += [frame.f_locals for frame in frames if frame.f_globals is not globals()]
        cause = cause.__cause__ or cause.__context__
    return repr(locals_)


class Echo(Connection):
    """Tells whoever asks what it got; /move leads on with the query turned round; other paths are errors."""

    def reply(self) -> Reply:
        """Answer any request."""
        target = self.requestline.split()[1]
        got = {"target": target, "query": self.query, "headers": dict(self.headers)}
        match self.path:
            case "/echo":
                return Reply(200, encode(got), {"Content-Type": "application/json"})
            case "/move":
                query = "&".join(reversed(target.partition("?")[2].split("&")))
                return Reply(308, headers={"Location": f"/moved?{query}"})
            case "/problem":
                details = {"detail": f"{target} {self.headers}"}
                return Reply(422, encode(details), {"Content-Type": "application/problem+json"})
            case "/json":
                escaped = encode({"error": f"{target} {self.headers}"}).replace(b"/", b"\\/")  # as PHP does
                return Reply(400, escaped, {"Content-Type": "application/json"})
            case _:
                return Reply(404, f"{target} {self.headers}".encode(), {"Content-Type": "text/plain"})


class Elsewhere(Connection):
    """Sends whoever asks to another place."""

    def reply(self) -> Reply:
        """Answer any request."""
        return Reply(307, headers={"Location": self.headers["X-To"]})


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[RequestEvent] = []

    @hookimpl
    def cruds_request_started(self, event: RequestEvent) -> None:
        """Keep it."""
        self.events.append(event)

    @hookimpl
    def cruds_request_finished(self, event: RequestEvent) -> None:
        """Keep it."""
        self.events.append(event)


@pytest.fixture
def echo() -> Iterator[Server]:
    """A server that tells what it got."""
    with Server(Echo) as server:
        yield server


def test_httpbin(httpbin: str) -> None:
    """The key arrives as header, query parameter or cookie, as httpbin tells it."""
    with Client(httpbin, ApiKey(NAME, KEY)) as client:
        assert client.read("headers")["headers"][NAME] == KEY
    with Client(httpbin, ApiKey("api_key", KEY, "query")) as client:
        assert client.read("get", {"a": "1"})["args"] == {"a": "1", "api_key": KEY}
        assert client.create("post", {"b": 2}, {"a": "1"})["args"] == {"a": "1", "api_key": KEY}
    with Client(httpbin, ApiKey("sid", KEY, "cookie")) as client:
        assert client.read("cookies", headers={"Cookie": "a=1"})["cookies"] == {"a": "1", "sid": KEY}


def test_header_is_replaced() -> None:
    """A header of that name, in any case and however often, is replaced, and others are left."""
    headers = urllib3.HTTPHeaderDict([("x-key", "old"), ("X-KEY", "older"), ("X-Keys", "other")])
    request = Request("GET", "https://api.example.com/x", headers)
    ApiKey(NAME, KEY).authenticate(request)
    assert request.headers.getlist(NAME) == [KEY]
    assert request.headers["X-Keys"] == "other"


@pytest.mark.parametrize(
    ("name", "uri", "params", "query"),
    [
        ("key", "x", None, "key=new"),
        ("key", "x?", None, "key=new"),
        ("key", "x?b=2&a=1", None, "b=2&a=1&key=new"),
        ("key", "x?b=2&key=old&a=1&key", {"key": "older", "c": [3, 4]}, "b=2&a=1&c=3&c=4&key=new"),
        ("key", "x?keys=1&Key=2&akey=3&a=key=4&b", None, "keys=1&Key=2&akey=3&a=key=4&b&key=new"),
        ("key", "x?a=1;key=2&b=%26key%3Dc", None, "a=1;key=2&b=%26key%3Dc&key=new"),
        ("key", "x?%6bey=old&k%65y=older&a=1", None, "a=1&key=new"),
        ("a key", "x?a%20key=old&a+key=older&b=1", None, "b=1&a+key=new"),
        ("api:key", "x?api:key=old&api%3Akey=older&b=1", None, "b=1&api%3Akey=new"),
        ("ü[0]", "x?ü[0]=old&b=1", {"ü[0]": "older"}, "b=1&%C3%BC%5B0%5D=new"),
    ],
)
def test_query_parameter_is_replaced(
    api: DemoAPI, name: str, uri: str, params: dict[str, Any] | None, query: str
) -> None:
    """A query parameter of that name is replaced however it is encoded; others are left in their order."""
    with Client(f"{api.url}/health", ApiKey(name, "new", "query")) as client:
        client.status_ignore.add(401)
        client.read(uri, params)
    assert api.requests[0].target == f"/health/x?{query}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "sid=new"),
        ("", "sid=new"),
        ("sid=old", "sid=new"),
        ("b=2; a=1", "b=2; a=1; sid=new"),
        ("b=2;sid=old; a=1;  sid=older", "b=2; a=1; sid=new"),
        ("sids=1; SID=2; asid=3; a=sid=4", "sids=1; SID=2; asid=3; a=sid=4; sid=new"),
        ('a="1, 2"; sid=""', 'a="1, 2"; sid=new'),
    ],
)
def test_cookie_is_replaced(before: str | None, after: str) -> None:
    """A cookie of that name is replaced, and others are left in their order."""
    headers = {} if before is None else {"Cookie": before}
    assert authenticated(ApiKey("sid", "new", "cookie"), **headers).headers.getlist("Cookie") == [after]


@pytest.mark.parametrize("key", ["a b", "a+b", "a/b=?&c", "100%", "%41", "ü€", "#", '"', "\\", " "])
def test_any_key_arrives_in_a_query(echo: Server, key: str) -> None:
    """A key in a query is encoded, so that any text arrives as it is."""
    with Client(echo.url, ApiKey("key", key, "query")) as client:
        assert client.read("echo", {"a": 1})["query"] == {"a": ["1"], "key": [key]}


@pytest.mark.parametrize("location", ["header", "cookie"])
def test_any_key_arrives_in_a_field(echo: Server, location: Location) -> None:
    """A key in a field is sent as it is, with all the characters that the field may hold."""
    key = "!#$%&'()*+-./0:<=>?@A[]^_`a{|}~" + ("" if location == "cookie" else ' ",;\\ z')
    with Client(echo.url, ApiKey("sid", key, location)) as client:
        headers = client.read("echo")["headers"]
    assert (headers["sid"] if location == "header" else headers["Cookie"].removeprefix("sid=")) == key


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("header", ""),
        ("header", "X Key"),
        ("header", "X-Key:"),
        ("header", "X-Kéy"),
        ("header", "X-Key\r\nEvil"),
        ("cookie", ""),
        ("cookie", "a=b"),
        ("cookie", "a;b"),
        ("cookie", "a b"),
        ("query", ""),
        ("query", "a\udcff"),
    ],
)
def test_unusable_name(location: Location, name: str) -> None:
    """What cannot be the name of a header, cookie or parameter is refused, and the key not told."""
    with pytest.raises(ValueError, match=f"^name must be the name of a .*{location}") as caught:
        ApiKey(name, KEY, location)
    assert KEY not in told(caught.value)


@pytest.mark.parametrize(
    ("location", "spoil"),
    [
        ("header", ""),
        ("header", f"{KEY}\n"),
        ("header", f"{KEY}\r\nEvil: {KEY}"),
        ("header", f" {KEY}"),
        ("header", f"{KEY}ü"),
        ("header", f"{KEY}\udcff"),
        ("cookie", ""),
        ("cookie", f"{KEY};{KEY}"),
        ("cookie", f"{KEY} "),
        ("cookie", f'"{KEY}"'),
        ("cookie", f"{KEY},{KEY}"),
        ("cookie", f"{KEY}ü"),
        ("query", ""),
        ("query", f"{KEY}\n"),
        ("query", f"{KEY}\x00"),
        ("query", f"{KEY}\udcff"),
    ],
)
def test_unusable_key(location: Location, spoil: str) -> None:
    """A key that cannot be sent is refused where it shows, at once or from its callable, and not told."""
    with pytest.raises(ValueError, match=r"^key .") as plain:
        ApiKey("name", spoil, location)
    with pytest.raises(AuthError, match=r"callable given as key returned .") as late:
        authenticated(ApiKey("name", lambda: spoil, location))
    assert KEY not in told(plain.value)
    assert KEY not in told(late.value) + left(late.value)


@pytest.mark.parametrize("location", get_args(Location))
def test_text_of_an_enumeration(location: Location) -> None:
    """The text of a member of an Enum is sent, and not its name, be it the name or the key."""
    text = cast("Any", Enum("text", {"NAME": "a-name", "KEY": "a-key"}, type=str))
    plain = authenticated(ApiKey("a-name", "a-key", location))
    for key in (text.KEY, lambda: text.KEY):
        sent = authenticated(ApiKey(text.NAME, key, location))
        assert (sent.url, dict(sent.headers)) == (plain.url, dict(plain.headers))


def test_cookie_header_that_is_no_text(echo: Server) -> None:
    """A Cookie of another type is refused by name before the key is put beside it."""
    with (
        Client(echo.url, ApiKey(NAME, KEY, "cookie"), retries=0) as client,
        pytest.raises(TypeError, match='"Cookie" must be a str'),
    ):
        client.read("x", headers={"Cookie": cast("Any", 1)})


@pytest.mark.parametrize(
    ("name", "key", "location", "error", "text"),
    [
        (NAME, KEY, "path", ValueError, r'location must be "header", "query" or "cookie" \(got \'path\'\)'),
        (NAME, KEY, "Header", ValueError, "location must be"),
        (NAME, KEY, None, ValueError, "location must be"),
        (NAME, KEY, ["header"], ValueError, "location must be"),
        (1, KEY, "header", TypeError, r"name must be a str \(got int\)"),
        (NAME, None, "header", TypeError, r"key must be a str or a callable .*\(got NoneType\)"),
        (NAME, KEY.encode(), "query", TypeError, r"key must be a str or a callable .*\(got bytes\)"),
    ],
)
def test_wrong_arguments(name: Any, key: Any, location: Any, error: type[Exception], text: str) -> None:
    """Another type or location is refused by its name, and the key not told."""
    with pytest.raises(error, match=text) as caught:
        ApiKey(name, key, location)
    assert KEY not in told(caught.value)


@pytest.mark.parametrize("location", LOCATIONS)
def test_callable_is_asked_at_each_request(echo: Server, location: Location) -> None:
    """A callable is asked at each attempt, and what it returns replaces what it returned before."""
    keys = iter(["one", "two", "three"])
    with Client(echo.url, ApiKey("sid", lambda: next(keys), location)) as client:
        answers = [client.read("echo") for _ in range(3)]
    places: dict[str, Callable[[Any], str]] = {
        "header": lambda got: got["headers"]["sid"],
        "query": lambda got: got["target"],
        "cookie": lambda got: got["headers"]["Cookie"],
    }
    found = [places[location](got).removeprefix("/echo?").removeprefix("sid=") for got in answers]
    assert found == ["one", "two", "three"]


def test_mapping(echo: Server) -> None:
    """A mapping given as auth makes the scheme by its name and options."""
    with Client(echo.url, {"scheme": "apikey", "name": "k", "key": KEY, "location": "query"}) as client:
        assert client.read("echo")["query"] == {"k": [KEY]}


@pytest.mark.parametrize("location", LOCATIONS)
def test_another_origin_gets_no_key(echo: Server, location: Location) -> None:
    """A redirect to another origin takes no key along."""
    with Server(Elsewhere) as elsewhere, Client(elsewhere.url, ApiKey("sid", KEY, location)) as client:
        got = client.read("x", headers={"X-To": f"{echo.url}/echo?a=1"})
    assert got["target"] == "/echo?a=1"
    assert KEY not in str(got)
    assert KEY in f"{elsewhere.requests[0].target} {elsewhere.requests[0].headers}"


def test_a_location_takes_no_key_to_another_origin(echo: Server) -> None:
    """A redirect elsewhere whose Location repeats the key is not followed."""
    with Server(Elsewhere) as elsewhere, Client(elsewhere.url, ApiKey("sid", KEY, "query")) as client:
        with pytest.raises(RedirectError, match="takes the credentials to another origin") as caught:
            client.read("x", headers={"X-To": f"{echo.url}/echo?sid={KEY}"})
        assert KEY not in str(caught.value)
    assert echo.requests == []


@pytest.mark.parametrize("path", ["x", "problem", "json", "move"])
@pytest.mark.parametrize(
    ("location", "key"),
    [*((location, KEY) for location in LOCATIONS), ("header", ODD_KEY), ("query", ODD_KEY)],
)
def test_echoed_key_is_masked(echo: Server, path: str, location: Location, key: str) -> None:
    """A key that the server says back in an error is masked in the message, after a redirect too."""
    with Client(echo.url, ApiKey("sid", key, location)) as client, pytest.raises(ClientError) as caught:
        client.read(path, {"a": "visible"})
    error = caught.value
    forms = {key, quote(key), quote(key, safe=""), quote_plus(key)}
    said = error.data if isinstance(error.data, bytes) else b" ".join(map(str.encode, error.data.values()))
    assert any(form.encode() in said for form in forms)
    message = told(error) + left(error)
    assert "***" in str(error)
    for form in forms:
        assert form not in message
        assert form.replace("\\", "") not in message.replace("\\", "")  # which JSON may have put in
        assert form not in error.url + error.response.url + repr(error.response)
    if location == "query":
        assert "a=visible" in str(error)


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("path", ["echo", "x", "move"])
def test_key_is_logged_nowhere(
    echo: Server, path: str, location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    """No log of urllib3 or ours has the key, at DEBUG either, nor what is returned."""
    caplog.set_level(logging.DEBUG)
    with Client(echo.url, ApiKey("sid", KEY, location)) as client:
        client.raise_status = False
        response = client.request("GET", path, params={"a": 1})
    lines = [
        record.getMessage() for record in caplog.records if not record.name.startswith("cruds_core.testing")
    ]
    assert any("Starting new HTTP connection" in line for line in lines)
    assert any(f"GET /{path}" in line for line in lines)
    assert not any(KEY in line for line in lines)
    assert KEY not in f"{response!r} {response.url} {client!r} {client.auth!r}"


@pytest.mark.parametrize("location", LOCATIONS)
def test_observers_see_no_key(echo: Server, location: Location) -> None:
    """What observers are told of a request holds no key."""
    watcher = Watcher()
    plugins = Plugins()
    plugins.register(watcher)
    with Client(echo.url, ApiKey("sid", KEY, location), plugins=plugins) as client:
        client.read("echo", {"a": 1})
        client.raise_status = False
        client.read("move")
    assert [event.path for event in watcher.events] == ["/echo"] * 2 + ["/move"] * 2 + ["/moved"] * 2
    assert KEY not in repr(watcher.events)


@pytest.mark.parametrize("location", LOCATIONS)
def test_failed_request_tells_no_key(location: Location) -> None:
    """An error without an answer tells no key, in itself, its causes and their frames."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        auth = ApiKey("sid", KEY, location)
        with (
            Client(host, auth, timeout=0.1, retries=0) as client,
            pytest.raises(RequestTimeoutError) as caught,
        ):
            client.read("x", {"a": 1})
    assert caught.value.url == f"http://{host}/x"
    assert KEY not in told(caught.value) + left(caught.value)
    assert KEY not in repr(pickle.dumps(caught.value))
    cause: BaseException | None = caught.value
    while cause is not None:
        assert KEY not in repr(vars(cause)) + repr(cause.args)
        cause = cause.__cause__


def key() -> str:
    """Returns the key: a callable that can be imported."""
    return KEY


@pytest.mark.parametrize("location", LOCATIONS)
def test_pickle(location: Location) -> None:
    """A scheme whose key is an importable callable goes through a pickle; a plain key does not."""
    restored = pickle.loads(pickle.dumps(ApiKey("sid", key, location)))  # noqa: S301 - our own
    request = authenticated(restored)
    assert KEY in f"{request.url} {dict(request.headers)}"
    with pytest.raises(TypeError, match="key is a plain text, which is never pickled") as caught:
        pickle.dumps(ApiKey("sid", KEY, location))
    assert KEY not in told(caught.value)


@pytest.mark.parametrize("location", LOCATIONS)
def test_nothing_shows_the_key(location: Location) -> None:
    """No repr and no copy shows the key, nor does a request that carries it."""
    auth = ApiKey("sid", KEY, location)
    for one in (auth, copy.copy(auth), copy.deepcopy(auth)):
        assert repr(one) == f"ApiKey(name='sid', key=***, location={location!r})"
        assert KEY not in repr(vars(one))
        request = authenticated(one)
        assert KEY not in f"{request!r} {request}"
