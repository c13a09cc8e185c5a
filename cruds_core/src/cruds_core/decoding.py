"""The content of an answer as data."""

from __future__ import annotations

import json
import logging
from typing import Any

logger = logging.getLogger(__name__)


def load_json(content: bytes) -> Any:
    """The JSON value in ``content``, in UTF-8, -16 or -32.

    Raises:
        ValueError: It is not JSON, nests too deep, or holds a number too long to convert.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None


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
