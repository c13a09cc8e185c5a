"""Where requests go: the base URL of a Client, and the URLs below it."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections.abc import Iterable, Mapping, Set
from enum import Enum
from typing import Any, NamedTuple, TypeAlias, cast
from urllib.parse import unquote, urlencode

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

#: What every verb takes as the parameters of a query, a mapping or (name, value) pairs.
Params: TypeAlias = "Mapping[Any, Any] | Iterable[tuple[Any, Any]]"

_DEFAULT_PORT = {"http": 80, "https": 443}
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
# Segments of a path that stand in a URL as they are (RFC 3986, section 2.3), and are no dot segments.
_PLAIN_PATH = re.compile(r"(?:[\w~-][\w.~-]*/)*(?:[\w~-][\w.~-]*)?", re.ASCII)
# Values of a parameter that are one, though they can be iterated over; and what is no text at all.
_SINGLE = (str, bytes, bytearray, memoryview, Mapping)
_COLLECTIONS = (Mapping, list, tuple, set, frozenset)
_PLAIN_URL = re.compile(r"(https?://[a-z0-9.-]+(?::[0-9]+)?)(/(?:(?!/\.)[^#])*)")


class Origin(NamedTuple):
    """Scheme, host and port: who may see credentials (RFC 6454, section 4).

    Attributes:
        scheme: ``http`` or ``https``.
        host: The name or address of the host, an IPv6 address in brackets.
        port: The port, also where the URL leaves it to the scheme.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of a URL.

        Args:
            url: An absolute http or https URL.
        """
        parts = parse_url(url)
        scheme, host = parts.scheme or "", parts.host or ""
        return cls(scheme, host, parts.port or _DEFAULT_PORT.get(scheme, 0))

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORT.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


class BaseURL:
    """The URL that every uri of a Client is appended to.

    Args:
        host: A host with or without scheme, port and base path. Without a scheme it means https,
            and http for a loopback address.

    Raises:
        TypeError: ``host`` is not a str.
        ValueError: ``host`` is not a place that requests can be sent to, or holds credentials, a
            query or a fragment.
    """

    def __init__(self, host: str) -> None:
        parts = _parse_host(host)
        path = (parts.path or "/").rstrip("/") + "/"
        # A proxy is sent the URL itself, and a server a Host without the default port: let both agree.
        port = None if parts.port == _DEFAULT_PORT.get(parts.scheme or "") else parts.port
        #: The normalised URL, which ends with a slash.
        self.url: str = parts._replace(path=path, port=port).url
        #: Its scheme, host and port.
        self.origin = Origin.of(self.url)
        self._path = path

    def join(self, uri: str, params: Params | None = None) -> str:
        """The absolute URL of ``uri``, which is appended to the base and never resolved against it.

        Args:
            uri: A path with or without a leading slash and a query, or an absolute URL below the base.
            params: Added to the query: a sequence repeats its name, None is left out, booleans are
                ``true`` and ``false``.

        Raises:
            TypeError: ``uri`` is not a str, or a parameter cannot be written into a query.
            ValueError: ``uri`` lies outside the base, or has a fragment; or a parameter is no text in UTF-8.
        """
        if not isinstance(uri, str):
            msg = f"uri must be a str (got {type(uri).__name__})"
            raise TypeError(msg)
        if "#" in uri:
            msg = "uri has a fragment, which is never sent; write %23 for a # that is part of a name"
            raise ValueError(msg)
        relative = self._below(uri) if _ABSOLUTE.match(uri) else uri.lstrip("/")
        if _PLAIN_PATH.fullmatch(relative):
            query = encode_query(params)
            return f"{self.url}{relative}?{query}" if query else self.url + relative
        parts = parse_url(self.url + relative)
        # Both as the server may read it and as it is sent, with the dot segments taken out.
        if _climbs(relative.partition("?")[0]) or not (parts.path or "").startswith(self._path):
            msg = f'uri "{relative.partition("?")[0]}" climbs out of "{self.url}" with dot segments'
            raise ValueError(msg)
        query = "&".join(part for part in (parts.query, encode_query(params)) if part)
        return parts._replace(query=query or None).url

    def _below(self, uri: str) -> str:
        try:
            parts = parse_url(uri)
            origin = Origin.of(uri)
        except LocationParseError:
            msg = 'uri looks like an absolute URL but is not one; write "%3A" for a ":" in a name'
            raise ValueError(msg) from None
        path = parts.path or "/"
        if parts.auth is None and origin == self.origin and (path + "/").startswith(self._path):
            relative = path[len(self._path) :]
            return relative + (f"?{parts.query}" if parts.query is not None else "")
        msg = (
            f'uri "{without_query(uri)}" does not lie under "{self.url}", and credentials for one host are '
            "not for another; make another Client for it"
        )
        raise ValueError(msg)


def parse_place(url: str) -> Url:
    """The parts of a URL that leads somewhere.

    Raises:
        LocationParseError: It does not.
    """
    parts = parse_url(url)
    # urllib3 takes the first before 2.7. The second leads nowhere, but has the origin of another port.
    if _UNSENDABLE.search(parts.host or "") or parts.port == 0:
        raise LocationParseError(url)
    return parts


def _parse_host(host: str) -> Url:
    if not isinstance(host, str):
        msg = f"host must be a str (got {type(host).__name__})"
        raise TypeError(msg)
    given = host.strip()
    shown = given.rpartition("@")[2]
    schemeless = "://" not in given
    if not given or (schemeless and _ABSOLUTE.match(given)):
        msg = f'host must be a host name or an http(s) URL, for example "api.example.com/v1" (got "{shown}")'
        raise ValueError(msg)
    try:
        parts = parse_place(f"https://{given}" if schemeless else given)
    except LocationParseError:
        raise ValueError(_unparsable(shown)) from None
    # RFC 9110, section 4.2.4: userinfo in an http URL is deprecated and a way to leak credentials.
    if parts.auth is not None:
        msg = 'host must not hold credentials ("user:password@"); pass them as auth=(username, password)'
        raise ValueError(msg)
    if parts.scheme not in _DEFAULT_PORT or not parts.host:
        msg = f'host must be an http or https URL (got "{without_query(shown)}")'
        raise ValueError(msg)
    if parts.query is not None or parts.fragment is not None:
        msg = "host must not hold a query or a fragment; pass a query as params= of each call"
        raise ValueError(msg)
    if not parts.host.startswith("[") and any(
        not 0 < len(label) < 64 for label in parts.host.removesuffix(".").split(".")
    ):  # RFC 1035, section 2.3.4
        msg = f'host "{parts.host}" has a label that is empty or longer than 63 characters'
        raise ValueError(msg)
    return parts._replace(scheme="http") if schemeless and is_loopback(parts.host) else parts


def _unparsable(shown: str) -> str:
    if not shown.isascii() and importlib.util.find_spec("idna") is None:
        return f'host "{shown}" is not ASCII; install "cruds-core[idna]" for internationalised names'
    shown = without_query(shown)
    if shown.rpartition("://")[2].count(":") > 1 and "[" not in shown:
        return f'host "{shown}" cannot be parsed; an IPv6 address is written in brackets, like "[::1]:8080"'
    return f'host "{shown}" cannot be parsed as a host name or an http(s) URL'


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in a URL, is this machine."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _climbs(path: str) -> bool:
    """Whether dot segments lead above where the path starts, as any server could read it."""
    depth = 0
    for part in unquote(path).replace("\\", "/").split("/"):
        segment = part.partition(";")[0]  # some servers cut parameters off before they look
        if segment == "..":
            depth -= 1
        elif segment not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


def split_plain(url: str) -> tuple[str, str] | None:
    """The origin of a URL, and what is sent to it; None where a URL must be parsed to know.

    That is where the origin may be written in another way, and for a dot segment.
    """
    parts = _PLAIN_URL.fullmatch(url)
    return (parts[1], parts[2]) if parts else None


def encode_query(params: Params | None) -> str:
    """Parameters as application/x-www-form-urlencoded text.

    Raises:
        TypeError: ``params`` is neither a mapping nor pairs, or a value is a mapping, or holds a list.
        ValueError: A name or a value holds a lone surrogate, or has no text.
    """
    if params is None:
        return ""
    try:
        if isinstance(params, (str, bytes)):
            raise TypeError
        given = [(name, value) for name, value in _items(params)]
    except (TypeError, ValueError):
        kind = type(params).__name__
        msg = f"params must be a mapping or (name, value) pairs (got {kind}); write a ready query into uri"
        raise TypeError(msg) from None
    pairs: list[tuple[Any, Any]] = []
    for name, value in given:
        one = isinstance(value, _SINGLE) or not isinstance(value, Iterable)
        values = cast("Iterable[Any]", (value,) if one else value)
        pairs += [(name, value) for value in values if value is not None]
    try:
        return urlencode([(_name(name), _parameter(name, value)) for name, value in pairs])
    except UnicodeEncodeError:  # it quotes what may be a secret
        fault = "a lone surrogate, which no text in UTF-8 can"
    except (ValueError, RecursionError) as error:  # an int of too many digits, a list that is too deep
        fault = f"something that has no text ({type(error).__name__}); encode it as a str"
    raise ValueError(f"params hold {fault}")


def _items(params: Params) -> Iterable[tuple[Any, Any]]:
    items = cast("Any", params.items() if isinstance(params, Mapping) else params)
    for item in items:
        if isinstance(item, (str, bytes, Mapping, Set)):  # two of which could be taken apart like a pair
            raise TypeError
        yield item


def _name(name: object) -> Any:
    if isinstance(name, _COLLECTIONS):
        msg = f"params hold a name that is a {type(cast('object', name)).__name__}; it must be a str"
        raise TypeError(msg)
    return name.value if isinstance(name, Enum) else name


def _parameter(name: object, value: object) -> object:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _COLLECTIONS):
        kind = "a mapping" if isinstance(value, Mapping) else "a sequence in another"
        msg = f"params[{name!r}] is {kind}, which has no form in a query; encode it as a str"
        raise TypeError(msg)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(cast("bytes", value))
    return value


def without_query(url: str) -> str:
    """The URL as it may be shown: without query, fragment and credentials."""
    scheme, mark, rest = url.partition("#")[0].partition("?")[0].partition("://")
    if not mark:
        return scheme
    authority, slash, path = rest.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"
