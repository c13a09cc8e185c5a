"""The Client: create, read, update and delete, answered with data."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self, cast

import urllib3
from urllib3.exceptions import InsecureRequestWarning

from . import arguments
from .content import encode
from .download import FileSink
from .event import default_observers
from .exceptions import StatusError
from .pool import Pool
from .request import Headers, Request
from .scheme import hide, registry, scheme_for
from .transport import Transport
from .url import BaseURL

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .auth import AuthABC
    from .multipart import Fields
    from .plugins import Plugins
    from .response import Response
    from .scheme import Auth
    from .transport import Sink
    from .url import Params


_MIB = 1 << 20


class Client:
    """A client of one REST API: its calls are create, read, update and delete, its answers are data.

    A Client may be shared by threads. It is a context manager that closes its connections.

    Args:
        host: The API: a host name or URL, with or without a base path. Without a scheme it means https,
            and http for a loopback address.
        auth: Who asks: None; a str, a bearer token; a pair, username and password for the scheme ``basic``;
            an `AuthABC`; or a mapping ``{"scheme": name, **options}`` for any installed scheme.
        manager: A urllib3 PoolManager or ProxyManager of your own. Its TLS is used, and the ``timeout`` and
            ``retries`` that it was made with go before those given here.
        timeout: Seconds to wait for a connection, and for each piece of an answer, however many there are.
            None waits for ever.
        raise_status: Whether an answer with a status of 400 or more raises a StatusError.
        retries: How many times a request is repeated: GET, HEAD, PUT, DELETE and OPTIONS on the listed
            statuses, on connection errors and on broken answers; POST and PATCH only where the server cannot
            have acted. 0 or None for never.
        backoff_factor: Seconds; the pause before the n-th repetition is random, at most
            ``backoff_factor * 2 ** (n - 1)`` and 120. There is none before the first.
        retry_status_codes: The statuses that are retried.
        serialize: Whether data is written, and answers are read, as JSON.
        verify_ssl: Whether certificates are checked, against the CAs of the platform; or the path of a
            PEM file or folder of the CAs to check against.
        retry_unsafe: Whether POST and PATCH are repeated like the others, though that may do a thing twice.
            A header ``Idempotency-Key`` makes a single call so.
        max_response_size: Bytes of content that an answer may have, decompressed. Downloads have no limit.
        total_timeout: Seconds for a whole call, with its attempts, the pauses between them, redirects and
            content; None for no limit. A call that takes longer raises a RequestTimeoutError.
        plugins: The registry to take schemes from and observers in; the program's own unless given.

    Attributes:
        raise_status: As given.
        serialize: As given.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a value that cannot work.
        PluginError: The scheme that ``auth`` names cannot be used.
    """

    __slots__ = (
        "__weakref__",
        "_base",
        "_owns_scheme",
        "_request_headers",
        "_status_ignore",
        "_transport",
        "raise_status",
        "serialize",
    )

    def __init__(
        self,
        host: str,
        auth: Auth = None,
        manager: urllib3.PoolManager | None = None,
        timeout: float | urllib3.Timeout | None = 300.0,
        raise_status: bool = True,
        retries: int | None = 4,
        backoff_factor: float = 0.9,
        retry_status_codes: Iterable[int] = (504, 503, 502, 500, 429, 425, 408),
        serialize: bool = True,
        verify_ssl: bool | str | os.PathLike[str] = True,
        *,
        retry_unsafe: bool = False,
        max_response_size: int = 512 * _MIB,
        total_timeout: float | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        auth = cast("Auth", hide(auth))
        self._base = BaseURL(host)
        self.raise_status = arguments.flag("raise_status", raise_status)
        self.serialize = arguments.flag("serialize", serialize)
        self._status_ignore: set[int] = set()
        self._request_headers = Headers()
        verify = arguments.verification(verify_ssl)
        pool = Pool(arguments.manager(manager), arguments.timeout(timeout), verify=verify)
        policy = arguments.retry_policy(
            retries, backoff_factor, retry_status_codes, unsafe=arguments.flag("retry_unsafe", retry_unsafe)
        )
        scheme = scheme_for(auth, plugins)
        self._owns_scheme = scheme is not auth
        self._transport = Transport(
            pool,
            scheme,
            pool.retry or policy,
            default_observers if plugins is None else registry(plugins).observers,
            arguments.whole("max_response_size", max_response_size, least=1),
            total_timeout=arguments.total_timeout(total_timeout),
        )
        if verify is False and manager is None:
            msg = "verify_ssl=False: anybody on the way can read and change all; it takes a CA file, too"
            warnings.warn(msg, InsecureRequestWarning, stacklevel=2)

    @property
    def host(self) -> str:
        """The URL that every uri is appended to; it ends with a slash."""
        return self._base.url

    @property
    def request_headers(self) -> urllib3.HTTPHeaderDict:
        """Headers for every request, to add to."""
        return self._request_headers

    @request_headers.setter
    def request_headers(self, headers: Mapping[str, str]) -> None:
        changed = Headers()
        changed.override(headers)
        self._request_headers = changed  # at once: other threads send requests

    @property
    def status_ignore(self) -> set[int]:
        """Statuses that do not raise, to add to."""
        return self._status_ignore

    @status_ignore.setter
    def status_ignore(self, statuses: Iterable[int]) -> None:
        self._status_ignore = set(arguments.statuses("status_ignore", statuses))

    @property
    def auth(self) -> AuthABC | None:
        """The scheme that authenticates requests, or None."""
        return self._transport.auth

    @property
    def manager(self) -> urllib3.PoolManager:
        """The manager of urllib3 that keeps the connections."""
        return self._transport.pool.manager

    def create(
        self,
        uri: str,
        data: Any,
        params: Params | None = None,
        files: Fields | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make something new: a POST.

        Args:
            uri: Where, below ``host``.
            data: With ``serialize`` any JSON value, or bytes as they are; without, str, bytes or a binary
                file. None sends no content.
            params: Query parameters: a sequence repeats its name, None is left out.
            files: Fields of a form, sent as multipart/form-data in place of ``data``: by name a str or
                bytes, ``(filename, data)`` or ``(filename, data, content_type)``. A binary file is streamed.
            headers: Headers for this call.

        Returns:
            A JSON value, or bytes where the answer is not JSON; ``b""`` for no content.

        Raises:
            StatusError: The answer has an error status: ClientError, ServerError or RedirectError.
            RequestError: There was no usable answer.
            ContentError: ``data`` or ``files`` cannot be encoded, or the answer is broken or too large.
            AuthError: There were no credentials.
            ValueError: ``uri`` lies outside ``host``.
        """
        return self.request("POST", uri, data, params, files, headers=headers).data

    def read(
        self, uri: str, params: Params | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Read something: a GET.

        Args:
            uri: Where, below ``host``.
            params: Query parameters: a sequence repeats its name, None is left out.
            headers: Headers for this call.

        Returns:
            A JSON value, or bytes where the answer is not JSON; ``b""`` for no content.

        Raises:
            StatusError: The answer has an error status: ClientError, ServerError or RedirectError.
            RequestError: There was no usable answer.
            ContentError: The answer is broken or too large.
            AuthError: There were no credentials.
            ValueError: ``uri`` lies outside ``host``.
        """
        return self.request("GET", uri, params=params, headers=headers).data

    def update(
        self,
        uri: str,
        data: Any,
        params: Params | None = None,
        replace: bool = False,
        files: Fields | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Change something: a PATCH, or a PUT with ``replace``.

        Args:
            uri: Where, below ``host``.
            data: As in `create`.
            params: Query parameters: a sequence repeats its name, None is left out.
            replace: Whether ``data`` is the whole of the new state (PUT), or what changes (PATCH).
            files: Fields of a form, as in `create`.
            headers: Headers for this call.

        Returns:
            A JSON value, or bytes where the answer is not JSON; ``b""`` for no content.

        Raises:
            StatusError: The answer has an error status: ClientError, ServerError or RedirectError.
            RequestError: There was no usable answer.
            ContentError: ``data`` or ``files`` cannot be encoded, or the answer is broken or too large.
            AuthError: There were no credentials.
            ValueError: ``uri`` lies outside ``host``.
        """
        return self.request("PUT" if replace else "PATCH", uri, data, params, files, headers=headers).data

    def delete(
        self, uri: str, params: Params | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Remove something: a DELETE.

        Args:
            uri: Where, below ``host``.
            params: Query parameters: a sequence repeats its name, None is left out.
            headers: Headers for this call.

        Returns:
            A JSON value, or bytes where the answer is not JSON; ``b""`` for no content.

        Raises:
            StatusError: The answer has an error status: ClientError, ServerError or RedirectError.
            RequestError: There was no usable answer.
            ContentError: The answer is broken or too large.
            AuthError: There were no credentials.
            ValueError: ``uri`` lies outside ``host``.
        """
        return self.request("DELETE", uri, params=params, headers=headers).data

    def download(
        self,
        uri: str,
        path: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        params: Params | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Path:
        """Read something into a new file: a GET, streamed in constant memory.

        The file is named by the answer's Content-Disposition, else by the last segment of the uri, else by
        ``filename``; what could lead out of the folder is taken out of the name. It is there whole or not
        at all, and replaces no other.

        Args:
            uri: Where, below ``host``.
            path: An existing folder; the current one unless given.
            filename: The name where neither the answer nor the uri has one.
            params: Query parameters.
            headers: Headers for this call.

        Returns:
            The path of the file.

        Raises:
            NotADirectoryError: ``path`` is no folder.
            FileExistsError: A file of that name exists.
            ValueError: Nothing names the file, or ``uri`` lies outside ``host``.
            StatusError: The answer has an error status, whether or not such raise elsewhere; or no content.
            RequestError: There was no usable answer.
            ContentError: The content of the answer is broken.
            AuthError: There were no credentials.
        """
        sink = FileSink(path, filename)
        response = self._send("GET", uri, None, params, None, headers, sink)
        if sink.path is None:
            msg = f"GET {response.url}: {response.status} has no content to download"
            raise StatusError(msg, response=response)
        return sink.path

    def request(
        self,
        method: str,
        uri: str,
        data: Any = None,
        params: Params | None = None,
        files: Fields | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request of any method, and return the whole answer: status, headers and data.

        Args:
            method: The method, for example ``"HEAD"``.
            uri: As in `create`, like all that follow.
            data: The content.
            params: Query parameters.
            files: Fields of a form.
            headers: Headers for this call.

        Returns:
            The answer, whose status is no error or one that does not raise.

        Raises:
            ValueError: ``method`` is not a token, or ``uri`` lies outside ``host``.
            StatusError: The answer has an error status that is not to be returned.
            RequestError: There was no usable answer.
            ContentError: ``data`` or ``files`` cannot be encoded, or the answer is broken or too large.
            AuthError: There were no credentials.
        """
        return self._send(method, uri, data, params, files, headers)

    def close(self) -> None:
        """Close idle connections, and a scheme that was made from ``auth``. The Client can be used again."""
        self._transport.pool.close()
        if self._owns_scheme and self.auth is not None:
            self.auth.close()

    def _send(
        self,
        method: str,
        uri: str,
        data: object,
        params: Params | None,
        files: Fields | None,
        headers: Mapping[str, str] | None,
        sink: Sink | None = None,
    ) -> Response:
        default = Headers.default(json=bool(self.serialize) and sink is None)
        request = Request(method, self._base.join(uri, params), default)
        if self._request_headers:
            request.headers.override(self._request_headers.copy())
        if headers is not None:
            request.headers.override(headers)
        # No local variable: a traceback would show it.
        request.content = encode(data, files, request.headers, serialize=self.serialize)
        return self._transport.send(
            request,
            deserialize=self.serialize,
            tolerates=self._tolerates if sink is None else lambda _: False,
            sink=sink,
        )

    def _tolerates(self, status: int) -> bool:
        return status in self.status_ignore or (not self.raise_status and status >= 400)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        base = getattr(self, "_base", None)  # a traceback may show a Client that could not be made
        return f"<Client {base.url if base else '?'}>"
