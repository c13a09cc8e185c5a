"""A lock that a forked child finds free."""

from __future__ import annotations

import os
import threading
import weakref


class ForkSafeLock:
    """A threading.Lock that is new in a forked child: a thread of the parent may have held it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        if self._lock.locked():  # not in the child of a fork that was made while it was held
            self._lock.release()

    def renew(self) -> None:
        """Start with a free lock."""
        self._lock = threading.Lock()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew_all)
