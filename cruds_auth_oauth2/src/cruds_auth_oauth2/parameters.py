"""What a caller asks for, checked when the scheme is made: scope, details and further parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qsl, urlsplit

from cruds_core.secret import SecretText, fault_of, hidden, is_credential, plain

#: Parameters of a form or a query; a name may stand in several.
Pairs: TypeAlias = "list[tuple[str, str]]"

#: What RFC 6749, RFC 7523, RFC 7636 and RFC 9396 define, and we set.
RESERVED = {
    *("client_id", "client_secret", "client_assertion", "client_assertion_type"),
    *("grant_type", "response_type", "redirect_uri", "scope", "state", "authorization_details"),
    *("code", "code_challenge", "code_challenge_method", "code_verifier"),
    *("username", "password", "refresh_token"),
}

# What these end in says of what kind something is, as in "access_type" and "subject_token_type".
_HARMLESS = ("_type", "_format", "_hint")

# RFC 6749, section 3.3: scope-token
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def check_query(name: str, url: str) -> None:
    """Refuse the URL of an authorization endpoint whose query says what we have to say.

    Raises:
        ValueError: It does.
    """
    if own := {key for key, _ in parse_qsl(urlsplit(url).query)} & RESERVED:
        msg = f"{name} holds {min(own)!r}, which is set by us"
        raise ValueError(msg)


class Parameters:
    """Further parameters for requests, such as ``audience`` or ``resource``.

    Args:
        name: What they are called in messages: the parameter that took them.
        given: Values by name; a sequence repeats its name (RFC 8707, section 2). None for none.
        reserved: Names that they must not have.
        secret: Whether one of them may be a secret. In a URL that a browser is given none is.

    Raises:
        TypeError: They are no mapping, or a value is neither a str nor a sequence of these.
        ValueError: A name is one that we set, or a value cannot be sent.
    """

    def __init__(
        self,
        name: str,
        given: Mapping[str, str | Sequence[str]] | None,
        *,
        secret: bool = False,
        reserved: Collection[str] = RESERVED,
    ) -> None:
        if given is not None and not isinstance(given, Mapping):
            msg = f"{name} must be a mapping of names to values (got {type(given).__name__})"
            raise TypeError(msg)
        self._name = name
        self._secret = secret
        self._reserved = reserved
        self._pairs: Pairs = []
        for key in given or {}:
            self._add(key, hidden(given[key]))  # type: ignore[index]

    def _add(self, key: object, value: object) -> None:
        if not isinstance(key, str) or not key or fault_of(key):
            got = repr(key) if isinstance(key, str) else type(key).__name__
            msg = f"{self._name} holds {got}, which is no name of a parameter"
            raise ValueError(msg)
        if key in self._reserved:
            msg = f'{self._name} holds "{key}", which is set by us'
            raise ValueError(msg)
        values = cast("Any", value) if isinstance(value, (list, tuple)) else [value]
        for one in values:
            if type(one) is int:
                with suppress(ValueError):  # it has more digits than Python writes
                    one = str(one)
            if not isinstance(one, str):
                msg = f'{self._name}["{key}"] must be a str or a list of these (got {type(one).__name__})'
                raise TypeError(msg)
            if fault := fault_of(one):
                msg = f'{self._name}["{key}"] {fault}'
                raise ValueError(msg)
            is_secret = self._secret and is_credential(key) and not key.endswith(_HARMLESS)
            self._pairs.append((plain(key), SecretText(one) if is_secret else plain(one)))

    def __getitem__(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __deepcopy__(self, memo: dict[int, object]) -> Parameters:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if names := [name for name, value in self._pairs if isinstance(value, SecretText)]:
            msg = f'{self._name}["{names[0]}"] may be a secret, and those are never pickled'
            raise TypeError(msg)
        return _unpickle, (self._name, self._pairs, self._secret)


def _unpickle(name: str, pairs: Pairs, is_secret: bool) -> Parameters:
    parameters = Parameters(name, None, secret=is_secret)
    for key, value in pairs:
        parameters._add(key, value)  # pyright: ignore[reportPrivateUsage]
    return parameters


def read_scope(scope: str | Iterable[str] | None) -> str | None:
    """The scope as it is sent: names separated by spaces (RFC 6749, section 3.3); None for none.

    Raises:
        TypeError: It is neither a str nor an iterable of these.
        ValueError: A name holds a character that no scope has.
    """
    if scope is None:
        return None
    if not isinstance(scope, (str, list, tuple, set, frozenset)):
        msg = f"scope must be a str or a list of these (got {type(scope).__name__})"
        raise TypeError(msg)
    names = scope.split() if isinstance(scope, str) else list(cast("Iterable[Any]", scope))
    for name in names:
        if not isinstance(name, str):
            msg = f"scope must be a str or a list of these (got {type(name).__name__} in it)"
            raise TypeError(msg)
        if not _SCOPE.fullmatch(name):
            msg = f"scope holds {name!r}, which is no scope (RFC 6749, section 3.3)"
            raise ValueError(msg)
    return " ".join(names) or None


def read_details(details: object) -> str | None:
    """Authorization details as JSON text (RFC 9396, section 2); None for none.

    Raises:
        TypeError: They are neither a list, nor one object, nor a str of JSON.
        ValueError: They are not JSON, or one has no ``type``.
    """
    if details is None:
        return None
    if isinstance(details, str):
        try:
            details = json.loads(details)
        except (ValueError, RecursionError):
            msg = "authorization_details is a str that is not JSON"
            raise ValueError(msg) from None
    if not isinstance(details, (list, tuple, Mapping)):
        msg = f"authorization_details must be a list of objects (got {type(details).__name__})"
        raise TypeError(msg)
    listed = cast("list[Any]", [details] if isinstance(details, Mapping) else details)
    if not all(isinstance(one, Mapping) and _has_type(cast("Mapping[str, Any]", one)) for one in listed):
        msg = 'authorization_details must be a list of objects, each with a "type" (RFC 9396, section 2)'
        raise ValueError(msg)
    try:
        plain = [dict(one) for one in listed]
        return json.dumps(plain, separators=(",", ":"), allow_nan=False) if plain else None
    except (TypeError, ValueError, RecursionError) as error:
        fault = str(error)
    msg = f"authorization_details cannot be written as JSON: {fault}"
    raise ValueError(msg)


def _has_type(details: Mapping[str, Any]) -> bool:
    return isinstance(details.get("type"), str)
