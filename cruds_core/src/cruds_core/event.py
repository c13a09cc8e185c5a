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

#: What tells one observer that an attempt started, and what tells it that it finished.
Watcher: TypeAlias = "tuple[tuple[Observer, ...], tuple[Observer, ...]]"


class Observers:
    """Those who watch requests. One that raises is logged, and changes nothing.

    Who was told that an attempt started is told that it finished, by the same thread, whoever is registered
    or taken away meanwhile.
    """

    def __init__(self) -> None:
        self.watchers: tuple[Watcher, ...] = ()  # replaced as a whole

    def __reduce__(self) -> str:
        if self is not default_observers:
            msg = "a Client with plugins= of its own cannot be pickled; make the Client where it is used"
            raise TypeError(msg)
        return "default_observers"

    def watch(self, request: Request, attempt: int, send: Callable[[], BaseHTTPResponse]) -> BaseHTTPResponse:
        """Do ``send``, and tell the observers before and after."""
        path = parse_url(request.url).path or "/"
        event = RequestEvent(request.method, str(request.origin), path, attempt)
        watchers, told = self.watchers, 0
        start = time.perf_counter()
        try:
            for told, (started, _) in enumerate(watchers, 1):  # noqa: B007 - how far it came counts
                _tell(started, event)
            start = time.perf_counter()
            response = send()
        except BaseException as error:
            event = event._replace(error=type(error).__name__)
            raise
        else:
            event = event._replace(status=response.status)
            return response
        finally:
            event = event._replace(seconds=time.perf_counter() - start)
            for _, finished in watchers[:told]:
                _tell(finished, event)


def _tell(observers: tuple[Observer, ...], event: RequestEvent) -> None:
    for observer in observers:
        try:
            observer(event)
        except Exception:
            logger.exception("an observer of requests raised; the request goes on")


#: The observers of the default registry.
default_observers = Observers()
