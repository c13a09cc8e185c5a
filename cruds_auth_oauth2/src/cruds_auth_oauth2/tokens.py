"""Tokens: what the token endpoint's answer says, read once and never changed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, cast

from cruds_core.secret import SecretDict, SecretText, fault_of, hidden

from .encryption import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable

# RFC 6750, section 2.1, and what servers send beside it: anything that a header can carry in one word.
_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]+")
# RFC 6749, section 8.1, of a length that no token has
_TYPE_NAME = re.compile(r"[A-Za-z0-9._-]{1,20}")
_BEARER = ("bearer", "bearertoken")  # the second is Apigee's
_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?\s*")

_KNOWN = ("access_token", "refresh_token", "token_type", "expires_in", "scope", "authorization_details")

_LONGEST = 100 * 365 * 86400  # seconds: what is said beyond it means "never"

#: A token is renewed ahead of its end by no more than this part of its lifetime.
LEEWAY_PART = 0.1


class UnusableAnswerError(ValueError):
    """An answer that holds no usable token. The message quotes no value of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """An access token, as the authorization server described it (RFC 6749, section 5.1).

    Attributes:
        scope: The scope that was granted, names separated by spaces; None where nobody named one.
        expires_at: When it expires, in UTC; None where the server did not say.
        token_type: ``Bearer``.
    """

    scope: str | None
    expires_at: datetime | None
    token_type: str
    _access: Sealed = field(repr=False)
    _refresh: Sealed | None = field(repr=False)
    _details: str | None = field(repr=False)
    _parameters: Sealed = field(repr=False)
    _expires: float = field(repr=False)
    _renews: float = field(repr=False)

    @property
    def access_token(self) -> str:
        """The access token. It is sealed while it is kept, and opened for this call."""
        return self._access.open()

    @property
    def refresh_token(self) -> str | None:
        """The refresh token, if there is one."""
        return None if self._refresh is None else self._refresh.open()

    @property
    def refreshes(self) -> bool:
        """Whether there is a refresh token."""
        return self._refresh is not None

    @property
    def authorization_details(self) -> list[dict[str, Any]] | None:
        """What was granted in detail (RFC 9396, section 7), if the server said it."""
        return None if self._details is None else cast("list[dict[str, Any]]", json.loads(self._details))

    @property
    def parameters(self) -> dict[str, Any]:
        """What else the answer held, such as ``id_token`` or members of the vendor's."""
        return cast("dict[str, Any]", json.loads(self._parameters.open()))

    def is_valid(self, now: float) -> bool:
        """Whether it has not expired at a time.

        Args:
            now: The time, in seconds since the epoch.
        """
        return now < self._expires

    def is_fresh(self, now: float) -> bool:
        """Whether it need not be renewed yet.

        Args:
            now: The time, in seconds since the epoch.
        """
        return now < self._renews

    def usefulness(self, now: float) -> float | None:
        """Seconds until neither it nor its refresh token is of use; None where nobody knows.

        Args:
            now: The time, in seconds since the epoch.
        """
        own = None if self._expires == math.inf else max(self._expires - now, 1.0)
        if not self.refreshes or own is None:
            return own
        try:  # Keycloak's; 0 is for ever
            lifetime = _lifetime(self.parameters.get("refresh_expires_in"))
        except UnusableAnswerError:
            return None
        return max(lifetime, own) if lifetime else None

    def without_renewal(self) -> Self:
        """The same, not to be renewed before its end."""
        return replace(self, _renews=self._expires)

    def record(self) -> SecretDict:
        """All of it as texts, for a store."""
        fields = {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "scope": self.scope,
            "details": self._details,
            "parameters": self._parameters.open(),
            "expires": str(self._expires),
            "renews": str(self._renews),
        }
        return SecretDict((name, value) for name, value in fields.items() if value is not None)

    @classmethod
    def restore(cls, fields: SecretDict) -> Self:
        """The token of a `record`.

        Args:
            fields: The record.

        Raises:
            KeyError: Something is missing.
            ValueError: Something is no number.
        """
        expires, refresh = float(fields["expires"]), fields.get("refresh_token")
        scope, details = fields.get("scope"), fields.get("details")
        return cls(
            scope=None if scope is None else str(scope),
            expires_at=None if expires == math.inf else datetime.fromtimestamp(expires, UTC),
            token_type="Bearer",  # noqa: S106 - the name of a scheme
            _access=Sealed(fields["access_token"], "access token"),
            _refresh=None if refresh is None else Sealed(refresh, "refresh token"),
            _details=None if details is None else str(details),
            _parameters=Sealed(fields["parameters"], "parameters"),
            _expires=expires,
            _renews=float(fields["renews"]),
        )

    @classmethod
    def read(
        cls,
        answer: SecretDict | None,
        *,
        asked_at: float,
        leeway: float,
        scope: str | None,
        held: Token | None,
    ) -> Self:
        """The token in an answer (RFC 6749, section 5.1).

        Args:
            answer: The members of the answer; None where it has none.
            asked_at: When it was asked for, in seconds since the epoch: its lifetime began no earlier.
            leeway: Seconds before its end at which it is to be renewed, at most a tenth of its lifetime.
            scope: What was asked for: the server need not repeat it.
            held: The token that it was refreshed from. What the answer leaves out stays as it was
                (RFC 6749, section 6).

        Raises:
            UnusableAnswerError: There is no token in it, or not one that we could use.
        """
        if answer is None:
            msg = "it is no JSON object"
            raise UnusableAnswerError(msg)
        token_type = hidden(answer.get("token_type"))
        # RFC 6749, section 7.1: "The client MUST NOT use an access token if it does not understand the token
        # type". Some servers leave it out, and mean this one.
        is_text = token_type is None or isinstance(token_type, str)
        if not is_text or (token_type or "bearer").lower() not in _BEARER:
            named = is_text and _TYPE_NAME.fullmatch(token_type or "")
            got = f'"{token_type}"' if named else "no name of a type"
            msg = f"its token_type is {got}, not Bearer, the one that can be used"
            raise UnusableAnswerError(msg)
        access = _text(answer, "access_token")
        if not access or not _ACCESS_TOKEN.fullmatch(access):
            msg = "its access_token is " + ("missing" if not access else "nothing that a header can carry")
            raise UnusableAnswerError(msg)
        refresh = _text(answer, "refresh_token")
        if refresh and fault_of(refresh):
            msg = "its refresh_token holds characters that cannot be sent"
            raise UnusableAnswerError(msg)
        lifetime = _lifetime(answer.get("expires_in"))
        details = _details(answer.get("authorization_details"))
        expires = math.inf if lifetime is None else asked_at + lifetime
        return cls(
            scope=_scope(answer) or scope,
            expires_at=None if lifetime is None else datetime.fromtimestamp(expires, UTC),
            token_type="Bearer",  # noqa: S106 - the name of a scheme
            _access=Sealed(access, "access token"),
            _refresh=Sealed(refresh, "refresh token") if refresh else (held._refresh if held else None),
            _details=held._details if held and details is None else details,
            _parameters=Sealed(_others(answer), "parameters"),
            _expires=expires,
            _renews=expires - min(leeway, (lifetime or 0) * LEEWAY_PART),
        )


