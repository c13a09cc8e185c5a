"""Checks of the lock of a store."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from cruds_core.testing.sharing import at_once
from cruds_core.testing.subject import LIMIT, needs

from ..exceptions import OAuthStoreError
from .subject import AT_ONCE, LEASE, WAIT, Place, Subject, count_up, ends

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 8


class _ExpectedError(Exception):
    """What a check raises."""


class Locks(Subject):
    """The checks."""

    def test_a_lock_excludes_threads(self) -> None:
        """While one thread holds the lock, no other one can, by the same object or by another."""
        with self._place() as place, place.lock():
            for store in (place.store, self.make(place.folder)):
                if self._is_free(store, place.key):
                    self._fail(
                        "two threads of a process held one lock at a time.\n"
                        "An operating system may count the locks of a process as one: hold each through a "
                        "file or a token of its own."
                    )

    def test_a_lock_can_be_taken_again(self) -> None:
        """A lock is free once it is given back, also after an error, which goes through as it is."""
        with self._place() as place:
            for error in (None, _ExpectedError("expected"), KeyboardInterrupt()):
                try:
                    with place.lock():
                        if error is not None:
                            raise error
                except BaseException as raised:
                    if raised is not error:
                        raise
                else:
                    if error is not None:
                        self._fail(f"the context of a lock swallowed {type(error).__name__}.")
                if not self._is_free(place.store, place.key):
                    end = "it was given back" if error is None else f"{type(error).__name__} ended its block"
                    self._fail(f"a lock was not free after {end}; give it back in a finally.")

    def test_no_wait_does_not_wait(self) -> None:
        """With wait=0 a lock that is held is an OAuthStoreLockedError at once; one that is free is had."""
        with self._place() as place:
            if not self._is_free(place.store, place.key):
                self._fail("lock(wait=0) did not take a lock that was free.")
            with place.lock():
                before = time.monotonic()
                self._is_free(place.store, place.key)
                if time.monotonic() - before > AT_ONCE:
                    self._fail("lock(wait=0) waited; a request that has a valid token waits with it.")

    def test_a_wait_has_an_end(self) -> None:
        """A lock that is held all the time is an OAuthStoreLockedError after the wait, and not before."""
        with self._place() as place, place.lock():
            before = time.monotonic()
            is_free = self._is_free(place.store, place.key, wait=WAIT)
            took = time.monotonic() - before
            if is_free or not WAIT / 2 < took < WAIT + AT_ONCE:
                self._fail(f"lock(wait={WAIT}) of a lock that is held ended after {took:.1f} s.")

    def test_whoever_waits_has_it_next(self) -> None:
        """A thread that waits for the lock has it when it is given back."""
        with self._place() as place, ThreadPoolExecutor(1) as pool:
            with place.lock():
                waiting = pool.submit(lambda: self._is_free(place.store, place.key, wait=LIMIT))
                time.sleep(WAIT)
            if not waiting.result():
                self._fail("a thread that waited did not have the lock when it was given back.")

    @needs("lease_ends")
    def test_a_lock_ends_with_its_lease(self) -> None:
        """A lock can be taken after its lease, though its holder lives, who does not give back another's."""
        with self._place() as place, ThreadPoolExecutor(1) as pool:
            given_back = threading.Event()
            before = time.monotonic()  # the lease begins after it
            with suppress(OAuthStoreError), place.store.lock(place.key, lease=LEASE, wait=LIMIT):
                if self._is_free(place.store, place.key) and time.monotonic() - before < LEASE / 2:
                    self._fail("a lock could be taken before its lease had ended.")
                if not self._is_free(place.store, place.key, wait=LEASE + AT_ONCE):
                    self._fail(f"a lock with a lease of {LEASE} s was held {AT_ONCE} s after it.")
                taken = threading.Event()
                pool.submit(self._hold, place, taken, given_back)
                taken.wait(LIMIT)
            is_free = self._is_free(place.store, place.key)
            given_back.set()
            if is_free:
                self._fail("a holder whose lease had ended gave back the lock of the next one.")

    @needs("refuses_unlocked")
    def test_nothing_changes_without_the_lock(self) -> None:
        """Neither save nor delete is done without the lock, or by another thread than its holder."""
        with self._place() as place:
            place.save("first")
            store = place.store
            self._refuses(place, "without the lock")
            with place.lock():
                at_once(1, lambda _: self._refuses(place, "by a thread that does not hold the lock"))
                store.save(place.key, "second", None)
            self._same(store, place.key, "second", "save() by the holder")

    @needs("refuses_unlocked")
    def test_nothing_changes_after_the_lease(self) -> None:
        """Whoever has lost the lock does not undo what the next holder saved."""
        if not self.lease_ends:
            return
        with (
            self._place() as place,
            ThreadPoolExecutor(1) as pool,
            suppress(OAuthStoreError),  # that it cannot be given back
            place.store.lock(place.key, lease=LEASE, wait=LIMIT),
        ):
            at_once(1, lambda _: place.save("first"))  # waits for the end of the lease
            self._refuses(place, "after the end of the lease")
            taken, given_back = threading.Event(), threading.Event()
            pool.submit(self._hold, place, taken, given_back)
            taken.wait(LIMIT)
            try:
                self._refuses(place, "while another has the lock")
            finally:
                given_back.set()

    def test_many_threads(self) -> None:
        """Threads that change a record under its lock lose no change."""
        with self._place() as place:
            stores = [place.store, self.make(place.folder)]
            place.save("0")
            at_once(THREADS, lambda number: count_up(stores[number % 2], place.key))
            self._counted(place, THREADS)

    def _refuses(self, place: Place, when: str) -> None:
        """Fail unless nothing can be changed now."""
        before = place.store.load(place.key)
        acts: dict[str, Callable[[], None]] = {
            "save": lambda: place.store.save(place.key, "stray", None),
            "delete": lambda: place.store.delete(place.key),
        }
        for name, act in acts.items():
            if not isinstance(ends(act), OAuthStoreError) or place.store.load(place.key) != before:
                self._fail(
                    f"{name}() {when} was no OAuthStoreError, or was done.\n"
                    "Compare the lock's holder and change the record in one step, where the record is: the "
                    "lease may end between two."
                )

    def _hold(self, place: Place, taken: threading.Event, given_back: threading.Event) -> None:
        """Hold the lock from one event to the other."""
        with place.lock():
            taken.set()
            given_back.wait(LIMIT)
