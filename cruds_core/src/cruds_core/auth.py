"""What an auth scheme is: a subclass of AuthABC."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from .exceptions import AuthError
from .lock import RenewalLock
from .secret import Secret, SecretSource, SecretText, as_secret, fault_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from .request import Request


class AuthABC(ABC):
    """Base class of every auth scheme.

    A scheme defines one of these:

    * `authenticate`, and where it needs them `handle_response` and `handle_challenge`; or
    * `access_token` and `is_valid`, for anything that is a token. Then each request carries
      ``Authorization: {token_type} {token}`` (RFC 6750, section 2.1), or what `token_header` and `token_type`
      make of it. The token is asked for when none is held or `is_valid` is false, by one thread at a time,
      and once more after a 401.

    An instance may be shared by many Clients and threads. A subclass need not call ``super().__init__()``.

    Raises:
        TypeError: The class defines neither, when it is instantiated.
    """

    #: The header that a token goes in.
    token_header: ClassVar[str] = "Authorization"  # noqa: S105 - the name of a header

    #: The scheme written before a token (RFC 9110, section 11.1); empty for the token alone.
    token_type: ClassVar[str] = "Bearer"  # noqa: S105 - the name of a scheme

    _held: _Held

    if not TYPE_CHECKING:  # a type checker would hold these parameters against those of each subclass

        def __new__(cls, *args: object, **options: object) -> Self:
            """Refuse a class that is no scheme, and give the others what the base needs."""
            is_token = cls.access_token is not AuthABC.access_token and cls.is_valid is not AuthABC.is_valid
            if cls.authenticate is AuthABC.authenticate and not is_token:
                msg = f"{cls.__name__} must define authenticate(), or access_token() and is_valid()"
                raise TypeError(msg)
            # object.__init__ takes no offence at arguments, as this method stands before it.
            if (args or options) and cls.__init__ is object.__init__ and cls.__new__ is AuthABC.__new__:
                msg = f"{cls.__name__}() takes no arguments"
                raise TypeError(msg)
            self = super().__new__(cls)
            object.__setattr__(self, "_held", _Held(cls.__name__))  # past a subclass that is frozen
            return self

    def authenticate(self, request: Request) -> None:
        """Add credentials to a request, which is final but for them.

        Called for every attempt with a fresh request: absolute URL, headers, content as bytes or a reader.
        The transport rewinds a reader afterwards.

        Args:
            request: The request, to be changed.

        Raises:
            AuthError: There are no credentials to add.
        """
        self._put_token(request, self._current_token())

    def handle_response(self, request: Request, response: BaseHTTPResponse) -> None:
        """Learn from an answer of any status, before its content is read.

        Args:
            request: The request as it was sent.
            response: Its answer; use the status and the headers, and leave the content to the Client.
        """

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        """Act on a 401, whose content has been read. Called at most once in a call.

        Args:
            request: The request as it was sent.
            response: The answer, with its ``WWW-Authenticate`` (RFC 9110, section 11.6.1).

        Returns:
            True to have the request authenticated anew and sent once more.
        """
        if self._held.token is None:
            return False
        sent = request.headers.get(self.token_header, "")
        failed = SecretText(sent.removeprefix(f"{self.token_type} ") if self.token_type else sent)
        with self._held.renewal:
            if self._held.token == failed:  # else another thread has renewed it already
                self._held.token = self._checked(as_secret(self.renew(failed)), "renew")
            return self._held.token != failed

    def access_token(self) -> str:
        """A token that is valid now.

        Raises:
            AuthError: There is none to be had, or the scheme has no tokens.
        """
        msg = f"{type(self).__name__} has no access token"
        raise AuthError(msg)

    def is_valid(self) -> bool:
        """Whether what `access_token` returned last can still be used. True for schemes without tokens."""
        return True

    def renew(self, failed: str) -> str:
        """A token in place of one that was refused with a 401.

        Args:
            failed: The token that was refused.
        """
        return self.access_token()

    def close(self) -> None:
        """Give up what the scheme holds, such as connections of its own."""

    def _put_token(self, request: Request, token: str) -> None:
        request.headers[self.token_header] = f"{self.token_type} {token}" if self.token_type else token

    def _current_token(self) -> str:
        held = self._held
        token = held.token
        if token is not None and self.is_valid():
            return token
        with held.renewal:
            if held.token is None or held.token == token or not self.is_valid():
                held.token = self._checked(as_secret(self.access_token()), "access_token")
            return held.token

    def _checked(self, token: SecretText | None, method: str) -> SecretText:
        if token is None:
            msg = f"{type(self).__name__}.{method}() must return a str"
            raise AuthError(msg)
        if fault := _token_fault(token):
            msg = f"what {type(self).__name__}.{method}() returned {fault}"
            raise AuthError(msg)
        return token

    def __getstate__(self) -> object:
        state = cast("Any", super().__getstate__())  # a dict, or with slots a pair of them
        pair: tuple[dict[str, Any], object] = (state, None) if hasattr(state, "items") else state
        kept = {name: value for name, value in pair[0].items() if name != "_held"}
        return (kept, pair[1]) if pair[1] else kept


class _Held:
    """The token that the base holds for a scheme, and the lock under which it is replaced."""

    def __init__(self, scheme: str) -> None:
        self.token: SecretText | None = None
        self.renewal = RenewalLock(scheme)


def _token_fault(token: str) -> str | None:
    if not token:
        return "is empty; leave auth out for requests without credentials"
    if not token.isascii():
        return "holds a character that is not ASCII (RFC 6750, section 2.1)"
    if token.lower().startswith("bearer "):
        return 'begins with the word "Bearer", which is added to it'
    return fault_of(token)


class BearerToken(AuthABC):
    """A token that somebody else obtained (RFC 6750).

    Args:
        token: The token, or a callable that returns it, asked at each request. After a 401 a callable
            is asked again, and the request sent once more if it returns another token.

    Raises:
        TypeError: ``token`` is neither a str nor callable.
        ValueError: ``token`` is empty, or holds a line break or another character that cannot be sent.
    """

    def __init__(self, token: SecretSource) -> None:
        if isinstance(token, str) and (fault := _token_fault(token)):
            msg = f"token {fault}"
            raise ValueError(msg)
        self._token = Secret(token, "token")

    def authenticate(self, request: Request) -> None:
        """Send ``Authorization: Bearer`` with the token."""
        self._put_token(request, self.access_token())

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        """Whether the token has changed since the request was sent."""
        return request.headers.get("Authorization") != f"{self.token_type} {self.access_token()}"

    def access_token(self) -> str:
        """The token.

        Raises:
            AuthError: The callable returned something that is no token.
        """
        token = self._token.reveal()
        return token if self._token.is_text else self._checked(token, "access_token")

    def __repr__(self) -> str:
        return "BearerToken(***)"
