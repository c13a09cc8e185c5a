"""The Client: its documented calls, against the embedded JSON API and httpbin."""

import inspect
import json
import os
import traceback
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import urllib3
from servers.fault import Fault, reply

from cruds.demo.api import DemoAPI
from cruds_auth_basic import Basic
from cruds_core import (
    AuthABC,
    BearerToken,
    Client,
    ClientError,
    ContentError,
    ServerError,
    UnknownSchemeError,
)

# The API reference of CRUDs 1.x.
DOCUMENTED: list[tuple[Callable[..., Any], str]] = [
    (
        Client,
        "host, auth=None, manager=None, timeout=300.0, raise_status=True, retries=4, backoff_factor=0.9, "
        "retry_status_codes=(504, 503, 502, 500, 429, 425, 408), serialize=True, verify_ssl=True",
    ),
    (Client.create, "self, uri, data, params=None, files=None"),
    (Client.read, "self, uri, params=None"),
    (Client.update, "self, uri, data, params=None, replace=False, files=None"),
    (Client.delete, "self, uri, params=None"),
    (Client.download, "self, uri, path=None, filename=None, params=None"),
]

JSON_VALUES: dict[str, Any] = {
    "object": {"name": "lamp", "tags": ["a", None, {"deep": [1.5]}], "é": "ü☃😀"},
    "empty object": {},
    "array": [1, "two", [3], {}],
    "empty array": [],
    "string": 'with "quotes", a \\ and a \n',
    "empty string": "",
    "integer": -7,
    "zero": 0,
    "big integer": 2**80,
    "number": 1.5e-7,
    "true": True,
    "false": False,
}


@pytest.fixture
def client(api: DemoAPI) -> Iterator[Client]:
    """A Client of the embedded API."""
    with Client(api.url, (api.username, api.password), backoff_factor=0) as client:
        yield client


@pytest.mark.parametrize(
    ("function", "documented"), DOCUMENTED, ids=lambda value: getattr(value, "__name__", "")
)
def test_documented_signature(function: Callable[..., Any], documented: str) -> None:
    """Names, order and defaults are the documented ones; what is new is keyword-only and optional."""
    parameters = list(inspect.signature(function).parameters.values())
    new = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    old = [parameter.replace(annotation=parameter.empty) for parameter in parameters if parameter not in new]
    assert {parameter.kind for parameter in old} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert ", ".join(map(str, old)) == documented
    assert all(parameter.default is not parameter.empty for parameter in new)


def test_client_by_position(api: DemoAPI) -> None:
    """All documented arguments of Client can be given by position."""
    manager = urllib3.PoolManager()
    with Client(api.url, api.token, manager, 5.0, False, 0, 0.0, (503,), True, True) as client:
        assert client.manager is manager
        assert client.raise_status is False
        assert client.read("things/1")["status"] == 404


def test_verbs_by_position(api: DemoAPI, client: Client) -> None:
    """All documented arguments of the verbs can be given by position."""
    client.create("things", {"name": "lamp"}, {"q": 1}, None)
    client.read("things", {"q": 2})
    client.update("things/1", {"name": "desk lamp"}, {"q": 3}, False, None)
    client.update("things/1", {"name": "desk lamp"}, {"q": 4}, True, None)
    client.delete("things/1", {"q": 5})
    assert [(seen.method, seen.target) for seen in api.requests] == [
        ("POST", "/things?q=1"),
        ("GET", "/things?q=2"),
        ("PATCH", "/things/1?q=3"),
        ("PUT", "/things/1?q=4"),
        ("DELETE", "/things/1?q=5"),
    ]


def test_create_read_update_delete(client: Client) -> None:
    """What is created can be read, changed, replaced and deleted, and each call answers with data."""
    assert client.create("things", {"name": "lamp", "watts": 40}) == {"id": 1, "name": "lamp", "watts": 40}
    assert client.read("things") == [{"id": 1, "name": "lamp", "watts": 40}]
    assert client.update("things/1", {"watts": 60}) == {"id": 1, "name": "lamp", "watts": 60}
    assert client.update("things/1", {"name": "torch"}, replace=True) == {"id": 1, "name": "torch"}
    assert client.delete("things/1") == b""
    assert client.read("things") == []


