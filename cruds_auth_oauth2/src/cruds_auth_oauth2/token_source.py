"""One token, however many ask for it: kept, renewed ahead of its end, by one thread for all."""

from __future__ import annotations

import logging
import math
import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from urllib3.exceptions import ConnectTimeoutError

from cruds_core import ConnectError, CrudsError, ProxyError, RequestError, TLSError
from cruds_core.failure import is_final
from cruds_core.lock import RenewalLock
from cruds_core.retry import NOT_PROCESSED

from .exceptions import (
    OAuthAccessTokenError,
    OAuthSignInRequiredError,
    OAuthStoreError,
    OAuthStoreLockedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stored_token import StoredToken
    from .tokens import Token

logger = logging.getLogger(__name__)

#: Seconds without another try, once a renewal has failed while the token still lives.
QUIET = 10.0

_ALONE = "the token is not in the store, and serves this process alone: %s"

_SIGN_IN = "lead the user through a sign-in, as from get_authorization_url()"

_POLL = 0.5  # seconds between two looks at whether another process has renewed the token


class TokenSource:
    """Where a token comes from, and where it stays until it must be renewed.

    Threads that find no valid token wait for the one that asks for it, and have its token or its error.
    Threads that find one that is about to expire use it, but for the one that renews it.

    Args:
        scheme: The name of the class that it belongs to.
        first: The grant that needs no person; None where a user must sign in.
        refresh: The grant that takes a refresh token; None where the first one is as good.
        place: Where other processes find it, too; None where only this one uses it.
    """

    def __init__(
        self,
        scheme: str,
        first: Callable[[], Token] | None,
        refresh: Callable[[Token], Token] | None,
        place: StoredToken | None,
    ) -> None:
        self._scheme = scheme
        self._first = first
        self._refresh = refresh
        self._place = place
        self._token: Token | None = None
        self._unsaved: Token | None = None  # is being saved, or could not be
        self._lock = RenewalLock(scheme)
        self._spent: Token | None = None  # whose refresh token is of no more use
        self._unsure: Token | None = None  # lives, and its refresh may have been carried out
        self._ended = 0  # how many renewals, failed or not
        self._failure: CrudsError | None = None  # of the last one
        self._quiet_until = -math.inf  # time.monotonic(): no renewal ahead of the end before it

    @property
    def token(self) -> Token | None:
        """The token that is held, valid or not."""
        return self._token

    def current(self) -> Token:
        """A token that is valid now.

        Raises:
            AuthError: There is none to be had.
        """
        token = self._token
        if token is None or not token.is_valid(time.time()):
            token = self.renewed(token)
            if not token.is_valid(time.time()):  # a lifetime of nothing: it serves those who asked
                return token
        return token if token.is_fresh(time.time()) else self._renewed_ahead(token)

    def renewed(self, token: Token | None) -> Token:
        """A token in place of one that is of no more use: a new one, or what another thread got meanwhile.

        Raises:
            AuthError: There is none to be had.
        """
        ended = self._ended
        with self._lock:
            if self._token is not None and self._token is not token:
                return self._token
            if self._ended != ended and self._failure is not None:  # while this thread waited
                raise _copy(self._failure)
            try:
                return self._renew(token)
            except OAuthAccessTokenError as error:
                if self._first is None and _has_ended(error):
                    self._token = self._unsaved = None
                raise

    def give_up(self, end: Callable[[Token], None] | None = None) -> None:
        """Hold no token any more; where there is an ``end``, once that has done its part with the token.

        Raises:
            OAuthStoreError: It may be in the store still.
        """
        place = self._place
        with self._lock:
            held = self._token
            if end is None:
                self._token = self._unsaved = None
            with nullcontext() if place is None else place.locked():
                if place is not None and end is not None:
                    held = self._find(place) or held
                if held is not None and end is not None:
                    end(held)
                if place is not None:
                    place.delete()
                self._token = self._unsaved = None

    def put(self, token: Token) -> None:
        """Hold a token that came another way."""
        with self._lock:
            self._token = token
            self._quiet_until = -math.inf
            if self._place is not None:
                self._unsaved = token
                try:
                    with self._place.locked():
                        self._place.check()
                        self._keep(self._place, token)
                except CrudsError as error:
                    logger.warning(_ALONE, error)

    @property
    def can_renew(self) -> bool:
        """Whether another token is to be had without the user."""
        return self._first is not None or self._can_refresh(self._token)

    def _can_refresh(self, held: Token | None) -> bool:
        if self._refresh is None or held is None or held is self._spent or not held.refreshes:
            return False
        # A refresh without an answer may have been carried out. Another would look like the reuse of a stolen
        # refresh token, which revokes the tokens that live, too (RFC 9700, section 4.14.2).
        return held is not self._unsure or not held.is_valid(time.time())

    def _renewed_ahead(self, token: Token) -> Token:
        if self._is_quiet() or not self.can_renew:
            return token
        try:
            with self._lock.if_free:
                if self._token is not token or self._is_quiet():  # since another thread had the lock
                    return self._token or token
                return self._try_ahead(token)
        except StopIteration:  # another thread renews it
            return token
        except OAuthStoreLockedError:  # another process does
            if token.is_valid(time.time()):
                return token
        return self.renewed(token)

    def _try_ahead(self, token: Token) -> Token:
        try:
            return self._renew(token, ahead=True)
        except OAuthStoreLockedError:
            self._quiet_until = time.monotonic() + _POLL
            raise
        except BaseException as error:
            self._quiet_until = time.monotonic() + QUIET
            if self._first is None and _may_have_acted(error):
                self._unsure = token
            if not isinstance(error, CrudsError) or not token.is_valid(time.time()):  # any more
                raise
            logger.warning("the token could not be renewed, and is used until it expires: %s", error)
            return token

    def _is_quiet(self) -> bool:
        return time.monotonic() < self._quiet_until

    def _renew(self, useless: Token | None, *, ahead: bool = False) -> Token:
        self._failure = None
        try:
            place = self._place
            held = self._token
            self._token = token = (
                self._obtain(held) if place is None else self._share(place, useless, ahead=ahead)
            )
        except CrudsError as error:
            if not (ahead and isinstance(error, OAuthStoreLockedError)):
                self._failure = _copy(error)
            raise
        else:
            self._quiet_until = -math.inf
            return token
        finally:
            self._ended += 1

    def _share(self, place: StoredToken, useless: Token | None, *, ahead: bool) -> Token:
        """The token that another process has got meanwhile, or a new one that all have from now on."""
        found = self._find(place)
        if _is_better(found, useless):
            return found
        with place.locked(waits=not ahead):
            found = self._find(place)
            if _is_better(found, useless):
                return found
            place.check()
            held = found or self._token  # the newest refresh token is that of the store
            try:
                token = self._obtain(held)
            except CrudsError as error:
                if self._first is None and held is not None and ahead and _may_have_acted(error):
                    # Nor may another process repeat it, while this token lives.
                    self._keep(place, held.without_renewal())
                if self._first is None and not ahead and _has_ended(error) and self._reread() is held:
                    place.withdraw()
                raise
            self._keep(place, token)
            return token

    def _find(self, place: StoredToken) -> Token | None:
        """The token in the store, unless the one that is held is newer, and could not be saved."""
        # Another one is unsaved where this process was forked, or a signal raised, during its save.
        is_unsaved = self._unsaved is not None and self._unsaved is self._token
        return None if is_unsaved else place.load()

    def _keep(self, place: StoredToken, token: Token) -> None:
        """Save a token before it is used. If that fails, it serves this process alone."""
        self._unsaved = token
        try:
            place.save(token, time.time())
            self._unsaved = None
        except CrudsError as error:
            logger.warning(_ALONE, error)
            place.withdraw()  # a refresh token that was used must not be used by another
        except BaseException:  # a signal, and what was there before is used up
            try:
                place.save(token, time.time())
            except CrudsError:
                self._token = token
                place.withdraw()
            raise

    def _obtain(self, held: Token | None) -> Token:
        if held is not None and self._refresh is not None and self._can_refresh(held):
            try:
                return self._refresh(held)
            except BaseException as error:
                # Somebody may have refreshed without the lock, or after its lease.
                refusal = error if _is_refused(error, else_has=self._first) else None
                if refusal and (found := self._reread()) is not None and found is not held:
                    self._unsaved = None
                    return found if found.is_valid(time.time()) else self._obtain(found)
                if refusal or (self._first is not None and _may_have_acted(error)):
                    self._spent = held
                if refusal is None:
                    raise
                if self._first is None:
                    raise OAuthSignInRequiredError(
                        f"{refusal}; {_SIGN_IN}",
                        error=refusal.error,
                        error_description=refusal.error_description,
                        status=refusal.status,
                    ) from None
        if self._first is None:
            why = (
                "nobody has signed in, or it has ended"
                if held is None
                else "the token cannot be refreshed any more"
            )
            msg = f"{why}: {_SIGN_IN}"
            raise OAuthSignInRequiredError(msg)
        return self._first()

    def _reread(self) -> Token | None:
        try:
            return None if self._place is None else self._place.load()
        except OAuthStoreError as error:  # what is told is why it had to be read again
            logger.warning("the store could not be read again: %s", error)
            return None

    def __deepcopy__(self, memo: dict[int, object]) -> TokenSource:
        return self  # a second holder of one refresh token would look like its thief

    def __reduce__(self) -> tuple[Any, ...]:
        if self._first is None and self._token is not None and self._place is None:
            msg = f"the {self._scheme} of a user who has signed in is not pickled: its tokens are secrets"
            raise TypeError(msg)
        return TokenSource, (self._scheme, self._first, self._refresh, self._place)


def _is_better(found: Token | None, useless: Token | None) -> TypeGuard[Token]:
    """Whether a token is valid, and another one than that which is of no use."""
    return found is not None and found is not useless and found.is_valid(time.time())


def _has_ended(error: CrudsError) -> bool:
    """Whether the server says that a sign-in is of no use any more."""
    return isinstance(error, OAuthAccessTokenError) and error.error == "invalid_grant"


def _is_refused(error: BaseException, *, else_has: object) -> TypeGuard[OAuthAccessTokenError]:
    """Whether the server says that a refresh token is no use; in any words, where there is another way."""
    if not isinstance(error, OAuthAccessTokenError):
        return False
    if error.error == "invalid_grant":
        return True
    status = error.status or 0
    is_definite = 400 <= status < 500 and status not in NOT_PROCESSED and error.error != "invalid_client"
    return else_has is not None and is_definite


def _may_have_acted(error: BaseException) -> bool:
    """Whether the server may have carried a token request out, and we have nothing of it."""
    if not isinstance(error, OAuthAccessTokenError):
        return not isinstance(error, CrudsError)  # a signal, in the midst of it
    if error.error is not None or isinstance(error, OAuthStoreError):
        return False
    if error.status is None:
        cause = error.__cause__
        if not isinstance(cause, RequestError) or isinstance(cause, (ConnectError, ProxyError)):
            return False
        below = cause.__cause__
        is_refused = isinstance(cause, TLSError) and isinstance(below, Exception) and is_final(below)
        return not is_refused and not isinstance(below, ConnectTimeoutError)
    return error.status < 300 or (error.status >= 500 and error.status not in NOT_PROCESSED)


_Error = TypeVar("_Error", bound=BaseException)

_CAUSES = 8  # those of an error can go in a circle


def _copy(error: _Error, causes: int = _CAUSES) -> _Error:
    """An error for another thread, without the tracebacks of this one."""
    copied = type(error).__new__(type(error), *error.args)  # what __init__ takes is its own affair
    copied.__dict__.update(error.__dict__)
    if error.__cause__ is not None and causes:
        with suppress(Exception):  # some classes, as of libraries in Rust, make no object but their own
            copied.__cause__ = _copy(error.__cause__, causes - 1)
    return copied
