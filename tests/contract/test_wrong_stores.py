"""Each check of StoreContract fails for a store that is wrong in what it checks."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cruds_auth_oauth2 import FileStore, OAuthStoreError, OAuthStoreLockedError
from cruds_auth_oauth2.testing import StoreContract
from cruds_core import ForkSafeLock

CHECKS = [name for name in dir(StoreContract) if name.startswith("test_")]


class Right(FileStore):
    """A store that is right in all, with a password."""

    password = "a-password-of-a-store"

    def _new(self, key: str) -> Path:
        """Each thread has its own: some of what follows writes without the lock."""
        return self.path / f"{key}.{os.getpid()}-{threading.get_ident()}"

    def check_holder(self, key: str) -> None:
        """Nobody knows who holds the lock."""


class Leased(Right):
    """A store whose locks end with their lease: files that say until when they are held, and by whom."""

    clock: ClassVar[Callable[[], float]] = time.monotonic

    def holder(self, key: str) -> tuple[str, float]:
        """Who has the lock, and until when."""
        with suppress(FileNotFoundError):
            who, until = (self.path / f"{key}.lease").read_text().split()
            return who, float(until)
        return "", 0.0

    def me(self) -> str:
        """This thread."""
        return f"{os.getpid()}/{threading.get_ident()}"

    def _change(self, key: str, who: str, until: float) -> None:
        (self.path / f"{key}.new").write_text(f"{who} {until}")
        (self.path / f"{key}.new").replace(self.path / f"{key}.lease")

    def give_back(self, key: str) -> None:
        """End a lease that is ours still."""
        with super().lock(key, lease=1, wait=30):
            if self.holder(key)[0] == self.me():
                self._change(key, "nobody", 0.0)

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """Wait for the end of another's lease."""
        end = time.monotonic() + wait
        while True:
            with super().lock(key, lease=1, wait=30):
                if self.holder(key)[1] <= time.monotonic():
                    self._change(key, self.me(), time.monotonic() + lease)
                    break
            if time.monotonic() >= end:
                msg = "another has the lease"
                raise OAuthStoreLockedError(msg)
            time.sleep(0.01)
        try:
            yield
        finally:
            self.give_back(key)

    def check_holder(self, key: str) -> None:
        """It must be this thread."""
        who, until = self.holder(key)
        if who != self.me() or until <= time.monotonic():
            msg = "the lock is not held"
            raise OAuthStoreError(msg)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Under the lock alone."""
        with super().lock(key, lease=1, wait=30):
            self.check_holder(key)
            super().save(key, record, lifetime)

    def delete(self, key: str) -> None:
        """Under the lock alone."""
        with super().lock(key, lease=1, wait=30):
            self.check_holder(key)
            super().delete(key)


class Slow(Right):
    """Takes its time like a database on a slow disk, whose lock has no queue: one tries, and tries again."""

    in_use = ForkSafeLock()

    @contextmanager
    def _alone(self) -> Generator[None]:
        with self.in_use:
            end = time.monotonic() + 2
            while True:
                try:
                    (self.path / "in use").touch(exist_ok=False)
                    break
                except FileExistsError:
                    if time.monotonic() > end:
                        raise
                time.sleep(0.1)
            try:
                yield
                time.sleep(0.01)
            finally:
                (self.path / "in use").unlink()

    def load(self, key: str) -> str | None:
        """After a while."""
        with self._alone():
            return super().load(key)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """After a while."""
        with self._alone():
            super().save(key, record, lifetime)


class EmptyForNothing(Right):
    """Says that a record is empty where there is none."""

    def load(self, key: str) -> str | None:
        """The mistake."""
        return super().load(key) or ""


class Strips(Right):
    """Takes white space for padding."""

    def load(self, key: str) -> str | None:
        """The mistake."""
        found = super().load(key)
        return found and found.rstrip()


class PreparesInPlace(Right):
    """Takes the room for the next record where this one is."""

    def prepare(self, key: str) -> None:
        """The mistake."""
        self._file(key).write_bytes(bytes(100))


class Overwrites(Right):
    """Writes over what is there, and leaves the end of it."""

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """The mistake."""
        before = self.load(key) or ""
        super().save(key, record + before[len(record) :], lifetime)


class DeletesNothing(Right):
    """Forgets to delete."""

    def delete(self, key: str) -> None:
        """The mistake."""


class MindsNothing(Right):
    """Raises where there is nothing to delete."""

    def delete(self, key: str) -> None:
        """The mistake."""
        self._file(key).unlink()


class Caches(Right):
    """Keeps what it has read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.records: dict[str, str | None] = {}

    def load(self, key: str) -> str | None:
        """The mistake."""
        if self.records.get(key) is None:
            self.records[key] = super().load(key)
        return self.records[key]

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Keeps it, too."""
        super().save(key, record, lifetime)
        self.records[key] = record

    def delete(self, key: str) -> None:
        """Forgets it."""
        super().delete(key)
        self.records.pop(key, None)


class Shortens(Right):
    """Uses the first half of a key."""

    def _file(self, key: str) -> Path:
        return super()._file(key[:32])


class OneLock(Right):
    """Has one lock for all keys."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        with super().lock("all", lease=lease, wait=wait):
            yield


