"""Attempts: which requests are repeated, when, how they are paced and authenticated."""

import email.utils
import io
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, BinaryIO

import pytest
import urllib3
from servers.fault import End, Fault, Script, reply
from urllib3.exceptions import ProtocolError

from cruds_core import (
    AuthABC,
    Client,
    ClientError,
    ConnectError,
    ContentError,
    RequestError,
    RequestTimeoutError,
    ServerError,
    StatusError,
)
from cruds_core.request import Request
from cruds_core.retry import RetryPolicy

LISTED = (504, 503, 502, 500, 429, 425, 408)
NOT_PROCESSED = (503, 429, 425, 408)
UNLISTED = (400, 404, 409, 413, 422, 501, 505)
REPEATED_METHODS = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")

# Faults after which the server may have acted.
LOST: dict[str, Script] = {
    "closed": End.CLOSE,
    "reset": End.RESET,
    "silent": [5.0],
    "not HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n", End.CLOSE],
    "truncated": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", End.CLOSE],
}


def client(url: str, **options: Any) -> Client:
    """Returns a Client that repeats twice, without pauses."""
    settings: dict[str, Any] = {"retries": 2, "backoff_factor": 0, "timeout": 10} | options
    return Client(url, **settings)


def pipe(content: bytes) -> BinaryIO:
    """Returns a file that can be read once: the end of a pipe."""
    source, target = os.pipe()
    os.write(target, content)
    os.close(target)
    return os.fdopen(source, "rb")


class Numbered(AuthABC):
    """Numbers each authentication, and keeps what it is told."""

    def __init__(self, answers: bool = False) -> None:
        self.answers = answers
        self.authenticated = 0
        self.challenges = 0
        self.statuses: list[int] = []

    def authenticate(self, request: Request) -> None:
        """Add the number."""
        self.authenticated += 1
        request.headers.add("Authorization", f"Numbered {self.authenticated}")

    def handle_response(self, request: Request, response: urllib3.BaseHTTPResponse) -> None:
        """Keep the status."""
        self.statuses.append(response.status)

    def handle_challenge(self, request: Request, response: urllib3.BaseHTTPResponse) -> bool:
        """Answer, or not."""
        self.challenges += 1
        return self.answers


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds slept between attempts, which pass at once."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


# Which requests


@pytest.mark.parametrize("method", REPEATED_METHODS)
def test_method_is_repeated(method: str) -> None:
    """A method that may be repeated without harm is, until an answer comes."""
    with Fault(reply(500, b""), End.CLOSE, reply(200, b"")) as server, client(server.url) as it:
        assert it.request(method, "x").attempts == 3
    assert [request.method for request in server.received] == [method] * 3


@pytest.mark.parametrize("status", LISTED)
def test_listed_status_is_repeated(status: int) -> None:
    """Each of the documented statuses has a GET repeated, and the last refusal is raised with its content."""
    with (
        Fault(reply(status, b'{"at": "first"}'), reply(status, b'{"at": "last"}')) as server,
        client(server.url, retries=1) as it,
        pytest.raises(StatusError, match=r"\(2 attempts\)$") as caught,
    ):
        it.read("x")
    assert (caught.value.status, caught.value.attempts, caught.value.data) == (status, 2, {"at": "last"})
    assert len(server.received) == 2


@pytest.mark.parametrize("status", UNLISTED)
@pytest.mark.parametrize("retry_unsafe", [False, True])
def test_other_status_is_not_repeated(status: int, retry_unsafe: bool) -> None:
    """A status that is not listed is raised at once, even 413 with a Retry-After, which urllib3 repeats."""
    with (
        Fault(reply(status, Retry_After="0")) as server,
        client(server.url, retry_unsafe=retry_unsafe) as it,
        pytest.raises(StatusError) as caught,
    ):
        it.read("x")
    assert (caught.value.attempts, len(server.received)) == (1, 1)


def test_own_list_replaces_the_default() -> None:
    """With retry_status_codes of one's own only those are repeated, not even a 503 with a Retry-After."""
    with (
        Fault(reply(418), reply(503, Retry_After="0")) as server,
        client(server.url, retry_status_codes=[418]) as it,
        pytest.raises(ServerError) as caught,
    ):
        it.read("x")
    assert (caught.value.status, caught.value.attempts) == (503, 2)


