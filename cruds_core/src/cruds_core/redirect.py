"""Where a redirect leads, and what of a request may go there (RFC 9110, section 15.4)."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError

from .request import Headers, Request
from .url import parse_place

#: Redirects followed in one call, as many as the Fetch standard allows (section 4.4).
MAX_REDIRECTS = 20

# All that a request takes along to another origin.
_HARMLESS = ("Accept", "Accept-Encoding", "Range", "User-Agent")


class Refused(Exception):
    """The redirect is not followed; its text says why."""


def follow(request: Request, status: int, location: str | None) -> Request:
    """The request to send next.

    Args:
        request: The request that was answered, without credentials.
        status: 301, 302, 303, 307 or 308.
        location: The Location of the answer, absolute or relative to the request; None where it has none.

    Raises:
        Refused: It must not be followed.
    """
    if not location:
        msg = "it has no Location"
        raise Refused(msg)
    url = _target(request.url, location)
    target = Request(request.method, url, request.headers, request.content)
    # RFC 9110, sections 15.4.2 to 15.4.4: 303 asks for a GET, and 301 and 302 make a POST one.
    if (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST"):
        target.method, target.content = "GET", None
        for name in list(target.headers):
            if name.lower().startswith("content-") or name.lower() == "transfer-encoding":
                del target.headers[name]
    if request.origin.scheme == "https" and target.origin.scheme != "https":
        msg = "it leads from https to http"
        raise Refused(msg)
    if target.origin != request.origin:
        if target.method not in ("GET", "HEAD"):
            msg = f"it would take a {target.method} to another origin, {target.origin}; use that as host"
            raise Refused(msg)
        kept = {name: target.headers[name] for name in _HARMLESS if name in target.headers}
        return Request(target.method, url, Headers(kept))
    if not target.is_repeatable:
        msg = "the content was a stream, which cannot be sent again"
        raise Refused(msg)
    return target


def _target(url: str, location: str) -> str:
    with suppress(UnicodeError):  # headers are read as Latin-1, and servers write UTF-8
        location = location.encode("latin-1").decode()
    try:
        target = parse_place(urljoin(url, location))
    except (LocationParseError, ValueError):
        msg = "its Location is not a URL"
        raise Refused(msg) from None
    if target.scheme not in ("http", "https") or not target.host:
        msg = "its Location is neither http nor https"
        raise Refused(msg)
    return target._replace(auth=None, fragment=None).url
