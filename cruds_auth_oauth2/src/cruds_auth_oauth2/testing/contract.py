"""What every store of tokens has to keep."""

from __future__ import annotations

from .locks import Locks
from .processes import Processes
from .records import Records


class StoreContract(Records, Locks, Processes):
    """What every store of tokens has to keep, as tests. A store's tests subclass it.

    A subclass defines `make`, and declares what the store can do::

        class TestShelf(StoreContract):
            lease_ends = True

            def make(self, place):
                return Shelf("shelf.example", folder=place.name)

    pytest collects it by a name that begins with ``Test``; for unittest, make it a TestCase, too. Further
    checks come only behind a capability or a version that is declared, so that no update breaks a store
    that keeps this contract.

    Attributes:
        version: The version of the contract: 1.
        lease_ends: Whether a lock ends with its lease though its holder lives. If not, it must end with the
            process that holds it.
        refuses_unlocked: Whether the store itself refuses to save and to delete while the lock is not held.
        pickles: Whether the store can be pickled.
        secrets: Texts that nobody may see, such as the password in a URL, of 8 characters or more.
    """