@pytest.mark.parametrize("value", JSON_VALUES.values(), ids=JSON_VALUES)
@pytest.mark.parametrize("call", ["create", "update", "replace"])
def test_json_of_any_type_arrives(httpbin: str, value: Any, call: str) -> None:
    """Each JSON type arrives as it was given, and comes back as it was."""
    with Client(httpbin, retries=0) as client:
        if call == "create":
            answer = client.create("anything", value)
        else:
            answer = client.update("anything", value, replace=call == "replace")
    assert answer["json"] == value
    assert type(answer["json"]) is type(value)
    assert answer["headers"]["Content-Type"] == "application/json"


@pytest.mark.parametrize("value", [*JSON_VALUES.values(), None], ids=[*JSON_VALUES, "null"])
def test_json_of_any_type_is_returned(value: Any) -> None:
    """An answer of each JSON type is returned as its Python value, null as None."""
    with Fault(reply(200, json.dumps(value).encode())) as server, Client(server.url, retries=0) as client:
        answer = client.read("value")
    assert answer == value
    assert type(answer) is type(value)


@pytest.mark.parametrize("serialize", [True, False])
def test_none_is_no_content(httpbin: str, serialize: bool) -> None:
    """Data that is None sends no content, and no Content-Type."""
    with Client(httpbin, retries=0, serialize=serialize) as client:
        answer = client.create("anything", None)
    seen = answer if serialize else json.loads(answer)
    assert seen["data"] == ""
    assert "Content-Type" not in seen["headers"]


@pytest.mark.parametrize(
    "data",
    [b"raw \x00\xff", bytearray(b"raw"), memoryview(b"raw"), "räw ☃", "", b"", BytesIO(b"from a file")],
    ids=["bytes", "bytearray", "memoryview", "str", "empty str", "empty bytes", "file"],
)
def test_raw_data(data: Any) -> None:
    """With serialize=False, str goes as UTF-8, and bytes and files as they are; bytes come back."""
    if isinstance(data, BytesIO):
        expected = data.getvalue()
    else:
        expected = data.encode() if isinstance(data, str) else bytes(data)
    with Fault(reply(200, b'{"a": 1}')) as server, Client(server.url, retries=0, serialize=False) as client:
        assert client.create("raw", data) == b'{"a": 1}'
    (received,) = server.received
    assert received.content == expected
    assert received.headers["Content-Length"] == str(len(expected))
    assert "Content-Type" not in received.headers


def test_bytes_are_raw_beside_json(api: DemoAPI, client: Client) -> None:
    """Bytes are sent as they are with serialize, too, under the Content-Type that the call names."""
    created = client.create("things", b'{"name": "lamp"}', headers={"Content-Type": "application/json"})
    assert created == {"id": 1, "name": "lamp"}


@pytest.mark.parametrize("data", [{"a": 1}, [b"a"], 5, iter([b"a"]), object()])
def test_raw_data_of_another_type(data: Any) -> None:
    """With serialize=False, what has no bytes is a ContentError before anything is sent."""
    with (
        Client("http://127.0.0.1:9", serialize=False) as client,
        pytest.raises(ContentError, match="data must be"),
    ):
        client.create("raw", data)


def test_status_ignore(api: DemoAPI, client: Client) -> None:
    """A status in status_ignore returns the answer, and others still raise."""
    client.status_ignore.add(404)
    assert client.read("things/1")["title"] == "Not Found"
    with pytest.raises(ClientError, match="422"):
        client.create("things", {})
    client.status_ignore.remove(404)
    with pytest.raises(ClientError, match="404"):
        client.read("things/1")


@pytest.mark.parametrize("status", [404, 500, 599])
def test_raise_status_off(api: DemoAPI, status: int) -> None:
    """With raise_status=False the answer of any status is returned, and turning it on makes it raise."""
    with Client(api.url, api.token, raise_status=False, retries=0) as client:
        uri = f"flaky?times=9&status={status}"
        assert client.read(uri)["status"] == status
        client.raise_status = True
        with pytest.raises((ClientError, ServerError)):
            client.read(uri)


