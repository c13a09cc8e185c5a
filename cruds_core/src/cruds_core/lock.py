"""Locks that a forked child finds free."""

from __future__ import annotations

import os
import threading
import weakref

from .deadline import OutOfTime, running
from .exceptions import AuthError


class ForkSafeLock:
    """A threading.Lock that is new in a forked child: a thread of the parent may have held it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock, and say whether it was to be had.

        Raises:
            OutOfTime: The time of the call has passed.
        """
        if not blocking or running.deadline is None:
            return self._lock.acquire(blocking)
        if not self._lock.acquire(timeout=running.deadline.cut()):
            raise OutOfTime
        return True

    def release(self) -> None:
        """Give it back."""
        if self._lock.locked():  # not in the child of a fork that was made while it was held
            self._lock.release()

    def renew(self) -> None:
        """Start with a free lock."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RenewalLock(ForkSafeLock):
    """Held by the one thread that gets a new token. It is not to be had twice: that would wait for itself.

    Args:
        scheme: The name of the class that it belongs to.
    """

    def __init__(self, scheme: str) -> None:
        super().__init__()
        self._scheme = scheme
        self._owner: int | None = None

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock, and say whether it was to be had.

        Raises:
            AuthError: This thread has it already.
            OutOfTime: The time of the call has passed.
        """
        if blocking and self._owner == threading.get_ident():
            msg = f"{self._scheme} needs its own token to get one; let it use a Client of its own"
            raise AuthError(msg)
        taken = super().acquire(blocking=blocking)
        if taken:
            self._owner = threading.get_ident()
        return taken

    def release(self) -> None:
        """Give it back."""
        self._owner = None
        super().release()

    def renew(self) -> None:
        """Start with a free lock."""
        self._owner = None
        super().renew()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew_all)
