"""Connections: the manager of urllib3 with its pools, TLS and timeouts, and what a fork does to them."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import queue
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3._collections import RecentlyUsedContainer
from urllib3.util import Timeout
from urllib3.util.ssl_ import create_urllib3_context

from . import connection
from .deadline import running
from .decoding import orjson_loads
from .secret import credentials_in, is_harmless
from .url import split_plain, without_query

if TYPE_CHECKING:
    import ssl

    from urllib3 import BaseHTTPResponse

    from .request import Request

#: Idle connections kept per origin: threads up to this number never reconnect.
MAX_IDLE_CONNECTIONS = 128

_ONCE = urllib3.Retry(False, redirect=False)  # our own loop repeats


class Pool:
    """Sends one request at a time per thread over connections that it keeps.

    Args:
        manager: A manager of the user's, with its own TLS; None to make one.
        timeout: Seconds to wait for a connection and for each piece of an answer. A timeout that the
            user's manager was made with goes before it.
        verify: Whether certificates are checked, or the path of a file or folder of CA certificates.
    """

    def __init__(self, manager: urllib3.PoolManager | None, timeout: Timeout, *, verify: bool | str) -> None:
        self.manager = manager or _Manager(verify)
        self._verify = verify
        if isinstance(verify, str):
            tls_context(verify)  # now, so that a wrong file is found where it is named
        own: Any = self.manager.connection_pool_kw.get("timeout", timeout)
        #: What a connection waits for.
        self.timeout = own if isinstance(own, Timeout) else Timeout.from_float(own)
        #: The Retry that the user's manager was made with, or None.
        self.retry: urllib3.Retry | None = self.manager.connection_pool_kw.get("retries")
        _pools.add(self)
        # What a first request would import. A child that is forked while another thread does so would wait
        # for ever: CPython does not make the lock of a module anew.
        for name in ("encodings.idna", "html"):
            importlib.import_module(name)
        orjson_loads()

    def secrets(self) -> set[str]:
        """What a proxy is sent that must not be shown. A server gets it, too, where the proxy hands it on."""
        proxied: dict[Any, Any] = getattr(self.manager, "proxy_headers", {})
        return {
            secret
            for name, value in proxied.items()
            if isinstance(name, str) and isinstance(value, str) and not is_harmless(name)
            for secret in credentials_in(name, value)
        }

    def urlopen(self, request: Request) -> BaseHTTPResponse:
        """Send the request once and return the answer with its content unread.

        Raises:
            urllib3.exceptions.HTTPError: There was no answer.
            OutOfTime: The time of the call has passed.
        """
        deadline = running.deadline
        before, _sending.active = _sending.active, True
        try:
            response = self._urlopen(request)
        finally:
            _sending.active = before
        if deadline is not None and not self.is_own:
            connection.bound(response, deadline)
        # RFC 9112, section 9.6: "A client that sends a "close" connection option MUST NOT send further
        # requests on that connection". A server may not close it, or not yet.
        options = request.headers.get("Connection", "").lower().split(",")
        if "close" in [option.strip() for option in options]:
            _Last.hold(response)
        return response

    def _urlopen(self, request: Request) -> BaseHTTPResponse:
        deadline = running.deadline
        options: dict[str, Any] = {
            "body": request.content,
            "headers": request.headers,
            "retries": _ONCE,
            "redirect": False,
            "timeout": self.timeout if deadline is None else deadline.cut_all(self.timeout),
            "pool_timeout": None if deadline is None else deadline.left,
            "preload_content": False,
        }
        # The manager would parse the URL and look up the connections for each request: done here for the
        # first of many. A manager of the user's may have a proxy, which is sent another target.
        if isinstance(self.manager, _Manager) and (parts := split_plain(request.url)):
            origin, target = parts
            last = self.manager.last
            if last is None or last[0] != origin:
                self.manager.last = last = origin, self.manager.connection_from_url(origin)
            return last[1].urlopen(request.method, target, **options)
        return self.manager.urlopen(request.method, request.url, **options)

    @property
    def is_own(self) -> bool:
        """Whether the manager is none of the user's."""
        return isinstance(self.manager, _Manager)

    def close(self) -> None:
        """Close the connections that are idle. The next request opens a new one."""
        manager: Any = self.manager
        pools = manager.pools
        # clear() forgets them, and they are closed when nobody refers to them: an error that is kept may.
        # A fork of urllib3 in its place has others.
        keys: set[object] = pools.keys() if hasattr(pools, "keys") else set()
        for pool in map(pools.get, keys):
            if pool is not None:
                _close_idle(pool)
        self.manager.clear()

    def restart(self) -> None:
        """Forget the connections of the parent process, which are still its own: never close them."""
        inherited: Any = self.manager.pools
        if not issubclass(type(inherited), RecentlyUsedContainer):  # of a fork of urllib3
            _inherited.append(self.manager)
            self.manager = _Manager(self._verify) if self.is_own else self.manager
            return
        # No lock of theirs is taken: a thread of the parent may have held it.
        pools: list[Any] = [*inherited._container.values()]
        if isinstance(self.manager, _Manager) and self.manager.last:
            pools.append(self.manager.last[1])  # which may be among them no longer
            _inherited.append(self.manager.last)
            self.manager.last = None
        for pool in pools:
            if pool.pool is not None:
                # urllib3 closes at exit what it finds in the queue.
                _inherited.append(list(pool.pool.queue))
                pool.pool.__init__(pool.pool.maxsize)
        _inherited.append(inherited)
        self.manager.pools = type(inherited)(inherited._maxsize)

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_own:
            msg = "a Client with a manager= of your own cannot be pickled; make the Client where it is used"
            raise TypeError(msg)
        return _unpickle, (self.timeout, self._verify)


