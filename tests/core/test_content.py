"""Data to JSON and back, and what of an answer is JSON at all."""

import json
import logging
import sys
from typing import Any, cast

import pytest
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.fault import Fault, reply

from cruds_core import Client, ClientError, ContentError

DIGITS = 5000  # more than sys.get_int_max_str_digits() allows


def read(content: bytes, content_type: str | None = "application/json", **options: Any) -> Any:
    """Returns what a Client reads from a server that answers with this content."""
    headers = "" if content_type is None else f"Content-Type: {content_type}\r\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    with Fault(head.encode() + content) as server, Client(server.url, retries=0, **options) as client:
        return client.read("x")


VALUES: list[Any] = [
    {"name": "lämp ☃😀", "nested": [1, 2.5, True, None, {"a": []}]},
    [1, 2, 3],
    'quotes " and \\ and \n and \x00',
    0.1,
    -0.0,
    1e300,
    2**70,
    False,
    {1: "a", 2.5: "b", False: "c", None: "d"},
    ("a", "tuple"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_json_is_written_as_urllib3_writes_it(value: Any) -> None:
    """The bytes and the Content-Type of JSON are those that json= of urllib3 sends."""
    with Fault(reply(200)) as server:
        with urllib3.PoolManager() as manager:
            manager.request("POST", server.url, json=value)
        with Client(server.url, retries=0) as client:
            client.create("", value)
    theirs, ours = server.received
    assert ours.content == theirs.content
    assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]


def circular() -> list[Any]:
    """Returns a list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


def deep(depth: int = 200_000) -> list[Any]:
    """Returns lists in lists, nested deeper than any recursion goes."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def released() -> memoryview:
    """Returns a memoryview of nothing any more."""
    view = memoryview(b"x")
    view.release()
    return view


UNWRITABLE: dict[str, tuple[Any, str]] = {
    "NaN": ({"x": float("nan")}, "not JSON compliant"),
    "infinity": ([float("-inf")], "not JSON compliant"),
    "lone surrogate": ("hunter2\ud800", "lone surrogate"),
    "lone surrogate in a key": ({"hunter2\udfff": 1}, "lone surrogate"),
    "circular": (circular(), "[Cc]ircular"),
    "deep": (deep(), "recursion|nest"),
    "set": ({1, 2}, "set is not JSON serializable"),
    "bytes inside": ({"x": b"hunter2"}, "bytes is not JSON serializable"),
    "object": (object(), "object is not JSON serializable"),
    "key": ({(1, 2): "hunter2"}, "keys must be"),
    "released memoryview": (released(), "data holds a memoryview that has been released"),
    "long integer": (10**DIGITS, "limit"),
}


@pytest.mark.parametrize(("data", "message"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_data_that_is_no_json(data: Any, message: str) -> None:
    """Data that JSON cannot hold is a ContentError that says why, and is not sent."""
    with Fault(reply(200)) as server, Client(server.url, retries=0) as client:
        with pytest.raises(ContentError, match=message) as caught:
            client.create("x", data)
        assert server.received == []
    assert "hunter2" not in str(caught.value)


def test_raw_text_with_a_lone_surrogate() -> None:
    """Text that UTF-8 cannot hold is a ContentError with serialize=False, too."""
    with (
        Client("http://127.0.0.1:9", retries=0, serialize=False) as client,
        pytest.raises(ContentError, match="surrogate"),
    ):
        client.create("x", "hunter2\udcff")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=iso-8859-1",
        "application/problem+json",
        "application/vnd.api+json; version=1",
        "text/json",
        "image/svg+JSON",
        None,
        "",
    ],
)
def test_content_types_that_are_decoded(content_type: str | None) -> None:
    """JSON is decoded where the content type says so (RFC 6839), or where none says otherwise."""
    assert read('{"a": "ü"}'.encode(), content_type) == {"a": "ü"}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/html; charset=utf-8",
        "application/octet-stream",
        "application/x-ndjson",
        "application/json-seq",
        "application/jsonp",
        "text/plain; format=application/json",
        "json",
    ],
)
def test_content_types_that_stay_bytes(content_type: str, caplog: pytest.LogCaptureFixture) -> None:
    """Content of any other type stays bytes, even if it could be read as JSON, and nobody is warned."""
    assert read(b'{"a": 1}', content_type) == b'{"a": 1}'
    assert caplog.records == []


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_unicode_encodings(encoding: str) -> None:
    """JSON is decoded from each encoding of Unicode, with and without a byte order mark."""
    assert read('{"a": "ü☃😀"}'.encode(encoding)) == {"a": "ü☃😀"}


BROKEN: dict[str, bytes] = {
    "cut off": b'{"a": ',
    "bare word": b'{"password": hunter2}',
    "two values": b"{} {}",
    "single quotes": b"{'a': 1}",
    "comma at the end": b"[1,]",
    "only white space": b" \n",
    "HTML": b"<html></html>",
    "Latin-1": '"ü"'.encode("latin-1"),
    "too deep": b"[" * 200_000 + b"]" * 200_000,
    "too many digits": b"1" * DIGITS,
    "control character": b'"\n"',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_json_is_bytes_and_a_warning(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Invalid JSON under a JSON content type is returned as bytes, with a warning that does not quote it."""
    assert sys.get_int_max_str_digits() < DIGITS
    assert read(content) == content
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name.startswith("cruds_core.")
    assert "hunter2" not in record.getMessage()
    assert record.exc_info is None


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_json_of_no_type_is_bytes(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Without a content type, what is not JSON is bytes, and nobody is warned."""
    assert read(content, None) == content
    assert caplog.records == []


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
def test_no_content(content_type: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """An answer without content is b"", whatever its type, and nobody is warned."""
    assert read(b"", content_type) == b""
    assert caplog.records == []


def test_204_is_no_content(caplog: pytest.LogCaptureFixture) -> None:
    """A 204 under a JSON content type is b"", and nobody is warned."""
    answer = b"HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\n\r\n"
    with Fault(answer) as server, Client(server.url, retries=0) as client:
        assert client.delete("x") == b""
    assert caplog.records == []


@pytest.mark.parametrize("content", [b'{"a": 1}', b"not JSON", b""])
def test_serialize_off_returns_bytes(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """With serialize=False an answer is always bytes, and nobody is warned."""
    assert read(content, serialize=False) == content
    assert caplog.records == []


def test_serialize_that_is_no_boolean() -> None:
    """An attribute that was set to None is as good as False."""
    with Fault(reply(200, b"1")) as server, Client(server.url, retries=0) as client:
        client.serialize = cast("Any", None)
        assert client.read("x") == b"1"


def test_an_error_is_decoded_by_the_same_rules(caplog: pytest.LogCaptureFixture) -> None:
    """The data of a StatusError is decoded when it is asked for, and broken JSON warns then, once."""
    with Fault(reply(400, b"<oops>")) as server, Client(server.url, retries=0) as client:
        with pytest.raises(ClientError) as caught:
            client.read("x")
        assert caplog.records == []
        assert [caught.value.data, caught.value.data] == [b"<oops>", b"<oops>"]
    assert len(caplog.records) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON.filter(lambda value: value is not None))
@settings(max_examples=50)
def test_any_json_value_makes_the_round_trip(value: Any) -> None:
    """What is sent as JSON is read back as the same value, by a server and by us."""
    with Fault(reply(200)) as server, Client(server.url, retries=0) as client:
        client.create("x", value)
    (received,) = server.received
    assert json.loads(received.content) == value
    assert read(received.content) == value
