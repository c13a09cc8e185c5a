"""The content of an answer as data."""

from __future__ import annotations

import functools
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# Digits as 0 and all else as a space: with as many digits in a row an integer may have more than 64 bits.
_DIGITS = bytes(ord("0" if chr(byte).isdecimal() else " ") for byte in range(256))
_LONG = b"0" * 19


def load_json(content: bytes) -> Any:
    """The JSON value in ``content``, in UTF-8, -16 or -32.

    It is what the standard library makes of it. Where orjson is installed, it reads what both read alike: not
    integers of more than 64 bits, which it makes floats, and nothing that it refuses, such as NaN, a lone
    surrogate or a byte order mark. It may go deeper than the recursion limit of the interpreter.

    Raises:
        ValueError: It is not JSON, nests too deep, or holds a number too long to convert.
    """
    loads = orjson_loads()
    if loads is not None and _LONG not in content.translate(_DIGITS):
        with suppress(ValueError):
            return loads(content)
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None


@functools.cache
def orjson_loads() -> Callable[[bytes], Any] | None:
    """What reads JSON in orjson, if that is installed; imported with the first Client."""
    try:
        import orjson
    except ImportError:
        return None
    return orjson.loads


def is_json(content_type: str | None, subtype: str | None = None) -> bool:
    """Whether a Content-Type says JSON: ``application/json`` or a ``+json`` suffix (RFC 6839)."""
    if content_type is None:
        return False
    kind, _, name = content_type.partition(";")[0].strip().lower().partition("/")
    if subtype is not None:
        return kind == "application" and name == subtype
    return name == "json" or name.endswith("+json")


def decode(content: bytes, content_type: str | None) -> Any:
    """The JSON value of an answer, or its bytes where it is not JSON."""
    if not content or (content_type and not is_json(content_type)):
        return content
    try:
        return load_json(content)
    except ValueError:
        if content_type:
            logger.warning("the answer is not the JSON that its Content-Type says it is; returned as bytes")
        return content
