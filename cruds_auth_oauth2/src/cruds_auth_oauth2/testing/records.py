"""Checks of what a store keeps."""

from __future__ import annotations

import secrets
import traceback
from typing import TYPE_CHECKING

from cruds_core.secret import SecretText
from cruds_core.testing.sharing import busy
from cruds_core.testing.subject import LIMIT, needs

from ..exceptions import OAuthStoreError, OAuthStoreLockedError
from .subject import CHARACTERS, LEASE, MARK, ROUNDS, WAIT, Subject, ends, new_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..stores import TokenStore


class Records(Subject):
    """The checks."""

    def test_nothing_is_none(self) -> None:
        """There is no record before one was saved."""
        with self._place() as place:
            if (found := place.store.load(place.key)) is not None:
                self._fail(
                    f"load() of a key that was never saved returned {type(found).__name__}; return None."
                )

    def test_a_record_comes_back(self) -> None:
        """A record comes out as it went in, whether anybody knows how long it is of use, and stays so."""
        with self._place() as place:
            for lifetime in (None, 3600.0, 1.5 * 365 * 86400):
                record = f"{secrets.token_urlsafe()} {CHARACTERS}"
                place.save(record, lifetime)
                self._same(place.store, place.key, record, f"save(key, record, {lifetime})")
                with place.lock():
                    place.store.prepare(place.key)
                self._same(place.store, place.key, record, "prepare()")

    def test_a_record_is_replaced(self) -> None:
        """The last record that was saved is the one that is there, whether it is longer or shorter."""
        with self._place() as place:
            for record in ("first" * 20, "second", "third" * 40):
                place.save(record)
                self._same(place.store, place.key, record, "another save()")

    def test_a_record_is_deleted(self) -> None:
        """There is no record after it was deleted, and one can be saved again."""
        with self._place() as place:
            place.save("record")
            place.delete()
            if place.store.load(place.key) is not None:
                self._fail("a record was there after delete(); the token of a user who signed out lives on.")
            place.save("another")
            self._same(place.store, place.key, "another", "delete() and save()")

    def test_nothing_can_be_deleted(self) -> None:
        """That there is nothing to delete is no error."""
        with self._place() as place:
            try:
                place.delete()
            except Exception as error:
                self._fail(f"delete() of nothing raised {type(error).__name__}; there is nothing to be done.")

    def test_two_objects_share_a_place(self) -> None:
        """What one object saved or deleted is so for another one of the same place, at once."""
        with self._place() as place:
            other = self.make(place.folder)
            for record in ("first", "second"):
                place.save(record)
                self._same(other, place.key, record, "save() by another object of the place")
            place.delete()
            if other.load(place.key) is not None:
                self._fail(
                    "a record was there after delete() by another object of the place.\n"
                    "Keep no copy of a record: another process may have changed it."
                )

    def test_keys_do_not_mix(self) -> None:
        """What is done under one key changes nothing under another, nor does its lock."""
        with self._place() as place:
            keys = [new_key() for _ in range(5)]
            keys += [keys[0][:-1] + ("0" if keys[0][-1] != "0" else "1")]  # alike but for the end
            for key in keys:
                with place.store.lock(key, lease=LIMIT, wait=LIMIT):
                    place.store.save(key, f"record of {key}", None)
            for key in keys:
                self._same(place.store, key, f"record of {key}", "save() under other keys")
            with place.store.lock(keys[0], lease=LIMIT, wait=LIMIT):
                place.store.delete(keys[0])
            for key in keys[1:]:
                self._same(place.store, key, f"record of {key}", "delete() of another key")
            with place.store.lock(keys[0], lease=LIMIT, wait=LIMIT):
                if not self._is_free(place.store, keys[-1]):
                    self._fail(
                        "the lock of one key kept another one's from being taken; each has a lock of its own."
                    )

    def test_a_large_record(self) -> None:
        """A record of 100 KB comes back whole: tokens may be long, and are sealed."""
        with self._place() as place:
            record = secrets.token_hex(50_000)
            place.save(record)
            self._same(place.store, place.key, record, "save() of 100 KB")

    def test_no_reader_sees_half_a_record(self) -> None:
        """Whoever reads while another saves has the old record or the new one."""
        with self._place() as place:
            whole = [letter * size for letter, size in zip("abcd", (100, 50_000, 100_000, 10), strict=True)]
            place.save(whole[0])
            found: list[str | None] = []

            def read() -> None:
                record = place.store.load(place.key)
                if record not in whole:
                    found.append(record)

            with busy(2, read):
                for number in range(ROUNDS * 10):
                    place.save(whole[number % len(whole)])
            if found:
                kind = "nothing" if found[0] is None else f"{len(found[0])} characters of something else"
                self._fail(
                    f"a thread that read while another saved had {kind}.\n"
                    "Replace a record in one step: write a file of another name and rename it."
                )

    def test_it_shows_nothing(self) -> None:
        """Neither repr nor str shows a record or a secret, of the store or of its lock."""
        with self._place() as place:
            place.save(MARK)
            place.store.load(place.key)
            lock = place.lock()
            with lock:
                shown = f"{place.store!r} {place.store} {lock!r} {getattr(place.store, '__dict__', None)!r}"
            if self._leaks().are_in(shown):
                self._fail(
                    "a record or a secret can be read in its repr, or in that of an attribute.\n"
                    "Keep a secret as cruds_core.Secret, and no record at all."
                )

    @needs("make_broken")
    def test_what_goes_wrong_is_an_error_of_ours(self) -> None:
        """A store that is broken raises OAuthStoreError, which shows no record and no secret."""
        with self._place() as place:
            store, key = self.make_broken(place.folder), place.key
            acts: dict[str, Callable[[], object]] = {
                "load": lambda: store.load(key),
                "save": lambda: store.save(key, SecretText(MARK), None),
                "lock": lambda: _take(store, key),
            }
            for name, act in acts.items():
                error = ends(act)
                if error is None and name == "lock":  # its lock may be elsewhere, and be well
                    continue
                if not isinstance(error, OAuthStoreError) or isinstance(error, OAuthStoreLockedError):
                    self._fail(
                        f"{name}() of a store that is broken raised {type(error).__name__}; turn what its "
                        "library raises into an OAuthStoreError."
                    )
                if self._leaks().are_in("".join(traceback.format_exception(error))):
                    self._fail(f"a record or a secret can be read in the message of an error of {name}().")
                for where in self._leaks(record="").in_error(error):
                    self._fail(f"a secret can be read in {where}, from {name}().")


def _take(store: TokenStore, key: str) -> None:
    with store.lock(key, lease=LEASE, wait=WAIT):
        pass
