"""Checks that processes share a store."""

from __future__ import annotations

import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cruds_core.testing.sharing import busy, in_child, in_children
from cruds_core.testing.subject import LIMIT, needs

from .subject import AT_ONCE, LEASE, MARK, ROUNDS, Place, Subject, count_up, new_key

if TYPE_CHECKING:
    from pathlib import Path

    from ..stores import TokenStore

PROCESSES = 3
THREADS = 3


class Processes(Subject):
    """The checks."""

    def test_a_lock_excludes_processes(self) -> None:
        """While one process holds the lock, no other one can."""
        if not hasattr(os, "fork"):
            return
        with self._place() as place, ThreadPoolExecutor(1) as pool:
            begun, held = place.folder / "begun", place.folder / "held"

            def try_to_take() -> None:
                begun.touch()
                _wait_for(held)
                self._expect(place, is_free=False)

            # Forked before the lock is taken: a child would find one in memory as it was.
            trying = pool.submit(in_child, try_to_take)
            _wait_for(begun)
            with place.lock():
                held.touch()
                if said := trying.result():
                    self._fail(
                        f"two processes held one lock at a time: {said}\nA lock in memory is not enough."
                    )
            if said := in_child(lambda: self._expect(place, is_free=True)):
                self._fail(f"another process could not take a lock that was given back: {said}")

    def test_a_lock_of_a_dead_process_ends(self) -> None:
        """A lock that its holder never gave back can be taken, after its lease at the latest."""
        if not hasattr(os, "fork"):
            return
        with self._place() as place:
            held = ExitStack()  # which the child never leaves
            lock = self.make(place.folder).lock(place.key, lease=LEASE, wait=LIMIT)
            if said := in_child(lambda: held.enter_context(lock)):
                self._fail(f"a forked child could not take the lock: {said}")
            if not self._is_free(place.store, place.key, wait=LEASE + AT_ONCE):
                self._fail(
                    f"a lock with a lease of {LEASE} s was held {AT_ONCE} s after it, by nobody: the process "
                    "has ended.\nUse a lock of the operating system's, or one that expires."
                )

    def test_many_processes(self) -> None:
        """Processes that change a record under its lock lose no change."""
        if not hasattr(os, "fork"):
            return
        with self._place() as place:
            place.save("0")
            if said := in_children(PROCESSES, lambda: count_up(self.make(place.folder), place.key)):
                self._fail(f"{PROCESSES} forked children could not use the store at a time: {said}")
            self._counted(place, PROCESSES)

    def test_it_works_after_a_fork(self) -> None:
        """A child that is forked while threads use the store can use it, too, and so can they."""
        if not hasattr(os, "fork"):
            return
        with self._place() as place:
            key, resting = new_key(), threading.Event()

            def use() -> None:
                begun = time.monotonic()
                place.save("record")
                self._same(place.store, place.key, "record", "save() of a process that forks")
                if resting.is_set():  # else a child never has a turn where a slow store knows no queue
                    time.sleep(THREADS * (time.monotonic() - begun))

            def use_in_child() -> None:
                with place.store.lock(key, lease=LIMIT, wait=LIMIT):
                    place.store.save(key, "of a child", None)
                self._same(place.store, key, "of a child", "save() of a forked child")

            with busy(THREADS, use):
                for _ in range(ROUNDS):
                    resting.clear()
                    time.sleep(0.02)
                    if said := in_child(use_in_child, resting.set):
                        self._fail(
                            f"a forked child could not use the store: {said}\n"
                            "A lock that another thread held at that moment stays held in the child, and a "
                            "connection is the parent's too: make them anew in it, as by "
                            "os.register_at_fork(), or for each os.getpid()."
                        )
            self._same(place.store, key, "of a child", "save() of a forked child")

    @needs("pickles")
    def test_it_can_be_pickled(self) -> None:
        """A copy by pickle is of the same place, and its pickle holds no secret."""
        with self._place() as place:
            place.save(MARK)
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                data = pickle.dumps(place.store, protocol)
                copy: TokenStore = pickle.loads(data)  # noqa: S301 - our own
                self._same(copy, place.key, MARK, "pickle.loads(pickle.dumps(store))")
                if self._leaks().are_in(data.decode("latin-1")):
                    self._fail("its pickle holds a secret; take it from a callable where it is opened.")
                with place.lock():
                    if self._is_free(copy, place.key):
                        self._fail("a copy by pickle held a lock that the original held, too.")

    def _expect(self, place: Place, *, is_free: bool) -> None:
        """Fail unless a lock is free, or is not."""
        if self._is_free(self.make(place.folder), place.key) is not is_free:
            msg = f"the lock is {'held' if is_free else 'free'}"
            raise AssertionError(msg)


def _wait_for(path: Path) -> None:
    """Wait until another process has made a file."""
    end = time.monotonic() + LIMIT
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