def _close_idle(pool: Any) -> None:
    """Close the idle connections of a pool, which a thread in the midst of a request may go on using."""
    places = 0
    with suppress(queue.Empty, AttributeError):  # it is closed already
        while True:
            connection = pool.pool.get(block=False)
            places += 1
            if connection is not None:
                connection.close()
    for _ in range(places):
        pool._put_conn(None)


class _Last:
    """Stands between an answer and its pool, and closes the connection before it is put back."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    def hold(cls, response: Any) -> None:
        response._pool = cls(response._pool)

    def _put_conn(self, connection: Any) -> None:
        connection.close()
        self._pool._put_conn(connection)


def _unpickle(timeout: Timeout, verify: bool | str) -> Pool:
    return Pool(None, timeout, verify=verify)


class _Manager(urllib3.PoolManager):
    """A PoolManager that shares one TLS context among all of its connections."""

    def __init__(self, verify: bool | str) -> None:
        super().__init__(maxsize=MAX_IDLE_CONNECTIONS)
        #: Where the last request went, and the connections there.
        self.last: tuple[str, urllib3.HTTPConnectionPool] | None = None
        self._verify = verify
        self.pool_classes_by_scheme = {
            "http": connection.Pool,
            "https": connection.UnverifiedPool if verify is False else connection.TLSPool,
        }

    def clear(self) -> None:
        """Forget all connections; those that are idle are closed with that."""
        self.last = None
        super().clear()

    def connection_from_context(self, request_context: dict[str, Any]) -> urllib3.HTTPConnectionPool:
        if request_context["scheme"] == "https":
            request_context["ssl_context"] = tls_context(self._verify)
        return super().connection_from_context(request_context)


@functools.cache
def tls_context(verify: bool | str) -> ssl.SSLContext:
    """The TLS context for the process: making one parses every CA certificate there is.

    Args:
        verify: True for the CAs of the platform (where OpenSSL looks; SSL_CERT_FILE and SSL_CERT_DIR
            name other places), the path of a PEM file or folder for those alone, False for none.

    Raises:
        ValueError: The file holds no certificates.
    """
    import ssl

    if verify is False:
        context = create_urllib3_context(cert_reqs=ssl.CERT_NONE)
        context.check_hostname = False
        return context
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if verify is True:
        context.load_default_certs()
    elif Path(verify).is_dir():
        context.load_verify_locations(capath=verify)
    else:
        try:
            context.load_verify_locations(cafile=verify)
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or error.strerror
            msg = f'verify_ssl is "{verify}", which is no PEM file of CA certificates: {reason}'
            raise ValueError(msg) from None
    return context


class _Sending(threading.local):
    """Whether this thread is inside urllib3 on our behalf."""

    active = False


class _HideQueries(logging.Filter):
    """Takes the query out of the URLs that urllib3 logs of our requests: an API key may be in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _sending.active and isinstance(record.args, tuple):
            record.args = tuple(
                without_query(arg)
                if isinstance(arg, str)
                else type(arg).__name__
                if isinstance(arg, Exception)  # it may quote a line that the server sent
                else arg
                for arg in record.args
            )
            record.exc_info = None
        return True


_sending = _Sending()
for _name in ("urllib3.connectionpool", "urllib3.connection"):
    logging.getLogger(_name).addFilter(_HideQueries())

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_inherited: list[object] = []


def _restart_all() -> None:
    for pool in list(_pools):
        pool.restart()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_restart_all)