class CutsOff(Right):
    """Has a column of 64 KB."""

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """The mistake."""
        super().save(key, record[: 1 << 16], lifetime)


class WritesInPlace(Right):
    """Writes a file that others read."""

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """The mistake."""
        with self._file(key).open("w") as file:
            for start in range(0, len(record), 1000):
                file.write(record[start : start + 1000])
                file.flush()


class Shows(Right):
    """Shows what it holds."""

    def __repr__(self) -> str:
        return f"Shows({self.path}, {self.password})"


class RaisesOther(Right):
    """Lets through what comes from below."""

    def load(self, key: str) -> str | None:
        """The mistake."""
        return self._file(key).read_text() if self._file(key).exists() or not self.path.is_dir() else None


class ShowsInErrors(Right):
    """Tells the password when something goes wrong."""

    def load(self, key: str) -> str | None:
        """The mistake."""
        try:
            return super().load(key)
        except OAuthStoreError as error:
            msg = f"no answer with {self.password}"
            raise OAuthStoreError(msg) from error


class NoLock(Right):
    """Does not lock."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        yield


class LocksProcesses(Right):
    """Has a lock that counts a process as one (POSIX: fcntl's)."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        with (self.path / f"{key}.lock").open("w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield


class LocksThreads(Right):
    """Has a lock in memory."""

    locks: ClassVar[dict[str, threading.Lock]] = {}

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        lock = self.locks.setdefault(key, threading.Lock())
        if not lock.acquire(timeout=wait):
            msg = "another thread has it"
            raise OAuthStoreLockedError(msg)
        try:
            yield
        finally:
            lock.release()


class LocksWithoutFork(LocksThreads):
    """Has a lock in memory that a child finds as it was, beside one of the system."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        with super().lock("all", lease=lease, wait=wait), FileStore.lock(self, key, lease=lease, wait=wait):
            yield


class KeepsAfterAnError(Right):
    """Does not give a lock back after an error."""

    kept: ClassVar[list[Any]] = []

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        lock = super().lock(key, lease=lease, wait=wait)
        lock.__enter__()
        self.kept.append(lock)
        yield
        lock.__exit__(None, None, None)


class Swallows(Right):
    """Ends what goes wrong under the lock."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        with super().lock(key, lease=lease, wait=wait), suppress(Exception):
            yield


class AlwaysWaits(Right):
    """Waits for a while anyway."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        with super().lock(key, lease=lease, wait=wait or 2.0):
            yield


class NeverWaits(Right):
    """Gives up at once."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        with super().lock(key, lease=lease, wait=0):
            yield


class StaysLocked(Right):
    """Has a lock that is a file, which stays where its process is killed."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        path, end = self.path / f"{key}.locked", time.monotonic() + wait
        while True:
            try:
                path.touch(exist_ok=False)
                break
            except FileExistsError:
                if time.monotonic() > end:
                    msg = "the file is there"
                    raise OAuthStoreLockedError(msg) from None
                time.sleep(0.01)
        try:
            yield
        finally:
            path.unlink()


class GivesBackAnothers(Leased):
    """Does not look whose lock it gives back."""

    def give_back(self, key: str) -> None:
        """The mistake."""
        self._change(key, "nobody", 0.0)


class Endless(Leased):
    """Passes over the lease."""

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """The mistake."""
        with super().lock(key, lease=1000.0, wait=wait):
            yield


class AnyHolder(Leased):
    """Looks whether anybody has the lock."""

    def check_holder(self, key: str) -> None:
        """The mistake."""
        if self.holder(key)[1] <= time.monotonic():
            msg = "the lock is not held"
            raise OAuthStoreError(msg)


class NoHolder(Leased):
    """Saves whether the lock is held or not."""

    def check_holder(self, key: str) -> None:
        """The mistake."""


class ForgetsTheLease(Leased):
    """Looks for its own lock alone, not whether it has ended."""

    def check_holder(self, key: str) -> None:
        """The mistake."""
        if self.holder(key)[0] not in (self.me(), "nobody"):
            msg = "the lock is not held"
            raise OAuthStoreError(msg)


class PicklesThePassword(Right):
    """Has the password in its pickle."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.secret = self.password


class PicklesNoPlace(Right):
    """Is another one when it comes out of a pickle."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, path=state["path"] / "other")
        self.path.mkdir(mode=0o700, exist_ok=True)


WRONG: list[tuple[str, type[Right], str]] = [
    ("test_nothing_is_none", EmptyForNothing, "returned str; return None"),
    ("test_a_record_comes_back", Strips, "not the record of"),
    ("test_a_record_comes_back", PreparesInPlace, r"after prepare\(\) returned 100 characters"),
    ("test_a_record_is_replaced", Overwrites, "100 characters of something else"),
    ("test_a_record_is_deleted", DeletesNothing, "after delete"),
    ("test_nothing_can_be_deleted", MindsNothing, "raised FileNotFoundError"),
    ("test_two_objects_share_a_place", Caches, "save.. by another object"),
    ("test_keys_do_not_mix", OneLock, "a lock of its own"),
    ("test_a_large_record", CutsOff, "65536 characters"),
    ("test_no_reader_sees_half_a_record", WritesInPlace, "in one step"),
    ("test_it_shows_nothing", Shows, "in its repr"),
    ("test_it_shows_nothing", PicklesThePassword, "of an attribute"),
    ("test_it_shows_nothing", Caches, "no record at all"),
    ("test_what_goes_wrong_is_an_error_of_ours", RaisesOther, "raised NotADirectoryError"),
    ("test_what_goes_wrong_is_an_error_of_ours", ShowsInErrors, "in the message"),
    ("test_a_lock_excludes_threads", NoLock, "two threads"),
    ("test_a_lock_excludes_threads", LocksProcesses, "two threads"),
    ("test_a_lock_excludes_processes", LocksThreads, "two processes"),
    ("test_a_lock_can_be_taken_again", KeepsAfterAnError, "_ExpectedError ended its block"),
    ("test_a_lock_can_be_taken_again", Swallows, "swallowed _ExpectedError"),
    ("test_no_wait_does_not_wait", AlwaysWaits, "waited; a request"),
    ("test_a_wait_has_an_end", NeverWaits, r"ended after [01]\.\d s"),
    ("test_whoever_waits_has_it_next", NeverWaits, "did not have the lock"),
    ("test_a_lock_of_a_dead_process_ends", StaysLocked, "the process has ended"),
    ("test_a_lock_ends_with_its_lease", GivesBackAnothers, "gave back the lock of the next one"),
    ("test_a_lock_ends_with_its_lease", Endless, "was held"),
    ("test_nothing_changes_without_the_lock", NoHolder, "save.. without the lock"),
    ("test_nothing_changes_without_the_lock", AnyHolder, "save.. by a thread that does not hold"),
    ("test_nothing_changes_after_the_lease", ForgetsTheLease, "after the end of the lease"),
    ("test_nothing_changes_after_the_lease", AnyHolder, "while another has the lock"),
    ("test_many_threads", NoLock, "changes under the lock"),
    ("test_many_processes", LocksThreads, "changes under the lock"),
    ("test_it_works_after_a_fork", LocksWithoutFork, r"could not use the store: (stuck|\w+LockedError)"),
    ("test_it_can_be_pickled", PicklesThePassword, "its pickle holds a secret"),
    ("test_it_can_be_pickled", PicklesNoPlace, "returned None"),
]


def contract_of(store: type[Right]) -> type[StoreContract]:
    """Returns the contract for a store, with all that it can do."""

    class Contract(StoreContract):
        lease_ends = refuses_unlocked = issubclass(store, Leased)
        pickles = True
        secrets = (Right.password,)

        def make(self, place: Path) -> Right:
            return store(place / "tokens")

        def make_broken(self, place: Path) -> Right:
            broken = store(place / "broken")
            broken.path.rmdir()
            broken.path.touch(mode=0o600)
            return broken

    return Contract


def run(store: type[Right], check: str) -> None:
    """Holds a store to one check."""
    test: Callable[[], None] | None = getattr(contract_of(store)(), check)
    if test is not None:
        test()


@pytest.mark.parametrize("store", [Right, Leased], ids=["held", "leased"])
@pytest.mark.parametrize("check", CHECKS)
def test_a_right_store(store: type[Right], check: str) -> None:
    """What the wrong stores are made from is right: they fail by what they change."""
    run(store, check)


def test_a_slow_store() -> None:
    """A forked child has its turn, though threads use a store all the time that knows no queue."""
    run(Slow, "test_it_works_after_a_fork")


@pytest.mark.parametrize(
    ("check", "store", "message"), WRONG, ids=[f"{one[0]}-{one[1].__name__}" for one in WRONG]
)
def test_a_wrong_store(monkeypatch: pytest.MonkeyPatch, check: str, store: type[Right], message: str) -> None:
    """The check of what a store does wrong fails, and says so."""
    for module in ("locks", "processes", "subject", "records"):
        monkeypatch.setattr(f"cruds_auth_oauth2.testing.{module}.LIMIT", 3.0, raising=False)
        monkeypatch.setattr(f"cruds_auth_oauth2.testing.{module}.AT_ONCE", 1.0, raising=False)
    monkeypatch.setattr("cruds_core.testing.sharing.LIMIT", 3.0)
    monkeypatch.setattr("cruds_auth_oauth2.testing.locks.WAIT", 2.0)  # half of it is no time to do nothing in
    with pytest.raises(AssertionError, match=message):
        run(store, check)


def test_every_check_can_fail() -> None:
    """There is a wrong store for every check."""
    assert {check for check, _, _ in WRONG} == set(CHECKS)


def test_a_check_of_what_is_not_declared() -> None:
    """A check behind a capability is not there unless it is declared."""

    class Plain(StoreContract):
        pickles = False

    hidden = [name for name in CHECKS if getattr(Plain, name) is None]
    assert hidden == [
        "test_a_lock_ends_with_its_lease",
        "test_it_can_be_pickled",
        "test_nothing_changes_after_the_lease",
        "test_nothing_changes_without_the_lock",
        "test_what_goes_wrong_is_an_error_of_ours",
    ]


def test_a_contract_of_another_version() -> None:
    """A version that is not there is a TypeError when the class is made."""
    with pytest.raises(TypeError, match="version must be 1"):
        type("Next", (StoreContract,), {"version": 2})


def test_a_contract_without_a_store() -> None:
    """A subclass that makes no store is told so."""
    with pytest.raises(NotImplementedError, match=r"must define make\(place\)"):
        type("Forgot", (StoreContract,), {})().test_nothing_is_none()