CALLS: dict[str, Callable[[Client, dict[str, str]], Any]] = {
    "POST": lambda client, headers: client.create("things", {"name": "x"}, headers=headers),
    "GET": lambda client, headers: client.read("things", headers=headers),
    "PATCH": lambda client, headers: client.update("things/1", {"a": 1}, headers=headers),
    "PUT": lambda client, headers: client.update("things/1", {"name": "y"}, replace=True, headers=headers),
    "DELETE": lambda client, headers: client.delete("things/1", headers=headers),
    "HEAD": lambda client, headers: client.request("HEAD", "things", headers=headers),
}


@pytest.mark.parametrize("method", CALLS)
def test_headers_of_a_call(api: DemoAPI, client: Client, method: str) -> None:
    """Each verb sends the headers that it is given, once."""
    client.create("things", {"name": "lamp"})
    CALLS[method](client, {"X-Trace": "7", "accept-language": "de"})
    client.read("things")
    seen, later = api.requests[1:]
    assert seen.method == method
    assert seen.headers.get_all("X-Trace") == ["7"]
    assert seen.headers.get_all("Accept-Language") == ["de"]
    assert "X-Trace" not in later.headers


def test_headers_of_a_download(api: DemoAPI, client: Client, tmp_path: Path) -> None:
    """A download sends the headers that it is given."""
    client.download("things", tmp_path, headers={"X-Trace": "7"})
    assert api.requests[0].headers["X-Trace"] == "7"


def test_headers_of_every_request(api: DemoAPI, client: Client) -> None:
    """What is added to request_headers goes with each request, with all the values of a name."""
    client.request_headers["X-Team"] = "blue"
    client.request_headers.add("X-Tag", "a")
    client.request_headers.add("x-tag", "b")
    client.create("things", {"name": "lamp"})
    client.read("things")
    for seen in api.requests:
        assert seen.headers["X-Team"] == "blue"
        assert ", ".join(seen.headers.get_all("X-Tag", [])) == "a, b"


@pytest.mark.parametrize(
    ("every", "one", "sent"),
    [
        ({}, {}, "application/json, */*;q=0.5"),
        ({"accept": "text/csv"}, {}, "text/csv"),
        ({"Accept": "text/csv"}, {"ACCEPT": "text/plain"}, "text/plain"),
        ({}, {"Accept": "text/plain"}, "text/plain"),
    ],
)
def test_precedence_of_headers(
    api: DemoAPI, client: Client, every: dict[str, str], one: dict[str, str], sent: str
) -> None:
    """A call's headers go before request_headers, and those before our defaults, whatever their case."""
    client.request_headers.update(every)
    client.read("things", headers=one)
    assert api.requests[0].headers.get_all("Accept") == [sent]


def test_content_type_of_a_call(api: DemoAPI, client: Client) -> None:
    """A Content-Type that a call names stays, with data written as JSON."""
    client.create("things", {"name": "lamp"})
    client.update("things/1", {"watts": 60}, headers={"content-type": "application/merge-patch+json"})
    assert api.requests[-1].headers.get_all("Content-Type") == ["application/merge-patch+json"]


def test_default_headers(api: DemoAPI, client: Client) -> None:
    """A request says who sends it, asks for JSON, and accepts compressed content."""
    client.read("things")
    headers = api.requests[0].headers
    assert headers["User-Agent"].startswith("cruds-core/")
    assert headers["Accept"].startswith("application/json")
    assert "gzip" in headers["Accept-Encoding"]


def test_credentials_of_the_scheme_go_before_headers(api: DemoAPI, client: Client) -> None:
    """The auth scheme writes its header last, so that a request has one Authorization."""
    client.read("things", headers={"Authorization": "Bearer wrong"})
    assert len(api.requests[0].headers.get_all("Authorization", [])) == 1


