"""The spans that the observer exports, of real requests to servers on this machine."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from cruds_opentelemetry import OpenTelemetryObserver
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from urllib3 import BaseHTTPResponse

from cruds.demo.api import DemoAPI
from cruds_core import AuthABC, Client, ConnectError, Plugins, Request, RequestEvent, StatusError
from cruds_core.testing.server import Connection, Reply, Server

TEMPLATES = ("/health", "/flaky", "/{collection}/{id}", "/{collection}")
SECRET = "s3cret"

METHOD = http_attributes.HTTP_REQUEST_METHOD
RESEND_COUNT = http_attributes.HTTP_REQUEST_RESEND_COUNT
STATUS_CODE = http_attributes.HTTP_RESPONSE_STATUS_CODE
ERROR_TYPE = error_attributes.ERROR_TYPE
URL = url_attributes.URL_FULL
TEMPLATE = "url.template"  # not stable yet, so without a name in the package


class Program:
    """A program that exports its spans and metrics to memory, and Clients that are observed."""

    def __init__(self, *templates: str, whole_paths: bool = False) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([self.reader])
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = tracers.get_tracer("program")
        self.observer = OpenTelemetryObserver(
            *templates, whole_paths=whole_paths, tracer_provider=tracers, meter_provider=meters
        )
        self.plugins = Plugins()
        self.plugins.register(self.observer)

    def client(self, url: str, auth: Any = None, **options: Any) -> Client:
        """Returns a Client that this program observes."""
        return Client(url, auth, backoff_factor=0, plugins=self.plugins, **options)

    def spans(self) -> list[ReadableSpan]:
        """Returns the spans of attempts, in the order of their ends."""
        return [span for span in self.exporter.get_finished_spans() if span.kind is SpanKind.CLIENT]

    def seen(self, *names: str) -> list[tuple[Any, ...]]:
        """Returns name, status and these attributes of each attempt."""
        return [
            (span.name, span.status.status_code, *(attributes(span).get(name) for name in names))
            for span in self.spans()
        ]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Returns the attributes of a span."""
    return dict(span.attributes or {})


def event(path: str = "/", *, method: str = "GET", origin: str = "https://api.example.com") -> RequestEvent:
    """Returns what an observer is told of an attempt that went well."""
    return RequestEvent(method, origin, path, 1, 200, None, 0.25)


@pytest.fixture
def api() -> Iterator[DemoAPI]:
    """An embedded JSON API."""
    with DemoAPI(username="ada") as server:
        yield server


@pytest.fixture
def program() -> Program:
    """A program whose observer knows the paths of the API."""
    return Program(*TEMPLATES)


@pytest.fixture
def client(api: DemoAPI, program: Program) -> Iterator[Client]:
    """A Client of the API that is observed."""
    with program.client(api.url, ("ada", api.password)) as client:
        yield client


def test_an_attempt_is_a_span(api: DemoAPI, program: Program, client: Client) -> None:
    """A span has method and template in its name, the attributes of the conventions, and the times."""
    before = time.time_ns()
    client.create("books", {"name": "Dune"})
    client.read("books/1")
    after = time.time_ns()
    span = program.spans()[1]
    assert (span.name, span.kind) == ("GET /{collection}/{id}", SpanKind.CLIENT)
    assert (span.status.status_code, span.status.description) == (StatusCode.UNSET, None)
    assert attributes(span) == {
        METHOD: "GET",
        STATUS_CODE: 200,
        server_attributes.SERVER_ADDRESS: "127.0.0.1",
        server_attributes.SERVER_PORT: urlsplit(api.url).port,
        URL: f"{api.url}/REDACTED/REDACTED",
        TEMPLATE: "/{collection}/{id}",
    }
    assert span.start_time is not None
    assert span.end_time is not None
    assert before <= span.start_time < span.end_time <= after


def test_a_span_is_as_long_as_its_attempt(program: Program) -> None:
    """It starts as long before its end as the attempt took."""
    program.observer.cruds_request_finished(event())
    (span,) = program.spans()
    assert (span.end_time or 0) - (span.start_time or 0) == 250_000_000


