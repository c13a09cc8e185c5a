"""Tokens in the keyring of the operating system, for one user on one machine."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from ..exceptions import OAuthStoreError
from .base import TokenStore
from .file import FileStore, folder

if TYPE_CHECKING:
    import os
    from collections.abc import Generator
    from contextlib import AbstractContextManager

# Backends that keep a password from others by themselves; those of keyrings.alt and others do not.
_SYSTEM = (
    "keyring.backends.macOS",
    "keyring.backends.Windows",
    "keyring.backends.SecretService",
    "keyring.backends.libsecret",
    "keyring.backends.kwallet",
)

_PATIENCE = 10.0  # seconds to wait for another's call to the keyring


class KeyringStore(TokenStore):
    """The keyring of the operating system, by the library ``keyring``. Needs the extra ``keyring``.

    Where the backend is not one of the system's, records are sealed, and the OAuth2 needs an
    ``encryption_key``. A keyring has no locks: those are files, as of a `FileStore`.

    Args:
        service: The name under which the keyring keeps all tokens.
        locks: The folder for the files of the locks; ``~/.cruds/locks`` unless given.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``locks`` can be no folder, or is not given where this user has no home.
        OAuthStoreError: The folder cannot be made, or is open to others.
        ImportError: keyring is not installed.
    """

    def __init__(self, service: str = "cruds", locks: str | os.PathLike[str] | None = None) -> None:
        if not isinstance(service, str):
            msg = f"service must be a str (got {type(service).__name__})"
            raise TypeError(msg)
        self.service = service
        self._locks = FileStore(folder("~/.cruds/locks" if locks is None else locks, "locks"))
        _keyring()

    @property
    def protects(self) -> bool:
        """Whether the backend is one of the system's."""
        backend = _keyring().get_keyring()
        chained = cast("list[object]", getattr(backend, "backends", [])) or [backend]
        return all(type(one).__module__.startswith(_SYSTEM) for one in chained)

    def load(self, key: str) -> str | None:
        """The record of a key; None where there is none."""
        with self._errors("the token cannot be read"), self._alone():
            return cast("str | None", _keyring().get_password(self.service, key))

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Keep a record as a password. It stays until it is replaced or deleted."""
        with self._errors("the token cannot be written"), self._alone():
            _keyring().set_password(self.service, key, record)

    def delete(self, key: str) -> None:
        """Remove the record of a key."""
        with self._errors("the token cannot be removed"), self._alone():
            if _keyring().get_password(self.service, key) is not None:
                _keyring().delete_password(self.service, key)

    def lock(self, key: str, *, lease: float, wait: float) -> AbstractContextManager[None]:
        """Hold the lock of a key, at most as long as this process lives."""
        return self._locks.lock(key, lease=lease, wait=wait)

    def _alone(self) -> AbstractContextManager[None]:
        """One call at a time where the backend may write one file for all keys, as those of keyrings.alt."""
        if self.protects:
            return nullcontext()
        return self._locks.lock("keyring", lease=_PATIENCE, wait=_PATIENCE)

    @contextmanager
    def _errors(self, fact: str) -> Generator[None]:
        try:
            yield
        except OAuthStoreError:
            raise
        except Exception as error:  # a backend raises what the library below it does
            msg = f"{fact} in the keyring: {type(error).__name__}; unlock it, or choose another store"
            raise OAuthStoreError(msg) from error

    def __repr__(self) -> str:
        return f"KeyringStore({getattr(self, 'service', '?')!r})"


def _keyring() -> Any:
    try:
        import keyring
    except ImportError:
        msg = "KeyringStore needs keyring; install it with: pip install 'cruds-auth-oauth2[keyring]'"
        raise ImportError(msg) from None
    return keyring
