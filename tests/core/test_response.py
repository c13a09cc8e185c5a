"""The whole answer of request(): status, headers, data, and what the headers mean."""

import copy
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from operator import attrgetter
from typing import Any

import pytest
from servers.fault import Fault, reply

from cruds_core import Client, Response


def answered(answer: bytes, uri: str = "x", **options: Any) -> Response:
    """Returns the Response of a server that gives this answer."""
    arguments: dict[str, Any] = {"retries": 0, "raise_status": False, **options}
    with Fault(answer) as server, Client(server.url, **arguments) as client:
        return client.request("GET", uri)


def test_attributes() -> None:
    """A Response has method, URL without its query, status, headers in any case, content and attempts."""
    with Fault(reply(503), reply(201, b'{"a": 1}', Location="/x/1")) as server:
        with Client(server.url, backoff_factor=0) as client:
            response = client.request("post", "x?token=1", {"b": 2}, {"c": 3})
        assert response.url == f"{server.url}/x"
    assert (response.method, response.status, response.attempts) == ("POST", 201, 2)
    assert (response.content, response.data) == (b'{"a": 1}', {"a": 1})
    assert response.headers["LOCATION"] == response.headers["location"] == "/x/1"


def test_attributes_after_a_redirect() -> None:
    """After a redirect, method and URL are those of the request that was answered."""
    with Fault(reply(303, b"", Location="/y?token=1"), reply(200)) as server:
        with Client(server.url, retries=0) as client:
            response = client.request("POST", "x", {"a": 1})
        assert (response.method, response.url) == ("GET", f"{server.url}/y")


def test_repeated_headers() -> None:
    """A header that came several times has all of its values."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
    assert answered(head).headers.getlist("set-cookie") == ["a=1", "b=2"]


def test_data_is_one_object() -> None:
    """The data is decoded once: what is changed in it stays changed."""
    response = answered(reply(200, b'{"a": []}'))
    response.data["a"].append(1)
    assert response.data == {"a": [1]}
    assert response.content == b'{"a": []}'


def test_answers_are_decoded_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer waits for another to be decoded; a forked child would wait for a thread that it has not."""
    both = threading.Barrier(2)

    def decode(content: bytes, content_type: str | None) -> int:
        return both.wait(timeout=10)

    monkeypatch.setattr("cruds_core.response.decode", decode)
    with ThreadPoolExecutor(2) as threads:
        answers = [answered(reply(200, b"1")), answered(reply(200, b"2"))]
        assert sorted(threads.map(attrgetter("data"), answers)) == [0, 1]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    "content_type", ["application/problem+json", "Application/Problem+JSON; charset=utf-8"]
)
def test_problem(status: int, content_type: str) -> None:
    """Problem details are there for their content type, at any status (RFC 9457)."""
    response = answered(reply(status, b'{"title": "x"}', Content_Type=content_type))
    assert response.problem == {"title": "x"}


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"title": "x"}', "application/json"),
        (b'{"title": "x"}', "text/problem+json"),
        (b'{"title": ', "application/problem+json"),
        (b'["title"]', "application/problem+json"),
        (b"null", "application/problem+json"),
        (b"", "application/problem+json"),
    ],
)
def test_no_problem(content: bytes, content_type: str) -> None:
    """Content of another type, or that is no JSON object, is no problem."""
    assert answered(reply(400, content, Content_Type=content_type)).problem is None


def test_problem_without_serialize() -> None:
    """Problem details are parsed with serialize=False, too, while the data stays bytes."""
    answer = reply(400, b'{"title": "x"}', Content_Type="application/problem+json")
    response = answered(answer, serialize=False)
    assert (response.problem, response.data) == ({"title": "x"}, b'{"title": "x"}')


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("100000", 100_000.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Foo 2015 07:28:00 GMT", None),
        ("1" * 5000, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After is read as seconds or as a date, never negative; anything else is None (RFC 9110)."""
    assert answered(reply(400, Retry_After=value)).retry_after == seconds


def test_retry_after_at_a_date() -> None:
    """A date in Retry-After is the time from now on."""
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    seconds = answered(reply(400, Retry_After=date)).retry_after
    assert seconds is not None
    assert 3590 < seconds <= 3600


def test_no_retry_after() -> None:
    """Without the header there is no delay."""
    assert answered(reply(503)).retry_after is None


def test_repr() -> None:
    """A Response shows status, method and URL, and no query."""
    response = answered(reply(200), "x?token=s3cret")
    assert repr(response) == f"<Response 200 GET {response.url}>"
    assert "s3cret" not in repr(response)


@pytest.mark.parametrize("decoded", [True, False])
def test_a_response_can_be_pickled_and_copied(decoded: bool) -> None:
    """A Response keeps all that it has on its way to another process, before and after it was decoded."""
    response = answered(reply(200, json.dumps({"a": [1]}).encode(), ETag='"1"'))
    assert not decoded or response.data
    for other in (pickle.loads(pickle.dumps(response)), copy.deepcopy(response)):  # noqa: S301 - our own
        assert (other.method, other.url, other.status) == (response.method, response.url, response.status)
        assert (other.content, other.data, other.attempts) == (response.content, response.data, 1)
        assert other.headers["etag"] == '"1"'
