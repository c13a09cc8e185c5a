"""CRUDs: a REST client whose calls are create, read, update and delete, whose authentication a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .auth import AuthABC, BearerToken
from .client import Client
from .event import RequestEvent
from .exceptions import (
    AuthError,
    BrokenPluginError,
    BrokenResponseError,
    ClientError,
    ConnectError,
    ConnectionLostError,
    ContentError,
    CrudsError,
    DecompressionError,
    NameResolutionError,
    PluginConflictError,
    PluginError,
    ProxyError,
    RedirectError,
    RequestError,
    RequestTimeoutError,
    ResponseTooLargeError,
    ServerError,
    StatusError,
    TLSError,
    TruncatedResponseError,
    UnknownSchemeError,
)
from .lock import ForkSafeLock
from .multipart import Fields
from .request import Content, Headers, Reader, Request
from .response import Response
from .scheme import Auth
from .secret import Secret, SecretSource, SecretText
from .url import Params

if TYPE_CHECKING:
    from .hookspecs import hookimpl
    from .plugins import Plugins

__all__ = [
    "Auth",
    "AuthABC",
    "AuthError",
    "BearerToken",
    "BrokenPluginError",
    "BrokenResponseError",
    "Client",
    "ClientError",
    "ConnectError",
    "ConnectionLostError",
    "Content",
    "ContentError",
    "CrudsError",
    "DecompressionError",
    "Fields",
    "ForkSafeLock",
    "Headers",
    "NameResolutionError",
    "Params",
    "PluginConflictError",
    "PluginError",
    "Plugins",
    "ProxyError",
    "Reader",
    "RedirectError",
    "Request",
    "RequestError",
    "RequestEvent",
    "RequestTimeoutError",
    "Response",
    "ResponseTooLargeError",
    "Secret",
    "SecretSource",
    "SecretText",
    "ServerError",
    "StatusError",
    "TLSError",
    "TruncatedResponseError",
    "UnknownSchemeError",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    """Import what needs pluggy when it is asked for: a Client without named schemes does not."""
    if name == "Plugins":
        from .plugins import Plugins

        return Plugins
    if name == "hookimpl":
        from .hookspecs import hookimpl

        return hookimpl
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
