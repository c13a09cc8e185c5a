"""Username and password, as they are (RFC 7617)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from cruds_core import AuthABC, Secret
from cruds_core.secret import fault_of, plain

if TYPE_CHECKING:
    from cruds_core import Request, SecretSource


class Basic(AuthABC):
    """The Basic scheme: ``Authorization: Basic`` with username and password in UTF-8 (RFC 7617).

    It protects nothing by itself; use it over https.

    Args:
        username: The user-id, without a colon.
        password: The password, or a callable that returns it, asked at each request.

    Raises:
        TypeError: ``username`` is not a str, or ``password`` is neither a str nor callable.
        ValueError: One holds a control character, or ``username`` a colon.
    """

    def __init__(self, username: str, password: SecretSource) -> None:
        self.username = check_username(username)
        # RFC 7617, section 2: "a user-id containing a colon character is invalid".
        if ":" in username:
            msg = "username holds a colon, which Basic cannot send: the server would cut it there"
            raise ValueError(msg)
        self._password = Secret(password, "password")

    def authenticate(self, request: Request) -> None:
        """Send ``Authorization: Basic``.

        Raises:
            AuthError: The callable did not return a password.
        """
        pair = f"{self.username}:{self._password.reveal()}".encode()
        request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"

    def __repr__(self) -> str:
        return f"Basic(username={getattr(self, 'username', '?')!r}, password=***)"


def check_username(username: object) -> str:
    """The username, if it can be one.

    Raises:
        TypeError: It is not a str.
        ValueError: It holds a control character.
    """
    if not isinstance(username, str):
        msg = f"username must be a str (got {type(username).__name__})"
        raise TypeError(msg)
    # RFC 7617, section 2: "The user-id and password MUST NOT contain any control characters".
    if fault := fault_of(username):
        msg = f"username {fault}"
        raise ValueError(msg)
    return plain(username)
