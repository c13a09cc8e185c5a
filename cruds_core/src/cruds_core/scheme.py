"""What ``auth=`` stands for: a scheme that is given, made, or built by a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .auth import AuthABC, BearerToken
from .secret import hidden, is_credential

if TYPE_CHECKING:
    from .plugins import Plugins
    from .secret import SecretSource

#: What ``auth=`` takes.
Auth: TypeAlias = "AuthABC | str | tuple[str, SecretSource] | list[Any] | Mapping[str, Any] | None"


def hide(auth: object) -> object:
    """What ``auth=`` was given, so that its secrets do not stand in a traceback with its locals."""
    given = cast("Any", auth)
    if isinstance(auth, (tuple, list)):
        kept = [*given[:1], *map(hidden, given[1:])]
        return tuple(kept) if isinstance(auth, tuple) else kept
    if isinstance(auth, Mapping):
        return {
            name: one if isinstance(name, str) and not is_credential(name) else hidden(one)
            for name, one in given.items()
        }
    return hidden(given) if isinstance(given, (str, bytes)) else given


def scheme_for(auth: object, plugins: Plugins | None) -> AuthABC | None:
    """The scheme that ``auth`` stands for: never less than what was asked for.

    Raises:
        TypeError: ``auth`` is nothing that stands for a scheme, or the scheme takes other options.
        PluginError: The scheme that is named cannot be used.
    """
    if auth is None or isinstance(auth, AuthABC):
        return auth
    if isinstance(auth, str):
        return BearerToken(auth)
    options: dict[str, Any]
    if isinstance(auth, (tuple, list)) and len(pair := cast("list[Any]", auth)) == 2:
        username, password = pair
        options = {"scheme": "basic", "username": username, "password": password}
    elif isinstance(auth, Mapping):
        options = dict(cast("Mapping[str, Any]", auth))
    else:
        kind = type(cast("Any", auth)).__name__
        if isinstance(auth, (tuple, list)):
            kind += f" of {len(cast('list[Any]', auth))}"
        elif isinstance(auth, type):
            kind = "a class: make an instance"
        elif callable(auth):
            kind += ": a callable that returns a token goes into BearerToken(...)"
        msg = (
            "auth must be None, a str (bearer token), a pair (username, password), an AuthABC or a mapping "
            f'like {{"scheme": "digest", ...}} (got {kind})'
        )
        raise TypeError(msg)
    if kinds := [type(name).__name__ for name in options if not isinstance(cast("Any", name), str)]:
        msg = f"auth as a mapping must have names that are str (got {kinds[0]})"
        raise TypeError(msg)
    scheme = options.pop("scheme", None)
    if not isinstance(scheme, str):
        msg = 'auth as a mapping needs a "scheme", the name of an installed scheme'
        raise TypeError(msg)
    return registry(plugins).create(scheme, **options)


def registry(plugins: object) -> Plugins:
    """The registry that was given, or else the program's.

    Raises:
        TypeError: What was given is no registry.
    """
    from .plugins import Plugins, default  # imported late: a Client without named schemes needs none

    if plugins is None:
        return default()
    if not isinstance(plugins, Plugins):
        msg = f"plugins must be a Plugins (got {type(plugins).__name__})"
        raise TypeError(msg)
    return plugins
