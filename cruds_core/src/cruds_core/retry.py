"""When a request is repeated, and how long to wait before it is."""

from __future__ import annotations

import random
from typing import Any

from urllib3 import Retry

#: Statuses that say the request was not processed, so that repeating any method is safe:
#: 408 Request Timeout (RFC 9110), 425 Too Early (RFC 8470), 429 Too Many Requests (RFC 6585), 503.
NOT_PROCESSED = frozenset({408, 425, 429, 503})

#: Seconds: a Retry-After beyond it is not waited for but raised.
MAX_RETRY_AFTER = 120

_random = random.SystemRandom()


class RetryPolicy(Retry):
    """urllib3's Retry with our rules.

    Only the listed statuses are retried. POST and PATCH are repeated only where the server cannot be
    held to have acted (RFC 9110, section 9.2.2). Pauses have full jitter.

    Args:
        total: How many times a request is repeated.
        status_forcelist: The statuses that are retried.
        backoff_factor: Seconds; the n-th pause is at most ``backoff_factor * 2 ** (n - 1)``, and at most 120.
            There is none before the first repetition.
        **kwargs: As urllib3's.
    """

    def __init__(self, total: int | None = 4, **kwargs: Any) -> None:
        kwargs.setdefault("retry_after_max", MAX_RETRY_AFTER)
        super().__init__(total, **kwargs)

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Whether an answer of this status makes the request be repeated."""
        if status_code not in (self.status_forcelist or ()):
            return False
        return repeats(self, method) or status_code in NOT_PROCESSED

    def get_backoff_time(self) -> float:
        """Seconds to wait: anything from none to urllib3's exponential back-off."""
        return _random.uniform(0, super().get_backoff_time())


def repeats(retry: Retry, method: str) -> bool:
    """Whether a request of this method may be sent again although the server may have acted on it."""
    return not retry.allowed_methods or method in retry.allowed_methods
