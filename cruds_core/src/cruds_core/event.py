"""What observers are told of each request: no headers, query, content or credentials."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from urllib3.util import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse

    from .request import Request

logger = logging.getLogger(__name__)


class RequestEvent(NamedTuple):
    """One attempt of a request.

    Attributes:
        method: The method.
        origin: Scheme, host and port, like ``https://api.example.com``.
        path: The path without the query, percent-encoded.
        attempt: 1 for the first attempt, one more for each retry, redirect and answer to a challenge.
        status: The status code of the answer; None before it and without one.
        error: The name of the class of what was raised; None where an answer came.
        seconds: How long the attempt took, with reading the content; None before it ended.
    """

    method: str
    origin: str
    path: str
    attempt: int
    status: int | None = None
    error: str | None = None
    seconds: float | None = None


Observer: TypeAlias = "Callable[[RequestEvent], object]"


class Observers:
    """Those who watch requests. One that raises is logged, and changes nothing."""

    def __init__(self) -> None:
        self.started: tuple[Observer, ...] = ()
        self.finished: tuple[Observer, ...] = ()

    def __reduce__(self) -> str:
        if self is not default_observers:
            msg = "a Client with plugins= of its own cannot be pickled; make the Client where it is used"
            raise TypeError(msg)
        return "default_observers"

    def watch(self, request: Request, attempt: int, send: Callable[[], BaseHTTPResponse]) -> BaseHTTPResponse:
        """Do ``send``, and tell the observers before and after."""
        path = parse_url(request.url).path or "/"
        event = RequestEvent(request.method, str(request.origin), path, attempt)
        _tell(self.started, event)
        start = time.perf_counter()
        try:
            response = send()
        except BaseException as error:
            _tell(
                self.finished, event._replace(error=type(error).__name__, seconds=time.perf_counter() - start)
            )
            raise
        _tell(self.finished, event._replace(status=response.status, seconds=time.perf_counter() - start))
        return response


def _tell(observers: tuple[Observer, ...], event: RequestEvent) -> None:
    for observer in observers:
        try:
            observer(event)
        except Exception:
            logger.exception("an observer of requests raised; the request goes on")


#: The observers of the default registry.
default_observers = Observers()