def _text(answer: SecretDict, name: str) -> SecretText | None:
    if answer.get(name) is None:
        return None
    if isinstance(answer[name], str):
        return SecretText(answer[name])
    msg = f"its {name} is not a string"
    raise UnusableAnswerError(msg)


def _scope(answer: SecretDict) -> str | None:
    if isinstance(names := answer.get("scope"), list):  # as some servers write it
        return " ".join(_written(name, str) for name in cast("list[object]", names))
    scope = _text(answer, "scope")
    return None if scope is None else str(scope)


def _others(answer: SecretDict) -> str:
    return _written({name: answer[name] for name in answer if name not in _KNOWN})


def _written(value: object, write: Callable[[object], str] = json.dumps) -> str:
    try:
        return write(value)
    except RecursionError:  # orjson reads deeper than Python writes
        msg = "it nests too deep"
    raise UnusableAnswerError(msg)


def _lifetime(value: object) -> float | None:
    """Seconds; 0 for a token that has expired already, None where the server did not say."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        msg = "its expires_in is not a number of seconds"
        raise UnusableAnswerError(msg)
    return float(min(max(value, 0), _LONGEST))


def _details(value: object) -> str | None:
    if isinstance(value, str):  # as in a form
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = False
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in cast("list[object]", value)):
        msg = "its authorization_details are not a list of objects (RFC 9396, section 7)"
        raise UnusableAnswerError(msg)
    return _written(cast("list[object]", value))
