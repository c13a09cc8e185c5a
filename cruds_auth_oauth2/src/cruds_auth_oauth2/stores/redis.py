"""Tokens in Redis, for the processes of many machines."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from cruds_core import Secret, arguments
from cruds_core.secret import hidden

from ..exceptions import OAuthStoreError, OAuthStoreLockedError
from .base import TokenStore

if TYPE_CHECKING:
    from collections.abc import Generator

    from cruds_core import SecretSource

# Keeps a record only while the lock is held: whoever has lost it must not undo what the next one saved.
# KEYS: lock, record. ARGV: the lock's token; the record, "" for none, or nothing to look alone; milliseconds.
_SAVE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
if not ARGV[2] then return 1 end
if ARGV[2] == '' then redis.call('del', KEYS[2])
else redis.call('set', KEYS[2], ARGV[2], 'px', ARGV[3]) end
return 1
"""

_POLL = 0.05  # seconds between two attempts to take a lock

_LONGEST = 10**12  # seconds: Redis counts milliseconds in 63 bits

#: Seconds to wait for Redis, where a URL is given.
TIMEOUT = 2.0


class RedisStore(TokenStore):
    """Redis, or what speaks its protocol, for the processes of many machines. Needs the extra ``redis``.

    The lock is redis-py's: its holder gives it back, or it ends with its lease. A token is saved by a script
    that looks whether the lock is still held. That holds for one Redis: after a failover to a replica that
    lags, two processes may renew at a time.

    Args:
        redis: A ``redis.Redis``, or the URL of one, ``rediss://user:password@host:6379/0``; or a callable
            that returns the URL. Of a URL the store makes a client that waits 2 s for an answer. Only a store
            with a callable can be pickled.
        prefix: What the names of all keys begin with.
        lifetime: Seconds that a record is kept where nobody knows how long its refresh token lives.

    Raises:
        TypeError: ``redis`` is neither, or another argument has the wrong type.
        ValueError: The URL is none, or ``lifetime`` is not positive.
        ImportError: redis-py is not installed.
    """

    def __init__(self, redis: Any, *, prefix: str = "cruds:token:", lifetime: float = 90 * 86400.0) -> None:
        redis = hidden(redis)
        _library()
        if not isinstance(prefix, str):
            msg = f"prefix must be a str (got {type(prefix).__name__})"
            raise TypeError(msg)
        self._url: Secret | None = None
        self._client: Any = None
        self._process = 0
        is_async = hasattr(redis, "__aenter__")
        if isinstance(redis, str) or (callable(redis) and not hasattr(redis, "register_script")):
            self._url = Secret(cast("SecretSource", redis), "redis")
            if isinstance(redis, str):
                self._connect(ValueError)
        elif not isinstance(redis, type) and hasattr(redis, "register_script") and not is_async:
            self._client = redis
        else:
            kind = "one of redis.asyncio" if is_async else type(redis).__name__
            if isinstance(redis, type):
                kind = "a class: make an instance"
            msg = f"redis must be a redis.Redis, a URL or a callable that returns one (got {kind})"
            raise TypeError(msg)
        self.prefix = prefix
        self.lifetime = arguments.seconds("lifetime", lifetime, zero=False)
        if lifetime > _LONGEST:
            msg = f"lifetime must be at most {_LONGEST} seconds (got {lifetime})"
            raise ValueError(msg)
        self._held = threading.local()

    def load(self, key: str) -> str | None:
        """The record of a key; None where there is none, or it has expired."""
        with self._errors("the token cannot be read"):
            try:
                found: Any = self._connect().get(self._name(key))
            except _library().ConnectionError:  # one that was idle, and is gone
                found = self._connect().get(self._name(key))
        return found.decode("ascii", "replace") if isinstance(found, bytes) else found

    def prepare(self, key: str) -> None:
        """See that the lease has not ended meanwhile: another that has the lock now asks for a token, too.

        A script looks, as a script will save it: a Redis that runs none is found out in time.
        """
        self._run("no token was asked for", key)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Keep a record if this thread still holds the lock of the key."""
        seconds = self.lifetime if lifetime is None else lifetime
        self._run("the token was not saved", key, record, max(int(seconds * 1000), 1))

    def delete(self, key: str) -> None:
        """Remove the record of a key if this thread still holds its lock."""
        self._run("the token was not removed", key, "")

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """Hold the lock of a key for the time of a lease, at most."""
        from redis.exceptions import LockNotOwnedError

        client = self._connect()
        held: Any = client.lock(f"{self._name(key)}:lock", timeout=lease, sleep=_POLL)
        with self._errors("the lock cannot be taken"):
            taken = held.acquire(blocking=wait > 0, blocking_timeout=wait)
        if not taken:
            msg = f"another process has held the lock in Redis for {wait:g} s"
            raise OAuthStoreLockedError(msg)
        setattr(self._held, key, held)
        try:
            yield
        finally:
            delattr(self._held, key)
            # Where its lease has ended, what was saved was saved before.
            with self._errors("the lock cannot be given back"), suppress(LockNotOwnedError):
                held.release()

    def _run(self, fault: str, key: str, *argv: str | int) -> None:
        """Have Redis save or remove a record, or neither, if this thread still holds its lock."""
        name = self._name(key)
        held = getattr(self._held, key, None)
        holder = "" if held is None else held.local.token
        with self._errors(fault):
            is_held = self._connect().eval(_SAVE, 2, f"{name}:lock", name, holder, *argv)
        if not is_held:
            msg = f"{fault}: the lease of the lock in Redis has ended, and another may have it"
            raise OAuthStoreError(msg)

    def _name(self, key: str) -> str:
        return f"{self.prefix}{{{key}}}"  # in a cluster, the lock and the record are in one place

    def _connect(self, fault: type[Exception] = OAuthStoreError) -> Any:
        """The client. One of a URL is made when it is first needed."""
        if self._url is not None and self._process != os.getpid():  # a forked child has its own
            library = _library()
            try:
                # A lock that is asked for once more, as its answer was lost, would wait for itself.
                once = library.retry.Retry(library.backoff.NoBackoff(), 0)
                self._client = library.Redis.from_url(
                    self._url.reveal(), socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=once
                )
                self._process = os.getpid()
            except ValueError as error:
                msg = f"redis must be a URL like rediss://host:6379/0: {type(error).__name__}"
                raise fault(msg) from None
        return self._client

    @contextmanager
    def _errors(self, fact: str) -> Generator[None]:
        from redis.exceptions import RedisError

        try:
            yield
        except RedisError as error:
            msg = f"{fact}: {type(error).__name__}: {error}"
            raise OAuthStoreError(msg) from error

    def __getstate__(self) -> dict[str, Any]:
        if self._url is None:
            msg = "a RedisStore with a client is not pickled; give it a callable that returns the URL"
            raise TypeError(msg)
        return {"_url": self._url, "prefix": self.prefix, "lifetime": self.lifetime}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _client=None, _process=0, _held=threading.local())

    def __repr__(self) -> str:
        return f"RedisStore(***, prefix={getattr(self, 'prefix', '?')!r})"


def _library() -> Any:
    try:
        import redis
    except ImportError:
        msg = "RedisStore needs redis-py; install it with: pip install 'cruds-auth-oauth2[redis]'"
        raise ImportError(msg) from None
    return redis
