"""Sign-ins of users: from the URL that a browser is sent to until the code it brings back is exchanged."""

from __future__ import annotations

import copy
import hmac
import json
import re
from typing import TYPE_CHECKING, Self

from cruds_core.secret import SecretText, fault_of, hidden, plain

from .authorization import (
    LIFETIME,
    MAY_CHANGE,
    Authorization,
    AuthorizationRequest,
    Pending,
    PendingRequests,
    read_callback,
)
from .encryption import BrokenSealError
from .exceptions import OAuthAuthorizationError, OAuthStateError
from .parameters import RESERVED, Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .encryption import Keys
    from .grants import Grants
    from .tokens import Token


class SignIns:
    """Sign-ins that are begun here, and completed here, or sealed and completed by whoever has the key.

    Args:
        authorization: What users are asked for.
        grants: What exchanges their codes.
        keys: What seals a request that leaves the process; None where none can.
        client: The token endpoint and the client identifier: what is sealed is for these alone.
        issuer: Who may answer; None where nobody knows.
        requires_issuer: Whether the answer must name it.
    """

    def __init__(
        self,
        authorization: Authorization,
        grants: Grants,
        keys: Keys | None,
        *,
        client: tuple[str, str],
        issuer: str | None,
        requires_issuer: bool,
    ) -> None:
        self._authorization = authorization
        self._grants = grants
        self._keys = keys
        self._purpose = json.dumps(["sign-in", *client, authorization.redirect_uri])
        self._issuer = issuer
        self._requires_issuer = requires_issuer
        self._pending = PendingRequests()

    def begin(self, more: Mapping[str, str | Sequence[str]] | None) -> str:
        """The URL of a sign-in whose state is remembered here."""
        url, pending = self._begin(hidden(more))
        self._pending.add(pending)
        return str(url)

    def answer(self, redirect_url: str) -> tuple[str, str]:
        """The code and the state that the browser brought back."""
        redirect_url = _text("redirect_url", hidden(redirect_url))
        callback = read_callback(redirect_url, issuer=self._issuer, requires_issuer=self._requires_issuer)
        if callback.refusal is not None:
            self._pending.discard(callback.state or "")
            raise callback.refusal
        state = callback.state or SecretText()
        self._pending.check(state)
        return callback.code, state

    def exchange(self, code: str, state: str) -> Token:
        """The token for a code of a sign-in that was begun here."""
        code, state = hidden(code), hidden(state)
        code, state = _text("authorization_code", code), _text("state", state)
        if fault := fault_of(code) if code else "is empty":
            msg = f"authorization_code {fault}"
            raise OAuthAuthorizationError(msg)
        return self._exchange(code, self._pending.take(state, checked=self._requires_issuer))

    def request(self, more: Mapping[str, str | Sequence[str]] | None) -> AuthorizationRequest:
        """A sign-in of which nothing is remembered here."""
        url, pending = self._begin(hidden(more))
        return AuthorizationRequest(str(url), self._seal().seal(self._purpose, pending._asdict()))

    def complete(self, request: str, redirect_url: str) -> Token:
        """The token for the code of a sign-in that was sealed."""
        request, redirect_url = hidden(request), hidden(redirect_url)
        request, redirect_url = _text("request", request), _text("redirect_url", redirect_url)
        try:
            record = self._seal().open(self._purpose, request, LIFETIME)
            pending = Pending(record["state"], record["verifier"], str(record["scope"]))
        except (BrokenSealError, KeyError) as error:
            msg = f"the request cannot be opened: {error}; begin a new sign-in"
            raise OAuthStateError(msg) from None
        callback = read_callback(redirect_url, issuer=self._issuer, requires_issuer=self._requires_issuer)
        given = callback.state or ""
        if not hmac.compare_digest(pending.state.encode(), given.encode("utf-8", "surrogatepass")):
            msg = 'the "state" of the redirect URL is not the one of this request; begin a new sign-in'
            raise OAuthStateError(msg)
        self._pending.spend(pending.state)
        if callback.refusal is not None:
            raise callback.refusal
        return self._exchange(callback.code, pending)

    def forget(self) -> None:
        """Forget what is under way."""
        self._pending.clear()

    def apart(self) -> Self:
        """The same for another user: what is under way here is not there."""
        other = copy.copy(self)
        other._pending = PendingRequests()
        return other

    def _begin(self, more: Mapping[str, str | Sequence[str]] | None) -> tuple[str, Pending]:
        return self._authorization.begin(
            Parameters("additional_params", more, reserved=RESERVED - MAY_CHANGE)
        )

    def _exchange(self, code: SecretText, pending: Pending) -> Token:
        redirect_uri = self._authorization.redirect_uri
        return self._grants.authorization_code(code, redirect_uri, pending.verifier, pending.scope or None)

    def _seal(self) -> Keys:
        if self._keys is None:
            msg = "encryption_key is not configured, and the request leaves this process: give one to seal it"
            raise OAuthAuthorizationError(msg)
        return self._keys


def check_redirect_uri(uri: str) -> str:
    """A redirect URI that is one.

    Raises:
        TypeError: It is not a str.
        ValueError: It is not absolute, or has a fragment.
    """
    if not isinstance(uri, str):
        msg = f"redirect_uri must be a str (got {type(uri).__name__})"
        raise TypeError(msg)
    # RFC 6749, section 3.1.2; RFC 8252, section 7, has schemes of applications.
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21\x24-\x7e]+", uri):
        msg = f'redirect_uri must be an absolute URI without a fragment, as it is registered (got "{uri}")'
        raise ValueError(msg)
    return plain(uri)


def _text(name: str, value: object) -> SecretText:
    if isinstance(value, SecretText):
        return value
    msg = f"{name} must be a str (got {type(value).__name__})"
    raise TypeError(msg)
