"""Username and password, proven without being sent (RFC 7616)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from urllib3.util import parse_url

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
    on requests carry their proof at once. Of several challenges the first that we know is taken, as section
    3.7 asks; of ``qop`` rather ``auth`` than ``auth-int``.

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
        self._lock = ForkSafeLock()
        # By process and origin: two processes must not count the uses of one nonce each for itself.
        self._sessions: dict[object, Session] = {}

    def authenticate(self, request: Request) -> None:
        """Answer the challenge that the server gave last, if it has given one.

        Raises:
            AuthError: The callable did not return a password, or the content cannot be protected.
        """
        with self._lock:
            session = self._sessions.get(_key(request))
            use = session.count_up() if session else None
        if session is None or use is None:
            return
        request.headers["Authorization"] = session.authorization(
            self.username,
            self._password.reveal(),
            request.method,
            parse_url(request.url).request_uri,
            request.content,
            use,
        )

    def handle_response(self, request: Request, response: BaseHTTPResponse) -> None:
        """Go on with the ``nextnonce`` of Authentication-Info, where there is one (section 3.5)."""
        info = _parameters(f"Digest {response.headers.get('Authentication-Info', '')}")
        if nonce := info.get("nextnonce"):
            with self._lock:
                session = self._sessions.get(_key(request))
                if session is not None and session.nonce != nonce:
                    session.renew(nonce)

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        """Take up the challenge, unless it says that username or password is wrong."""
        answered = _parameters(request.headers.get("Authorization", ""))
        for challenge in parse_challenges(response.headers.get("WWW-Authenticate", "")):
            if challenge.scheme != "digest":
                continue
            try:
                session = Session.from_challenge(challenge.parameters)
            except ValueError:  # the next one may be one that we know
                continue
            with self._lock:
                self._sessions[_key(request)] = session
            # Section 3.3: only "stale" says that another nonce would do.
            stale = challenge.parameters.get("stale", "").lower() == "true"
            return stale or answered.get("realm") != session.realm
        return False

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_sessions": {}}

    def __repr__(self) -> str:
        return f"Digest(username={self.username!r}, password=***)"


def _key(request: Request) -> object:
    return os.getpid(), request.origin


def _parameters(text: str) -> dict[str, str]:
    challenges = parse_challenges(text)
    return challenges[0].parameters if challenges and challenges[0].scheme == "digest" else {}
