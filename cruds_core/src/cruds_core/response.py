"""What came back: status, headers and data."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

from .decoding import decode, is_json, load_json

if TYPE_CHECKING:
    from urllib3 import HTTPHeaderDict

logger = logging.getLogger(__name__)

# Larger than any Retry-After that urllib3 should cut: the delay is reported as the server said it.
_UNCUT = Retry(retry_after_max=2**62)


class Response:
    """An answer whose content has been read.

    Args:
        deserialize: Whether `data` decodes the content.

    Attributes:
        method: The method of the request that was answered; after a redirect it may be GET.
        url: The URL that answered, without query and credentials.
        status: The status code (RFC 9110, section 15).
        headers: The headers of the answer; names in any case.
        content: The content as bytes, decompressed.
        attempts: How many times the request was sent.
    """

    def __init__(
        self,
        *,
        method: str,
        url: str,
        status: int,
        headers: HTTPHeaderDict,
        content: bytes,
        attempts: int,
        deserialize: bool,
    ) -> None:
        self.method = method
        self.url = url
        self.status = status
        self.headers = headers
        self.content = content
        self.attempts = attempts
        self._deserialize = deserialize

    # The cached_property of Python 3.11 has one lock for all answers, which a forked child may find held.
    @property
    def data(self) -> Any:
        """The decoded content, which is a JSON value, or bytes where it is not JSON."""
        if not self._deserialize:
            return self.content
        known = self.__dict__
        if "data" not in known:
            known.setdefault("data", decode(self.content, self.headers.get("Content-Type")))
        return known["data"]

    @property
    def problem(self) -> dict[str, Any] | None:
        """The problem details of an ``application/problem+json`` answer (RFC 9457), else None."""
        if is_json(self.headers.get("Content-Type"), subtype="problem+json"):
            try:
                value: Any = load_json(self.content)
            except ValueError:
                return None
            return cast("dict[str, Any]", value) if isinstance(value, dict) else None
        return None

    @property
    def retry_after(self) -> float | None:
        """The seconds of Retry-After (RFC 9110, section 10.2.3), never negative; None without a valid one."""
        value = self.headers.get("Retry-After")
        if value is None:
            return None
        try:
            return float(_UNCUT.parse_retry_after(value))
        except (InvalidHeader, ValueError, OverflowError):
            logger.debug("Retry-After is neither seconds nor a date")
            return None

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.method} {self.url}>"