def test_request_with_an_entity_tag(client: Client) -> None:
    """An answer's ETag makes the next read a 304 without content, and guards a change with If-Match."""
    created = client.request("POST", "things", {"name": "lamp"})
    assert (created.status, created.headers["location"]) == (201, "/things/1")
    etag = created.headers["ETag"]
    unchanged = client.request("GET", "things/1", headers={"If-None-Match": etag})
    assert (unchanged.status, unchanged.data, unchanged.headers["ETag"]) == (304, b"", etag)
    client.update("things/1", {"watts": 60}, headers={"If-Match": etag})
    with pytest.raises(ClientError) as caught:
        client.update("things/1", {"watts": 80}, headers={"If-Match": etag})
    assert caught.value.status == 412


def test_request_follows_links(api: DemoAPI, client: Client) -> None:
    """The Link of a page, relative or absolute, leads to the next one."""
    for number in range(3):
        client.create("things", {"name": f"lamp {number}"})
    page = client.request("GET", "things", params={"limit": 2})
    link = page.headers["Link"].partition(">")[0].removeprefix("<")
    assert [thing["id"] for thing in page.data] == [1, 2]
    assert [thing["id"] for thing in client.read(link)] == [3]
    assert [thing["id"] for thing in client.read(api.url + link)] == [3]


def test_request_head(client: Client) -> None:
    """HEAD returns the headers of the read without its content."""
    client.create("things", {"name": "lamp"})
    answer = client.request("HEAD", "things/1")
    assert (answer.status, answer.data) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(client.request("GET", "things/1").content)


def test_request_options(httpbin: str) -> None:
    """OPTIONS returns the methods that a resource allows."""
    with Client(httpbin, retries=0) as client:
        assert "PATCH" in client.request("OPTIONS", "anything").headers["Allow"]


@pytest.mark.parametrize("method", ["post", "Put", "PATCH", "REPORT"])
def test_request_sends_content_by_any_method(method: str) -> None:
    """A request of any method carries data, params and headers."""
    with Fault(reply(200)) as server, Client(server.url, retries=0) as client:
        answer = client.request(method, "x", {"a": 1}, {"q": 1}, headers={"X-Trace": "7"})
    (received,) = server.received
    assert (answer.method, received.method) == (method.upper(), method.upper())
    assert (received.target, received.content, received.headers["X-Trace"]) == ("/x?q=1", b'{"a":1}', "7")


def test_context_manager(api: DemoAPI) -> None:
    """Leaving a Client closes its connections, and it can still be used."""
    with Client(api.url, api.token) as client:
        client.read("things")
        client.read("things")
        assert api.connections == 1
        assert len(client.manager.pools) == 1
    assert len(client.manager.pools) == 0
    with client:
        client.read("things")
    assert api.connections == 2


def test_a_manager_is_closed_with_the_client(api: DemoAPI) -> None:
    """Closing a Client closes the idle connections of a manager that it was given."""
    manager = urllib3.PoolManager()
    with Client(api.url, api.token, manager) as client:
        client.read("things")
        assert len(manager.pools) == 1
    assert len(manager.pools) == 0


class Closing(BearerToken):
    closed = 0

    def close(self) -> None:
        """Count."""
        self.closed += 1


def test_a_scheme_that_was_given_stays_open(api: DemoAPI) -> None:
    """A scheme that the user made, and may share, is not closed with the Client."""
    scheme = Closing(api.token)
    with Client(api.url, scheme) as client:
        client.read("things")
    assert scheme.closed == 0


def test_repr() -> None:
    """A Client shows where it goes, and nothing else."""
    with Client("api.example.com/v1", ("ada", "hunter2")) as client:
        client.request_headers["X-Api-Key"] = "hunter2"
        assert repr(client) == "<Client https://api.example.com/v1/>"
        assert "hunter2" not in repr(client.request_headers)
        assert "hunter2" not in repr(client.auth)


def test_headers_show_all_values() -> None:
    """The repr of request_headers shows every value of a name that is known to carry no credential."""
    with Client("api.example.com") as client:
        client.request_headers.add("Accept-Language", "de")
        client.request_headers.add("Accept-Language", "fr")
        assert repr(client.request_headers) == "Headers({'Accept-Language': 'de, fr'})"


