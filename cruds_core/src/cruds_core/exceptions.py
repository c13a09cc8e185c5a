"""The errors of CRUDs.

CrudsError
├── RequestError                  no usable answer
│   ├── ConnectError              no connection could be made, so nothing was sent
│   │   └── NameResolutionError   the host has no address
│   ├── RequestTimeoutError       the server took too long (also TimeoutError)
│   ├── TLSError                  the connection could not be made secure
│   ├── ProxyError                the proxy could not be used
│   └── ConnectionLostError       the connection ended before the head of an answer
├── StatusError                   an answer whose status is an error
│   ├── ClientError               4xx
│   ├── ServerError               5xx
│   └── RedirectError             3xx that is not followed
├── ContentError                  data that cannot be encoded
│   ├── BrokenResponseError       an answer whose content broke off (also RequestError)
│   │   └── TruncatedResponseError    shorter than it said it was
│   ├── DecompressionError        an answer whose coding is broken (also RequestError)
│   └── ResponseTooLargeError     an answer over max_response_size (also RequestError)
├── AuthError                     credentials could not be had, or were refused for good
└── PluginError                   an auth plugin cannot be used
    ├── UnknownSchemeError
    ├── BrokenPluginError
    └── PluginConflictError

RequestError and StatusError are urllib3.exceptions.HTTPError too, as code written for
CRUDs 1.x expects. Every error can be pickled. None shows a query, a user's credentials or a
header that was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import urllib3.exceptions

if TYPE_CHECKING:
    from .response import Response

__all__ = [
    "AuthError",
    "BrokenPluginError",
    "BrokenResponseError",
    "ClientError",
    "ConnectError",
    "ConnectionLostError",
    "ContentError",
    "CrudsError",
    "DecompressionError",
    "NameResolutionError",
    "PluginConflictError",
    "PluginError",
    "ProxyError",
    "RedirectError",
    "RequestError",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "ServerError",
    "StatusError",
    "TLSError",
    "TruncatedResponseError",
    "UnknownSchemeError",
]


class CrudsError(Exception):
    """Base of every error that this project raises. Never raised itself."""


class RequestError(CrudsError, urllib3.exceptions.HTTPError):
    """A request that got no usable answer. The error of urllib3 is its ``__cause__``.

    Args:
        message: What happened, and what to do.
    """

    def __init__(self, message: str, *, method: str = "", url: str = "", attempts: int = 0) -> None:
        super().__init__(message)
        #: The method of the request.
        self.method = method
        #: Its URL, without query and credentials.
        self.url = url
        #: How many times the request was sent, or tried to be.
        self.attempts = attempts


class ConnectError(RequestError):
    """No connection could be made: refused, unreachable or not answered. Nothing was sent."""


class NameResolutionError(ConnectError):
    """The name of the host could not be resolved to an address."""


class RequestTimeoutError(RequestError, TimeoutError):
    """The server did not answer, or did not go on with its answer, in time.

    That is ``timeout`` seconds for a connection and for each piece, and ``total_timeout`` for the whole call.
    """


class TLSError(RequestError):
    """The connection could not be made secure, for example because of the server's certificate."""


class ProxyError(RequestError):
    """The proxy could not be reached, or refused to pass the request on."""


class ConnectionLostError(RequestError):
    """The connection ended before the head of an answer arrived; the server may have acted."""


class StatusError(CrudsError, urllib3.exceptions.HTTPError):
    """An answer whose status is an error. It carries the whole answer.

    Its message shows up to 1 KB of the content, with the credentials that were sent masked.

    Args:
        message: What happened.
    """

    def __init__(self, message: str, *, response: Response) -> None:
        super().__init__(message)
        #: The answer, with status, headers, content and data.
        self.response = response

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)

    @property
    def status(self) -> int:
        """The status code (RFC 9110, section 15)."""
        return self.response.status

    @property
    def method(self) -> str:
        """The method of the request."""
        return self.response.method

    @property
    def url(self) -> str:
        """The URL that answered, without query and credentials."""
        return self.response.url

    @property
    def headers(self) -> urllib3.HTTPHeaderDict:
        """The headers of the answer."""
        return self.response.headers

    @property
    def content(self) -> bytes:
        """The content of the answer as it arrived, decompressed."""
        return self.response.content

    @property
    def data(self) -> Any:
        """The content decoded as a call would have returned it."""
        return self.response.data

    @property
    def problem(self) -> dict[str, Any] | None:
        """The problem details (RFC 9457), or None where the answer holds none."""
        return self.response.problem

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server asks to be tried again (RFC 9110, section 10.2.3)."""
        return self.response.retry_after

    @property
    def attempts(self) -> int:
        """How many times the request was sent."""
        return self.response.attempts


class ClientError(StatusError):
    """A 4xx answer: the request cannot succeed as it is."""


class ServerError(StatusError):
    """A 5xx answer: the server failed."""


class RedirectError(StatusError):
    """A redirect that is not followed.

    It would have left https, taken content to another origin, or gone on without end.
    """


class ContentError(CrudsError):
    """Data that cannot be encoded, or an answer whose content cannot be used."""


class BrokenResponseError(ContentError, RequestError):
    """The connection failed, or broke the rules of HTTP, in the middle of an answer's content."""


class TruncatedResponseError(BrokenResponseError):
    """The content of an answer ended before its Content-Length, its last chunk or the end of TLS."""


class DecompressionError(ContentError, RequestError):
    """The content of an answer does not fit its Content-Encoding."""


class ResponseTooLargeError(ContentError, RequestError):
    """The content of an answer is larger than ``max_response_size`` bytes."""


class AuthError(CrudsError):
    """Credentials could not be had, or were refused for good."""

    #: The 401 that asked for other credentials, where one did.
    response: Response | None = None


class PluginError(CrudsError):
    """An auth plugin cannot be used."""


class UnknownSchemeError(PluginError):
    """No installed plugin that may be used offers the scheme."""


class BrokenPluginError(PluginError):
    """The plugin that offers the scheme failed. What it raised is the ``__cause__``."""


class PluginConflictError(PluginError):
    """Several installed distributions offer the same scheme."""


def _restore(cls: type[StatusError], args: tuple[Any, ...], state: dict[str, Any]) -> StatusError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error
