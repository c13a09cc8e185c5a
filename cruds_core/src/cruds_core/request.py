"""What an auth scheme sees of a request, and may change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from typing import Any, Protocol, Self, TypeAlias

from urllib3 import HTTPHeaderDict, make_headers

from ._version import __version__
from .exceptions import AuthError
from .secret import MASK, is_credential, is_harmless
from .url import Origin, without_query

# RFC 9110, section 5.6.2: token = 1*tchar
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110, section 5.5: field-value, with obs-text, and nothing that could end the line
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


_CHUNK = 1 << 16  # bytes of content that are read at a time


class Reader(Protocol):
    """Content that is read while it is sent: a binary file, or anything that reads like one."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; ``b""`` at the end.

        Args:
            size: How many bytes at most; all of them with -1.
        """
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place.

        Args:
            offset: Bytes from where ``whence`` says.
            whence: 0 for the start, 1 for where the reader is, 2 for the end.

        Returns:
            The place, in bytes from the start.
        """
        ...

    def seekable(self) -> bool:
        """Whether `seek` works."""
        ...


#: What a request holds, which is bytes, a reader, or None for no content.
Content: TypeAlias = "bytes | Reader | None"


class Headers(HTTPHeaderDict):
    """The HTTPHeaderDict of urllib3, whose repr shows no credentials."""

    def __repr__(self) -> str:
        shown = {name: self[name] if is_harmless(name) else MASK for name in self}
        return f"{type(self).__name__}({shown})"

    def copy(self) -> Self:
        """Headers of its own. As in urllib3, but without a look-up for each name."""
        copied = type(self)()
        # All at once: another thread may change those of a Client.
        copied._container = {key: [*lines] for key, lines in dict(self._container).items()}
        return copied

    def __copy__(self) -> Self:
        return type(self)(self)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return type(self)(self)

    def __reduce__(self) -> tuple[Any, ...]:
        held = list(self.copy().iteritems())
        if credentials := [name for name, _ in held if is_credential(name)]:
            msg = f'headers with credentials ("{credentials[0]}") are never pickled; give them as auth='
            raise TypeError(msg)
        return type(self), (held,)

    @classmethod
    def default(cls, *, json: bool) -> Headers:
        """What a request has when nobody says otherwise.

        Args:
            json: Whether JSON is preferred (RFC 9110, section 12.5.1).
        """
        return _DEFAULT[json].copy()

    def override(self, headers: Mapping[str, str]) -> None:
        """Set headers, in place of others of the same names.

        Args:
            headers: Values by name.

        Raises:
            TypeError: ``headers`` is no mapping, or a name or a value is not a str.
            ValueError: A header is not the caller's to set, or cannot be sent.
        """
        if not isinstance(headers, Mapping):
            msg = f"headers must be a mapping of names to values (got {type(headers).__name__})"
            raise TypeError(msg)
        for name in headers:
            if not isinstance(name, str):
                msg = f"the name of a header must be a str (got {type(name).__name__})"
                raise TypeError(msg)
            # RFC 9112, section 6.3: they say where the content ends, and so where the next request begins.
            if name.lower() in ("content-length", "transfer-encoding"):
                msg = f'header "{name}" follows from the content, and cannot be set'
                raise ValueError(msg)
            self.discard(name)
        self.extend(headers)
        self.check()

    @property
    def names(self) -> Set[str]:
        """The names, in lower case."""
        return self._container.keys()

    def _is_clean(self) -> bool:
        with suppress(TypeError):  # a value is not a str
            return all(
                _TOKEN.fullmatch(name) and all(map(_FIELD_VALUE.fullmatch, values))
                for name, *values in self._container.values()
            )
        return False

    def check(self) -> None:
        """Refuse what cannot be sent, or would be read as more than one header.

        Raises:
            TypeError: A value is not a str.
            ValueError: A name is not a token, or a value holds a line break, another control
                character or a character outside Latin-1 (RFC 9110, section 5.5).
        """
        if self._is_clean():
            return
        for name in self:
            if not _TOKEN.fullmatch(name):
                msg = f"{name!r} is not the name of a header (RFC 9110, section 5.1)"
                raise ValueError(msg)
            # No value is a local variable here: it would stand in a traceback.
            if kinds := [type(value).__name__ for value in self.getlist(name) if not isinstance(value, str)]:
                msg = f'header "{name}" must be a str (got {kinds[0]})'
                raise TypeError(msg)
            if not all(_FIELD_VALUE.fullmatch(value) for value in self.getlist(name)):
                msg = f'header "{name}" holds a line break or another character that cannot be sent'
                raise ValueError(msg)