TEXT: Any = "5"


class BadPath(os.PathLike[str]):
    """A path that says a number where it is to say a text."""

    def __fspath__(self) -> Any:
        return 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"host": 5}, TypeError, "host"),
        ({"host": "ftp://x"}, ValueError, "host"),
        ({"manager": 5}, TypeError, "manager"),
        pytest.param({"manager": urllib3.HTTPConnectionPool("x")}, TypeError, "manager", id="a pool"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": float("inf")}, ValueError, "timeout"),
        ({"timeout": 1e10}, ValueError, "timeout"),
        ({"timeout": "5"}, TypeError, "timeout"),
        ({"timeout": True}, TypeError, "timeout"),
        ({"timeout": (3, 5)}, TypeError, "timeout"),
        ({"timeout": urllib3.Timeout(connect=float("nan"))}, ValueError, "timeout"),
        ({"timeout": urllib3.Timeout(total=1, read=1e10)}, ValueError, "timeout"),
        ({"timeout": urllib3.Timeout(total=float("inf"))}, ValueError, "timeout"),
        pytest.param(
            {"manager": urllib3.PoolManager(timeout=1e10)}, ValueError, "timeout of manager", id="1e10"
        ),
        pytest.param(
            {"manager": urllib3.PoolManager(timeout=TEXT)}, TypeError, "timeout of manager", id="text"
        ),
        ({"retries": -1}, ValueError, "retries"),
        ({"retries": 1.5}, TypeError, "retries"),
        ({"retries": True}, TypeError, "retries"),
        ({"retries": ""}, TypeError, "retries"),
        ({"retries": urllib3.Retry(3)}, TypeError, "retries"),
        ({"backoff_factor": -1}, ValueError, "backoff_factor"),
        ({"backoff_factor": None}, TypeError, "backoff_factor"),
        ({"retry_status_codes": 503}, TypeError, "retry_status_codes"),
        ({"retry_status_codes": ["503"]}, ValueError, "retry_status_codes"),
        ({"retry_status_codes": [99]}, ValueError, "retry_status_codes"),
        ({"verify_ssl": None}, TypeError, "verify_ssl"),
        ({"verify_ssl": 0}, TypeError, "verify_ssl"),
        ({"verify_ssl": "no/such/file.pem"}, ValueError, "verify_ssl"),
        pytest.param({"verify_ssl": BadPath()}, TypeError, "verify_ssl", id="bad path"),
        ({"max_response_size": 0}, ValueError, "max_response_size"),
        ({"max_response_size": None}, TypeError, "max_response_size"),
        ({"plugins": 5}, TypeError, "plugins"),
        ({"certificate": "x"}, TypeError, "certificate"),
    ],
    ids=repr,
)
def test_bad_argument_of_a_client(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """An argument of the wrong type or value is an error that names it, and makes no Client."""
    given: dict[str, Any] = {"host": "http://127.0.0.1", **arguments}
    with pytest.raises(error, match=message):
        Client(**given)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"uri": 5}, TypeError, "uri"),
        ({"uri": "../x"}, ValueError, "uri"),
        ({"params": 5}, TypeError, "params"),
        ({"headers": 5}, TypeError, "headers"),
        ({"headers": [("A", "b")]}, TypeError, "headers"),
        ({"headers": {1: "b"}}, TypeError, "header"),
        ({"headers": {"X-A": 5}}, TypeError, '"X-A"'),
        ({"headers": {"X-A": None}}, TypeError, '"X-A"'),
        ({"headers": {"Content-Type": 5}, "data": {}}, TypeError, '"Content-Type"'),
        ({"headers": {"X-A": "b\r\nX-B: c"}}, ValueError, '"X-A"'),
        ({"headers": {"X-A": "b\x00"}}, ValueError, '"X-A"'),
        ({"headers": {"X-A": "☃"}}, ValueError, '"X-A"'),
        ({"headers": {"X A": "b"}}, ValueError, "X A"),
        ({"headers": {"X-A\r\nX-B": "b"}}, ValueError, "X-A"),
        ({"headers": {"": "b"}}, ValueError, "name of a header"),
        ({"method": 5}, TypeError, "method"),
        ({"method": None}, TypeError, "method"),
        ({"method": b"GET"}, TypeError, "method"),
        ({"method": ""}, ValueError, "method"),
        ({"method": "GET /admin HTTP/1.1\r\nX: "}, ValueError, "method"),
        ({"files": 5}, (TypeError, ContentError), "files"),
    ],
    ids=repr,
)
def test_bad_argument_of_a_call(
    api: DemoAPI,
    client: Client,
    arguments: dict[str, Any],
    error: type[Exception] | tuple[type[Exception], ...],
    message: str,
) -> None:
    """An argument of the wrong type or value is an error that names it, and nothing is sent."""
    given: dict[str, Any] = {"method": "GET", "uri": "things", **arguments}
    with pytest.raises(error, match=message):
        client.request(**given)
    assert api.requests == []


