"""A key in a header, a query parameter or a cookie."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import quote_plus, unquote_plus

from cruds_core import AuthABC, AuthError, Secret
from cruds_core.secret import fault_of, plain

if TYPE_CHECKING:
    from cruds_core import Request, SecretSource

#: Where a key goes, ``"header"``, ``"query"`` or ``"cookie"``.
Location = Literal["header", "query", "cookie"]

# RFC 9110, section 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 6265, section 4.1.1: cookie-octet
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class ApiKey(AuthABC):
    """An API key, as OpenAPI describes them (security scheme type ``apiKey``).

    Args:
        name: The name of the header, query parameter or cookie, for example ``"X-API-Key"``.
        key: The key, or a callable that returns it, asked at each request.
        location: Where it goes: ``"header"``, ``"query"`` or ``"cookie"``. A key in a query ends up in the
            server's logs: choose it only where the API knows nothing else. Ours mask it.

    Raises:
        TypeError: ``name`` is not a str, or ``key`` is neither a str nor callable.
        ValueError: ``location`` is another place, or ``name`` or ``key`` cannot be sent there.
    """

    def __init__(self, name: str, key: SecretSource, location: Location = "header") -> None:
        if not isinstance(location, str) or location not in get_args(Location):
            got = repr(location) if isinstance(location, str) else type(location).__name__
            msg = f'location must be "header", "query" or "cookie" (got {got})'
            raise ValueError(msg)
        if not isinstance(name, str):
            msg = f"name must be a str (got {type(name).__name__})"
            raise TypeError(msg)
        if not name or fault_of(name) or (location != "query" and not _TOKEN.fullmatch(name)):
            msg = f"name must be the name of a {location} (got {name!r})"
            raise ValueError(msg)
        self.name = plain(name)
        self.location = location
        self._key = Secret(key, "key")
        if isinstance(key, str) and (fault := self._fault(key)):
            msg = f"key {fault}"
            raise ValueError(msg)

    def authenticate(self, request: Request) -> None:
        """Put the key into the request, in place of another of that name.

        Raises:
            AuthError: The callable did not return a key that can be sent.
        """
        key = self._key.reveal()
        if fault := self._fault(key):
            msg = f"what the callable given as key returned {fault}"
            raise AuthError(msg)
        if self.location == "header":
            request.headers[self.name] = key
        elif self.location == "cookie":
            others = [pair.strip() for pair in request.headers.get("Cookie", "").split(";")]
            kept = [pair for pair in others if pair and pair.partition("=")[0] != self.name]
            request.headers["Cookie"] = "; ".join([*kept, f"{self.name}={key}"])
        else:
            path, _, query = request.url.partition("?")
            kept = [pair for pair in query.split("&") if pair and _name(pair) != self.name]
            request.url = f"{path}?{'&'.join([*kept, f'{quote_plus(self.name)}={quote_plus(key)}'])}"

    def _fault(self, key: str) -> str | None:
        if not key:
            return "is empty"
        if self.location == "header" and not _HEADER_VALUE.fullmatch(key):
            return "holds a character that a header cannot carry, or begins or ends with a space"
        if self.location == "cookie" and not _COOKIE_VALUE.fullmatch(key):
            return "holds a character that a cookie cannot carry (RFC 6265, section 4.1.1)"
        return None

    def __repr__(self) -> str:
        name, location = (getattr(self, attribute, "?") for attribute in ("name", "location"))
        return f"ApiKey(name={name!r}, key=***, location={location!r})"


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])