@pytest.mark.parametrize("status", LISTED)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_unsafe_method_is_repeated_where_nothing_was_done(method: str, status: int) -> None:
    """POST and PATCH are repeated on statuses that say the request was not processed, and on no other."""
    with Fault(reply(status)) as server, client(server.url) as it, pytest.raises(StatusError) as caught:
        it.request(method, "x", {"a": 1})
    expected = 3 if status in NOT_PROCESSED else 1
    assert (caught.value.attempts, len(server.received)) == (expected, expected)
    assert {request.content for request in server.received} == {b'{"a":1}'}


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize("fault", LOST)
def test_lost_answer(fault: str, method: str) -> None:
    """When the answer is lost a GET is repeated, but no POST or PATCH: the server may have acted."""
    with (
        Fault(LOST[fault]) as server,
        client(server.url, timeout=0.3) as it,
        pytest.raises(RequestError) as caught,
    ):
        it.request(method, "x", None if method == "GET" else {"a": 1})
    expected = 3 if method == "GET" else 1
    assert (caught.value.attempts, len(server.received)) == (expected, expected)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_refused_connection(method: str, closed_port: str) -> None:
    """Where no connection is made nothing was sent, and any method is tried again."""
    with client(closed_port) as it, pytest.raises(ConnectError) as caught:
        it.request(method, "x")
    assert caught.value.attempts == 3


@pytest.fixture
def closed_port() -> str:
    """A URL that nothing listens at."""
    with Fault(End.CLOSE) as server:
        return server.url


@pytest.mark.parametrize("fault", [reply(500), reply(502), *LOST.values()])
def test_retry_unsafe(fault: Script) -> None:
    """With retry_unsafe POST is repeated like any method, with its content."""
    with (
        Fault(fault, reply(201, b"[1]")) as server,
        client(server.url, retry_unsafe=True, timeout=1) as it,
    ):
        assert it.create("x", {"a": 1}) == [1]
    assert [request.content for request in server.received] == [b'{"a":1}'] * 2


@pytest.mark.parametrize("fault", [reply(500), End.CLOSE])
def test_idempotency_key(fault: Script) -> None:
    """An Idempotency-Key makes its own call repeatable, and no other call of the Client."""
    with Fault(fault) as server, client(server.url) as it:
        with pytest.raises((ServerError, RequestError)):
            it.create("x", {}, headers={"idempotency-key": "k1"})
        assert [request.headers["Idempotency-Key"] for request in server.received] == ["k1"] * 3
        with pytest.raises((ServerError, RequestError)):
            it.create("x", {})
        assert len(server.received) == 4


@pytest.mark.parametrize("retries", [0, None])
@pytest.mark.parametrize("fault", [reply(503, Retry_After="0"), End.CLOSE])
def test_no_retries(retries: int | None, fault: Script) -> None:
    """With retries=0 or None each request is sent once."""
    with (
        Fault(fault) as server,
        client(server.url, retries=retries) as it,
        pytest.raises((ServerError, RequestError)),
    ):
        it.read("x")
    assert len(server.received) == 1


def test_broken_answer_is_read_again() -> None:
    """A GET whose answer broke off is repeated, and what comes whole is returned whole."""
    with Fault(LOST["truncated"], reply(200, b'{"whole": true}')) as server, client(server.url) as it:
        assert it.read("x") == {"whole": True}


@pytest.mark.parametrize("status", [102, 103])
def test_interim_answers_are_passed_over(status: int) -> None:
    """A 1xx answer comes before the answer (RFC 9110, section 15.2), and each call gets its own."""
    interim = f"HTTP/1.1 {status} Interim\r\nLink: </style.css>; rel=preload\r\n\r\n".encode()
    scripts: list[Script] = [[interim, interim, 0.1, reply(200, b'"x"')], reply(200, b'"y"')]
    with Fault(*scripts) as server, client(server.url) as it:
        assert [it.read("x"), it.read("y")] == ["x", "y"]


