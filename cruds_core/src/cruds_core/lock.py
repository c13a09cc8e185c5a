"""Locks that a forked child finds free, and that no signal leaves held."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from .deadline import OutOfTime, running
from .exceptions import AuthError

if TYPE_CHECKING:
    from collections.abc import Callable


class _Step:
    """A method that is one in C, which a function finds.

    CPython looks for signals when a function in Python begins, and after a call. So ``with`` sees none
    between such a method that takes a lock and the block, nor between the block and one that gives it back.
    """

    def __init__(self, find: Callable[[Any], Callable[..., object]]) -> None:
        self._find = find

    def __get__(self, lock: object, owner: type | None = None) -> Callable[..., object]:
        return self if lock is None else self._find(lock)

    def __call__(self, lock: object, *error: object) -> object:  # by an ExitStack
        return self._find(lock)(*error)


class _Taken(dict[bool, None]):
    def __missing__(self, key: bool) -> None:
        raise OutOfTime


_TAKEN = _Taken({True: None})  # whether a lock was taken: looked up in C, as long as it was


class ForkSafeLock:
    """A lock for ``with`` that is new in a forked child: a thread of the parent may have held it.

    A thread that has it may take it again, as the handler of a signal does in the midst of a block. A handler
    that raises, as that of Ctrl-C does, leaves it free once the block is left.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    # ``with`` takes both of these before it calls the first.

    @_Step
    def __enter__(self) -> Callable[..., object]:
        return self._take()

    @_Step
    def __exit__(self) -> Callable[..., object]:
        return self._lock.__exit__

    def _take(self) -> Callable[..., object]:
        """What takes the lock, in one step, or raises an OutOfTime where the time of the call passes."""
        if running.deadline is None:
            return self._lock.__enter__
        attempts = iter(functools.partial(self._lock.acquire, timeout=running.deadline.cut()), None)
        return map(_TAKEN.__getitem__, attempts).__next__

    @property
    def if_free(self) -> IfFree:
        """It without waiting. Then ``with`` raises StopIteration where it is held, by this thread, too."""
        return IfFree(self._lock, is_mine=self.is_mine)

    @property
    def is_mine(self) -> bool:
        """Whether this thread has it."""
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def renew(self) -> None:
        """Start with a free lock."""
        self._lock = threading.RLock()


class IfFree:
    """A lock for ``with`` that is taken at once, or not at all.

    Args:
        lock: The lock.
        is_mine: Whether this thread has it.
    """

    def __init__(self, lock: threading.RLock, *, is_mine: bool) -> None:
        # Calls it once, and makes False a StopIteration: one step, as it is in C.
        attempt = iter(functools.partial(lock.acquire, blocking=False), False)
        self._enter: Callable[[], object] = iter(()).__next__ if is_mine else attempt.__next__
        self._exit = lock.__exit__

    @_Step
    def __enter__(self) -> Callable[..., object]:
        return self._enter

    @_Step
    def __exit__(self) -> Callable[..., object]:
        return self._exit


class RenewalLock(ForkSafeLock):
    """Held by the one thread that gets a new token. It is not to be had twice: that would never end.

    Args:
        scheme: The name of the class that it belongs to.
    """

    def __init__(self, scheme: str) -> None:
        super().__init__()
        self._scheme = scheme

    @_Step
    def __enter__(self) -> Callable[..., object]:
        if self.is_mine:
            msg = f"{self._scheme} needs its own token to get one; let it use a Client of its own"
            raise AuthError(msg)
        return self._take()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew_all)