WRONG_AUTH: dict[str, tuple[Any, type[Exception]]] = {
    "empty token": ("", ValueError),
    "bytes": (b"hunter2", TypeError),
    "number": (5, TypeError),
    "zero": (0, TypeError),
    "False": (False, TypeError),
    "nothing": ((), TypeError),
    "one": (("ada",), TypeError),
    "three": (("ada", "hunter2", "x"), TypeError),
    "empty list": ([], TypeError),
    "set": ({"ada", "hunter2"}, TypeError),
    "iterator": (iter(("ada", "hunter2")), TypeError),
    "no password": (("ada", None), TypeError),
    "password of bytes": (("ada", b"hunter2"), TypeError),
    "no username": ((None, "hunter2"), TypeError),
    "username with a colon": (("a:da", "hunter2"), ValueError),
    "password with a line break": (("ada", "hunter2\n"), ValueError),
    "token with a line break": ("hunter2\n", ValueError),
    "token that is not ASCII": ("hunter2ü", ValueError),
    "empty mapping": ({}, TypeError),
    "no scheme": ({"username": "ada", "password": "hunter2"}, TypeError),
    "scheme of another type": ({"scheme": None, "password": "hunter2"}, TypeError),
    "unknown scheme": ({"scheme": "no-such-scheme", "password": "hunter2"}, UnknownSchemeError),
    "option is missing": ({"scheme": "basic", "username": "ada"}, TypeError),
    "option is misspelt": (
        {"scheme": "basic", "username": "ada", "password": "x", "pasword": "hunter2"},
        TypeError,
    ),
    "callable": (lambda: "hunter2", TypeError),
    "class of a scheme": (Basic, TypeError),
    "base class": (AuthABC, TypeError),
    "object": (object(), TypeError),
}


@pytest.mark.parametrize(("auth", "error"), WRONG_AUTH.values(), ids=WRONG_AUTH)
def test_wrong_auth_makes_no_client(auth: Any, error: type[Exception]) -> None:
    """There is no way from a wrong auth= to a Client, and no secret in what is raised."""
    with pytest.raises(error) as caught:
        Client("http://127.0.0.1", auth)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "form", ["token", "pair", "list", "pair with a callable", "mapping", "scheme", "callable in a scheme"]
)
def test_right_auth(api: DemoAPI, form: str) -> None:
    """Each form of auth= that is documented authenticates."""
    forms: dict[str, Any] = {
        "token": api.token,
        "pair": (api.username, api.password),
        "list": [api.username, api.password],
        "pair with a callable": (api.username, lambda: api.password),
        "mapping": {"scheme": "basic", "username": api.username, "password": api.password},
        "scheme": Basic(api.username, api.password),
        "callable in a scheme": BearerToken(lambda: api.token),
    }
    with Client(api.url, forms[form], retries=0) as client:
        assert client.read("things") == []
    assert isinstance(client.auth, AuthABC)


def test_no_auth(api: DemoAPI) -> None:
    """Without auth= no credentials are sent."""
    with Client(api.url, retries=0) as client:
        assert client.auth is None
        with pytest.raises(ClientError) as caught:
            client.read("things")
    assert caught.value.status == 401
    assert "Authorization" not in api.requests[0].headers
