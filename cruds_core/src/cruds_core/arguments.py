"""Checks of what a Client is made with: each names the argument, what was got, and what would do."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import urllib3

from .retry import RetryPolicy
from .secret import plain

if TYPE_CHECKING:
    from collections.abc import Iterable


#: Seconds: the operating system counts milliseconds in 31 bits.
_LONGEST_WAIT = 2_147_483


def flag(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False (got {shown(value)})"
        raise TypeError(msg)
    return value


def whole(name: str, value: object, *, least: int = 0, most: int | None = None) -> int:
    """A whole number of at least ``least``, and at most ``most``."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int (got {shown(value)})"
        raise TypeError(msg)
    if value < least:
        msg = f"{name} must be at least {least} (got {shown(value)})"
        raise ValueError(msg)
    if most is not None and value > most:
        msg = f"{name} must be at most {most} (got {shown(value)})"
        raise ValueError(msg)
    return value


def seconds(name: str, value: object, *, zero: bool, other: str = "") -> float:
    """A finite number of seconds, not negative, not 0 unless ``zero``; ``other`` is what else would do."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be a number of seconds{other} (got {shown(value)})"
        raise TypeError(msg)
    if not 0 <= value <= sys.float_info.max or (value == 0 and not zero):  # an int may be larger
        kind = "non-negative" if zero else "positive"
        msg = f"{name} must be a {kind} number of seconds (got {shown(value)})"
        raise ValueError(msg)
    return value


def timeout(value: object, name: str = "timeout") -> urllib3.Timeout:
    """Seconds for the connection and for each piece of an answer, None for no limit, or a Timeout."""
    if isinstance(value, urllib3.Timeout):
        each_part = value.clone()
        each_part.total = None  # which the others would be cut to
        for each in (value.total, each_part.connect_timeout, each_part.read_timeout):
            if isinstance(each, (int, float)):  # else it is None, or the default of the process
                _limit(name, each)
        return value
    limit = _limit(name, value, ", a urllib3.Timeout")
    return urllib3.Timeout(connect=limit, read=limit)


def total_timeout(value: object) -> float | None:
    """Seconds for a whole call, None for no limit."""
    return _limit("total_timeout", value)


def _limit(name: str, value: object, other: str = "") -> float | None:
    if value is None:
        return None
    limit = seconds(name, value, zero=False, other=f"{other} or None")
    if limit > _LONGEST_WAIT:
        msg = f"{name} must be at most {_LONGEST_WAIT} seconds (got {limit}); None waits for ever"
        raise ValueError(msg)
    return limit


def retry_policy(
    retries: object, backoff_factor: object, retry_status_codes: Iterable[object], *, unsafe: bool
) -> RetryPolicy:
    """When and how often requests are repeated."""
    return RetryPolicy(
        0 if retries is None or retries is False else whole("retries", retries),
        backoff_factor=seconds("backoff_factor", backoff_factor, zero=True),
        status_forcelist=statuses("retry_status_codes", retry_status_codes),
        allowed_methods=None if unsafe else RetryPolicy.DEFAULT_ALLOWED_METHODS,
    )


def statuses(name: str, values: Iterable[object]) -> frozenset[int]:
    """Status codes."""
    try:
        given = iter(values)
    except TypeError:
        msg = f"{name} must be status codes, like (503, 429) (got {shown(values)})"
        raise TypeError(msg) from None
    found: set[int] = set()
    for status in given:  # which may never end
        if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
            msg = f"{name} must hold status codes from 100 to 599 (got {shown(status)})"
            raise ValueError(msg)
        found.add(status)
    return frozenset(found)


def verification(value: object) -> bool | str:
    """Whether certificates are checked, or the path of the CAs to check against."""
    if isinstance(value, bool):
        return value
    found = path("verify_ssl", value, "True, False or the path of a file or folder of CAs")
    if not found or not Path(found).exists():
        msg = f'verify_ssl is "{found}", which does not exist; give the path of a PEM file or folder of CAs'
        raise ValueError(msg)
    return found


def path(name: str, value: object, expected: str = "a str or a path") -> str:
    """The text of a path; ``expected`` is what would do."""
    if isinstance(value, (str, os.PathLike)):
        with suppress(TypeError):  # its __fspath__() returns neither str nor bytes
            return plain(os.fsdecode(cast("str", value)))
    msg = f"{name} must be {expected} (got {type(cast('Any', value)).__name__})"
    raise TypeError(msg)


def manager(value: object) -> urllib3.PoolManager | None:
    """A PoolManager or ProxyManager, or None."""
    if value is not None and not isinstance(value, urllib3.PoolManager):
        msg = f"manager must be a urllib3 PoolManager or ProxyManager (got {shown(value)})"
        raise TypeError(msg)
    own = None if value is None else value.connection_pool_kw.get("timeout")
    if own is not None and own is not urllib3.Timeout.DEFAULT_TIMEOUT:
        timeout(own, "the timeout of manager")
    return value


def shown(value: object) -> str:
    """A value as a message may show it: a number as it is, and the type of anything else."""
    is_short = isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 64)
    return repr(value) if is_short else type(value).__name__
