"""What an author gives to the contract, and how its checks use it."""

from __future__ import annotations

import hashlib
import secrets
import string
import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from cruds_core.testing.leaks import Leaks
from cruds_core.testing.subject import LIMIT

from ..exceptions import OAuthStoreLockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from ..stores import TokenStore

ROUNDS = 5

#: Seconds of a lease that is to end.
LEASE = 1.0

#: Seconds to wait for a lock that another holds all the time.
WAIT = 0.3

#: Seconds that something takes at most which does not wait, on a busy machine.
AT_ONCE = 5.0

#: What a record may consist of: sealed ones have less, JSON has all.
CHARACTERS = string.digits + string.ascii_letters + string.punctuation + " "

#: A record that must not be seen.
MARK = "CanaryRecord"


class Place:
    """A place that only one check uses, with a store and a key.

    Args:
        subject: Whose store it is.
        folder: The place.
    """

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.folder = folder
        self.store = subject.make(folder)
        self.key = new_key()

    def lock(self) -> AbstractContextManager[None]:
        """The lock of the key, which ends later than the check."""
        return self.store.lock(self.key, lease=LIMIT, wait=LIMIT)

    def save(self, record: str, lifetime: float | None = None) -> None:
        """Save a record under the lock."""
        with self.lock():
            self.store.save(self.key, record, lifetime)

    def delete(self) -> None:
        """Delete the record under the lock."""
        with self.lock():
            self.store.delete(self.key)


class Subject:
    """The store that is checked, as its author describes it."""

    version: ClassVar[int] = 1
    lease_ends: ClassVar[bool] = False
    refuses_unlocked: ClassVar[bool] = False
    pickles: ClassVar[bool] = False
    secrets: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.version != 1:
            msg = f"{cls.__name__}.version must be 1 (got {cls.version!r})"
            raise TypeError(msg)
        for base in reversed(cls.__mro__[1:]):
            for name, check in vars(base).items():
                capability = getattr(check, "capability", None)
                if capability is not None and name not in vars(cls):
                    is_declared = getattr(cls, capability) is not getattr(Subject, capability)
                    setattr(cls, name, check if is_declared else None)

    def make(self, place: Path) -> TokenStore:
        """A new object for the store of a place. Two of the same place share what they keep.

        Args:
            place: A folder of this check alone, empty at first. A store elsewhere can use its name.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make(place)")

    def make_broken(self, place: Path) -> TokenStore:
        """A store that can be made, and then neither loads nor saves: its server is down, or its disk is bad.

        Errors are checked where this is defined.

        Args:
            place: As in `make`.
        """
        raise NotImplementedError

    @contextmanager
    def _place(self) -> Generator[Place]:
        with TemporaryDirectory(prefix="store-") as folder:
            yield Place(self, Path(folder))

    def _same(self, store: TokenStore, key: str, record: str, after: str) -> None:
        """Fail unless a record is there."""
        found = store.load(key)
        if found != record:
            kind = "None" if found is None else f"{len(found)} characters of something else"
            self._fail(f"load() after {after} returned {kind}, not the record of {len(record)} characters.")

    def _is_free(self, store: TokenStore, key: str, wait: float = 0.0) -> bool:
        """Whether another thread can take a lock."""
        taken: list[bool] = []
        raised: list[BaseException] = []

        def take() -> None:
            try:
                with store.lock(key, lease=LIMIT, wait=wait):
                    taken.append(True)
            except OAuthStoreLockedError:
                taken.append(False)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        thread.join(wait + LIMIT)
        if raised:
            self._fail(
                f"lock(wait={wait:g}) raised {raised[0]!r}; while another holds the lock, raise "
                "OAuthStoreLockedError."
            )
        if not taken:
            self._fail(f"lock(wait={wait:g}) had not ended after {wait + LIMIT:g} s.")
        return taken[0]

    def _leaks(self, record: str = MARK) -> Leaks:
        leaks = Leaks()
        leaks.know(record)
        for secret in self.secrets:
            if not leaks.know(secret):
                self._fail("each of secrets must be a text of 8 characters or more, to be told from words.")
        return leaks

    def _counted(self, place: Place, count: int) -> None:
        """Fail unless so many that counted were counted."""
        if (found := place.store.load(place.key)) != str(count * ROUNDS):
            self._fail(
                f"{count * ROUNDS} changes under the lock came to {found}.\n"
                "Two held the lock at a time, or read what another had changed by then."
            )

    def _fail(self, message: str) -> NoReturn:
        raise AssertionError(f"the store of {type(self).__name__}: {message}") from None


def new_key() -> str:
    """A key as OAuth2 makes them."""
    return hashlib.sha256(secrets.token_bytes()).hexdigest()


def count_up(store: TokenStore, key: str) -> None:
    """Add to a number under its lock."""
    for _ in range(ROUNDS):
        with store.lock(key, lease=LIMIT, wait=LIMIT):
            store.save(key, str(int(store.load(key) or 0) + 1), None)


def ends(act: Callable[[], object]) -> Exception | None:
    """Do something that may fail, and return how."""
    try:
        act()
    except Exception as error:  # of whatever class
        return error
    return None
