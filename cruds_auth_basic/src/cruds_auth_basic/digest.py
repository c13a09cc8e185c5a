"""Username and password, proven without being sent (RFC 7616)."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from cruds_core import AuthABC, Secret
from cruds_core.lock import ForkSafeLock

from .basic import check_username
from .challenge import parse_challenges
from .session import Session

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from cruds_core import Request, SecretSource


class Digest(AuthABC):
    """The Digest scheme (RFC 7616): MD5, SHA-256 and SHA-512-256, and their ``-sess`` forms.

    The first request to a server goes out without credentials and is answered with a challenge; from then
    on requests carry their proof at once. Requests that are under way at the same time answer challenges of
    their own, so that a server sees the uses of each nonce in order. Of several challenges the first that we
    know is taken, as section 3.7 asks; of ``qop`` rather ``auth`` than ``auth-int``.

    Args:
        username: The username.
        password: The password, or a callable that returns it, asked at each request.

    Raises:
        TypeError: ``username`` is not a str, or ``password`` is neither a str nor callable.
        ValueError: One holds a control character.
    """

    def __init__(self, username: str, password: SecretSource) -> None:
        self.username = check_username(username)
        self._password = Secret(password, "password")
        self._sessions = _Sessions()

    def authenticate(self, request: Request) -> None:
        """Answer a challenge that the server gave before, if there is one that is free.

        Raises:
            AuthError: The callable did not return a password, or the content cannot be protected.
        """
        session = self._sessions.take(request)
        if session is None:
            return
        request.headers["Authorization"] = session.authorization(
            self.username, self._password.reveal(), request
        )

    def handle_response(self, request: Request, response: BaseHTTPResponse) -> None:
        """Take up a new challenge, or go on with the ``nextnonce`` of Authentication-Info (section 3.5)."""
        if response.status != 401:
            info = _parameters(f"Digest {response.headers.get('Authentication-Info', '')}")
            self._sessions.give_back(request, info.get("nextnonce"))
        elif challenge := _usable(response):
            self._sessions.reserve(request, Session.from_challenge(challenge))

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        """Whether to answer the challenge: not one that says that username or password is wrong."""
        challenge = _usable(response)
        if challenge is None:
            return False
        answered = _parameters(request.headers.get("Authorization", ""))
        # Section 3.3: only "stale" says that another nonce would do.
        return challenge.get("stale", "").lower() == "true" or answered.get("realm") != challenge["realm"]

    def __repr__(self) -> str:
        return f"Digest(username={getattr(self, 'username', '?')!r}, password=***)"


class _Sessions:
    """Sessions by origin, each used by one thread at a time.

    The process is part of the key: a forked child must not go on counting for its parent.
    """

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._free: defaultdict[object, list[Session]] = defaultdict(list)
        self._taken: dict[object, Session] = {}

    def take(self, request: Request) -> Session | None:
        """A session for the thread: the one that it was to use next, or whose request got no answer."""
        key = _key(request)
        owner = (threading.get_ident(), key)
        with self._lock:
            if owner not in self._taken and self._free[key]:
                self._taken[owner] = self._free[key].pop()
            return self._taken.get(owner)

    def give_back(self, request: Request, nextnonce: str | None) -> None:
        key = _key(request)
        with self._lock:
            session = self._taken.pop((threading.get_ident(), key), None)
            if session is not None:
                if nextnonce is not None and nextnonce != session.nonce:
                    session.renew(nextnonce)
                self._free[key].append(session)

    def reserve(self, request: Request, session: Session) -> None:
        """Keep a session for the next request of this thread, in place of one that was refused."""
        with self._lock:
            self._taken[threading.get_ident(), _key(request)] = session

    def __reduce__(self) -> tuple[Any, ...]:
        return _Sessions, ()


def _key(request: Request) -> object:
    return os.getpid(), request.origin


def _usable(response: BaseHTTPResponse) -> dict[str, str] | None:
    """The parameters of the first Digest challenge that we can answer."""
    for challenge in parse_challenges(response.headers.get("WWW-Authenticate", "")):
        if challenge.scheme == "digest" and Session.can_answer(challenge.parameters):
            return challenge.parameters
    return None


def _parameters(text: str) -> dict[str, str]:
    challenges = parse_challenges(text)
    return challenges[0].parameters if challenges and challenges[0].scheme == "digest" else {}