# When


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_retry_after_is_obeyed(method: str, pauses: list[float]) -> None:
    """The seconds of Retry-After are waited, up to 120, in place of the back-off."""
    with (
        Fault(reply(503, Retry_After="7"), reply(429, Retry_After="120"), reply(200, b"1")) as server,
        client(server.url, backoff_factor=1000) as it,
    ):
        assert it.request(method, "x").data == 1
    assert pauses == [7, 120]


def test_retry_after_takes_time() -> None:
    """What is waited for Retry-After is real time."""
    with Fault(reply(503, Retry_After="1"), reply(200)) as server, client(server.url) as it:
        start = time.monotonic()
        it.read("x")
        assert time.monotonic() - start >= 1


HTTP_DATES: dict[str, Callable[[datetime], str]] = {
    "IMF-fixdate": partial(email.utils.format_datetime, usegmt=True),
    "RFC 850": lambda date: date.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
    "asctime": lambda date: date.strftime("%a %b %e %H:%M:%S %Y"),
}


@pytest.mark.parametrize("form", HTTP_DATES)
def test_retry_after_as_a_date(form: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A date in any of the three forms of RFC 9110, section 5.6.7, is GMT and waited for."""
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        date = HTTP_DATES[form](datetime.now(UTC) + timedelta(seconds=60))
        with Fault(reply(503, Retry_After=date), reply(200)) as server, client(server.url) as it:
            it.read("x")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len(pauses) == 1
    assert 57 <= pauses[0] <= 60


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("seconds", [121, 3600, 10**12])
def test_long_retry_after_is_raised(method: str, seconds: int, pauses: list[float]) -> None:
    """A Retry-After over 120 s is not waited for: the refusal is raised at once and carries it."""
    with (
        Fault(reply(503, Retry_After=str(seconds))) as server,
        client(server.url) as it,
        pytest.raises(ServerError, match="wait") as caught,
    ):
        it.request(method, "x")
    assert (caught.value.retry_after, caught.value.attempts, pauses) == (seconds, 1, [])
    assert len(server.received) == 1


def test_distant_date_is_raised(pauses: list[float]) -> None:
    """A Retry-After that is a date in an hour is raised at once, as seconds."""
    date = email.utils.format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with (
        Fault(reply(429, Retry_After=date)) as server,
        client(server.url) as it,
        pytest.raises(ClientError) as caught,
    ):
        it.read("x")
    assert caught.value.retry_after == pytest.approx(3600, abs=3)
    assert pauses == []


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "1e2", "٣", "7, 7", "Mon, 99 Foo 2030 00:00:00 GMT"])
def test_invalid_retry_after_is_ignored(value: str, pauses: list[float]) -> None:
    """A Retry-After that is neither seconds nor a date is no reason to wait, or not to repeat."""
    answer = reply(503, b"").replace(b"\r\n\r\n", f"\r\nRetry-After: {value}\r\n\r\n".encode())
    with Fault(answer, answer, reply(200, b"1")) as server, client(server.url) as it:
        assert it.read("x") == 1
    assert sum(pauses) == 0


def test_past_date_does_not_wait(pauses: list[float]) -> None:
    """A Retry-After that has passed lets the request be repeated without a wait, and reads as 0."""
    gone = reply(503, Retry_After="Sun, 06 Nov 1994 08:49:37 GMT")
    with Fault(gone) as server, client(server.url) as it, pytest.raises(ServerError) as caught:
        it.read("x")
    assert (caught.value.retry_after, caught.value.attempts, sum(pauses)) == (0, 3, 0)


@pytest.mark.parametrize("failures", range(1, 11))
def test_back_off_has_full_jitter(failures: int) -> None:
    """The n-th pause is spread from 0 to backoff_factor * 2 ** (n - 1), at most 120 s; the first is none."""
    policy = RetryPolicy(20, backoff_factor=0.5)
    for _ in range(failures):
        policy = policy.increment("GET", "/", error=ProtocolError("lost"))
    most = 0 if failures == 1 else min(0.5 * 2 ** (failures - 1), 120)
    drawn = [policy.get_backoff_time() for _ in range(200)]
    assert 0 <= min(drawn) <= most / 4
    assert most * 3 / 4 <= max(drawn) <= most


@pytest.mark.parametrize("fault", [reply(500), End.CLOSE])
def test_pauses_between_attempts(fault: Script, pauses: list[float]) -> None:
    """Repetitions after a refusal or a lost answer are paced by the policy, one pause for each."""
    with (
        Fault(fault) as server,
        client(server.url, retries=4, backoff_factor=0.5) as it,
        pytest.raises((ServerError, RequestError)),
    ):
        it.read("x")
    assert len(pauses) == 4
    assert pauses[0] == 0
    assert all(0 <= pause <= limit for pause, limit in zip(pauses[1:], [1, 2, 4], strict=True))
    assert any(pauses)


# A manager of the user's


def test_own_retry_is_run() -> None:
    """The Retry of a manager of the user's goes before the Client's: its statuses, methods and count."""
    retry = urllib3.Retry(3, status_forcelist=[418], allowed_methods=None, backoff_factor=0)
    manager = urllib3.PoolManager(retries=retry)
    with Fault(reply(418)) as server, client(server.url, manager=manager) as it:
        with pytest.raises(ClientError) as teapot:
            it.create("x", {})
        assert (teapot.value.attempts, len(server.received)) == (4, 4)
    with Fault(reply(500)) as server, client(server.url, manager=manager) as it:
        with pytest.raises(ServerError) as failure:
            it.read("x")
        assert (failure.value.attempts, len(server.received)) == (1, 1)


@pytest.mark.parametrize("retries", [False, 0])
def test_own_manager_without_retries(retries: bool | int) -> None:
    """A manager made with retries=False or 0 sends each request once, whatever the Client's retries."""
    with (
        Fault(End.CLOSE) as server,
        client(server.url, manager=urllib3.PoolManager(retries=retries)) as it,
        pytest.raises(RequestError) as caught,
    ):
        it.read("x")
    assert (caught.value.attempts, len(server.received)) == (1, 1)


@pytest.mark.parametrize("limit", [0.1, urllib3.Timeout(read=0.1)])
def test_own_timeout_is_kept(limit: float | urllib3.Timeout) -> None:
    """The timeout of a manager of the user's goes before the Client's."""
    manager = urllib3.PoolManager(timeout=limit)
    with (
        Fault([3.0, reply(200)]) as server,
        client(server.url, manager=manager, timeout=300, retries=0) as it,
        pytest.raises(RequestTimeoutError, match=r"0\.1 s"),
    ):
        it.read("x")


def test_manager_without_settings_gets_the_clients() -> None:
    """A manager that has no retries and no timeout of its own gets those of the Client."""
    with (
        Fault([3.0, reply(200)]) as server,
        client(server.url, manager=urllib3.PoolManager(), timeout=0.1) as it,
        pytest.raises(RequestTimeoutError) as caught,
    ):
        it.read("x")
    assert (caught.value.attempts, len(server.received)) == (3, 3)


# Authentication


def test_every_attempt_is_authenticated_anew() -> None:
    """Each attempt carries credentials of its own, and none of an earlier attempt's."""
    scripts: list[Script] = [reply(503), End.CLOSE, reply(307, Location="/y"), reply(200)]
    with Fault(*scripts) as server, client(server.url, auth=Numbered()) as it:
        it.read("x")
    assert [request.headers.get_all("Authorization") for request in server.received] == [
        [f"Numbered {number}"] for number in (1, 2, 3, 4)
    ]


def test_scheme_sees_every_answer() -> None:
    """handle_response gets every answer: refused, redirected, challenged and final."""
    scheme = Numbered(answers=True)
    scripts = [reply(503), reply(302, Location="/y"), reply(401), reply(404)]
    with Fault(*scripts) as server, client(server.url, auth=scheme) as it, pytest.raises(ClientError):
        it.read("x")
    assert scheme.statuses == [503, 302, 401, 404]


def test_challenge_is_answered() -> None:
    """A request whose challenge the scheme answers is sent once more, though retries are off."""
    scheme = Numbered(answers=True)
    with Fault(reply(401), reply(201, b"1")) as server, client(server.url, auth=scheme, retries=0) as it:
        response = it.request("POST", "x", {"a": 1})
    assert (response.data, response.attempts, scheme.challenges) == (1, 2, 1)
    assert [request.content for request in server.received] == [b'{"a":1}'] * 2


@pytest.mark.parametrize("scripts", [[reply(401)], [reply(401), reply(503), reply(401)]])
def test_challenge_is_answered_once(scripts: list[Script]) -> None:
    """A second 401 in a call is raised, also when a retry lies between the two."""
    scheme = Numbered(answers=True)
    with Fault(*scripts) as server, client(server.url, auth=scheme) as it:
        with pytest.raises(ClientError) as caught:
            it.read("x")
        assert (caught.value.status, scheme.challenges) == (401, 1)
        assert len(server.received) == max(2, len(scripts))
        with pytest.raises(ClientError):
            it.read("x")
        assert scheme.challenges == 2  # the next call may answer its own


@pytest.mark.parametrize("auth", [Numbered(answers=False), None])
def test_unanswered_challenge_is_raised(auth: AuthABC | None) -> None:
    """A 401 that no scheme answers is raised after one attempt."""
    with (
        Fault(reply(401)) as server,
        client(server.url, auth=auth) as it,
        pytest.raises(ClientError) as caught,
    ):
        it.read("x")
    assert (caught.value.status, len(server.received)) == (401, 1)


# Streams


@pytest.mark.parametrize("fault", [reply(503), reply(401), End.CLOSE])
def test_stream_that_cannot_seek_is_sent_once(fault: Script) -> None:
    """Content that can be read only once is never sent again, neither whole nor in part."""
    scheme = Numbered(answers=True)
    with (
        Fault(fault) as server,
        client(server.url, auth=scheme, serialize=False) as it,
        pipe(b"read once") as stream,
        pytest.raises((StatusError, RequestError)),
    ):
        it.update("x", stream, replace=True)
    assert [request.content for request in server.received] == [b"read once"]


def test_unread_stream_is_tried_again(closed_port: str) -> None:
    """A stream that no connection has taken anything of may wait for the next attempt."""
    with client(closed_port, serialize=False) as it, pipe(b"read once") as stream:
        with pytest.raises(ConnectError) as caught:
            it.create("x", stream)
        assert caught.value.attempts == 3
        assert stream.read() == b"read once"


class Signed(Numbered):
    """Reads the content, as a scheme that signs it does."""

    def authenticate(self, request: Request) -> None:
        """Add the length of the content."""
        assert request.content is not None
        assert not isinstance(request.content, bytes)
        request.headers["X-Length"] = str(len(request.content.read()))


def test_file_is_sent_again() -> None:
    """A file is sent from where it stood, whole at each attempt, also when the scheme has read it."""
    file = io.BytesIO(b"skipped|content")
    file.seek(len("skipped|"))
    scripts: list[Script] = [reply(503), End.CLOSE, reply(401), reply(200)]
    with Fault(*scripts) as server, client(server.url, auth=Signed(answers=True), serialize=False) as it:
        it.update("x", file, replace=True)
    assert [request.content for request in server.received] == [b"content"] * 4
    assert {request.headers["X-Length"] for request in server.received} == {"7"}


def test_failing_stream_breaks_its_call_only() -> None:
    """A file that shrinks while it is sent fails the call, and the Client goes on with a new connection."""

    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b""

    with Fault(reply(200, b"1")) as server, client(server.url, serialize=False) as it:
        it.read("x")
        with pytest.raises(ContentError, match="shorter"):
            it.create("x", Shrinking(b"content"))
        assert it.read("x") == b"1"
    assert [(request.method, request.connection) for request in server.received] == [("GET", 1), ("GET", 2)]


@pytest.mark.parametrize("value", ["close", "TE, Close"])
def test_a_connection_that_was_asked_to_close_is_not_used_again(value: str) -> None:
    """After `Connection: close` the next request has a new connection, whatever the server said of it."""
    with Fault(reply(200)) as server, client(server.url) as it:
        it.read("first", headers={"Connection": value})
        it.read("second")
        it.read("third")
        assert [request.connection for request in server.received] == [1, 2, 2]