def test_a_span_lies_below_that_of_its_caller(program: Program, client: Client) -> None:
    """Its parent is the span that is current where the call is made, and stays current; else none."""
    with program.tracer.start_as_current_span("caller") as caller:
        client.read("health")
        assert get_current_span() is caller
    client.read("health")
    below, alone = program.spans()
    assert below.parent == caller.get_span_context()
    assert alone.parent is None


def test_each_retry_is_a_span(program: Program, client: Client) -> None:
    """Repeated attempts are counted, and those with an error status failed."""
    client.read("flaky", {"key": "a", "times": 2})
    name = "GET /flaky"
    assert program.seen(STATUS_CODE, ERROR_TYPE, RESEND_COUNT) == [
        (name, StatusCode.ERROR, 503, "503", None),
        (name, StatusCode.ERROR, 503, "503", 1),
        (name, StatusCode.UNSET, 200, None, 2),
    ]


def test_a_refusal_has_failed(program: Program, client: Client) -> None:
    """An answer of 4xx is an error, also where the caller takes it."""
    client.status_ignore.add(404)
    client.read("books/1")
    assert program.seen(STATUS_CODE, ERROR_TYPE) == [("GET /{collection}/{id}", StatusCode.ERROR, 404, "404")]


@pytest.fixture
def sender(api: DemoAPI, program: Program) -> Iterator[Client]:
    """A Client of the API that is observed and sends content as it is."""
    with program.client(api.url, ("ada", api.password), serialize=False) as client:
        yield client


class Redirects(Connection):
    """Sends everybody on to the query of the request."""

    def reply(self) -> Reply:
        """Redirect, or answer where there is no query."""
        return Reply(302, headers={"Location": target[0]}) if (target := self.query.get("to")) else Reply(200)


def test_a_redirect_is_a_span(program: Program) -> None:
    """Each request that a redirect leads to is a span of its own; the redirect itself is no error."""
    with Server(Redirects) as server, Server(Redirects) as other, program.client(server.url) as client:
        client.read("flaky", {"to": f"{other.url}/health?token={SECRET}"})
    assert program.seen(STATUS_CODE, URL, RESEND_COUNT) == [
        ("GET /flaky", StatusCode.UNSET, 302, f"{server.url}/flaky", None),
        ("GET /health", StatusCode.UNSET, 200, f"{other.url}/health", 1),
    ]


class WhenAsked(AuthABC):
    """Sends a bearer token once the server has asked for it."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.asked = False

    def access_token(self) -> str:
        """The token."""
        return self.token

    def is_valid(self) -> bool:
        """Always."""
        return True

    def authenticate(self, request: Request) -> None:
        """Add the token."""
        if self.asked:
            super().authenticate(request)

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        """Send it from now on."""
        self.asked = True
        return True


def test_a_challenge_is_a_span(api: DemoAPI, program: Program) -> None:
    """The 401 that a scheme answers is a failed span, and the request with credentials is the next."""
    with program.client(api.url, WhenAsked(api.token)) as client:
        assert client.read("books") == []
    assert program.seen(STATUS_CODE, ERROR_TYPE, RESEND_COUNT) == [
        ("GET /{collection}", StatusCode.ERROR, 401, "401", None),
        ("GET /{collection}", StatusCode.UNSET, 200, None, 1),
    ]


def test_an_attempt_without_an_answer_has_failed(program: Program) -> None:
    """It names the error that a caller would catch, and has no status code."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        url = f"http://127.0.0.1:{place.getsockname()[1]}"
    with program.client(url, retries=1) as client, pytest.raises(ConnectError):
        client.read("books")
    assert program.seen(STATUS_CODE, ERROR_TYPE, RESEND_COUNT) == [
        ("GET /{collection}", StatusCode.ERROR, None, "ConnectError", None),
        ("GET /{collection}", StatusCode.ERROR, None, "ConnectError", 1),
    ]
    assert [(span.status.description, span.events) for span in program.spans()] == [(None, ())] * 2


class Content(io.BytesIO):
    """Content that does something of its own before it is read."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(b'{"name": "Dune"}')
        self.act = act

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, after acting."""
        self.act()
        return super().read(size)


