"""The authorization server: how it is reached, and where it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from urllib3 import Retry
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from cruds_core import arguments
from cruds_core.event import default_observers
from cruds_core.pool import Pool
from cruds_core.secret import fault_of
from cruds_core.transport import Transport
from cruds_core.url import BaseURL, is_loopback, without_query

if TYPE_CHECKING:
    import os

    import urllib3

_MAX_ANSWER = 1 << 20  # bytes

#: How many times ``timeout`` a request may take as a whole.
LONGEST = 2


def transport(
    *, timeout: float, verify_ssl: bool | str | os.PathLike[str], manager: urllib3.PoolManager | None
) -> Transport:
    """What requests to the authorization server go through: once, and never redirected.

    Args:
        timeout: Seconds to wait for a connection, and for each piece of an answer; a request takes twice as
            long at most, however its answer drips.
        verify_ssl: As a Client takes it.
        manager: As a Client takes it.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a value that cannot work.
    """
    limit = arguments.seconds("timeout", timeout, zero=False)
    pool = Pool(
        arguments.manager(manager), arguments.timeout(limit), verify=arguments.verification(verify_ssl)
    )
    once, total = Retry(0, redirect=0), LONGEST * limit
    return Transport(
        pool, None, once, default_observers, _MAX_ANSWER, total_timeout=total, timeout_name="timeout"
    )


def check_url(name: str, url: object) -> str:
    """The URL of an endpoint, to which credentials may be sent.

    Raises:
        TypeError: It is not a str.
        ValueError: It is neither https nor on this machine (RFC 6749, section 3.2), or holds a fragment
            or a user.
    """
    if not isinstance(url, str):
        msg = f"{name} must be a str (got {type(url).__name__})"
        raise TypeError(msg)
    if fault := fault_of(url):
        msg = f"{name} {fault}"
        raise ValueError(msg)
    try:
        parts = parse_url(url)
        BaseURL(parts._replace(auth=None, path=None, query=None, fragment=None).url)  # is there such a host?
    except (LocationParseError, ValueError):
        parts = parse_url("")
    if parts.scheme not in ("http", "https") or not parts.host:
        msg = f'{name} must be an absolute https URL (got "{without_query(url)}")'
        raise ValueError(msg)
    if parts.scheme == "http" and not is_loopback(parts.host):
        msg = f'{name} must be https: credentials would be readable on the way (got "{without_query(url)}")'
        raise ValueError(msg)
    if parts.auth is not None or parts.fragment is not None:
        msg = f"{name} must hold neither a user nor a fragment (RFC 6749, section 3.2)"
        raise ValueError(msg)
    return parts.url


def check_issuer(issuer: object) -> str:
    """The issuer identifier as it is written: it is compared to the letter.

    Raises:
        TypeError: It is not a str.
        ValueError: It is neither https nor on this machine, or has a query or a fragment
            (RFC 8414, section 2).
    """
    if "/.well-known/" in check_url("issuer", issuer):
        msg = "issuer must be what stands before (or around) /.well-known/..., which is added to it"
        raise ValueError(msg)
    if "?" in check_url("issuer", issuer):
        msg = "issuer must not have a query (RFC 8414, section 2)"
        raise ValueError(msg)
    return str(issuer)