# By whether JSON is preferred. The content codings are those that urllib3 can undo here.
_DEFAULT = {
    json: Headers(
        {
            "Accept": "application/json, */*;q=0.5" if json else "*/*",
            "User-Agent": f"cruds-core/{__version__}",
            **make_headers(accept_encoding=True),
        }
    )
    for json in (True, False)
}


class Request:
    """A request as it is about to be sent.

    An auth scheme may change everything but where it goes: add headers, add a query parameter, read the
    content to sign it, by `chunks` (the transport rewinds it afterwards).

    Attributes:
        method: The method, in capitals.
        url: The absolute URL with its query, percent-encoded as it will be sent.
        headers: The headers, without those that the connection adds (Host, Content-Length of bytes).
        content: Bytes, a reader (seekable, unless it came from a stream), or None for no content.

    Raises:
        TypeError: ``method`` is not a str.
        ValueError: ``method`` is not a token (RFC 9110, section 9.1).
    """

    __slots__ = ("content", "headers", "method", "url")

    def __init__(self, method: str, url: str, headers: HTTPHeaderDict, content: Content = None) -> None:
        if not isinstance(method, str):
            msg = f"method must be a str (got {type(method).__name__})"
            raise TypeError(msg)
        if not _TOKEN.fullmatch(method):
            msg = f"method must be a token, like GET (RFC 9110, section 9.1) (got {method!r})"
            raise ValueError(msg)
        self.method = method.upper()
        self.url = url
        try:
            self.headers = headers.copy() if isinstance(headers, Headers) else Headers(headers)
        except (AttributeError, TypeError, ValueError):
            kind = type(headers).__name__
            msg = f"headers must be a mapping of names to values that are str (got {kind})"
            raise TypeError(msg) from None
        self.content = content

    def copy(self) -> Request:
        """A request of its own with the same content."""
        copied = object.__new__(Request)
        copied.method, copied.url, copied.content = self.method, self.url, self.content
        copied.headers = self.headers.copy()
        return copied

    @property
    def origin(self) -> Origin:
        """Scheme, host and port of the URL."""
        return Origin.of(self.url)

    @property
    def shown_url(self) -> str:
        """The URL without its query, as it may be shown."""
        return without_query(self.url)

    @property
    def is_repeatable(self) -> bool:
        """Whether its content can be sent again."""
        return self.content is None or isinstance(self.content, bytes) or self.content.seekable()

    @property
    def host(self) -> str:
        """The Host header as it will be sent, be it the caller's own or made of host and port.

        RFC 9110, section 7.2.
        """
        origin = self.origin._replace(host=self.origin.host.removesuffix("."))
        return self.headers.get("Host") or str(origin).partition("://")[2]

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces from its start, to hash or sign it; nothing where there is none.

        Raises:
            AuthError: It is a stream, which can be read only once.
        """
        if isinstance(self.content, bytes):
            yield self.content
        elif self.content is not None:
            if not self.content.seekable():
                msg = (
                    f"{self} cannot be signed: its content is a stream, which can be read only once; "
                    "give bytes, or a file that can seek"
                )
                raise AuthError(msg)
            self.content.seek(0)
            while chunk := self.content.read(_CHUNK):
                yield chunk

    def rewind(self) -> None:
        """Put a reader back to its start, if it can be."""
        if not isinstance(self.content, (bytes, type(None))) and self.content.seekable():
            self.content.seek(0)

    def __repr__(self) -> str:
        # A traceback may show one that could not be made.
        return f"<Request {self if hasattr(self, 'url') else '?'}>"

    def __str__(self) -> str:
        return f"{self.method} {self.shown_url}"
