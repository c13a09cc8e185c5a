"""The idle connections of a pool, kept without a lock of Python's."""

from __future__ import annotations

import queue
from typing import Any


class Idle:
    """A stack in place of the ``queue.LifoQueue`` of a urllib3 pool that never blocks.

    Each step on its list is atomic. The lock of a LifoQueue stays held where a signal raises while it is
    taken, and the thread that comes next waits for ever.

    Args:
        maxsize: How many there may be; threads that come at the same moment may leave some more.
    """

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.queue: list[Any] = []

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """The connection that was put last, at once.

        Raises:
            queue.Empty: There is none.
        """
        try:
            return self.queue.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: object, block: bool = False) -> None:
        """Keep a connection; not None, which is for one of urllib3 that is not made yet.

        Raises:
            queue.Full: There are as many as there may be.
        """
        if item is None:
            return
        if len(self.queue) >= self.maxsize:
            raise queue.Full
        self.queue.append(item)

    def qsize(self) -> int:
        """How many there are."""
        return len(self.queue)
