"""The way of a request: authenticated at every attempt, retried, redirected, challenged."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from urllib3.exceptions import ConnectTimeoutError, HTTPError, SSLError

from .content import TooLarge, receive, receive_refusal
from .deadline import Deadline, OutOfTime, running
from .exceptions import (
    AuthError,
    CrudsError,
    RedirectError,
    RequestError,
    RequestTimeoutError,
    ResponseTooLargeError,
)
from .failure import forget_locals, is_final, translate
from .redirect import MAX_REDIRECTS, Refused, follow
from .response import Response
from .retry import repeats
from .secret import credentials_added, is_credential, mask
from .status import credentials_sent, status_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse, Retry

    from .auth import AuthABC
    from .event import Observers
    from .pool import Pool
    from .request import Request

    #: Takes the content of an answer in pieces, and starts anew at each attempt.
    Sink = Callable[[BaseHTTPResponse], None]

logger = logging.getLogger(__name__)


class Transport:
    """Sends requests until there is an answer to return.

    Args:
        pool: The connections.
        auth: The scheme that authenticates requests, or None.
        retry: Decides on and paces repetitions.
        observers: Those who are told of each attempt.
        max_response_size: Bytes of content that an answer may have.
        total_timeout: Seconds for a whole call, None for no limit.
        timeout_name: The argument that the limit comes from, as a message names it.
    """

    def __init__(
        self,
        pool: Pool,
        auth: AuthABC | None,
        retry: Retry,
        observers: Observers,
        max_response_size: int,
        *,
        total_timeout: float | None = None,
        timeout_name: str = "total_timeout",
    ) -> None:
        self.pool = pool
        self.auth = auth
        self.retry = retry
        self.observers = observers
        self.max_response_size = max_response_size
        self.total_timeout = total_timeout
        self.timeout_name = timeout_name

    def send(
        self,
        request: Request,
        *,
        deserialize: bool,
        tolerates: Callable[[int], bool],
        sink: Sink | None = None,
    ) -> Response:
        """Send a request and return the answer.

        Args:
            request: The request, without credentials.
            deserialize: Whether ``Response.data`` is decoded.
            tolerates: Whether an answer of this status is returned although the status is an error.
            sink: Takes the content of a 2xx answer, of any size, in place of ``Response.content``.

        Raises:
            RequestError: There was no answer.
            StatusError: The status of the answer is an error that is not tolerated.
            ContentError: The content of the answer, or of the request, broke.
            AuthError: There were no credentials.
        """
        call = _Call(self, request, sink, tolerates)
        # That of a call of the scheme's own, to get a token, is not that of the call which needs it: a
        # refresh that is cut off may have been carried out, and its refresh token be lost.
        before, running.deadline = running.deadline, call.deadline
        try:
            while True:
                response = call.attempt(deserialize=deserialize)
                if response is None:
                    continue
                if response.status < 400 and not call.refusal:
                    return response
                if tolerates(response.status):
                    return response
                raise call.error(response)
        except OutOfTime:
            raise call.out_of_time() from None
        finally:
            running.deadline = before


class _Call:
    """One call of the user's: as many attempts as it takes."""

    def __init__(
        self,
        transport: Transport,
        request: Request,
        sink: Sink | None,
        tolerates: Callable[[int], bool],
    ) -> None:
        self.transport = transport
        self.auth = transport.auth
        self.first = request
        self.request = request  # never authenticated: every attempt authenticates a copy of it
        self.asked = self.sent = request  # of the last attempt, without and with credentials
        self.sink = sink
        self.tolerates = tolerates
        self.deadline = None if transport.total_timeout is None else Deadline(transport.total_timeout)
        self.retry = transport.retry
        if "Idempotency-Key" in request.headers:
            self.retry = self.retry.new(allowed_methods=None)
        self.attempts = 0
        self.redirects = 0
        self.challenged = False
        self.left_origin = False
        self.failed = False
        self.in_scheme = False
        self.status: int | None = None
        self.secrets = transport.pool.secrets()
        self.content = b""
        self.refusal = ""

    def attempt(self, *, deserialize: bool) -> Response | None:
        """The answer to return or to raise; None when the call goes on with another attempt."""
        self.attempts += 1
        self._prepare()
        observers = self.transport.observers
        try:
            if observers.watchers:
                raw = observers.watch(self.request, self.attempts, self._exchange)
            else:
                raw = self._exchange()
        except RequestError as error:
            if not self.failed or not self._repeats(error.__cause__):
                raise
            return None
        logger.debug("%s: %d", self.request, raw.status)
        unanswered = None
        try:
            if self._answers_challenge(raw):
                return None
        except AuthError as error:
            unanswered = error
        if self._follows(raw):
            return None
        response = Response(
            method=self.request.method,
            url=self.request.shown_url,
            status=raw.status,
            headers=raw.headers,
            content=self.content,
            attempts=self.attempts,
            deserialize=deserialize,
        )
        if unanswered is not None:
            if self.tolerates(raw.status):
                logger.warning("%s: the 401 could not be answered: %s", self.request, unanswered)
                return response
            unanswered.response = response
            raise unanswered
        return None if self._retries(raw, response) else response

    def __str__(self) -> str:
        came_from = "" if self.request is self.first else f" (redirected from {self.first})"
        return f"{self.request}{came_from}"

    def error(self, response: Response) -> CrudsError:
        """What to raise for an answer that is not data."""
        if self.refusal:
            msg = f"{self}: the {response.status} redirect is not followed: {self.refusal}"
            return RedirectError(msg, response=response)
        return status_error(
            response, self.asked, self.sent, str(self), self.secrets, left_origin=self.left_origin
        )

    def out_of_time(self, status: int | None = None) -> RequestTimeoutError:
        """What to raise when the time of the call has passed, after the head of an answer of this status."""
        what = f"the {status} answer was not whole" if status else "no answer"
        times = "" if self.attempts == 1 else f" ({self.attempts} attempts)"
        seconds, name = self.transport.total_timeout, self.transport.timeout_name
        return RequestTimeoutError(
            f"{self}: {what} within {seconds:g} s; see {name}={times}",
            method=self.request.method,
            url=self.request.shown_url,
            attempts=self.attempts,
        )

    def _prepare(self) -> None:
        if self.attempts > 1:
            self.secrets.update(credentials_sent(self.sent, self.asked))
        self.asked, self.sent = self.request, self.request.copy()
        self.sent.rewind()
        if self.auth is not None:
            self.auth.authenticate(self.sent)
            self.sent.rewind()  # the scheme may have read it
            if self.sent.url != self.request.url:
                self._check_url()
        self.sent.headers.check()

    def _check_url(self) -> None:
        if self.sent.origin != self.request.origin:
            msg = f"{type(self.auth).__name__}.authenticate() sends the request elsewhere: {self.sent.origin}"
            raise AuthError(msg)
        self.secrets.update(credentials_added(self.request.url, self.sent.url))

    def _exchange(self) -> BaseHTTPResponse:
        self.failed = self.in_scheme = False
        self.status = None
        try:
            return self._receive(self.transport.pool.urlopen(self.sent))
        except TooLarge as error:
            forget_locals(error)
            raise self._too_large(error.status) from None
        except OutOfTime as error:
            forget_locals(error)
            raise self.out_of_time(self.status) from None
        except HTTPError as error:
            forget_locals(error)
            if isinstance(error, CrudsError) or self.in_scheme:  # the scheme's, not of this request
                raise
            if self.deadline is not None and not self.deadline.left:
                raise self.out_of_time(self.status) from error
            self.failed = True
            raise translate(
                error,
                self.request,
                str(self),
                attempts=self.attempts,
                timeout=self.transport.pool.timeout,
                status=self.status,
            ) from error
        except BaseException as error:
            forget_locals(error)
            raise

    def _receive(self, raw: BaseHTTPResponse) -> BaseHTTPResponse:
        try:
            if self.auth is not None:
                self.in_scheme = True
                self.auth.handle_response(self.sent, raw)
            self.in_scheme = False
            self.status = raw.status
            if raw.status >= 300 and not self.tolerates(raw.status):
                self.content = receive_refusal(raw, self.transport.max_response_size)
            elif self.sink is None:
                self.content = receive(raw, self.transport.max_response_size)
            else:
                self.sink(raw)
        except BaseException:
            # The rest of this answer must not be taken for the next one.
            raw.close()
            raise
        finally:
            raw.release_conn()
        return raw

    def _repeats(self, error: BaseException | None) -> bool:
        """Wait for the next attempt, if there is to be one after what urllib3 raised."""
        method = self.request.method
        nothing_sent = isinstance(error, ConnectTimeoutError)
        if not isinstance(error, HTTPError) or is_final(error):
            return False
        if not nothing_sent and not self.request.is_repeatable:
            return False
        if isinstance(error, SSLError) and not repeats(self.retry, method):
            return False  # urllib3 counts it as if nothing had been sent
        try:
            self.retry = self.retry.increment(method, self.request.shown_url, error=error)
        except HTTPError:  # urllib3's way to say no: the error itself, or a MaxRetryError around it
            return False
        return self._pause(type(error).__name__, self.retry.get_backoff_time())

    def _answers_challenge(self, raw: BaseHTTPResponse) -> bool:
        if raw.status != 401 or self.auth is None or self.challenged:
            return False
        self.challenged = True
        # A scheme learns from the challenge even where this request cannot be sent again.
        return self.auth.handle_challenge(self.sent, raw) and self.request.is_repeatable

    def _follows(self, raw: BaseHTTPResponse) -> bool:
        location = raw.get_redirect_location()
        if location is False:  # no redirect; None is one without a Location
            return False
        limit = MAX_REDIRECTS if self.retry.redirect is None else int(self.retry.redirect)
        if self.redirects >= limit:
            self.refusal = f"it is one more than the {limit} that may be followed"
            return False
        # What the caller set may be a version or a tenant, which can be part of a path.
        own = {value for name, value in self.first.headers.items() if not is_credential(name)}
        secrets = self.secrets.union(credentials_sent(self.sent, self.asked)) - own
        try:
            target = follow(self.request, raw.status, location)
        except Refused as refused:
            self.refusal = mask(str(refused), secrets)
            return False
        leaves = target.origin != self.request.origin
        seen = target.url if leaves else target.shown_url
        if mask(seen, secrets) != seen:
            where = "takes the credentials to another origin" if leaves else "shows the credentials"
            self.refusal = f"its Location {where}"
            return False
        self.redirects += 1
        self.challenged = False  # by the place that it led to
        if target.origin != self.request.origin:
            self.left_origin = True
            self.auth = None  # for good: what comes back from elsewhere is not ours to sign
        self.request = target
        return True

    def _retries(self, raw: BaseHTTPResponse, response: Response) -> bool:
        """Wait for the next attempt, if the status asks for one and the server for no longer than allowed."""
        retry, method = self.retry, self.request.method
        delay = response.retry_after if retry.respect_retry_after_header else None
        if (
            not self.request.is_repeatable
            or not retry.is_retry(method, raw.status, has_retry_after=delay is not None)
            or (delay or 0) > retry.retry_after_max
        ):
            return False
        try:
            self.retry = retry.increment(method, self.request.shown_url, response=raw)
        except HTTPError:
            return False
        return self._pause(str(raw.status), delay or self.retry.get_backoff_time())

    def _pause(self, reason: str, seconds: float) -> bool:
        """Wait, unless the time of the call would pass meanwhile."""
        if self.deadline is not None and seconds >= self.deadline.left:
            logger.info("%s: %s; no time is left for another attempt", self.request, reason)
            return False
        logger.info("%s: %s; again in %.1f s", self.request, reason, seconds)
        time.sleep(seconds)
        return True

    def _too_large(self, status: int) -> ResponseTooLargeError:
        limit = self.transport.max_response_size
        return ResponseTooLargeError(
            f"{self}: the {status} holds more than max_response_size={limit} bytes; see download()",
            method=self.request.method,
            url=self.request.shown_url,
            attempts=self.attempts,
        )
