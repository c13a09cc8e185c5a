"""What a store of tokens is: a subclass of TokenStore."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class TokenStore(ABC):
    """Keeps the records of tokens for several processes, and lets one of them at a time renew a token.

    Keys are short ASCII texts, one for each token, and no secrets. Records are ASCII texts, sealed unless
    the store protects them itself. What goes wrong is an OAuthStoreError; any other exception becomes one. A
    store is used by many threads at a time, and goes where its OAuth2 goes: into forked children and pickles.
    """

    @property
    def protects(self) -> bool:
        """Whether the store keeps others from reading its records, so that they need not be sealed."""
        return False

    @abstractmethod
    def load(self, key: str) -> str | None:
        """The record of a key; None where there is none.

        Args:
            key: The key.

        Raises:
            OAuthStoreError: It cannot be read.
        """

    @abstractmethod
    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Keep a record in place of the one that is there, whole or not at all.

        Called while this thread holds the lock of the key.

        Args:
            key: The key.
            record: The record.
            lifetime: Seconds after which it is of no more use; None where nobody knows.

        Raises:
            OAuthStoreError: It is not kept, or the lock is not held any more.
        """

    def prepare(self, key: str) -> None:
        """Find out that a record could be kept now, so that no token is asked for in vain.

        Called while this thread holds the lock of the key.

        Args:
            key: The key.

        Raises:
            OAuthStoreError: It could not.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Keep nothing under a key. That there is nothing is no error.

        Called while this thread holds the lock of the key.

        Args:
            key: The key.

        Raises:
            OAuthStoreError: It may be there still, or the lock is not held any more.
        """

    @abstractmethod
    def lock(self, key: str, *, lease: float, wait: float) -> AbstractContextManager[None]:
        """A context in which no other thread or process holds the lock of the key.

        Args:
            key: The key.
            lease: Seconds after which others may take it, whatever has become of its holder. A store whose
                lock ends with the process that holds it need not keep to that.
            wait: Seconds to wait for it; 0 not to wait.

        Raises:
            OAuthStoreLockedError: Another holds it.
            OAuthStoreError: The store cannot be reached.
        """