def test_an_interrupted_attempt_is_a_span(program: Program, sender: Client) -> None:
    """Ctrl+C ends the span of the attempt that it ends, and the next has its parent."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with program.tracer.start_as_current_span("caller") as caller:
        with pytest.raises(KeyboardInterrupt):
            sender.create("books", Content(interrupt))
        sender.read("health")
    assert program.seen(ERROR_TYPE) == [
        ("POST /{collection}", StatusCode.ERROR, "KeyboardInterrupt"),
        ("GET /health", StatusCode.UNSET, None),
    ]
    assert [span.parent for span in program.spans()] == [caller.get_span_context()] * 2


def test_a_call_within_an_attempt_is_a_span(program: Program, sender: Client) -> None:
    """A request that is made while another is sent has a span of its own, which lies within the other."""
    content = Content(lambda: sender.read("health"))
    sender.create("books", content, headers={"Content-Type": "application/json"})
    inner, *_, outer = program.spans()
    assert (inner.name, outer.name) == ("GET /health", "POST /{collection}")
    assert (outer.start_time or 0) < (inner.start_time or 0) < (inner.end_time or 0) < (outer.end_time or 0)


def test_threads_do_not_mix_their_spans(program: Program, client: Client) -> None:
    """Of 32 threads that share a Client, each finds its own attempts below its own span."""
    threads, together = 32, threading.Barrier(32)

    def call(number: int) -> trace.SpanContext:
        together.wait(30)
        with program.tracer.start_as_current_span("caller") as caller:
            client.read("flaky", {"key": number, "times": number % 4})
        return caller.get_span_context()

    with ThreadPoolExecutor(threads) as pool:
        callers = list(pool.map(call, range(threads)))
    for number, caller in enumerate(callers):
        own = [span for span in program.spans() if span.parent == caller]
        counts = [attributes(span).get(RESEND_COUNT) for span in own]
        assert counts == [None, 1, 2, 3][: number % 4 + 1]
    assert len(program.spans()) == 8 * (1 + 2 + 3 + 4)


@pytest.mark.parametrize(
    ("templates", "path", "name", "url"),
    [
        (["/users/{id}"], "/users/7", "GET /users/{id}", "/users/REDACTED"),
        (["/users/{id}"], "/users/7/books", "GET", "/REDACTED"),
        (["/users/{id}"], "/v1/users/7", "GET", "/REDACTED"),
        (["/users/{id}"], "/users/", "GET", "/REDACTED"),
        (["/users/me", "/users/{id}"], "/users/me", "GET /users/me", "/users/me"),
        (["/users/{id}", "/users/me"], "/users/me", "GET /users/{id}", "/users/REDACTED"),
        (["/bot{token}/send"], "/bot7:s3cret/send", "GET /bot{token}/send", "/botREDACTED/send"),
        (["/a.b"], "/a-b", "GET", "/REDACTED"),
        (["/th%20ings"], "/th%20ings", "GET /th%20ings", "/th%20ings"),
        (["/"], "/", "GET /", "/"),
        ([], "/", "GET", "/"),
        ([], "/users/7", "GET", "/REDACTED"),
    ],
)
def test_the_first_template_that_fits_names_the_span(
    templates: list[str], path: str, name: str, url: str
) -> None:
    """Where none fits the method alone does, never the path; a URL shows what templates spell out."""
    program = Program(*templates)
    program.observer.cruds_request_finished(event(path))
    assert program.seen(URL) == [(name, StatusCode.UNSET, f"https://api.example.com{url}")]


def test_a_whole_path_is_shown_to_those_who_ask() -> None:
    """With whole_paths the URL has the path as it was sent; the name stays the template."""
    program = Program("/users/{id}", whole_paths=True)
    program.observer.cruds_request_finished(event("/users/7"))
    program.observer.cruds_request_finished(event("/books/7"))
    assert program.seen(URL) == [
        ("GET /users/{id}", StatusCode.UNSET, "https://api.example.com/users/7"),
        ("GET", StatusCode.UNSET, "https://api.example.com/books/7"),
    ]


@pytest.mark.parametrize("whole_paths", [False, True])
def test_nothing_secret_is_exported(api: DemoAPI, whole_paths: bool) -> None:
    """Neither spans nor metrics hold a part of the query, the headers, the content or the credentials."""
    program = Program("/{collection}", whole_paths=whole_paths)
    with program.client(api.url, WhenAsked(api.token)) as client:
        client.create("books", {"name": SECRET}, {"q": SECRET}, headers={"X-Token": SECRET})
        with pytest.raises(StatusError, match=SECRET):  # the name is taken, says the server
            client.create("books", {"name": SECRET}, {"q": SECRET})
        client.read("books", {"name": SECRET})
        if not whole_paths:
            with pytest.raises(StatusError):
                client.read(f"books/{SECRET}/files/{SECRET}")
    exported = [span.to_json() for span in program.spans()]
    exported.append(repr(program.reader.get_metrics_data()))
    assert len(exported) == 5 + (not whole_paths)
    for text in exported:
        assert "server.address" in text
        assert SECRET not in text
        assert api.token not in text


@pytest.mark.parametrize(
    ("origin", "address", "port"),
    [
        ("https://api.example.com", "api.example.com", 443),
        ("http://api.example.com", "api.example.com", 80),
        ("https://api.example.com:8443", "api.example.com", 8443),
        ("http://[::1]:8080", "::1", 8080),
    ],
)
def test_the_server_is_named(program: Program, origin: str, address: str, port: int) -> None:
    """The port is there where it goes without saying, too, and an address is without brackets."""
    program.observer.cruds_request_finished(event(origin=origin))
    assert program.seen(server_attributes.SERVER_ADDRESS, server_attributes.SERVER_PORT) == [
        ("GET", StatusCode.UNSET, address, port)
    ]


def test_an_unknown_method_is_counted_as_other(program: Program, client: Client) -> None:
    """Methods that nobody knows do not make names of spans; what was sent is an attribute."""
    original = http_attributes.HTTP_REQUEST_METHOD_ORIGINAL
    with pytest.raises(StatusError):
        client.request("BREW", "flaky")
    client.read("health")
    assert program.seen(METHOD, original)[0] == ("HTTP /flaky", StatusCode.ERROR, "_OTHER", "BREW")
    assert program.seen(METHOD, original)[1] == ("GET /health", StatusCode.UNSET, "GET", None)


def test_the_program_says_which_methods_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of OpenTelemetry replaces the list of known methods."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET,BREW")
    program = Program()
    for method in ("BREW", "GET", "POST"):
        program.observer.cruds_request_finished(event(method=method))
    assert [name for name, *_ in program.seen()] == ["BREW", "GET", "HTTP"]


@pytest.mark.parametrize(
    "template", ["", "users/{id}", "/users?id={id}", "/users#{id}", "/{}", "/{id", "/id}"]
)
def test_a_template_that_could_not_fit_is_refused(template: str) -> None:
    """A path starts with a slash and has no query, and its braces are those of placeholders."""
    with pytest.raises(ValueError, match=r"must be a path like .*/v1/books/{id}"):
        OpenTelemetryObserver("/books", template)


def test_a_list_of_templates_is_refused() -> None:
    """The templates are arguments of their own."""
    templates: Any = ["/books", "/users/{id}"]
    with pytest.raises(TypeError, match=r"must be a str \(got list\)"):
        OpenTelemetryObserver(templates)


def test_durations_are_measured(program: Program, client: Client) -> None:
    """The histogram has a point for each method, template, server and outcome."""
    client.read("flaky", {"key": "a", "times": 2})
    data: Any = program.reader.get_metrics_data()
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("http.client.request.duration", "s")
    points: list[HistogramDataPoint] = metric.data.data_points
    found = {
        (
            point.count,
            *(dict(point.attributes or {}).get(name) for name in (STATUS_CODE, ERROR_TYPE, TEMPLATE)),
        )
        for point in points
    }
    assert found == {(2, 503, "503", "/flaky"), (1, 200, None, "/flaky")}
    assert all(0 < point.sum < 10 and len(point.explicit_bounds) == 14 for point in points)
    assert not any(URL in dict(point.attributes or {}) for point in points)


def test_a_duration_is_that_of_its_attempt(program: Program) -> None:
    """It is recorded in seconds."""
    program.observer.cruds_request_finished(event())
    data: Any = program.reader.get_metrics_data()
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert point.sum == 0.25
