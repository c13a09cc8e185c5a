"""The place of one token in a store: what is kept there is sealed, and bound to its key."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cruds_core import CrudsError
from cruds_core.secret import SecretDict, SecretText, hidden

from .encryption import BrokenSealError, read_record
from .exceptions import OAuthStoreError
from .tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .encryption import Keys
    from .stores import TokenStore

logger = logging.getLogger(__name__)

Returned = TypeVar("Returned")

_VERSION = "1"

_GENERATIONS = 32  # records that are known again, should the store go back to one

_MARGIN = 5.0  # seconds that a waiting process gives a lease beyond its end


class StoredToken:
    """The record of one token, which several processes share.

    Args:
        store: Where it is.
        keys: What seals it; None where the store protects it.
        identity: Whose token it is, and for what: a record is opened for this alone.
        lease: Seconds after which others may renew it, whatever has become of the one that does.
    """

    def __init__(self, store: TokenStore, keys: Keys | None, identity: list[Any], lease: float) -> None:
        self._store = store
        self._keys = keys
        self._key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        self._lease = lease
        self._seen: tuple[str, Token] | None = None  # the record that was read or written last: its hash
        self._replaced: deque[str] = deque(maxlen=_GENERATIONS)  # the hashes of those before it

    def load(self) -> Token | None:
        """The token in the store, the same object as long as the record is the same; None if there is none.

        A store that was restored from an older copy has one whose refresh token is used up. The token that
        was there last is the answer then.

        Raises:
            OAuthStoreError: The store cannot be read, or its record cannot be opened.
        """
        record = hidden(self._do("load", lambda: self._store.load(self._key)))
        if record is None:
            return None
        if not isinstance(record, SecretText):
            msg = f"{type(self._store).__name__}.load() must return a str or None"
            raise OAuthStoreError(msg)
        seen, digest = self._seen, _hash(record)
        if seen is None or (seen[0] != digest and digest not in self._replaced):
            token = self._open(record)
            # Sealed anew, it is the same token.
            is_same = seen is not None and seen[1].record() == token.record()
            seen = (digest, seen[1] if seen is not None and is_same else token)
            self._see(*seen)
        return seen[1]

    def check(self) -> None:
        """Find out whether a token can be sealed and kept, before one is asked for. The lock must be held.

        Raises:
            AuthError: The callable given as encryption_key returned no key.
            OAuthStoreError: There is no key, and the store does not protect its records.
        """
        self._do("prepare", lambda: self._store.prepare(self._key))
        if self._keys is not None:
            self._keys.seal(self._purpose, {})
        elif not self._store.protects:
            msg = f"{self._store!r} does not protect what it keeps here: give encryption_key, too"
            raise OAuthStoreError(msg)

    def save(self, token: Token, now: float) -> None:
        """Keep a token. The lock must be held.

        Raises:
            OAuthStoreError: It is not kept.
        """
        fields = SecretDict({"version": _VERSION, **token.record()})
        if self._keys is None:
            record = SecretText(json.dumps([self._purpose, fields]))
        else:
            record = SecretText(
                self._do("save", lambda: cast("Keys", self._keys).seal(self._purpose, fields))
            )
        self._do("save", lambda: self._store.save(self._key, record, token.usefulness(now)))
        self._see(_hash(record), token)

    def delete(self) -> None:
        """Keep none. The lock must be held.

        Raises:
            OAuthStoreError: It may be there still.
        """
        self._do("delete", lambda: self._store.delete(self._key))
        self._seen = None

    def withdraw(self) -> None:
        """Take away a record that is of no more use, if that is possible. The lock must be held."""
        try:
            self.delete()
        except OAuthStoreError as error:
            logger.warning("a record that is of no more use is still in the store: %s", error)

    @contextmanager
    def locked(self, *, waits: bool = True) -> Generator[None]:
        """Hold the lock of the token, so that no other process renews it.

        Raises:
            OAuthStoreLockedError: Another holds it, after the time of its lease, or at once unless ``waits``.
            OAuthStoreError: The store cannot be reached.
        """
        wait = self._lease + _MARGIN if waits else 0.0
        stack = ExitStack()
        lock = self._do("lock", lambda: self._store.lock(self._key, lease=self._lease, wait=wait))
        self._do("lock", lambda: stack.enter_context(lock))
        try:
            yield
        finally:
            try:
                stack.close()
            except Exception as error:
                # What had to be kept is kept; the lock ends with its lease.
                logger.warning("the lock of a token could not be given back: %s", error)

    def _open(self, record: str) -> Token:
        try:
            if self._keys is None:
                fields = read_record(self._purpose, record)
            else:
                fields = self._keys.open(self._purpose, record)
            if fields.get("version") != _VERSION:
                msg = f"it is of another version than {_VERSION}"
                raise BrokenSealError(msg)
            return Token.restore(fields)
        except (BrokenSealError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            why = error if isinstance(error, BrokenSealError) else "it is incomplete"
            msg = (
                f'what {self._store!r} has under "{self._key}" cannot be read: {why}; add the key that '
                "sealed it to encryption_key, as one of a list, or delete it with clear()"
            )
            raise OAuthStoreError(msg) from None

    def _see(self, digest: str, token: Token) -> None:
        if self._seen is not None:
            self._replaced.append(self._seen[0])
        self._seen = (digest, token)

    @property
    def _purpose(self) -> str:
        return f"token {self._key}"

    def _do(self, what: str, act: Callable[[], Returned]) -> Returned:
        try:
            return act()
        except OAuthStoreError:
            raise
        except CrudsError as error:  # whose text is fit to be shown
            raise OAuthStoreError(str(error)) from error
        except Exception as error:
            msg = f"{type(self._store).__name__}.{what}() raised {type(error).__name__}"
            raise OAuthStoreError(msg) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": None, "_replaced": deque(maxlen=_GENERATIONS)}


def _hash(record: str) -> str:
    return hashlib.sha256(record.encode()).hexdigest()
