"""Checks of what a Client is made with: each names the argument, what was got, and what would do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import urllib3

from .retry import RetryPolicy

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


def whole(name: str, value: object, *, least: int = 0) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int (got {shown(value)})"
        raise TypeError(msg)
    if value < least:
        msg = f"{name} must be at least {least} (got {shown(value)})"
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


def timeout(value: object) -> urllib3.Timeout:
    """Seconds for the connection and for each piece of an answer, None for no limit, or a Timeout."""
    if isinstance(value, urllib3.Timeout):
        return value
    limit = _limit("timeout", value, ", a urllib3.Timeout")
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
        given = list(values)
    except TypeError:
        msg = f"{name} must be status codes, like (503, 429) (got {shown(values)})"
        raise TypeError(msg) from None
    for status in given:
        if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
            msg = f"{name} must hold status codes from 100 to 599 (got {shown(status)})"
            raise ValueError(msg)
    return frozenset(status for status in given if isinstance(status, int))


def verification(value: object) -> bool | str:
    """Whether certificates are checked, or the path of the CAs to check against."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, (str, os.PathLike)):
        msg = f"verify_ssl must be True, False or the path of a file or folder of CAs (got {shown(value)})"
        raise TypeError(msg)
    path = os.fsdecode(cast("str", value))
    if not path or not Path(path).exists():
        msg = f'verify_ssl is "{path}", which does not exist; give the path of a PEM file or folder of CAs'
        raise ValueError(msg)
    return path


def manager(value: object) -> urllib3.PoolManager | None:
    """A PoolManager or ProxyManager, or None."""
    if value is not None and not isinstance(value, urllib3.PoolManager):
        msg = f"manager must be a urllib3 PoolManager or ProxyManager (got {shown(value)})"
        raise TypeError(msg)
    return value


def shown(value: object) -> str:
    """A value as a message may show it: a number as it is, and the type of anything else."""
    is_short = isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 64)
    return repr(value) if is_short else type(value).__name__
