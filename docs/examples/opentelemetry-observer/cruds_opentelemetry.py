"""An observer of CRUDs for OpenTelemetry: a span for each attempt of a request, and how long it took.

It keeps the semantic conventions for HTTP clients, https://opentelemetry.io/docs/specs/semconv/http/.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.metrics import get_meter
from opentelemetry.trace import SpanKind, StatusCode, get_tracer

from cruds_core import RequestEvent, hookimpl

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

# RFC 9110, section 9.1, and RFC 5789. Others are counted as one, unless the variable says what is known.
_METHODS = "CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,TRACE"
_VARIABLE = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"

# Seconds, as the conventions advise for http.client.request.duration.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

_PLACEHOLDER = re.compile(r"\{\w+\}")


class OpenTelemetryObserver:
    """Turns each attempt into a span of kind CLIENT, below the span that is current where the call is made.

    A span is made when its attempt ends. So nothing has to be kept between start and end: threads, nested
    calls and interrupts need no care.

    Args:
        *templates: Paths with placeholders, like ``/v1/books/{id}``, written as they are sent:
            percent-encoded, with the base path of the Client. A placeholder stands for one or more
            characters other than a slash. The first that fits names the span.
        whole_paths: Whether ``url.full`` has the path as it was sent, with any secret or personal data in
            it. Otherwise it has REDACTED for each placeholder, and for all of a path that no template fits.
        tracer_provider: Makes the spans; the program's unless given.
        meter_provider: Makes the histogram of durations; the program's unless given.

    Raises:
        TypeError: A template is not a str.
        ValueError: A template does not start with a slash, has a query or fragment, or a brace that belongs
            to no placeholder.
    """

    def __init__(
        self,
        *templates: str,
        whole_paths: bool = False,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._templates = [(_pattern(template), template) for template in templates]
        self._whole_paths = whole_paths
        self._methods = os.environ.get(_VARIABLE, _METHODS).split(",")
        self._tracer = get_tracer("cruds_opentelemetry", tracer_provider=tracer_provider)
        self._duration = get_meter("cruds_opentelemetry", meter_provider=meter_provider).create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )

    @hookimpl
    def cruds_request_finished(self, event: RequestEvent) -> None:
        """Export the attempt."""
        end, seconds = time.time_ns(), event.seconds or 0.0
        template = next((text for pattern, text in self._templates if pattern.fullmatch(event.path)), None)
        server = urlsplit(event.origin)
        known = event.method in self._methods
        measured: dict[str, str | int] = {
            "http.request.method": event.method if known else "_OTHER",
            "server.address": server.hostname or "",
            "server.port": server.port or (80 if server.scheme == "http" else 443),
        }
        if template is not None:
            measured["url.template"] = template
        if event.status is not None:
            measured["http.response.status_code"] = event.status
        error = event.error or (str(event.status) if event.status is not None and event.status >= 400 else "")
        if error:
            measured["error.type"] = error
        self._duration.record(seconds, measured)

        attributes = {**measured, "url.full": event.origin + self._shown(event.path, template)}
        if not known:
            attributes["http.request.method_original"] = event.method
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        method = event.method if known else "HTTP"
        span = self._tracer.start_span(
            f"{method} {template}" if template else method,  # never the path: names have low cardinality
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=end - int(seconds * 1e9),
        )
        if error:
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def _shown(self, path: str, template: str | None) -> str:
        if self._whole_paths or path == "/":
            return path
        return "/REDACTED" if template is None else _PLACEHOLDER.sub("REDACTED", template)


def _pattern(template: str) -> re.Pattern[str]:
    if not isinstance(template, str):
        msg = f"a template must be a str (got {type(template).__name__})"
        raise TypeError(msg)
    constants = _PLACEHOLDER.split(template)
    if not template.startswith("/") or re.search("[?#{}]", "".join(constants)):
        msg = f'a template must be a path like "/v1/books/{{id}}", without a query (got "{template}")'
        raise ValueError(msg)
    return re.compile("[^/]+".join(map(re.escape, constants)))
