"""The end of a call's time: whatever the call waits for, it waits no longer than until then."""

from __future__ import annotations

import io
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from urllib3.util import Timeout


class OutOfTime(TimeoutError):
    """Raised below the transport when the time of a call has passed. Never seen by a caller."""


class Deadline:
    """The end of a number of seconds, from now on.

    Args:
        seconds: How long.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """The seconds until then, not negative."""
        return max(0.0, self._end - time.monotonic())

    def cut(self, timeout: float | None = None) -> float:
        """Seconds to wait: ``timeout``, or what is left where that is less.

        Raises:
            OutOfTime: Nothing is left.
        """
        left = self.left
        if not left:
            raise OutOfTime
        return left if timeout is None else min(timeout, left)

    def cut_all(self, timeout: Timeout) -> Timeout:
        """The same for the settings of urllib3, whose ``total`` ends with the head of an answer.

        Raises:
            OutOfTime: Nothing is left.
        """
        until_head = timeout.clone()
        until_head.total = self.cut(timeout.total if isinstance(timeout.total, (int, float)) else None)
        return until_head


class _Running(threading.local):
    """The deadline of the call that this thread is in; None where there is none."""

    deadline: Deadline | None = None


running = _Running()


class BoundedReader(io.RawIOBase):
    """Reads what a connection's stream would, piece by piece, and none of them later than a deadline."""

    def __init__(self, stream: io.BufferedReader, connection: socket.socket, deadline: Deadline) -> None:
        self._stream = stream
        self._connection = connection
        self._deadline = deadline

    @classmethod
    def over(
        cls, stream: io.BufferedReader, connection: socket.socket, deadline: Deadline
    ) -> io.BufferedReader:
        """A stream in place of another one, of which nothing is lost that has arrived already."""
        return io.BufferedReader(cls(stream, connection, deadline))

    def readable(self) -> bool:
        """It is, as its stream."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Read what is there, or what comes next."""
        timeout = self._connection.gettimeout()
        self._connection.settimeout(self._deadline.cut(timeout))
        try:
            return self._stream.readinto1(buffer)
        finally:
            self._connection.settimeout(timeout)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        super().close()
